r"""Independent bits: the simplest law over {0, 1}ᵈ that can be drawn and normalised.

E(x) = −Σ_i b_i x_i,      P(x_i = 1) = σ(b_i),      log Z = Σ_i log(1 + e^{b_i})
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.energies.base import Normalised
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["IndependentBernoulli"]


class IndependentBernoulli(Normalised):
    """E(x) = −Σ b_i x_i over bits of any shape.

    Parameters
    ----------
    logits
        b, of the shape of one event: log-odds of each bit.
    """

    logits: Float[Array, "*event"]

    def __init__(self, logits: ArrayLike):
        self.logits = jnp.asarray(logits, jnp.float32)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.logits.shape

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return -jnp.sum(self.logits * x)

    def log_normalizer(self) -> Scalar:
        """Return Σ_i log(1 + e^{b_i})."""
        return jnp.sum(jax.nn.softplus(self.logits))

    def sample(self, key: Key, n: int) -> Array:
        """Return n exact draws."""
        chances = jax.nn.sigmoid(self.logits)
        return jax.random.bernoulli(key, chances, (n, *self.logits.shape)).astype(jnp.float32)
