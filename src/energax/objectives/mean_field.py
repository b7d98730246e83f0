r"""Mean-field contrastive divergence: the chain of CD with every draw replaced by its mean.

In a restricted Boltzmann machine the layers take turns at their means, from x⁰ = x,

    τᵗ = σ(c + Wᵀxᵗ),      xᵗ⁺¹ = σ(b + Wτᵗ),      t = 0 … k,

and the machine learns ΔW ∝ x⁰τ⁰ᵀ − xᵏτᵏᵀ, Δb ∝ x⁰ − xᵏ, Δc ∝ τ⁰ − τᵏ: no draw, so no variance. What
this is the gradient of: a factorised law of bits with means (v, τ) has the free energy

    F(v, τ) = E(v, τ) − H(v) − H(τ) ≥ −log Z,      H(μ) = −Σ μ log μ + (1 − μ) log(1 − μ),

each half-step is its minimum in one layer, the other held, and the loss is how far k steps
lower it,

    F(x⁰, τ⁰) − F(xᵏ, τᵏ) = E(x⁰) − E(xᵏ) + H(xᵏ) ≥ 0,

E(v) = min_τ E(v, τ) − H(τ) the free energy of the machine at bits or at means. As τᵏ is that minimum,
it contributes nothing to the gradient; xᵏ is not the minimum at τᵏ (but at τᵏ⁻¹) and would, by
(∂xᵏ/∂θ)ᵀ W(τᵏ⁻¹ − τᵏ), which the rule drops as contrastive divergence drops its own like term.

The bias. Means know nothing of how x and h go together: with W = sW̃ of size s,

    xᵏτᵏᵀ − E_p[x hᵀ] = −s diag(b′) W̃ diag(c′) + O(s²),      b′ = σ′(b), c′ = σ′(c),

and for b and c the bias is O(s²). (CD with draws: O(s²) for all, for one sweep sees that covariance.)

Source: Welling & Hinton (2002), "A new learning algorithm for mean field Boltzmann machines".
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.objectives.base import Batch, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.requirements import require_binary
from energax.objectives.targets import Biased
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["MeanFieldContrastiveDivergence"]


class MeanFieldContrastiveDivergence(Objective):
    """Mean F(x⁰, τ⁰) − F(xᵏ, τᵏ), xᵏ and τᵏ constants: what k mean-field sweeps lower.

    Welling & Hinton (2002). Minimiser: none with a closed form; the gradient differs from the
    likelihood's by a term of first order in the weights.

    Parameters
    ----------
    steps
        k ≥ 1, mean-field sweeps from each row.
    """

    steps: int = eqx.field(static=True)

    def __init__(self, steps: int = 1):
        self.steps = check_integer("MeanFieldContrastiveDivergence", "steps", steps, at_least=1)

    @property
    def target(self) -> Biased:
        """What the bias is of; it vanishes with the weights."""
        return Biased("means in place of draws, which miss how x and h covary: of order the weights", 1.0)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Keep nothing; refuse other models and other data."""
        owner = "MeanFieldContrastiveDivergence"
        layered = hasattr(model, "hidden_logits") and hasattr(model, "visible_logits")
        wanted = "a BernoulliRBM, or one that answers its hidden_logits(x) and visible_logits(h)"
        check(layered, owner, "model", wanted, type(model).__name__)
        require_binary(owner, data.x, "a GaussianBernoulliRBM and ContrastiveDivergence")
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean E(x) − E(xᵏ) + H(xᵏ)."""
        means, entropies = jax.lax.stop_gradient(jax.vmap(lambda x: self._settle(model, x))(batch.x))
        up, down = jnp.mean(energies_of(model, batch.x)), jnp.mean(energies_of(model, means))
        value = up - down + jnp.mean(entropies)
        return value, {"energy_data": up, "energy_chains": down, "energy_gap": up - down}

    def _settle(self, model: Model, x: Any) -> tuple[Any, Scalar]:
        """Return xᵏ and H(xᵏ) of one row."""
        logits = x
        for _ in range(self.steps):
            logits = model.visible_logits(jax.nn.sigmoid(model.hidden_logits(x)))
            x = jax.nn.sigmoid(logits)
        # H(σ(a)) = softplus(a) − a σ(a), finite where μ log μ is 0 · ∞.
        return x, jnp.sum(jax.nn.softplus(logits) - logits * x)
