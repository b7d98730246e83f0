"""Hamiltonian Monte Carlo at 256 chains of d = 64, on an MLP 64-256-256."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.hmc_pair import hmc_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return hmc_pair(d=64, width=256, chains=256, steps=10 if quick else 25)


ROW = Row(
    "hmc-64d",
    "HMC transition of 10 leapfrog steps, 256 chains of d = 64, MLP 64-256-256",
    "torchebm",
    build,
    least=1.7,
)
