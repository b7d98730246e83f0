r"""Learning deep Boltzmann machines: a mean-field posterior above the data, persistent chains below.

Data are visible layers x alone. The gradient of the negative log-likelihood is a difference of two means
over whole events (x, h), h = (h¹, …, hᴸ),

    ∇_θ E_p[−log p_θ(x)] = E_p E_{p_θ(h | x)}[∇_θ E(x, h)] − E_{p_θ}[∇_θ E(x, h)],

neither of which can be had. The second is left to chains that go on from step to step; in the first
the posterior is replaced by the best law of independent bits, of means μ(x), so that, E being linear in
each layer,

    loss = mean E(x, μ(x)) − mean E(x̃, h̃),      μ and the chains constants.

With exact chains its gradient is that of the mean of the bound log p(x) ≥ H(μ) − E(x, μ) − log Z, which
favours machines whose posteriors are nearly independent over the likelihood itself. What is lost is
how hidden layers go together given x: with W_l = sW̃_l between hidden layers,

    E[hˡ⁻¹ (hˡ)ᵀ | x] − μˡ⁻¹ (μˡ)ᵀ = s diag(σ′) W̃_l diag(σ′) + O(s²).

With one hidden layer nothing is lost, and the objective is persistent contrastive divergence.

Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann machines".
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies import DeepBoltzmannMachine
from energax.objectives.base import Batch, Chains, Objective
from energax.objectives.likelihood import energies_of, independent_draws
from energax.objectives.requirements import require_binary
from energax.objectives.targets import Biased
from energax.samplers import BlockGibbs, walk
from energax.samplers.pools import marginals
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["DeepBoltzmannLikelihood"]


class DeepBoltzmannLikelihood(Objective):
    """Mean E(x, μ(x)) − mean E of persistent chains, for a `DeepBoltzmannMachine`.

    Salakhutdinov & Hinton (2009). Minimiser: the best mean of the variational bound.

    Parameters
    ----------
    steps
        k ≥ 1, sweeps of each chain in one training step.
    chains
        How many chains, each of a whole event (x, h¹, …, hᴸ).
    iterations
        Rounds over the layers in which μ(x) is found.
    """

    steps: int = eqx.field(static=True)
    chains: int = eqx.field(static=True)
    iterations: int = eqx.field(static=True)

    def __init__(self, steps: int = 5, chains: int = 128, iterations: int = 30):
        owner = "DeepBoltzmannLikelihood"
        self.steps = check_integer(owner, "steps", steps, at_least=1)
        self.chains = check_integer(owner, "chains", chains, at_least=1)
        self.iterations = check_integer(owner, "iterations", iterations, at_least=1)

    @property
    def target(self) -> Biased:
        """What the bias is of; it vanishes with the weights between hidden layers."""
        return Biased("a posterior of independent bits: of order the weights between hidden layers", 1.0)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return chains that start from the product of the data's marginals, and upwards from there."""
        owner = "DeepBoltzmannLikelihood"
        deep = isinstance(model, DeepBoltzmannMachine)
        check(deep, owner, "model", "a DeepBoltzmannMachine", type(model).__name__)
        require_binary(owner, data.x, "Binarise as preprocessing")
        pick_key, noise_key, up_key = jax.random.split(key, 3)
        pick = jax.random.randint(pick_key, (self.chains,), 0, len(data))
        visible = marginals(jnp.asarray(data.x)[pick], noise_key)
        return None, Chains(jax.vmap(model.start)(visible, jax.random.split(up_key, self.chains)))

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Move the chains by sweeps; report how far, and what they are worth."""
        start = state.value
        ends, report = walk(BlockGibbs(), model, start, key, self.steps)
        moved = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), ends, start)
        report["chain_step"] = jnp.sqrt(sum(jax.tree.leaves(moved)) / len(jax.tree.leaves(moved)))
        report["chain_ess"] = independent_draws(start, ends, jnp.ones(self.chains, bool))
        return Chains(ends), report

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean E(x, μ(x)) − mean E of the chains.

        The means are found here rather than in `refresh`, from the model held constant: so a loss is
        right for any rows, also of validation.
        """
        frozen = jax.lax.stop_gradient(model)
        means = jax.vmap(lambda x: frozen.mean_field(x, iterations=self.iterations))(batch.x)
        up = jnp.mean(energies_of(model, (batch.x, *means)))
        down = jnp.mean(energies_of(model, state.value))
        return up - down, {"energy_data": up, "energy_chains": down, "energy_gap": up - down}
