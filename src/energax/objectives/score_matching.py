r"""Implicit score matching (Hyvärinen 2005), exact and sliced.

The Fisher divergence ½ E_p‖s_θ − s_p‖² holds the unknown score of the data. Integration by
parts, p vanishing at infinity, removes it:

    J(θ) = E[½‖s_θ(x)‖² + tr ∇s_θ(x)]                 = D_F(p ‖ p_θ) − ½ E‖s_p‖²,

for an energy E[½‖∇E‖² − ΔE]. (Song & Kingma 2021 print + in eq. 8, 15 and 17, where the sign
belongs to log p, not to E.) The trace costs d Hessian-vector products; on random directions v
with E[vvᵀ] = I it costs one (Song, Garg, Shi & Ermon 2019):

    sliced              ½ (v·s)²  + vᵀ∇s v            Song & Kingma eq. 15
    variance-reduced    ½ ‖s‖²    + vᵀ∇s v            eq. 17; with one Gaussian v, E_v(v·s)² = ‖s‖²

The curvature penalty of Kingma & LeCun (2010) adds λ Σ_i (∂_i s_i)², nearly what noise of
variance σ² = 2λ on the data would add. To first order in σ² noise adds

    (σ²/2) E[‖∇s‖²_F + (s − s_p)·Δs];

the penalty keeps the diagonal of the first term and drops the second, which is zero for Gaussian
data (and at the truth, though its gradient there, E[∂_θ s·Δs_p], is not).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_choice, check_integer, check_number
from energax.derivatives import (
    PROBES,
    TRACE_CHUNK,
    TRACE_METHODS,
    jacobian_diagonal,
    probe,
    score,
    score_and_product,
    score_and_trace,
    tree_dot,
)
from energax.objectives.base import Batch, Objective
from energax.objectives.requirements import (
    WALLED,
    require_continuous,
    require_no_edge,
    require_smooth,
    require_spread,
)
from energax.objectives.targets import Biased, Density
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["ScoreMatching", "SlicedScoreMatching"]

BINARY = "RatioMatching"
KINKED = "DenoisingScoreMatching, for which elu will do, or NoiseContrastiveEstimation, for which any will"


class _ImplicitScoreMatching(Objective):
    """What the two share: a density on ℝᵈ, and a second derivative of the energy."""

    @property
    def target(self) -> Density | Biased:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse data without a density, and models with kinks or whose density ends at an edge."""
        owner = type(self).__name__
        require_continuous(owner, data.x, BINARY)
        if isinstance(self.target, Density):  # a penalty on curvature bounds it in constant columns too
            require_spread(owner, data.x)
        require_no_edge(owner, "model", model, data.x, data.condition, instead=WALLED)
        require_smooth(owner, model, data.x, data.condition, order=2, instead=KINKED)
        return None, None


class ScoreMatching(_ImplicitScoreMatching):
    """J(θ) = E[½‖s‖² + tr ∇s + λ Σ_i (∂_i s_i)²]; for an energy ½‖∇E‖² − ΔE + λ Σ_i (∂²_i E)².

    Minimiser: the density of the data if λ = 0. Hyvärinen (2005); Song & Kingma (2021), eq. 8
    with the sign of its second term corrected; Kingma & LeCun (2010) for λ.

    Parameters
    ----------
    method
        How the trace is taken: "auto", "forward" or "chunked"; see
        `derivatives.score_and_trace`. Its cost grows as d² either way.
    curvature_penalty
        λ ≥ 0, in squared units of x.
    """

    method: str = eqx.field(static=True)
    penalised: bool = eqx.field(static=True)
    curvature_penalty: Array

    def __init__(self, method: str = "auto", curvature_penalty: float = 0.0):
        owner = "ScoreMatching"
        self.method = check_choice(owner, "method", method, TRACE_METHODS)
        value = check_number(owner, "curvature_penalty", curvature_penalty, at_least=0)
        self.curvature_penalty = jnp.asarray(value)
        self.penalised = value > 0

    @property
    def target(self) -> Density | Biased:
        """The density of the data; with a penalty, nearly that of the data with noise √(2λ)."""
        return Biased("the curvature penalty smooths by about √(2λ)", 1) if self.penalised else Density()

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def penalised(x, c):
            field = lambda y: score(model, y, c)  # noqa: E731
            diagonal = jacobian_diagonal(field, x, chunk=TRACE_CHUNK)
            return field(x), diagonal.sum(), self.curvature_penalty * jnp.sum(diagonal**2)

        def plain(x, c):
            return *score_and_trace(model, x, c, method=self.method), 0.0

        def one(x, c):
            s, trace, penalty = (penalised if self.penalised else plain)(x, c)
            return 0.5 * tree_dot(s, s) + trace + penalty

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition)), {}


class SlicedScoreMatching(_ImplicitScoreMatching):
    """J(θ) = E[½ q + vᵀ∇s v], q = ‖s‖² or (v·s)²: score matching on random directions v.

    Minimiser: the density of the data. Song, Garg, Shi & Ermon (2019); Song & Kingma (2021),
    eq. 15 and 17 with the sign corrected: for an energy ½(v·∇E)² − vᵀ∇²E v.

    Parameters
    ----------
    projections
        Directions averaged for each row.
    distribution
        Law of v, E[vvᵀ] = I: "rademacher" (least variance of the trace), "gaussian", "sphere".
    variance_reduced
        Whether the first term is taken exactly (eq. 17) rather than along v (eq. 15).
    """

    projections: int = eqx.field(static=True)
    distribution: str = eqx.field(static=True)
    variance_reduced: bool = eqx.field(static=True)

    def __init__(self, projections: int = 1, distribution: str = "rademacher", variance_reduced: bool = True):
        owner = "SlicedScoreMatching"
        self.projections = check_integer(owner, "projections", projections, at_least=1)
        self.distribution = check_choice(owner, "distribution", distribution, PROBES)
        self.variance_reduced = bool(variance_reduced)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch and its directions."""

        def along(x, c, k):
            v = probe(self.distribution, x, k)
            s, product = score_and_product(model, x, v, c)
            first = tree_dot(s, s) if self.variance_reduced else tree_dot(v, s) ** 2
            return 0.5 * first + tree_dot(v, product)

        def one(x, c, k):
            return jax.vmap(along, (None, None, 0))(x, c, jax.random.split(k, self.projections)).mean()

        keys = jax.random.split(key, len(batch))
        return jnp.mean(jax.vmap(one)(batch.x, batch.condition, keys)), {}
