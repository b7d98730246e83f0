r"""Maximum likelihood by Markov chains, and its contrastive divergences.

The gradient of the negative log-likelihood is a difference of two means,

    ∇_θ E_p[−log p_θ(x)] = E_p[∇_θ E(x)] − E_{p_θ}[∇_θ E(x)]           Song & Kingma (2021), §3,

and chains stand in for the second: the loss is mean E(x) − mean E(x̃), x̃ the ends of k steps of
a sampler, constant under the derivative. Where the chains start names the method:

    ContrastiveDivergence               at the minibatch               Hinton (2002)
    PersistentContrastiveDivergence     where they last were           Younes (1989), Tieleman (2008)
    ReplayBufferLikelihood              in a buffer, some at noise     Du & Mordatch (2019)
    ShortRunLikelihood                  at noise, every time           Nijkamp et al. (2019)

What each leads to, if its model holds the data's law p. With an exact kernel the first three
leave p where it is, so the mean gradient vanishes there; from elsewhere contrastive divergence
does not follow the likelihood's gradient, only a contraction of it (for one Langevin step of
size ε²/2 it is ε²/2 · ∇D_F, score matching's: §4.3). With unadjusted Langevin chains all are
biased at first order in the step; a short run from noise also by what k steps cannot forget, and
chains of which a share ρ starts anew at noise at first order in ρ (where their noise is not p).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer, check_number
from energax.derivatives import evaluate, score
from energax.objectives.base import Batch, Chains, Objective
from energax.objectives.requirements import require_continuous, require_energy, require_states
from energax.objectives.targets import Biased, Density
from energax.samplers import HMC, MALA, NUTS, Langevin, Sampler, walk
from energax.samplers.pools import Drawable, FromData, FromNoise, Kept, Persistent, Pool, Replay
from energax.typing import Array, Condition, Events, Key, Metrics, Model, Scalar

__all__ = [
    "ContrastiveDivergence",
    "MaximumLikelihood",
    "PersistentContrastiveDivergence",
    "ReplayBufferLikelihood",
    "ShortRunLikelihood",
    "energies_of",
    "independent_draws",
]

FOLLOW_THE_SCORE = (Langevin, MALA, HMC, NUTS)


def energies_of(model: Model, x: Events, condition: Condition | None = None) -> Array:
    """Return the energies of rows, shape (n,)."""
    return jax.vmap(lambda x, c: evaluate(model, x, c))(x, condition)


def independent_draws(start: Events, end: Events, went_on: Array) -> Scalar:
    """Return how many independent draws a training step's chains are worth: n (1 − ρ)/(1 + ρ), at most n.

    For chains in equilibrium E(x′ − x)² = 2(1 − ρ) var(x), ρ the correlation between the step's two ends, of
    all coordinates together; the share is that of an autoregression with this ρ (`samplers.diagnostics.ess`
    asks for whole chains). The variance is that between the chains: what none of them crosses counts.

    Parameters
    ----------
    start, end
        Where chains were before the step and after it, leading axis n.
    went_on
        Which chains did not start anew: the leap from noise or data is no mixing. If none did, all count.
    """
    chosen = jnp.where(jnp.any(went_on), went_on, True).astype(jnp.float32)
    n = jnp.sum(chosen)

    def mean(a: Array) -> Array:
        return jnp.tensordot(chosen, a, 1) / n

    def sums(a: Array, b: Array) -> tuple[Scalar, Scalar]:
        middle = (mean(a) + mean(b)) / 2
        spread = mean((a - middle) ** 2) + mean((b - middle) ** 2)  # twice the variance
        return jnp.sum(mean((a - b) ** 2)), jnp.sum(spread)

    leaves = zip(jax.tree.leaves(start), jax.tree.leaves(end), strict=True)
    moved, spread = (sum(values) for values in zip(*(sums(a, b) for a, b in leaves), strict=True))
    apart = jnp.where(spread > 0, moved / jnp.where(spread > 0, spread, 1.0), 0.0)  # 1 − ρ
    return n * jnp.minimum(apart / jnp.maximum(2 - apart, apart), 1.0)


class Negatives(eqx.Module):
    """What refresh leaves behind: what the pool keeps, and where the chains ended."""

    kept: Kept | None
    ends: Batch


class MaximumLikelihood(Objective):
    """Mean E(x) − mean E(x̃), x̃ the ends of `steps` steps of `sampler` from where `pool` starts them.

    Song & Kingma (2021), §3. Minimiser: see the module's head; `target` says which it is.

    Parameters
    ----------
    sampler
        The dynamics of the chains; its step size is tunable (`step_size`, a factor).
    steps
        k ≥ 1, steps of each chain in one training step.
    pool
        Where chains start: a `samplers.pools.Pool`.
    energy_penalty
        α ≥ 0: adds α (mean E(x)² + mean E(x̃)²), which keeps energies near zero and biases
        the optimum (Du & Mordatch 2019). In 1/nats.
    gradient_penalty
        γ ≥ 0: adds γ/2 · mean ‖∇E(x)‖² at the data, which flattens the energy and biases the
        optimum. In squared units of x.
    """

    sampler: Sampler
    steps: int = eqx.field(static=True)
    pool: Pool
    energy_penalty: Array
    gradient_penalty: Array
    penalised: tuple[bool, bool] = eqx.field(static=True)

    def __init__(
        self,
        sampler: Sampler,
        steps: int,
        pool: Pool,
        energy_penalty: float = 0.0,
        gradient_penalty: float = 0.0,
    ):
        owner = type(self).__name__
        ok = isinstance(sampler, Sampler)
        check(ok, owner, "sampler", "a sampler, such as Langevin(0.01)", type(sampler).__name__)
        self.sampler = sampler
        self.steps = check_integer(owner, "steps", steps, at_least=1)
        self.pool = pool
        a = check_number(owner, "energy_penalty", energy_penalty, at_least=0)
        g = check_number(owner, "gradient_penalty", gradient_penalty, at_least=0)
        self.energy_penalty, self.gradient_penalty = jnp.asarray(a), jnp.asarray(g)
        self.penalised = (a > 0, g > 0)

    @property
    def target(self) -> Density | Biased:
        """The density with an exact kernel, no fresh starts and no penalty; else what the bias is of."""
        causes = self._causes()
        if not causes:
            return Density()
        return Biased(" and ".join(causes), min(causes.values()))

    def _causes(self) -> dict[str, float]:
        """Return what biases the minimum, and at which order each vanishes."""
        causes = {}
        if any(self.penalised):
            causes["a penalty on the energy or its gradient"] = 1.0
        if isinstance(self.pool, FromNoise):
            # What a chain remembers of its start falls faster than any power of 1/steps.
            causes[f"chains of {self.steps} steps that start at noise"] = float("inf")
        if isinstance(self.pool, Replay) and self.pool.restarts:
            causes["the share of chains that start anew at noise"] = 1.0
        if self.sampler.bias_order is not None:
            causes[f"the step size of {type(self.sampler).__name__}"] = self.sampler.bias_order
        return causes

    @property
    def tunables(self) -> dict[str, float]:
        """A factor of the chains' step size."""
        return {"step_size": 1.0}

    def tuned(self, tunables: Mapping[str, Scalar]) -> Objective:
        """Return the objective with its chains' step size multiplied."""
        if "step_size" not in tunables:
            return self
        return eqx.tree_at(lambda o: o.sampler, self, self.sampler.scaled(tunables["step_size"]))

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return the pool before the first step."""
        owner = type(self).__name__
        require_energy(owner, model)
        require_states(owner, model, data.x)
        if isinstance(self.sampler, FOLLOW_THE_SCORE):
            require_continuous(owner, data.x, "BlockGibbs or BitGibbs as the sampler")
        kept = self.pool.init(data.x, data.condition, key, rows)
        first = jax.tree.map(lambda a: jnp.asarray(a[jnp.arange(rows) % len(data)]), data)
        start, _ = self.pool.draw(kept, first.x, first.condition, key)
        return None, Chains(Negatives(kept, Batch(start.x, start.condition)))

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Move the chains; report how far, how old they are, and what the sampler says."""
        batch = jax.tree.map(lambda a: a[-1], batches)
        draw_key, walk_key = jax.random.split(key)
        kept = state.value.kept
        start, where = self.pool.draw(kept, batch.x, batch.condition, draw_key)
        x, report = walk(self.sampler, model, start.x, walk_key, self.steps, start.condition)
        kept = self.pool.put(kept, where, Kept(x, start.condition, start.age))
        report |= self._movement(start, x, kept)
        return Chains(Negatives(kept, Batch(x, start.condition))), report

    def _movement(self, start: Kept, x: Events, kept: Kept | None) -> Metrics:
        """Return how far chains moved, root mean square of a coordinate; of chains that go on also more.

        That is their mean age, and the independent draws that they are worth together in this step.
        """
        moved = jax.tree.map(lambda a, b: jnp.mean((a - b) ** 2), x, start.x)
        report = {"chain_step": jnp.sqrt(sum(jax.tree.leaves(moved)) / len(jax.tree.leaves(moved)))}
        if kept is not None:
            report["chain_age"] = jnp.mean(kept.age)
            report["chain_ess"] = independent_draws(start.x, x, start.age > 0)
        return report

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean E(x) − mean E(x̃) and the penalties asked for."""
        ends = state.value.ends
        data = energies_of(model, batch.x, batch.condition)
        chains = energies_of(model, ends.x, ends.condition)
        up, down = jnp.mean(data), jnp.mean(chains)
        value = up - down + self._penalties(model, batch, data, chains)
        return value, {"energy_data": up, "energy_chains": down, "energy_gap": up - down}

    def _penalties(self, model: Model, batch: Batch, data: Array, chains: Array) -> Scalar:
        """Return α (mean E(x)² + mean E(x̃)²) + γ/2 · mean ‖∇E(x)‖²."""
        value = jnp.zeros(())
        if self.penalised[0]:
            value += self.energy_penalty * (jnp.mean(data**2) + jnp.mean(chains**2))
        if self.penalised[1]:
            scores = jax.vmap(lambda x, c: score(model, x, c))(batch.x, batch.condition)
            norms = sum(jnp.sum(s**2) for s in jax.tree.leaves(scores)) / len(data)
            value += self.gradient_penalty / 2 * norms
        return value


class ContrastiveDivergence(MaximumLikelihood):
    """CD-k: chains start at the minibatch. Hinton (2002); Song & Kingma (2021), §3.2.

    Parameters
    ----------
    sampler, steps, energy_penalty, gradient_penalty
        As in `MaximumLikelihood`.
    """

    def __init__(
        self, sampler: Sampler, steps: int = 1, energy_penalty: float = 0.0, gradient_penalty: float = 0.0
    ):
        super().__init__(sampler, steps, FromData(), energy_penalty, gradient_penalty)


class PersistentContrastiveDivergence(MaximumLikelihood):
    """PCD: chains go on where the last step left them. Younes (1989); Tieleman (2008).

    Parameters
    ----------
    sampler, steps, energy_penalty, gradient_penalty
        As in `MaximumLikelihood`.
    chains, restart, noise
        As in `samplers.pools.Persistent`.
    """

    def __init__(
        self,
        sampler: Sampler,
        steps: int = 1,
        chains: int = 128,
        restart: float = 0.0,
        noise: Drawable | None = None,
        energy_penalty: float = 0.0,
        gradient_penalty: float = 0.0,
    ):
        super().__init__(sampler, steps, Persistent(chains, restart, noise), energy_penalty, gradient_penalty)


class ReplayBufferLikelihood(MaximumLikelihood):
    """Chains start in a buffer of old ones, a few of them at noise. Du & Mordatch (2019).

    Parameters
    ----------
    sampler, steps, energy_penalty, gradient_penalty
        As in `MaximumLikelihood`. The paper moves unscaled noise beside a clipped gradient, which
        samples no law of E; a `Langevin` here samples exp(−E) up to its step.
    size, restart, noise
        As in `samplers.pools.Replay`.
    """

    def __init__(
        self,
        sampler: Sampler,
        steps: int = 20,
        size: int = 10_000,
        restart: float = 0.05,
        noise: Drawable | None = None,
        energy_penalty: float = 0.0,
        gradient_penalty: float = 0.0,
    ):
        pool = Replay(size, restart, noise=noise)
        super().__init__(sampler, steps, pool, energy_penalty, gradient_penalty)


class ShortRunLikelihood(MaximumLikelihood):
    """Chains start at noise in every step, and nothing is kept. Nijkamp et al. (2019).

    What is learned is the chain rather than the energy: k steps from noise look like data, while
    exp(−E) need not.

    Parameters
    ----------
    sampler, steps, energy_penalty, gradient_penalty
        As in `MaximumLikelihood`.
    noise
        As in `samplers.pools.FromNoise`.
    """

    def __init__(
        self,
        sampler: Sampler,
        steps: int = 100,
        noise: Drawable | None = None,
        energy_penalty: float = 0.0,
        gradient_penalty: float = 0.0,
    ):
        super().__init__(sampler, steps, FromNoise(noise), energy_penalty, gradient_penalty)
