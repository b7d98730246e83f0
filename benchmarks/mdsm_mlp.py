"""MDSM training step of the digits model: MLP 64-512-512-512-512, quadratic head, batch 128."""

from __future__ import annotations

import jax

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.torch_side import MLP
from benchmarks.training_pair import mdsm_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    energy = ex.energies.MLP((64,), width=512, depth=4, key=jax.random.key(0))
    data = ex.data.digits().train
    return mdsm_pair(
        energy, MLP(64, 512, 4), data, batch_size=128, units=10 if quick else 20, loop="compiled"
    )


ROW = Row(
    "mdsm-mlp",
    "MDSM training step, MLP 64-512-512-512-512, batch 128",
    "PyTorch eager",
    build,
    least=2.0,
)
