r"""Parallel tempering: replicas at several temperatures, of which neighbours change places.

Level k runs a sampler on the model at temperature T_k, 1 = T_1 < … < T_K, with the energy F_k:
E(x)/T_k, or that of `model.tempered(T_k)` for a model that says what it is at temperature T (a
Boltzmann machine tempers the joint energy of all its units). Then neighbours k and k + 1, the odd
pairs and the even ones in turn, change places with probability min(1, e^Δ),

    Δ = F_k(x_k) + F_{k+1}(x_{k+1}) − F_k(x_{k+1}) − F_{k+1}(x_k),

which leaves the product of all levels' laws exp(−F_k) invariant, whatever the family F. For E/T it is
Δ = (1/T_k − 1/T_{k+1})(E(x_k) − E(x_{k+1})). Hot levels pass between modes, and the cold one gets
what they find. A sampler that runs at a temperature τ of its own keeps exp(−F_k/τ) at each level: its Δ is
divided by τ.

What changes place is all that the law is of (`Sampler.whole`): of a machine whose chains hide layers, all
its layers, by their joint energy. Visible layers alone would leave hidden ones behind that are not theirs.

A ladder is as good as its worst pair: what the hottest level finds must pass every one to come down.

Sources: Swendsen & Wang (1986); Geyer (1991); Okabe et al. (2001) for even and odd pairs in turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_integer
from energax.derivatives import evaluate
from energax.loops import repeat
from energax.samplers.base import LEAST_ACCEPTED, Sampler, check_energy
from energax.typing import Array, ArrayLike, Condition, Event, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["ParallelTempering", "pair_acceptance"]


class AtTemperature(eqx.Module):
    """E(x)/T of any energy, the temperature traced."""

    energy: Model
    temperature: Scalar

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x)/T."""
        return evaluate(self.energy, x, condition) / self.temperature


class ParallelTempering(Sampler):
    """A sampler at every temperature, and neighbours that change places.

    Invariant law: the product over levels of exp(−F_k/τ), τ the sampler's own temperature (mostly 1), as
    exactly as the sampler keeps each; the position is that of the first level. All levels start at x.
    Reports what the sampler reports, its mean over levels; `swap_acceptance`, the mean over the pairs whose
    turn a step is; and of each pair of neighbours, K − 1 numbers with the coldest pair first, `swaps`, the
    probability where it is its turn, and `swap_tries`, whether it is. Their quotient over a run is
    `diagnostics.swap_acceptance`.

    Parameters
    ----------
    sampler
        How each level moves on its own energy: of any kind, exact or not.
    temperatures
        1 = T_1 < T_2 < …, at least two.
    steps_between_swaps
        Steps of the sampler in one step of this.
    step_factors
        By what the sampler's step size is multiplied at each level; ones if None. √T suits HMC and
        NUTS, T suits MALA and Langevin: then each level moves as those do at that temperature.

    Raises
    ------
    InputError
        When chains start: of a model without an energy, and of a sampler whose chain cannot be put where
        another is (`Sampler.moved_to`), as replicas of replicas.
    """

    sampler: Sampler
    temperatures: Float[Array, " levels"]
    step_factors: Float[Array, " levels"]
    steps_between_swaps: int = eqx.field(static=True)

    def __init__(
        self,
        sampler: Sampler,
        temperatures: Sequence[float] | ArrayLike,
        *,
        steps_between_swaps: int = 1,
        step_factors: ArrayLike | None = None,
    ):
        owner = "ParallelTempering"
        T = np.asarray(temperatures, np.float32)
        rising = T.ndim == 1 and T.size >= 2 and T[0] == 1 and bool(np.all(np.diff(T) > 0))
        check(rising, owner, "temperatures", "at least two rising numbers, the first 1", T.tolist())
        factors = np.ones_like(T) if step_factors is None else np.asarray(step_factors, np.float32)
        positive = factors.shape == T.shape and bool(np.all(factors > 0))
        check(positive, owner, "step_factors", f"{T.size} positive numbers", factors.tolist())
        self.sampler = sampler
        self.temperatures = jnp.asarray(T)
        self.step_factors = jnp.asarray(factors)
        self.steps_between_swaps = check_integer(
            owner, "steps_between_swaps", steps_between_swaps, at_least=1
        )

    @property
    def horizon(self) -> int | None:
        """That of the sampler, in steps of this."""
        inner = self.sampler.horizon
        return None if inner is None else inner // self.steps_between_swaps

    @property
    def bias_order(self) -> float | None:
        """That of the sampler: swaps are exact."""
        return self.sampler.bias_order

    def law_temperature(self, i: jax.Array | int) -> float | Scalar:
        """Return τ of the last step that the sampler takes in step i of this."""
        return self.sampler.law_temperature((i + 1) * self.steps_between_swaps - 1)

    def scaled(self, factor: float | Array) -> ParallelTempering:
        """Return the dynamics with every level's step size multiplied by `factor`."""
        return eqx.tree_at(lambda s: s.sampler, self, self.sampler.scaled(factor))

    def init(self, model: Model, x: Event, key: Key) -> Any:
        """Return the states of all levels, each at x: leading axis the levels."""
        check_energy("ParallelTempering", model)
        self._check_moves(model, x, key)

        def level(temperature, k):
            return self.sampler.init(at_temperature(model, temperature), x, k)

        return jax.vmap(level)(self.temperatures, jax.random.split(key, self.temperatures.size))

    def step(self, model: Model, state: Any, key: Key, i: jax.Array) -> tuple[Any, Metrics]:
        """Return the states of all levels after their steps and one round of swaps."""
        move_key, swap_key = jax.random.split(key)
        levels = jnp.arange(self.temperatures.size)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(move_key, levels)

        def move(state, temperature, factor, key):
            cold, sampler = at_temperature(model, temperature), self.sampler.scaled(factor)
            return _steps(sampler, cold, state, key, i, self.steps_between_swaps)

        state, info = jax.vmap(move)(state, self.temperatures, self.step_factors, keys)
        state, swaps = self._swap(model, state, swap_key, i)
        return state, {**jax.tree.map(jnp.mean, info), **swaps}

    def troubles(self, info: Mapping[str, np.ndarray]) -> list[str]:
        """Return what is wrong with the sampler, and between which temperatures next to nothing passes."""
        found = super().troubles(info)
        shares = pair_acceptance(info)
        T = np.asarray(self.temperatures)
        for k in np.flatnonzero(shares < LEAST_ACCEPTED):
            found.append(
                f"replicas at temperatures {T[k]:.4g} and {T[k + 1]:.4g} changed places in {shares[k]:.2g} "
                "of the tries, so that next to nothing passes between them; put temperatures between"
            )
        return found

    def _check_moves(self, model: Model, x: Event, key: Key) -> None:
        """Refuse a sampler whose state has another form once it is put at a place: a broadcast would not."""

        def put(x, key):
            state = self.sampler.init(model, x, key)
            return state, self.sampler.moved_to(model, state, self.sampler.whole(state))

        before, after = (jax.tree.map(np.shape, s) for s in eqx.filter_eval_shape(put, x, key))
        check(
            before == after,
            "ParallelTempering",
            "sampler",
            "one whose chain can be put where another is (`moved_to`)",
            type(self.sampler).__name__,
        )

    def _swap(self, model: Model, state: Any, key: Key, i: jax.Array) -> tuple[Any, Metrics]:
        """Return the states after one round of swaps, and how probable those were."""
        K = self.temperatures.size
        levels = jnp.arange(K)
        # By turns a level looks up and down, its partner at it; an end without a partner at itself.
        # Of two levels there is one pair, and no turn to miss.
        parity = i % 2 if K > 2 else 0
        partner = levels + jnp.where((levels - parity) % 2 == 0, 1, -1)
        partner = jnp.where((partner < 0) | (partner >= K), levels, partner)
        paired = partner != levels

        x = jax.vmap(self.sampler.whole)(state)
        others = jax.tree.map(lambda a: a[partner], x)
        ratio = self.log_ratio(self.gains(model, x, others), partner)
        delta = jnp.where(ratio == 0, 0.0, ratio / self.law_temperature(i))  # which may be 0, of a descent
        # Both of a pair hold the number that its lower level drew. A delta that is NaN swaps nothing.
        uniform = jax.random.uniform(key, (K,))[jnp.minimum(levels, partner)]
        swap = paired & (jnp.log(uniform) < delta)

        def put(state, other, temperature, swap):
            moved = self.sampler.moved_to(at_temperature(model, temperature), state, other)
            return jax.tree.map(lambda new, old: jnp.where(swap, new, old), moved, state)

        probability = jnp.where(paired, jnp.exp(jnp.minimum(delta, 0.0)), 0.0)
        state = jax.vmap(put)(state, others, self.temperatures, swap)
        tries = (partner > levels)[:-1].astype(jnp.float32)  # each pair by its lower level
        swaps = jnp.where(tries > 0, probability[:-1], 0.0)
        report = {"swap_acceptance": jnp.sum(swaps) / jnp.sum(tries), "swaps": swaps, "swap_tries": tries}
        return state, report

    def gains(self, model: Model, x: Events, others: Events) -> Float[Array, " levels"]:
        """Return F_k(x_k) − F_k(other_k) of each level k."""

        def gain(x, other, temperature):
            cold = self.sampler.joint(at_temperature(model, temperature))
            return evaluate(cold, x) - evaluate(cold, other)

        return jax.vmap(gain)(x, others, self.temperatures)

    def log_ratio(self, gains: Float[Array, " levels"], partner: Array) -> Float[Array, " levels"]:
        """Return Δ of each level's pair, from the gains of its two levels."""
        return gains + gains[partner]

    def position(self, state: Any) -> Event:
        """Return where the replica of the first level is."""
        return self.sampler.position(jax.tree.map(lambda a: a[0], state))


def _steps(sampler, model, state, key, i, count):
    """Return the state after `count` steps, of which i rounds came before, and their mean report."""

    def one(j, carry):
        state, totals = carry
        state, info = sampler.step(model, state, jax.random.fold_in(key, j), i * count + j)
        return state, jax.tree.map(jnp.add, totals, info)

    _, info = eqx.filter_eval_shape(sampler.step, model, state, key, i)
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, jnp.float32), info)
    state, totals = repeat(count, one, (state, zeros))
    return state, jax.tree.map(lambda a: a / count, totals)


def pair_acceptance(info: Mapping[str, ArrayLike]) -> Float[np.ndarray, " pairs"]:
    """Return the share of its tries in which each pair changed places, from a run's report of all chains.

    NaN for a pair whose turn it never was.
    """
    swaps, tries = (np.asarray(info[name], np.float64).sum(0) for name in ("swaps", "swap_tries"))
    return np.divide(swaps, tries, out=np.full_like(swaps, np.nan), where=tries > 0)


def at_temperature(model: Model, temperature: Scalar) -> Model:
    """Return the model at temperature T: what it says of itself, else E/T."""
    return model.tempered(temperature) if hasattr(model, "tempered") else AtTemperature(model, temperature)
