"""Training step of conditional noise-contrastive estimation, MLP 64-256-256, batch 128, 640 moves."""

from benchmarks.contrast_pair import conditional_pair
from benchmarks.harness import Row

__all__ = ["ROW"]

ROW = Row(
    "conditional-nce",
    "CNCE step, 5 noise points a datum, MLP 64-256-256, batch 128",
    "PyTorch",
    conditional_pair,
    least=2.0,
)
