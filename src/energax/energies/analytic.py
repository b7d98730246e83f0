r"""Energies with exact normaliser and exact draws: the oracles of the whole test suite.

    Gaussian               E(x) = ½ (x−μ)ᵀ Σ⁻¹ (x−μ),   log Z = (d/2) log 2π + ½ log det Σ
    GaussianMixture        E(x) = −log Σ_k w_k |Σ_k|^{−½} exp(−½ (x−μ_k)ᵀ Σ_k⁻¹ (x−μ_k)),
                           log Z = (d/2) log 2π
    GeneralizedLogistic    E(x) = Σ_i z_i + (α_i+1) log(1 + e^{−z_i}),   z = (x−μ)/β,
                           log Z = Σ_i log(β_i/α_i)
    LinearGaussian         E(x, c) = ½ ‖(x − Wc − b)/β‖²

The generalised logistic (type I) is skewed: a symmetric target cannot see a sign error.
Convolved with N(0, σ²I), Gaussians and their mixtures stay in their family (`smoothed`).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
from jax.core import Tracer

from energax.checks import check
from energax.energies.base import Energy, Normalised
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["Gaussian", "GaussianMixture", "GeneralizedLogistic", "LinearGaussian"]


def _cholesky(owner: str, covariance: Float[Array, "*k d d"], d: int) -> Float[Array, "*k d d"]:
    check(covariance.shape[-2:] == (d, d), owner, "covariance", f"of shape (..., {d}, {d})", covariance.shape)
    factor = jnp.linalg.cholesky(covariance)
    finite = jnp.all(jnp.isfinite(factor))
    if not isinstance(finite, Tracer):
        check(bool(finite), owner, "covariance", "positive definite", "one that is not")
    return factor


def _whiten(scale_tril: Float[Array, "d d"], residual: Float[Array, " d"]) -> Float[Array, " d"]:
    # Inverting the factor first keeps the (slow, small) triangular solve out of the caller's
    # vmap over x: under it, only a matrix product is batched.
    identity = jnp.eye(scale_tril.shape[-1], dtype=scale_tril.dtype)
    return jsp.linalg.solve_triangular(scale_tril, identity, lower=True) @ residual


def _log_det(scale_tril: Float[Array, "d d"]) -> Scalar:
    return jnp.sum(jnp.log(jnp.abs(jnp.diagonal(scale_tril))))


class Gaussian(Normalised):
    """N(μ, Σ): E(x) = ½ (x−μ)ᵀ Σ⁻¹ (x−μ).

    Parameters
    ----------
    mean
        μ, shape (d,).
    covariance
        Σ, shape (d, d), positive definite. Stored, and trained, as its Cholesky factor.
    """

    mean: Float[Array, " d"]
    scale_tril: Float[Array, "d d"]

    def __init__(self, mean: ArrayLike, covariance: ArrayLike):
        self.mean = jnp.asarray(mean, jnp.float32)
        check(self.mean.ndim == 1, "Gaussian", "mean", "of shape (d,)", f"shape {self.mean.shape}")
        self.scale_tril = _cholesky("Gaussian", jnp.asarray(covariance, jnp.float32), self.mean.shape[0])

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.mean.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * jnp.sum(_whiten(self.scale_tril, x - self.mean) ** 2)

    def log_normalizer(self) -> Scalar:
        """Return (d/2) log 2π + ½ log det Σ."""
        return 0.5 * self.mean.size * jnp.log(2 * jnp.pi) + _log_det(self.scale_tril)

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        z = jax.random.normal(key, (n, self.mean.size))
        return self.mean + z @ self.scale_tril.T

    def smoothed(self, sigma: float | Scalar) -> Gaussian:
        """Return the law of x + σz, z ~ N(0, I)."""
        covariance = self.scale_tril @ self.scale_tril.T + sigma**2 * jnp.eye(self.mean.size)
        return Gaussian(self.mean, covariance)


class GaussianMixture(Normalised):
    """Σ_k w_k N(μ_k, Σ_k).

    Parameters
    ----------
    weights
        w, shape (K,), positive; normalised here. Stored, and trained, as logits.
    means
        μ, shape (K, d).
    covariances
        Σ, shape (K, d, d), each positive definite.
    """

    logits: Float[Array, " K"]
    means: Float[Array, "K d"]
    scale_trils: Float[Array, "K d d"]

    def __init__(
        self,
        weights: ArrayLike,
        means: ArrayLike,
        covariances: ArrayLike,
    ):
        weights = jnp.asarray(weights, jnp.float32)
        self.means = jnp.asarray(means, jnp.float32)
        check(self.means.ndim == 2, "GaussianMixture", "means", "of shape (K, d)", self.means.shape)
        K, d = self.means.shape
        check(weights.shape == (K,), "GaussianMixture", "weights", f"of shape ({K},)", weights.shape)
        if not isinstance(weights, Tracer):
            check(bool(jnp.all(weights > 0)), "GaussianMixture", "weights", "positive", weights.tolist())
        self.logits = jnp.log(weights)
        covariances = jnp.broadcast_to(jnp.asarray(covariances, jnp.float32), (K, d, d))
        self.scale_trils = _cholesky("GaussianMixture", covariances, d)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.means.shape[1:]

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""

        def component(mean, scale_tril):
            return -_log_det(scale_tril) - 0.5 * jnp.sum(_whiten(scale_tril, x - mean) ** 2)

        terms = jax.nn.log_softmax(self.logits) + jax.vmap(component)(self.means, self.scale_trils)
        return -jax.nn.logsumexp(terms)

    def log_normalizer(self) -> Scalar:
        """Return (d/2) log 2π."""
        return 0.5 * self.means.shape[1] * jnp.log(2 * jnp.pi)

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        which, noise = jax.random.split(key)
        k = jax.random.categorical(which, self.logits, shape=(n,))
        z = jax.random.normal(noise, (n, self.means.shape[1]))
        return self.means[k] + jnp.einsum("nij,nj->ni", self.scale_trils[k], z)

    def smoothed(self, sigma: float | Scalar) -> GaussianMixture:
        """Return the law of x + σz, z ~ N(0, I)."""
        d = self.means.shape[1]
        covariances = self.scale_trils @ self.scale_trils.mT + sigma**2 * jnp.eye(d)
        return GaussianMixture(jax.nn.softmax(self.logits), self.means, covariances)


class GeneralizedLogistic(Normalised):
    """Independent type-I generalised logistic coordinates: smooth, skewed, with linear tails.

    F(z) = (1 + e^{−z})^{−α}; mean ψ(α) − ψ(1) and variance ψ′(α) + ψ′(1) in units of z.

    Parameters
    ----------
    shape
        α > 0, shape (d,); α < 1 leans left, α > 1 right, α = 1 is the logistic.
    location, scale
        μ and β > 0, shape (d,).
    """

    shape: Float[Array, " d"]
    location: Float[Array, " d"]
    scale: Float[Array, " d"]

    def __init__(
        self,
        shape: ArrayLike,
        location: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
    ):
        self.shape = jnp.asarray(shape, jnp.float32)
        self.location = jnp.broadcast_to(jnp.asarray(location, jnp.float32), self.shape.shape)
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), self.shape.shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.shape.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        z = (x - self.location) / self.scale
        return jnp.sum(z + (self.shape + 1) * jax.nn.softplus(-z))

    def log_normalizer(self) -> Scalar:
        """Return Σ_i log(β_i/α_i)."""
        return jnp.sum(jnp.log(self.scale / self.shape))

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws, by inversion: z = −log(u^{−1/α} − 1)."""
        u = jax.random.uniform(key, (n, self.shape.size), minval=jnp.finfo(jnp.float32).tiny)
        z = -jnp.log(jnp.expm1(-jnp.log(u) / self.shape))
        return self.location + self.scale * z


class LinearGaussian(Energy):
    """A conditional Gaussian, x | c ~ N(Wc + b, diag β²): E(x, c) = ½ ‖(x − Wc − b)/β‖².

    Parameters
    ----------
    weight
        W, shape (d, k).
    bias, scale
        b and β > 0, shape (d,).
    """

    weight: Float[Array, "d k"]
    bias: Float[Array, " d"]
    scale: Float[Array, " d"]
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        weight: ArrayLike,
        bias: ArrayLike = 0.0,
        scale: ArrayLike = 1.0,
    ):
        self.weight = jnp.asarray(weight, jnp.float32)
        check(self.weight.ndim == 2, "LinearGaussian", "weight", "of shape (d, k)", self.weight.shape)
        d = self.weight.shape[0]
        self.bias = jnp.broadcast_to(jnp.asarray(bias, jnp.float32), (d,))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), (d,))
        self.event_shape = (d,)

    @property
    def condition_size(self) -> int:
        """How many numbers c has."""
        return self.weight.shape[1]

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x, c); a condition c of shape (k,) is required."""
        check(condition is not None, "LinearGaussian", "condition", "given", None)
        assert condition is not None
        return 0.5 * jnp.sum(((x - self.weight @ condition - self.bias) / self.scale) ** 2)

    def sample(self, key: Key, condition: Float[Array, "n k"]) -> Float[Array, "n d"]:
        """Return one exact draw for each row of conditions."""
        mean = condition @ self.weight.T + self.bias
        return mean + self.scale * jax.random.normal(key, mean.shape)
