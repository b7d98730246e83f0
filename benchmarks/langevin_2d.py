"""Langevin dynamics at 1,024 chains of d = 2, on an MLP 2-128-128."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.langevin_pair import langevin_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return langevin_pair(d=2, width=128, chains=1024, steps=100 if quick else 250)


ROW = Row(
    "langevin-2d",
    "Langevin step, 1,024 chains of d = 2, MLP 2-128-128",
    "torchebm",
    build,
    least=3.0,
)
