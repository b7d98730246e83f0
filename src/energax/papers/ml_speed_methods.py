"""The methods that the study of a step's cost compares, and the smoothed rows that likelihood learns from."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.data import Transform
from energax.objectives import MultiscaleDenoisingScoreMatching, Objective, ReplayBufferLikelihood
from energax.samplers import Langevin
from energax.typing import Array, Key

__all__ = ["BATCH", "EPSILON", "MDSM", "SIGMA_0", "SmoothedRows", "methods", "name_of"]

SIGMA_0 = 0.1
LADDER = (0.05, 2.0)
EPSILON = 0.5 * SIGMA_0
BATCH = 128
MDSM = "MDSM"


def methods(langevin: Sequence[int], buffer: int) -> dict[str, Objective]:
    """Return MDSM, and maximum likelihood with each number of Langevin steps, by name."""

    def likelihood(steps: int) -> Objective:
        return ReplayBufferLikelihood(Langevin.mdsm(EPSILON), steps, size=buffer, restart=0.05)

    ours = MultiscaleDenoisingScoreMatching(*LADDER, sigma_0=SIGMA_0)
    return {MDSM: ours, **{name_of(k): likelihood(k) for k in langevin}}


def name_of(steps: int) -> str:
    """Return what maximum likelihood with so many Langevin steps is called."""
    return f"ML, {steps} steps"


class SmoothedRows(Transform):
    """Rows with fresh noise σz added in training, and otherwise as they are.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, in units of x.
    """

    sigma: float = eqx.field(static=True)

    def forward(self, x: Array) -> Array:
        """Return x."""
        return x

    def inverse(self, z: Array) -> Array:
        """Return z."""
        return z

    def log_det(self, x: Array) -> Array:
        """Return 0."""
        return jnp.zeros(())

    def perturb(self, x: Array, key: Key) -> Array:
        """Return x + σz."""
        return x + self.sigma * jax.random.normal(key, x.shape)
