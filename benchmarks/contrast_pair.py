"""The pairs behind the rows of learning by contrast: one network, one loss, `fit`'s loop against PyTorch's.

Both sides draw their noise afresh each step and evaluate the energy on data and noise in one
batch each. Self-normalised, so that both learn the same parameters.
"""

from __future__ import annotations

import math

import jax
import numpy as np
import torch
from torch.nn import functional as F

import energax as ex
from benchmarks.harness import Pair
from benchmarks.score_matching_pair import score_matching_pair
from energax.objectives.noise import draws

__all__ = ["conditional_pair", "contrast_pair"]

RATIO = 5
EPSILON = 0.5


def contrast_pair(quick: bool) -> Pair:
    """Return noise-contrastive estimation, five noise points a datum from a diagonal Gaussian."""
    objective = ex.objectives.NoiseContrastiveEstimation("diagonal", RATIO, log_normalizer="fixed")
    scale: dict[str, torch.Tensor] = {}

    def log_ratio(module: torch.nn.Module, u: torch.Tensor) -> torch.Tensor:
        z = (u - scale["mean"]) / scale["std"]
        log_q = -0.5 * (z * z).sum(1) - scale["log_z"]
        return -module(u) - math.log(RATIO) - log_q

    def loss(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        if y is None:
            y = scale["mean"] + scale["std"] * torch.randn(RATIO * len(x), x.shape[1])
        both = log_ratio(module, torch.cat([x, y]))
        return F.softplus(-both[: len(x)]).mean() + RATIO * F.softplus(both[len(x) :]).mean()

    def drawn(x: jax.Array, noise: ex.energies.Gaussian, keys: jax.Array) -> jax.Array:
        std = np.diag(np.asarray(noise.scale_tril)).copy()
        scale["mean"], scale["std"] = torch.from_numpy(np.array(noise.mean)), torch.from_numpy(std)
        scale["log_z"] = scale["std"].log().sum() + 0.5 * len(std) * math.log(2 * math.pi)
        return draws(noise, keys[1], RATIO * len(x), x.shape[1:])

    return score_matching_pair(objective, loss, drawn=drawn, units=40 if quick else 100)


def conditional_pair(quick: bool) -> Pair:
    """Return conditional noise-contrastive estimation, five Gaussian moves of each datum."""
    objective = ex.objectives.ConditionalNoiseContrastiveEstimation(EPSILON, noise_points=RATIO)

    def loss(module: torch.nn.Module, x: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        z = torch.randn(len(x), RATIO, x.shape[1]) if z is None else z
        y = (x[:, None] + EPSILON * z).reshape(-1, x.shape[1])
        energies = module(torch.cat([x, y]))
        here, there = energies[: len(x), None], energies[len(x) :].reshape(len(x), RATIO)
        return 2 * F.softplus(here - there).mean()

    def drawn(x: jax.Array, state: None, keys: jax.Array) -> jax.Array:
        return jax.random.normal(keys[1], (RATIO, *x.shape)).swapaxes(0, 1)

    return score_matching_pair(objective, loss, drawn=drawn, units=40 if quick else 100)
