r"""Score matching off ℝᵈ: half-spaces, boxes and binary vectors (Hyvärinen 2007; Lyu 2012).

Where p does not vanish at the edge of its support, integrating by parts leaves a boundary term.
A weight h_i(x_i) ≥ 0 that vanishes there removes it: ½ E Σ_i h_i (s_i − ∂_i log p)² becomes

    J(θ) = E Σ_i [½ h_i s_i² + h_i ∂_i s_i + h_i′ s_i],       s = −∇E,

    x_i ≥ 0            h = x²                    Hyvärinen (2007)
    low ≤ x_i ≤ high   h = ((x − low)(high − x)/(high − low))²

Both weights vanish to second order, so that densities with s ~ 1/x at the edge (a gamma, a beta)
are allowed as long as they are integrable there.

Binary x ∈ {0, 1}ᵈ has no score; it has ratios p(x)/p(x̄ⁱ), x̄ⁱ being x with bit i flipped. *Ratio
matching* squares the difference of their images under g(u) = 1/(1 + u), which for the truth is
P(x̄ⁱ)/(P(x) + P(x̄ⁱ)); what the unknown ratio multiplies cancels between x and x̄ⁱ, and

    J(θ) = E Σ_i g(p(x)/p(x̄ⁱ))² = E Σ_i σ(E(x) − E(x̄ⁱ))²

is left (σ the logistic function). For a pair with weights P, P̄ the term P g² + P̄ (1 − g)² is
least at g = P̄/(P + P̄), the truth.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

from energax.checks import check_number
from energax.derivatives import TRACE_CHUNK, evaluate, jacobian_diagonal, score
from energax.objectives.base import Batch, Objective
from energax.objectives.flips import flipped_energies
from energax.objectives.requirements import (
    require_array,
    require_binary,
    require_continuous,
    require_energy,
    require_smooth,
    require_within,
)
from energax.objectives.targets import Density
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["BoxScoreMatching", "NonNegativeScoreMatching", "RatioMatching"]


class _WeightedScoreMatching(Objective):
    """J(θ) = E Σ_i [½ h s² + h ∂s + h′ s] with a weight h that vanishes at the edge."""

    @property
    def target(self) -> Density:
        """The density of the data on its domain."""
        return Density()

    def weight(self, x: Array) -> Array:
        """Return h, entry by entry."""
        raise NotImplementedError

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def one(x, c):
            flat = lambda y: score(model, y.reshape(x.shape), c).ravel()  # noqa: E731
            y = x.ravel()
            s, diagonal = flat(y), jacobian_diagonal(flat, y, chunk=TRACE_CHUNK)
            h, slope = jax.jvp(self.weight, (y,), (jnp.ones_like(y),))
            return jnp.sum(h * (0.5 * s**2 + diagonal) + slope * s)

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition)), {}


class NonNegativeScoreMatching(_WeightedScoreMatching):
    """J(θ) = E Σ_i [½ x_i² s_i² + x_i² ∂_i s_i + 2 x_i s_i] for data with x_i ≥ 0.

    Minimiser: the density of the data on [0, ∞)ᵈ. Hyvärinen (2007). Unchanged by a change
    of the data's unit.
    """

    def weight(self, x: Array) -> Array:
        """Return x²."""
        return x**2

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse negative data, bits and models with kinks."""
        owner = type(self).__name__
        require_array(owner, data.x)
        require_within(owner, data.x, 0.0, jnp.inf, "ScoreMatching")
        require_continuous(owner, data.x, "RatioMatching")
        require_smooth(owner, model, data.x, data.condition, order=2)
        return None, None


class BoxScoreMatching(_WeightedScoreMatching):
    """J(θ) = E Σ_i [½ h s_i² + h ∂_i s_i + h′ s_i], h = ((x−low)(high−x)/(high−low))².

    Minimiser: the density of the data on [low, high]ᵈ. Hyvärinen (2007); Lyu (2012).

    Parameters
    ----------
    low, high
        Ends of every coordinate's interval, low < high, in the units the model sees.
    """

    low: Array
    high: Array

    def __init__(self, low: float = 0.0, high: float = 1.0):
        self.low = jnp.asarray(check_number("BoxScoreMatching", "low", low))
        self.high = jnp.asarray(check_number("BoxScoreMatching", "high", high, above=low))

    def weight(self, x: Array) -> Array:
        """Return ((x − low)(high − x)/(high − low))²."""
        return ((x - self.low) * (self.high - x) / (self.high - self.low)) ** 2

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse data outside the box, bits and models with kinks."""
        owner = type(self).__name__
        require_array(owner, data.x)
        if not isinstance(self.low, Tracer):
            require_within(owner, data.x, float(self.low), float(self.high), "a wider box or ScoreMatching")
        require_continuous(owner, data.x, "RatioMatching")
        require_smooth(owner, model, data.x, data.condition, order=2)
        return None, None


class RatioMatching(Objective):
    """J(θ) = E Σ_i σ(E(x) − E(x̄ⁱ))², x̄ⁱ with bit i flipped: for binary data.

    Minimiser: the probabilities of the data on {0, 1}ᵈ. Hyvärinen (2007). One loss takes
    d + 1 energies per row and no derivative in x.
    """

    @property
    def target(self) -> Density:
        """The probabilities of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse data that are not binary."""
        require_energy("RatioMatching", model)
        require_array("RatioMatching", data.x, "one array of bits")
        require_binary("RatioMatching", data.x, "ScoreMatching or DenoisingScoreMatching")
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def one(x, c):
            here = evaluate(model, x, c)
            return jnp.sum(jax.nn.sigmoid(here - flipped_energies(model, x, c, 1.0)) ** 2)

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition)), {}
