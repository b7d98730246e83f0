"""Langevin dynamics at 256 chains of d = 64, on an MLP 64-256-256."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.langevin_pair import langevin_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return langevin_pair(d=64, width=256, chains=256, steps=100 if quick else 250)


ROW = Row(
    "langevin-64d",
    "Langevin step, 256 chains of d = 64, MLP 64-256-256",
    "torchebm",
    build,
    least=1.7,
)
