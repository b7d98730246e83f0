r"""Unbiased contrastive divergence: chains in pairs, summed until they meet.

Two chains ξ and η of the same law start at the same row; ξ goes one step ahead, and from then on
they move together (`samplers.CoupledGibbs`) until ξ_τ = η_{τ−1}. For any h, in particular the gradient
of the free energy in θ, the limit of E[h(ξ_t)] is a telescoping sum from E[h(ξ_k)] on,

    E_p[h] = E[h(ξ_k)] + Σ_{t>k} E[h(ξ_t)] − E[h(ξ_{t−1})] = E[h(ξ_k) + Σ_{t=k+1}^{τ−1} h(ξ_t) − h(η_{t−1})],

since η_{t−1} has the law of ξ_{t−1}, and terms beyond τ are zero. So the first term is CD-k, the sum is
what it lacks, and the gradient of the likelihood is estimated without bias by chains of finite,
random length. Hidden units are summed out: h is the gradient of E(x), not of E(x, h).

The sum is taken while chains move, and the loss is linear in θ, mean E(x) − ⟨θ, G⟩ up to a constant.
That constant is such that the loss's value is mean E(x) less the unbiased estimate of E_p[E].

Nothing is cut off, clipped or capped (the reference code stops after 100 steps, clips logits at ±10 and
keeps the tenth draw of a rejection: three small biases). A step of training then lasts as long
as its slowest pair, so watch `meeting_time`: as weights grow, pairs come to stay apart in patterns that are
hardly ever left. After `patience` steps a training step is given up: its sum is not a number, so that it
is applied to nothing, and `unmet` pairs are reported, which the watch over training names. `most` cuts pairs
off, which is declared as a bias: the mean of a sum cut off at t = m telescopes to E[h(ξ_m)], so that it is
exactly that of CD-m.

Sources: Qiu, Zhang & Wang (2020), "Unbiased contrastive divergence algorithm for training
energy-based latent variable models"; Jacob, O'Leary & Atchadé (2020), "Unbiased Markov chain
Monte Carlo methods with couplings", eq. 2.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.derivatives import tree_dot
from energax.energies.units import nearest_bits
from energax.objectives.base import Batch, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.requirements import require_binary
from energax.objectives.targets import Biased, Density
from energax.samplers import CoupledGibbs
from energax.typing import Array, Events, Key, Metrics, Model, Scalar

__all__ = ["UnbiasedContrastiveDivergence"]


class Negative(eqx.Module):
    """Unbiased estimates of the negative phase.

    Parameters
    ----------
    gradient
        G, of E_p[∇_θ E(x)]: a model's worth of numbers.
    energy
        Of E_p[E(x)].
    """

    gradient: Any
    energy: Scalar


class UnbiasedContrastiveDivergence(Objective):
    """Mean E(x) − ⟨θ, G⟩ of a `BernoulliRBM`, G unbiased for E_p[∇_θ E] by coupled chains.

    Qiu, Zhang & Wang (2020). Minimiser: the density, from chains of any finite length.

    Parameters
    ----------
    least
        k ≥ 1: steps of ξ before its gradient counts. Larger ones cost more and vary less.
    most
        Steps of ξ after which a pair that has not met is cut off, which is biased; None for
        none, and a training step that lasts as long as its slowest pair.
    chains
        How many pairs; as many as a minibatch has rows if None. They start at its rows.
    patience
        Steps of ξ after which, without `most`, the training step is given up, its sum being NaN.
    """

    least: int = eqx.field(static=True)
    most: int | None = eqx.field(static=True)
    chains: int | None = eqx.field(static=True)
    patience: int = eqx.field(static=True)

    def __init__(
        self, least: int = 1, most: int | None = None, chains: int | None = None, patience: int = 10_000
    ):
        owner = "UnbiasedContrastiveDivergence"
        self.least = check_integer(owner, "least", least, at_least=1)
        self.most = None if most is None else check_integer(owner, "most", most, at_least=self.least)
        self.chains = None if chains is None else check_integer(owner, "chains", chains, at_least=1)
        self.patience = check_integer(owner, "patience", patience, at_least=self.least)

    @property
    def target(self) -> Density | Biased:
        """The density; with `most`, biased by the pairs that have not met."""
        if self.most is None:
            return Density()
        # What a chain remembers of its start falls faster than any power of 1/most.
        return Biased(f"pairs of chains cut off after {self.most} steps, as CD-{self.most}", float("inf"))

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return estimates of zero; refuse other models and other data."""
        owner = "UnbiasedContrastiveDivergence"
        able = all(hasattr(model, name) for name in ("sweep", "hidden_logits", "visible_logits"))
        wanted = "a BernoulliRBM: a coupling is made for its sweeps (or take PersistentContrastiveDivergence)"
        check(able and callable(model), owner, "model", wanted, type(model).__name__)
        require_binary(owner, data.x, "PersistentContrastiveDivergence with a GaussianBernoulliRBM")
        parameters = eqx.filter(model, eqx.is_inexact_array)
        return None, Negative(jax.tree.map(jnp.zeros_like, parameters), jnp.zeros(()))

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Run pairs of chains until they meet; report when they did, and how many have not."""
        rows = batches.x[-1]
        pairs = len(rows) if self.chains is None else self.chains
        start = rows[jnp.arange(pairs) % len(rows)]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(pairs))
        at = lambda t: jax.vmap(jax.random.fold_in, (0, None))(keys, t)  # noqa: E731
        kernel = CoupledGibbs()

        def terms(t: Any, x: Events, y: Events) -> Negative:
            """The terms of step t, mean over the pairs."""
            # Exact zeros once a pair has met, where a difference of means would leave rounding.
            apart = jnp.where(_equal(x, y), 0.0, 1.0)
            ahead = jnp.where(t == self.least, 1.0, jnp.where(t > self.least, apart, 0.0))
            behind = jnp.where(t > self.least, apart, 0.0)

            def mean_energy(m: Model) -> Scalar:
                return jnp.mean(ahead * energies_of(m, x)) - jnp.mean(behind * energies_of(m, y))

            energy, gradient = eqx.filter_value_and_grad(mean_energy)(model)
            return Negative(gradient, energy)

        def going(carry: Any) -> Array:
            t, x, y, _, _ = carry
            unfinished = (t < self.least) | ~jnp.all(_equal(x, y))
            return unfinished & (t < (self.patience if self.most is None else self.most))

        def body(carry: Any) -> Any:
            t, x, y, total, met = carry
            t = t + 1
            (x, y), _ = jax.vmap(lambda x, y, k: kernel.step(model, (x, y), k, t))(x, y, at(t))
            met = jnp.where(_equal(x, y), jnp.minimum(met, t), t + 1)
            return t, x, y, jax.tree.map(jnp.add, total, terms(t, x, y)), met

        one = jnp.ones((), int)
        y = nearest_bits(start)
        x = jax.vmap(model.sweep)(y, at(one))
        met = jnp.where(_equal(x, y), one, one + 1)
        _, x, y, total, met = jax.lax.while_loop(going, body, (one, x, y, terms(one, x, y), met))
        report = {
            "meeting_time": jnp.mean(met.astype(jnp.float32)),
            "longest_meeting_time": jnp.max(met).astype(jnp.float32),
        }
        together = _equal(x, y)
        if self.most is not None:  # of pairs cut off, the meeting time is at least most + 1
            return total, report | {"met": jnp.mean(together.astype(jnp.float32))}
        # A sum without its last terms would be a bias that nobody declared.
        whole = jnp.all(together)
        total = jax.tree.map(lambda a: jnp.where(whole, a, jnp.nan), total)
        return total, report | {"unmet": jnp.sum(~together).astype(jnp.float32)}

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean E(x) − ⟨θ, G⟩, shifted to the value of mean E(x) less the estimate of E_p[E]."""
        energy = jnp.mean(energies_of(model, batch.x))
        parameters = eqx.filter(model, eqx.is_inexact_array)
        moved = jax.tree.map(lambda a: a - jax.lax.stop_gradient(a), parameters)  # zero, with a slope of one
        value = energy - state.energy - tree_dot(moved, state.gradient)
        return value, {"energy_data": energy, "energy_chains": state.energy, "energy_gap": value}


def _equal(x: Array, y: Array) -> Array:
    """Whether the two of each pair are equal, shape (pairs,)."""
    return jnp.all((x == y).reshape(len(x), -1), axis=1)
