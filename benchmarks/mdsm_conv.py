"""MDSM training step of a convolutional energy on CPU, where PyTorch is the faster one.

The network is MDSM's own residual network, at its least depth and a quarter of its MNIST
width so that the row is quick; MNIST padded to 32 × 32 has this shape.
"""

from __future__ import annotations

import jax
import numpy as np

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.torch_side import ResNet
from benchmarks.training_pair import mdsm_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    energy = ex.energies.ResNet((32, 32, 1), layers=6, width=16, key=jax.random.key(0))
    data = np.random.default_rng(0).random((512, 32, 32, 1), np.float32)
    return mdsm_pair(energy, ResNet(32, 1, 6, 16), data, batch_size=32, units=1 if quick else 2, loop="host")


ROW = Row(
    "mdsm-conv",
    "MDSM training step, ResNet of 6 layers and 16 channels, 32 × 32 × 1, batch 32",
    "PyTorch eager",
    build,
    least=1 / 1.7,
)
