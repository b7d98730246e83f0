"""Training step by a replay buffer and 20 Langevin steps, d = 64, MLP 64-256-256, batch 128."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.replay_pair import replay_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return replay_pair(d=64, width=256, units=10 if quick else 30)


ROW = Row(
    "replay-64d",
    "Replay-buffer likelihood step, 20 Langevin steps, d = 64, MLP 64-256-256, batch 128",
    "ebmkit",
    build,
    least=1.1,
)
