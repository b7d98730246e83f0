r"""Langevin dynamics in other coordinates: the same law, with steps as long as each direction bears.

    x ← x − η R Rᵀ ∇E(x) + √(2ηT) R z,      z ~ N(0, I)

is unadjusted Langevin in u = R⁻¹x, so its invariant law tends to exp(−E/T) as η → 0 whatever the constant
matrix R. Where R Rᵀ ≈ (∇²E)⁻¹ every direction is of curvature 1, and η need not bow to the steepest one.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check
from energax.derivatives import score
from energax.samplers.base import Sampler
from energax.samplers.langevin import Langevin
from energax.samplers.schedules import Schedule
from energax.typing import Array, ArrayLike, Event, Float, Key, Metrics, Model, Scalar

__all__ = ["Preconditioned"]


class Preconditioned(Sampler):
    """x ← x − η_i R Rᵀ ∇E(x) + √(2 η_i T_i) R z.

    Parameters
    ----------
    langevin
        The dynamics whose steps η_i and temperatures T_i are taken, η_i in units of u = R⁻¹x.
    root
        R, shape (d, d) for an event of d numbers.
    """

    langevin: Langevin
    root: Float[Array, "d d"]

    def __init__(self, langevin: Langevin, root: ArrayLike):
        self.langevin = langevin
        self.root = jnp.asarray(root, jnp.float32)
        square = self.root.ndim == 2 and self.root.shape[0] == self.root.shape[1]
        check(square, "Preconditioned", "root", "a square matrix", f"shape {self.root.shape}")
        finite = bool(np.isfinite(np.asarray(self.root)).all())
        check(finite, "Preconditioned", "root", "finite", "entries that are not")

    @property
    def horizon(self) -> int | None:
        """That of the dynamics."""
        return self.langevin.horizon

    @property
    def bias_order(self) -> float:
        """One: the invariant law is off by O(η)."""
        return 1.0

    def law_temperature(self, i: jax.Array | int) -> Scalar:
        """Return T_i."""
        return self.langevin.law_temperature(i)

    def noise(self, sigma_0: float) -> Schedule:
        """Return the dynamics' own σ₀√T_i, the noise of a direction that R leaves as it is."""
        return self.langevin.noise(sigma_0)

    def scaled(self, factor: float | Array) -> Preconditioned:
        """Return the dynamics with every step size multiplied by `factor`."""
        return eqx.tree_at(lambda s: s.langevin, self, self.langevin.scaled(factor))

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x: a chain's state is its position."""
        return x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position after step i, and ‖Rᵀ∇E‖/√d where it came from."""
        eta, temperature = self.langevin.step_size(i), self.langevin.temperature(i)
        s = self.root.T @ score(model, state).reshape(-1)
        z = jax.random.normal(key, s.shape, s.dtype)
        moved = self.root @ (eta * s + jnp.sqrt(2 * eta * temperature) * z)
        return state + moved.reshape(state.shape), {"score_norm": jnp.sqrt(jnp.mean(s**2))}
