r"""Langevin dynamics on a box: a step that leaves it is reflected at the edge.

The continuous dynamics with reflection leave exp(−E) on the box invariant; the discrete ones
have a bias that vanishes with the step.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_number
from energax.samplers.base import Sampler
from energax.samplers.langevin import Langevin
from energax.typing import Array, Event, Key, Metrics, Model

__all__ = ["ReflectedLangevin"]


class ReflectedLangevin(Sampler):
    """x ← reflect(x − η∇E(x) + √(2ηT) z) into [low, high]ᵈ.

    Invariant law: exp(−E/T) on the box, up to a bias of order η.

    Parameters
    ----------
    langevin
        The dynamics between the edges.
    low, high
        Ends of every coordinate's interval; high may be infinite.
    """

    langevin: Langevin
    low: Array
    high: Array

    def __init__(self, langevin: Langevin, low: float = 0.0, high: float = float("inf")):
        self.langevin = langevin
        self.low = jnp.asarray(check_number("ReflectedLangevin", "low", low), jnp.float32)
        if high != float("inf"):
            check_number("ReflectedLangevin", "high", high, above=low)
        self.high = jnp.asarray(high, jnp.float32)

    @property
    def horizon(self) -> int | None:
        """That of the dynamics."""
        return self.langevin.horizon

    @property
    def bias_order(self) -> float:
        """One: the invariant law is off by O(η)."""
        return 1.0

    def scaled(self, factor: float | Array) -> ReflectedLangevin:
        """Return the dynamics with every step size multiplied by `factor`."""
        return eqx.tree_at(lambda s: s.langevin, self, self.langevin.scaled(factor))

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x, folded into the box."""
        return jax.tree.map(self._reflect, x)

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position after step i."""
        moved, info = self.langevin.step(model, state, key, i)
        return jax.tree.map(self._reflect, moved), info

    def _reflect(self, x: Array) -> Array:
        """Fold the line onto the box as a sheet of paper is folded."""
        up = self.low + jnp.abs(x - self.low)
        width = self.high - self.low
        folded = self.low + width - jnp.abs(jnp.mod(x - self.low, 2 * width) - width)
        return jnp.where(jnp.isinf(self.high), up, folded)
