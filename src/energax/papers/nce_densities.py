"""Two densities that noise-contrastive estimation is studied on, and noises that are their laws, moved."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import Gaussian, GaussianMixture
from energax.energies.base import Normalised
from energax.papers.cnce_models import Quadratic
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["FITTED", "Modes", "noise_law", "truth"]

FITTED = "fitted Gaussian"


class Modes(Normalised):
    """E(x) = −log Σ_k exp(a_k − ½ β_k ‖x − μ_k‖²), a_1 = 0: an unnormalised mixture of round Gaussians.

    Parameters
    ----------
    heights
        a_2 … a_K.
    means
        μ, shape (K, d).
    precisions
        β > 0, shape (K,).
    """

    heights: Float[Array, " K-1"]
    means: Float[Array, "K d"]
    precisions: Float[Array, " K"]

    def __init__(self, heights: ArrayLike, means: ArrayLike, precisions: ArrayLike):
        self.heights = jnp.asarray(heights, jnp.float32)
        self.means = jnp.asarray(means, jnp.float32)
        self.precisions = jnp.asarray(precisions, jnp.float32)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.means.shape[1:]

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        squares = jnp.sum((x - self.means) ** 2, axis=1)
        return -jax.nn.logsumexp(self._heights() - 0.5 * self.precisions * squares)

    def log_normalizer(self) -> Scalar:
        """Return log Σ_k e^{a_k} (2π/β_k)^{d/2}."""
        return jax.nn.logsumexp(self._log_masses())

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        return self.law(1.0).sample(key, n)

    def law(self, scale: float, shift: ArrayLike = 0.0) -> GaussianMixture:
        """Return the law of x̄ + scale · (x − x̄) + shift, x̄ the mean."""
        weights = jax.nn.softmax(self._log_masses())
        centre = weights @ self.means
        means = centre + scale * (self.means - centre) + jnp.asarray(shift)
        covariances = scale**2 / self.precisions[:, None, None] * jnp.eye(self.means.shape[1])
        return GaussianMixture(weights, means, covariances)

    def moments(self) -> tuple[Array, Array]:
        """Return mean and covariance."""
        weights = jax.nn.softmax(self._log_masses())
        apart = self.means - weights @ self.means
        within = weights @ (1 / self.precisions) * jnp.eye(self.means.shape[1])
        return weights @ self.means, within + (weights * apart.T) @ apart

    def _heights(self) -> Float[Array, " K"]:
        return jnp.concatenate([jnp.zeros(1), self.heights])

    def _log_masses(self) -> Float[Array, " K"]:
        d = self.means.shape[1]
        return self._heights() + 0.5 * d * jnp.log(2 * jnp.pi / self.precisions)


def truth(target: str) -> Quadratic | Modes:
    """Return the density that is estimated."""
    if target == "mixture":
        return Modes([0.3], [[-2.0, 0.0], [2.0, 1.0]], [1.0, 2.0])
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    return Quadratic((axes * np.linspace(0.1, 1.0, 5)) @ axes.T)


def noise_law(model: Quadratic | Modes, scale: float, shift: float) -> Gaussian | GaussianMixture:
    """Return the data's law, scaled about its mean and moved along its widest axis."""
    mean, covariance = _moments(model)
    variances, axes = jnp.linalg.eigh(covariance)
    along = shift * jnp.sqrt(variances[-1]) * axes[:, -1]
    if isinstance(model, Modes):
        return model.law(scale, along)
    return Gaussian(mean + along, scale**2 * covariance)


def _moments(model: Quadratic | Modes) -> tuple[Array, Array]:
    if isinstance(model, Modes):
        return model.moments()
    return jnp.zeros(model.event_shape), jnp.linalg.inv(model.precision)
