"""Where an annealing begins if no one says: a Gaussian, or independent bits, fitted to rows."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array
from energax.energies import IndependentBernoulli, Normalised
from energax.energies.units import log_odds
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["GaussianBase", "fitted_base"]

FULL_TO = 256  # coordinates: a larger covariance is estimated badly and costs more than most energies
ROWS_EACH = 10  # rows for each coordinate, below which a diagonal covariance is the better estimate
NARROWEST = 0.1  # of the root mean square of the columns' deviations: a model's law is wider than a constant


class GaussianBase(Normalised):
    """N(μ, Σ) over events of any shape, its factor inverted once.

    Parameters
    ----------
    mean
        μ, of the shape of one event.
    scale_tril
        The Cholesky factor of Σ, of the flattened event.
    """

    mean: Float[Array, "*event"]
    scale_tril: Float[Array, "d d"]
    whitener: Float[Array, "d d"]

    def __init__(self, mean: Array, scale_tril: Array):
        self.mean, self.scale_tril = mean, scale_tril
        identity = jnp.eye(mean.size)
        self.whitener = jax.scipy.linalg.solve_triangular(scale_tril, identity, lower=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.mean.shape

    @property
    def variance(self) -> Float[Array, "*event"]:
        """Of each coordinate."""
        return jnp.sum(self.scale_tril**2, axis=1).reshape(self.mean.shape)

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return E(x) = ½ (x−μ)ᵀ Σ⁻¹ (x−μ)."""
        return 0.5 * jnp.sum((self.whitener @ (x - self.mean).ravel()) ** 2)

    def log_normalizer(self) -> Scalar:
        """Return (d/2) log 2π + ½ log det Σ."""
        return 0.5 * self.mean.size * jnp.log(2 * jnp.pi) + jnp.sum(jnp.log(jnp.diagonal(self.scale_tril)))

    def sample(self, key: Key, n: int) -> Array:
        """Return n exact draws."""
        z = jax.random.normal(key, (n, self.mean.size))
        return self.mean + (z @ self.scale_tril.T).reshape(n, *self.mean.shape)


def fitted_base(owner: str, x: Any, event_shape: tuple[int, ...] | None = None) -> Any:
    """Return independent bits with the data's log odds for zeros and ones, else a fitted Gaussian.

    Its covariance is full for up to 256 coordinates and ten rows for each, else diagonal.
    """
    rows = check_array(owner, "data", x, event_shape=event_shape, at_least_rows=2)
    if bool(np.all((rows == 0) | (rows == 1))):
        return IndependentBernoulli(log_odds(owner, rows))
    flat = rows.reshape(len(rows), -1).astype(np.float64)
    n, d = flat.shape
    scale = flat.std(0)
    check(scale.max() > 0, owner, "data", "rows that differ", "rows that are all the same")
    narrowest = NARROWEST * math.sqrt(np.mean(scale**2))
    if d > FULL_TO or n < ROWS_EACH * d:
        factor = np.diag(np.maximum(scale, narrowest))
    else:
        values, axes = np.linalg.eigh(np.atleast_2d(np.cov(flat.T)))
        factor = np.linalg.cholesky((axes * np.maximum(values, narrowest**2 / 100)) @ axes.T)
    mean = flat.mean(0).reshape(rows.shape[1:])
    return GaussianBase(jnp.asarray(mean, jnp.float32), jnp.asarray(factor, jnp.float32))
