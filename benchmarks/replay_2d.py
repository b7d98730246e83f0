"""Training step by a replay buffer and 20 Langevin steps, d = 2, MLP 2-128-128, batch 128."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.replay_pair import replay_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return replay_pair(d=2, width=128, units=20 if quick else 50)


ROW = Row(
    "replay-2d",
    "Replay-buffer likelihood step, 20 Langevin steps, d = 2, MLP 2-128-128, batch 128",
    "ebmkit",
    build,
    least=1.4,
)
