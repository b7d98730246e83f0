r"""What the minimum of an objective is: every objective declares one of these, and is tested.

    Density            p itself
    Smoothed(σ)        p_σ = p * N(0, σ²I)
    Ladder(σ_k, l, σ₀) MDSM's compromise between the levels: over all vector fields,
                       σ₀²∇E*(x̃) = −Σ_k l_k p_{σ_k}(x̃) σ_k² ∇log p_{σ_k}(x̃) / Σ_k l_k p_{σ_k}(x̃)
    SmoothedAtEachLevel(σ_k)  of a noise-conditional model, p_{σ_k} at each level
    LawOfEnergy(E)     exp(−E)/Z of a given energy, whatever the data: what a sampler is trained for
    Biased(why, order) a stated bias that vanishes at a stated order

Each answers two questions about data whose law is known: which model is optimal for a given
density that can be smoothed (`optimum`), and, for data N(0, I), which a is optimal within
E = ½a‖x‖² (`isotropic_precision`). `energax.testing.check_objective` holds the objective to both.

Derivation of the ladder. With x̃ = x + σ_k z the loss is quadratic in g = σ₀²∇E(x̃), so its
minimum over all fields is the weighted posterior mean of x̃ − x; Tweedie's formula gives
E_k[x̃ − x | x̃] = −σ_k² ∇log p_{σ_k}(x̃). One level leaves e^{−E} ∝ p_σ^{σ²/σ₀²}, which is the
σ₀-smoothed density only if σ = σ₀: the paper's proposition needs the importance ratio that
its eq. 6 sets to one. Within E = ½a‖x‖² on N(0, I), Σ_k l_k (1+σ_k²) aσ₀² = Σ_k l_k σ_k²;
with l = 1/σ² that is aσ₀² = 1/(1 + mean σ_k⁻²).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.derivatives import Score, score
from energax.energies import GaussianMixture, Smoothings
from energax.typing import Array, Float, Model

__all__ = ["Biased", "Density", "Ladder", "LawOfEnergy", "Smoothed", "SmoothedAtEachLevel", "Target"]


class Target(eqx.Module):
    """What the minimum of an objective is."""

    def optimum(self, data: GaussianMixture) -> Model:
        """Return the model that minimises the objective on draws from `data`."""
        raise NotImplementedError

    def isotropic_precision(self) -> Array:
        """Return the optimal a of E = ½a‖x‖² for data N(0, I)."""
        raise NotImplementedError


class Density(Target):
    """The density of the data."""

    def optimum(self, data: GaussianMixture) -> Model:
        """Return the data's own energy."""
        return data

    def isotropic_precision(self) -> Array:
        """Return 1."""
        return jnp.ones(())


class Smoothed(Target):
    """The density of the data convolved with N(0, σ²I)."""

    sigma: Array

    def optimum(self, data: GaussianMixture) -> Model:
        """Return the energy of the smoothed mixture, itself a mixture."""
        return data.smoothed(self.sigma)

    def isotropic_precision(self) -> Array:
        """Return 1/(1 + σ²)."""
        return 1 / (1 + self.sigma**2)


class Ladder(Target):
    """The compromise of several noise levels that share one energy."""

    sigmas: Float[Array, " K"]
    weights: Float[Array, " K"]
    sigma_0: Array

    def optimum(self, data: GaussianMixture) -> Model:
        """Return the optimal vector field, −∇E*; a gradient only if there is one level."""

        def field(x):
            def level(sigma, weight):
                smooth = data.smoothed(sigma)
                return jnp.log(weight) + smooth.log_prob(x), sigma**2 * score(smooth, x)

            log_mass, pull = jax.vmap(level)(self.sigmas, self.weights)
            return jax.nn.softmax(log_mass) @ pull / self.sigma_0**2

        return Score(field)

    def isotropic_precision(self) -> Array:
        """Return Σ l σ² / (σ₀² Σ l (1+σ²))."""
        numerator = jnp.sum(self.weights * self.sigmas**2)
        return numerator / jnp.sum(self.weights * (1 + self.sigmas**2)) / self.sigma_0**2


class SmoothedAtEachLevel(Target):
    """At each noise level the density of the data convolved with N(0, σ_k²I)."""

    sigmas: Float[Array, " L"]

    def optimum(self, data: GaussianMixture) -> Model:
        """Return the exact noise-conditional model."""
        return Smoothings(data)

    def isotropic_precision(self) -> Array:
        """Return 1: the optimal factor a of a/(1 + σ_k²) at every level."""
        return jnp.ones(())


class LawOfEnergy(Target):
    """p ∝ exp(−E) of a given energy: the model draws from it, and the data are what it draws with."""

    energy: Model


class Biased(Target):
    """No exact statement: a bias of a named cause, vanishing as (named parameter)^order."""

    why: str = eqx.field(static=True)
    order: float = eqx.field(static=True)
