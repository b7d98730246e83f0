r"""Minimum KL contraction: what an operator that forgets takes away from KL(p ‖ p_θ).

An operator Φ on densities that shrinks KL(p ‖ q) for all p and q (any channel x → y does) leaves
a gap that is never negative, and zero where p = q (Lyu 2011):

    J(θ) = KL(p ‖ p_θ) − KL(Φp ‖ Φp_θ)  ≥ 0.

Three operators cancel Z and can be computed:

    blur            Φ_t p = p * N(0, tI). As t → 0 the gap is t · D_F(p ‖ p_θ) + O(t²), D_F = ½E‖s_p − s_θ‖²:
                    the relative de Bruijn identity; J/t is score matching
    conditioning    Φ_S p = the marginal of x_−S. The gap is E KL(p(x_S | x_−S) ‖ p_θ(x_S | x_−S)): summed
                    over blocks S, composite likelihood, and pseudo-likelihood for blocks of one
    lumping         of a point drawn from p or, ν times as often, from noise q, together with its label, Φ
                    forgets the label. The gap is E KL(P(label | u) ‖ P_θ(label | u)): noise-contrastive
                    estimation

A blur of finite t leaves both smoothed densities in J, of which the model's has no closed form: only
its limit is computable, and is what is offered.
"""

from __future__ import annotations

from typing import Any

from energax.checks import check
from energax.objectives.base import Batch, Objective
from energax.objectives.composite import CompositeLikelihood
from energax.objectives.noise_contrastive import NoiseContrastiveEstimation
from energax.objectives.score_matching import ScoreMatching
from energax.objectives.targets import Density
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["MinimumKLContraction"]


class MinimumKLContraction(Objective):
    """KL(p ‖ p_θ) − KL(Φp ‖ Φp_θ) up to a constant, for an operator Φ that can be computed.

    Minimiser: the density. Lyu (2011), §3–4.

    Parameters
    ----------
    contraction
        The gap of the operator: `MinimumKLContraction.blur()`, `.conditioning(block)` or
        `.lumping(noise, noise_ratio)` make it.
    """

    contraction: Objective

    def __init__(self, contraction: Objective):
        known = ScoreMatching | CompositeLikelihood | NoiseContrastiveEstimation
        allowed = "made by MinimumKLContraction.blur, .conditioning or .lumping"
        check(
            isinstance(contraction, known),
            "MinimumKLContraction",
            "contraction",
            allowed,
            type(contraction).__name__,
        )
        self.contraction = contraction

    @classmethod
    def blur(cls) -> MinimumKLContraction:
        """Return the contraction by an infinitesimal Gaussian blur, per unit of its variance."""
        return cls(ScoreMatching())

    @classmethod
    def conditioning(cls, block: int = 1) -> MinimumKLContraction:
        """Return the contraction by forgetting blocks of bits or spins, summed over blocks."""
        return cls(CompositeLikelihood(block))

    @classmethod
    def lumping(cls, noise: Any = "auto", noise_ratio: float = 5.0) -> MinimumKLContraction:
        """Return the contraction by forgetting which of data and noise a point came from."""
        return cls(NoiseContrastiveEstimation(noise, noise_ratio))

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return what the contraction keeps."""
        return self.contraction.init(model, data, key, rows)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the gap, up to what does not depend on the model."""
        return self.contraction.loss(model, nuisance, state, batch, key)
