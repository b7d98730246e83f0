"""Training step of noise-contrastive estimation, MLP 64-256-256, batch 128, 640 noise points."""

from benchmarks.contrast_pair import contrast_pair
from benchmarks.harness import Row

__all__ = ["ROW"]

ROW = Row(
    "nce",
    "NCE step, 5 noise points a datum, MLP 64-256-256, batch 128",
    "PyTorch",
    contrast_pair,
    least=2.0,
)
