r"""Langevin dynamics of the unknown part of an event, the known part clamped and noised.

At step i, with temperature T_i, the known coordinates are set to x_known + σ₀√T_i z: the
noise "appropriate to the sampling temperature" of MDSM §4. (The authors' code takes
σ₀ T^{1/4}; at equilibrium a coordinate at temperature T carries noise σ₀ T^{1/2}.)
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.samplers.base import Sampler
from energax.samplers.langevin import Langevin
from energax.typing import Array, Event, Float, Key, Metrics, Model

__all__ = ["ClampedLangevin", "Masked"]


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


class ClampedLangevin(Sampler):
    """Langevin dynamics of x | x_known: known coordinates follow the temperature, not the energy.

    Parameters
    ----------
    langevin
        The dynamics of the unknown coordinates and the schedule of temperatures.
    sigma_0
        σ₀ of the energy: known coordinates carry noise σ₀√T.
    """

    langevin: Langevin
    sigma_0: Array

    def __init__(self, langevin: Langevin, sigma_0: float):
        self.langevin = langevin
        self.sigma_0 = jnp.asarray(sigma_0, jnp.float32)

    @property
    def horizon(self) -> int | None:
        """Length of the schedule of temperatures."""
        return self.langevin.horizon

    def init(self, model: Model, x: Masked, key: Key) -> Masked:
        """Return the partly known event itself."""
        return x

    def step(self, model: Model, state: Masked, key: Key, i: jax.Array) -> tuple[Masked, Metrics]:
        """Return the event after step i."""
        noise_key, step_key = jax.random.split(key)
        noise = self.sigma_0 * jnp.sqrt(self.langevin.temperature(i))
        clamped = state.known + noise * jax.random.normal(noise_key, state.known.shape)
        x = jnp.where(state.mask, clamped, state.x)
        moved, info = self.langevin.step(model, x, step_key, i)
        return Masked(jnp.where(state.mask, x, moved), state.known, state.mask), info

    def position(self, state: Masked) -> Event:
        """Return the event, known coordinates clean."""
        return jnp.where(state.mask, state.known, state.x)
