"""What to record of a chain while it runs, without storing the chain.

An observer is a function (model, x, i) ↦ record of one chain; `run` vmaps it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax
import jax.numpy as jnp

from energax.samplers.langevin import denoising_jump
from energax.typing import Event, Model, Scalar

__all__ = ["denoised", "denoised_at", "energy", "position"]


def energy(model: Model, x: Event, i: jax.Array) -> Scalar:
    """E(x) of each chain; the model must be an energy."""
    return model(x)


def position(model: Model, x: Event, i: jax.Array) -> Event:
    """Where each chain is."""
    return x


@lru_cache
def denoised(sigma_0: float) -> Callable[[Model, Event, jax.Array], Event]:
    """Return an observer of x − σ₀²∇E(x), the lower row of MDSM figure 3.

    Cached, so that equal settings are the same function and compile once.
    """

    def observe(model: Model, x: Event, i: jax.Array) -> Event:
        return denoising_jump(model, x, sigma_0)

    return observe


@lru_cache
def denoised_at(sigmas: tuple[float, ...]) -> Callable[[Model, Event, jax.Array], Event]:
    """Return an observer of x + σ²s(x, σ), σ being that of the step, of a noise-conditional model."""
    levels = jnp.asarray(sigmas)

    def observe(model: Model, x: Event, i: jax.Array) -> Event:
        sigma = levels[jnp.minimum(i, len(sigmas) - 1)]
        return denoising_jump(model.at(sigma), x, sigma)

    return observe
