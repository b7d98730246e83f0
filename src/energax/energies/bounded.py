r"""Densities on half-spaces and boxes whose truth is known: oracles off ℝᵈ.

    Gamma               E(x) = Σ_i [βx_i − (α − 1) log x_i],              x_i > 0
    TruncatedGaussian   E(x) = Σ_i (x_i − μ_i)²/2s_i²,                    low ≤ x_i ≤ high
    Uniform             E(x) = 0,                                         low ≤ x_i ≤ high

Independent coordinates. Outside its support an energy is +∞ in principle; the formula is what
is evaluated, so keep to the support.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import jax.scipy as jsp

from energax.checks import check, check_number
from energax.energies.base import Normalised
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["Gamma", "TruncatedGaussian", "Uniform"]


class _Bounded(Normalised):
    """A density with an edge, which its formula does not show: that goes on beyond, or is not a number."""

    @property
    def has_edge(self) -> bool:
        """True."""
        return True


class Gamma(_Bounded):
    """E(x) = Σ_i [β_i x_i − (α_i − 1) log x_i] on x_i > 0.

    Parameters
    ----------
    shape, rate
        α > 0 and β > 0, shape (d,).
    """

    shape: Float[Array, " d"]
    rate: Float[Array, " d"]

    def __init__(self, shape: ArrayLike, rate: ArrayLike):
        self.shape = jnp.atleast_1d(jnp.asarray(shape, jnp.float32))
        self.rate = jnp.broadcast_to(jnp.asarray(rate, jnp.float32), self.shape.shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return self.shape.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return jnp.sum(self.rate * x - (self.shape - 1) * jnp.log(x))

    def log_normalizer(self) -> Scalar:
        """Return Σ_i [log Γ(α_i) − α_i log β_i]."""
        return jnp.sum(jsp.special.gammaln(self.shape) - self.shape * jnp.log(self.rate))

    def sample(self, key: Key, n: int) -> Array:
        """Return n draws, shape (n, d)."""
        return jax.random.gamma(key, self.shape, (n, *self.shape.shape)) / self.rate


class TruncatedGaussian(_Bounded):
    """E(x) = Σ_i (x_i − μ_i)²/2s_i² on low ≤ x_i ≤ high.

    Parameters
    ----------
    mean, scale
        μ and s > 0, shape (d,).
    low, high
        Ends of every coordinate's interval.
    """

    mean: Float[Array, " d"]
    scale: Float[Array, " d"]
    low: Array
    high: Array

    def __init__(self, mean: ArrayLike, scale: ArrayLike, low: float = 0.0, high: float = 1.0):
        self.mean = jnp.atleast_1d(jnp.asarray(mean, jnp.float32))
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), self.mean.shape)
        self.low = jnp.asarray(check_number("TruncatedGaussian", "low", low))
        self.high = jnp.asarray(check_number("TruncatedGaussian", "high", high, above=low))

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return self.mean.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * jnp.sum(((x - self.mean) / self.scale) ** 2)

    def _ends(self) -> tuple[Array, Array]:
        return (self.low - self.mean) / self.scale, (self.high - self.mean) / self.scale

    def log_normalizer(self) -> Scalar:
        """Return Σ_i log[s_i √(2π) (Φ(b_i) − Φ(a_i))] with the standardised ends a_i, b_i."""
        a, b = self._ends()
        mass = jsp.stats.norm.cdf(b) - jsp.stats.norm.cdf(a)
        return jnp.sum(jnp.log(self.scale * mass) + 0.5 * jnp.log(2 * jnp.pi))

    def sample(self, key: Key, n: int) -> Array:
        """Return n draws, shape (n, d)."""
        a, b = self._ends()
        return self.mean + self.scale * jax.random.truncated_normal(key, a, b, (n, *self.mean.shape))


class Uniform(_Bounded):
    """E(x) = 0 on the box low ≤ x ≤ high.

    Parameters
    ----------
    low, high
        Opposite corners, each of the shape of one event.
    """

    low: Float[Array, "*event"]
    high: Float[Array, "*event"]

    def __init__(self, low: ArrayLike, high: ArrayLike):
        self.low = jnp.asarray(low, jnp.float32)
        self.high = jnp.asarray(high, jnp.float32)
        same = self.low.shape == self.high.shape
        check(same, "Uniform", "high", f"of the shape of low, {self.low.shape}", f"shape {self.high.shape}")
        check(
            bool(jnp.all(self.low < self.high)), "Uniform", "high", "above low everywhere", "less somewhere"
        )

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.low.shape

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return 0."""
        return jnp.zeros_like(jnp.sum(x))

    def log_normalizer(self) -> Scalar:
        """Return the log of the box's volume."""
        return jnp.sum(jnp.log(self.high - self.low))

    def sample(self, key: Key, n: int) -> Array:
        """Return n draws."""
        return jax.random.uniform(key, (n, *self.low.shape), minval=self.low, maxval=self.high)
