r"""Dynamics of the unknown part of an event, the known part clamped and noised.

At step i the known coordinates are set to x_known + n_i z, with the noise that the rest of the
event carries at that step. Annealing by temperature, n_i = σ₀√T_i: the noise "appropriate to the
sampling temperature" of MDSM §4. (The authors' code takes σ₀ T^{1/4}; at equilibrium a coordinate
at temperature T carries noise σ₀ T^{1/2}.) Annealing by noise level, n_i = σ_k (NCSN: Song & Ermon 2019).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.samplers.base import Sampler
from energax.samplers.schedules import Schedule, constant
from energax.typing import Array, Event, Float, Key, Metrics, Model

__all__ = ["Clamped", "Masked"]


class Masked(eqx.Module):
    """A partly known event.

    Parameters
    ----------
    x
        Where the chain is; its known coordinates may hold noise.
    known
        The truth, read only where `mask` is True.
    mask
        True where the event is known; of the shape of x.
    """

    x: Float[Array, "*event"]
    known: Float[Array, "*event"]
    mask: Array


class Clamped(Sampler):
    """Dynamics of x | x_known: known coordinates follow the noise, not the model.

    Parameters
    ----------
    dynamics
        How the unknown coordinates move; its state must be its position.
    noise
        Standard deviation n_i of the noise on known coordinates, a number or a `Schedule`.
    """

    dynamics: Sampler
    known_noise: Schedule

    def __init__(self, dynamics: Sampler, noise: float | Schedule):
        self.dynamics = dynamics
        self.known_noise = noise if isinstance(noise, Schedule) else constant(noise)

    @property
    def horizon(self) -> int | None:
        """That of the dynamics."""
        return self.dynamics.horizon

    def init(self, model: Model, x: Masked, key: Key) -> Masked:
        """Return the partly known event itself, once the dynamics agree to the model."""
        self.dynamics.init(model, x.x, key)
        return x

    def step(self, model: Model, state: Masked, key: Key, i: jax.Array) -> tuple[Masked, Metrics]:
        """Return the event after step i."""
        noise_key, step_key = jax.random.split(key)
        clamped = state.known + self.known_noise(i) * jax.random.normal(noise_key, state.known.shape)
        x = jnp.where(state.mask, clamped, state.x)
        moved, info = self.dynamics.step(model, x, step_key, i)
        return Masked(jnp.where(state.mask, x, moved), state.known, state.mask), info

    def position(self, state: Masked) -> Event:
        """Return the event, known coordinates clean."""
        return jnp.where(state.mask, state.known, state.x)
