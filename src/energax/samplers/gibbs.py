r"""Gibbs sampling of bits: x ∈ {0, 1}ᵈ, one coordinate at a time from its conditional.

With x̄ⁱ for x with bit i flipped, p(x̄ⁱ | rest) = σ(E(x) − E(x̄ⁱ)), σ the logistic function. Step i
visits coordinate i mod d: d steps are a sweep. The law is left exactly invariant.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.checks import check_integer
from energax.samplers.base import Sampler
from energax.typing import Array, Key, Metrics, Model

__all__ = ["BitGibbs"]


class BitGibbs(Sampler):
    """Flip bit i mod d with probability σ(E(x) − E(x̄)): exact for any energy over bits.

    Two energies a step and no derivative. For the block structure of a Boltzmann machine
    there are faster ways; this one asks for nothing but E.

    Parameters
    ----------
    steps
        How many steps its horizon has, or None for none; d of them are a sweep.
    """

    steps: int | None

    def __init__(self, steps: int | None = None):
        self.steps = None if steps is None else check_integer("BitGibbs", "steps", steps, at_least=1)

    @property
    def horizon(self) -> int | None:
        """The steps asked for."""
        return self.steps

    def init(self, model: Model, x: Array, key: Key) -> Array:
        """Return the bits nearest to x."""
        return jnp.where(x > 0.5, 1.0, 0.0)

    def step(self, model: Model, state: Array, key: Key, i: jax.Array) -> tuple[Array, Metrics]:
        """Return the bits after visiting coordinate i mod d."""
        bits = state.ravel()
        j = i % bits.size
        other = bits.at[j].set(1 - bits[j]).reshape(state.shape)
        flip = jax.random.bernoulli(key, jax.nn.sigmoid(model(state) - model(other)))
        return jnp.where(flip, other, state), {}
