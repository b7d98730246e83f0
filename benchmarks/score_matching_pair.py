"""The pair behind the rows of score matching: one network, one loss, `fit`'s loop against PyTorch's.

The network is ebmkit's own `MLPEnergy` (SiLU, scalar output, no residual connections); Energax
trains the same one, Equinox's `MLP`, since any callable of one event is an energy to it. The
rows are standard normal: on data with constant pixels score matching has no minimum.

A peer library gives the loss. Around it goes the step of `torch_side.Trainer` (fused Adam, one
operation for the average) in place of the library's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from ebm.nets import MLPEnergy
from torch import nn

from benchmarks.harness import Pair
from benchmarks.torch_side import Loss, copy_of
from benchmarks.training_pair import training_pair
from energax.objectives import Objective

__all__ = ["linear_layers", "score_matching_pair", "twins"]

D, WIDTH, ROWS, BATCH = 64, 256, 16_384, 128


def linear_layers(module: MLPEnergy) -> nn.ModuleList:
    """Return the network's linear layers, from the first to the output."""
    return nn.ModuleList(layer for layer in module.net if isinstance(layer, nn.Linear))


def twins(d: int, width: int) -> tuple[eqx.nn.MLP, MLPEnergy]:
    """Return ebmkit's perceptron d-width-width-1, and Equinox's with the same weights before it."""
    energy = eqx.nn.MLP(d, "scalar", width, 2, jax.nn.silu, key=jax.random.key(0))
    module = MLPEnergy(d, (width, width))
    twin = nn.Module()
    twin.layers = linear_layers(module)  # the names that Equinox gives them
    copy_of(energy, twin)
    return energy, module


def score_matching_pair(
    objective: Objective,
    loss: Loss,
    *,
    units: int,
    drawn: Callable[[jax.Array, Any, jax.Array], Any] | None = None,
) -> Pair:
    """Return training of the same network by the same loss (see `training_pair`)."""
    energy, module = twins(D, WIDTH)
    data = np.random.default_rng(0).standard_normal((ROWS, D), np.float32)
    return training_pair(
        energy, module, data, objective=objective, loss=loss, drawn=drawn, batch_size=BATCH, units=units
    )
