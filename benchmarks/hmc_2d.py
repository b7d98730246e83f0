"""Hamiltonian Monte Carlo at 1,024 chains of d = 2, on an MLP 2-128-128."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.hmc_pair import hmc_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return hmc_pair(d=2, width=128, chains=1024, steps=10 if quick else 25)


ROW = Row(
    "hmc-2d",
    "HMC transition of 10 leapfrog steps, 1,024 chains of d = 2, MLP 2-128-128",
    "torchebm",
    build,
    least=3.0,
)
