"""Unnormalised densities that contrastive estimation is studied on, and noises that are their laws, moved."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import Gaussian, GaussianMixture
from energax.energies.base import Normalised
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["FITTED", "Modes", "Quadratic", "Ring", "noise_law", "truth"]

FITTED = "fitted Gaussian"
REACH = 8.0  # standard deviations of a ring's profile that its quadrature covers


class Quadratic(Normalised):
    """E(x) = ½ xᵀΛx with Λ symmetric, given by the d(d+1)/2 entries on and above its diagonal.

    Parameters
    ----------
    precision
        Λ, shape (d, d). Only its entries on and above the diagonal are stored, and learned.
    """

    entries: Float[Array, " n"]

    def __init__(self, precision: ArrayLike):
        full = jnp.asarray(precision, jnp.float32)
        self.entries = full[jnp.triu_indices(len(full))]

    @property
    def precision(self) -> Float[Array, "d d"]:
        """Λ."""
        d = self.event_shape[0]
        upper = jnp.zeros((d, d)).at[jnp.triu_indices(d)].set(self.entries)
        return upper + jnp.triu(upper, 1).T

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return (int(np.sqrt(2 * self.entries.size)),)

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * x @ self.precision @ x

    def log_normalizer(self) -> Scalar:
        """Return (d/2) log 2π − ½ log det Λ; not a number unless Λ is positive definite."""
        factor = jnp.linalg.cholesky(self.precision)
        return 0.5 * len(factor) * jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(jnp.diagonal(factor)))

    def sample(self, key: Any, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        factor = jnp.linalg.cholesky(self.precision)
        z = jax.random.normal(key, (len(factor), n))
        return jax.scipy.linalg.solve_triangular(factor.T, z, lower=False).T


class Ring(Normalised):
    """E(x) = (γ/2)(‖x‖ − μ)²: a spherical shell. γ is learned, μ is given.

    log Z is that of the radius, ∫ r^{d−1} exp(−(γ/2)(r − μ)²) dr by the trapezoidal rule, and the area of
    the unit sphere.

    Parameters
    ----------
    gamma
        γ > 0.
    radius
        μ > 0.
    d
        Coordinates.
    """

    gamma: Scalar
    radius: Scalar
    event_shape: tuple[int, ...]

    def __init__(self, gamma: float | Scalar, radius: float | Scalar, d: int):
        self.gamma, self.radius = jnp.asarray(gamma, jnp.float32), jnp.asarray(radius, jnp.float32)
        self.event_shape = (d,)

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * self.gamma * (jnp.linalg.norm(x) - jax.lax.stop_gradient(self.radius)) ** 2

    def _profile(self) -> tuple[Float[Array, " m"], Float[Array, " m"], Scalar]:
        """Return radii, the logarithm of r^{d−1} exp(−E) at them, and their distance."""
        z = jnp.linspace(-REACH, REACH, 1_001)
        r = jax.lax.stop_gradient(self.radius) + z / jnp.sqrt(self.gamma)
        inside = jnp.where(r > 0, r, 1.0)
        log_density = (self.event_shape[0] - 1) * jnp.log(inside) - 0.5 * z**2
        return r, jnp.where(r > 0, log_density, -jnp.inf), (z[1] - z[0]) / jnp.sqrt(self.gamma)

    def log_normalizer(self) -> Scalar:
        """Return log Z."""
        d = self.event_shape[0]
        _, log_density, step = self._profile()
        area = jnp.log(2.0) + 0.5 * d * jnp.log(jnp.pi) - jax.scipy.special.gammaln(0.5 * d)
        return area + jax.nn.logsumexp(log_density) + jnp.log(step)

    def sample(self, key: Any, n: int) -> Float[Array, "n d"]:
        """Return n draws: a direction, and a radius by inversion of the trapezoidal sum."""
        radius_key, direction_key = jax.random.split(key)
        r, log_density, _ = self._profile()
        weights = jax.nn.softmax(log_density)
        below = jnp.cumsum(weights) - 0.5 * weights
        radius = jnp.interp(jax.random.uniform(radius_key, (n,)), below, r)
        z = jax.random.normal(direction_key, (n, self.event_shape[0]))
        return radius[:, None] * z / jnp.linalg.norm(z, axis=1, keepdims=True)


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
