r"""Step sizes and masses found by a warm-up, and frozen.

Dual averaging drives the mean acceptance a_t of all chains to a target δ by one step size for all,

    log ε_{t+1} = μ − (√t / γ) · 1/(t + t₀) · Σ_{s≤t} (δ − a_s),

and returns an average of the ε_t. HMC and NUTS first find a diagonal mass: each chain runs BlackJAX's
window adaptation (Stan's), and the chains' medians are taken, of the variances and of the
step sizes: a lost chain decides nothing, and a coordinate that a chain crosses slowly is taken for
narrower than it is. What is returned no longer changes: a sampler that adapts while it runs leaves no
law invariant.

Sources: Hoffman & Gelman (2014), §3.2, for dual averaging; targets: 0.574 for MALA (Roberts &
Rosenthal 1998), 0.651 for HMC (Beskos et al. 2013), 0.8 for NUTS (Stan).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import blackjax
import equinox as eqx
import jax
import jax.numpy as jnp
from blackjax.adaptation.base import get_filter_adapt_info_fn
from blackjax.adaptation.step_size import dual_averaging_adaptation
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_integer, check_number
from energax.derivatives import bind
from energax.loops import compiles_loop, fori
from energax.samplers.base import Sampler, run
from energax.samplers.metropolis import HMC, MALA, NUTS, inverse_masses, log_density
from energax.typing import Array, Condition, Events, Key, Model

__all__ = ["Adapted", "adapt"]

TARGETS = {MALA: 0.574, HMC: 0.651, NUTS: 0.8}
FEWEST_STEPS = 100


class Adapted(NamedTuple):
    """What `adapt` returns.

    Parameters
    ----------
    sampler
        The sampler with its step size (and mass) found, and frozen.
    x
        Where the chains are after the warm-up, shape (n, *event).
    acceptance
        Their mean acceptance with that sampler, over the last fifth of the steps.
    """

    sampler: Sampler
    x: Events
    acceptance: float


def adapt(
    sampler: Sampler,
    model: Model,
    x: Events,
    *,
    key: Key,
    steps: int = 500,
    target: float | None = None,
    condition: Condition | None = None,
) -> Adapted:
    """Return the sampler with the step size at which it accepts as often as it should.

    HMC and NUTS also get a diagonal mass; of any other sampler that reports `acceptance`, all step
    sizes are multiplied by one factor.

    Parameters
    ----------
    sampler
        With a constant step size and temperature; its own step is the first guess. For an annealing,
        adapt at temperature 1 and give it the step: one serves all temperatures.
    model, x, key, condition
        As for `run`; the more chains, the better the pooled numbers.
    steps
        Of the warm-up, at least 100. Half go to the mass, if there is one, and a fifth to
        measuring the acceptance at the end.
    target
        δ; if None 0.574 for MALA, 0.651 for HMC, 0.8 for NUTS.

    Raises
    ------
    InputError
        If the sampler still accepts less than a quarter of what it should, with what was seen.
    """
    check(sampler.horizon is None, "adapt", "sampler", "of constant step size and temperature", "schedules")
    check_integer("adapt", "steps", steps, at_least=FEWEST_STEPS)
    known = target is not None or type(sampler) in TARGETS
    check(known, "adapt", "target", f"given for a {type(sampler).__name__}", target)
    wanted = TARGETS[type(sampler)] if target is None else target
    wanted = check_number("adapt", "target", wanted, above=0, at_most=0.99)
    x = jax.tree.map(jnp.asarray, x)
    mass_key, step_key, run_key = jax.random.split(key, 3)

    measured, windows, tuned = steps // 5, 0, sampler
    if isinstance(sampler, HMC | NUTS):
        windows = steps // 2
        tuned, x = _with_mass(sampler, model, x, condition, mass_key, wanted, windows)
    factor, x = _with_step(tuned, model, x, condition, step_key, wanted, steps - windows - measured)
    tuned = tuned.scaled(factor)
    ran = run(tuned, model, x, key=run_key, steps=measured, condition=condition, warn=False)
    acceptance = float(ran.info["acceptance"].mean())
    check(
        acceptance >= wanted / 4,
        "adapt",
        "sampler",
        f"one that a step size brings to an acceptance of {wanted:g} (try more steps, starts where the "
        "energy is finite, another first step)",
        f"{acceptance:.2g} after {steps} steps",
    )
    return Adapted(tuned, ran.x, acceptance)


def _keys(x: Events, key: Key) -> Array:
    n = jax.tree.leaves(x)[0].shape[0]
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))


def _with_mass(sampler, model, x, condition, key, target, steps) -> tuple[Any, Events]:
    """Return the sampler with the chains' median mass and step, and where the chains are."""
    x, step, variance = _windows(sampler, model, x, condition, _keys(x, key), jnp.asarray(target), steps)
    unravel = ravel_pytree(jax.tree.map(lambda a: a[0], x))[1]
    step = jnp.nanmedian(step) / jnp.sqrt(sampler.temperature.values)
    found = (step, unravel(jnp.nanmedian(variance, axis=0)))
    where = lambda s: (s.step_size.values, s.inverse_mass)  # noqa: E731
    return eqx.tree_at(where, sampler, found, is_leaf=lambda leaf: leaf is None), x


@eqx.filter_jit
def _windows(sampler, model, x, condition, keys, target, steps):
    """Return where each chain is after BlackJAX's window adaptation, its step and its variances."""
    if isinstance(sampler, HMC):
        algorithm, settings = blackjax.hmc, {"num_integration_steps": sampler.leapfrog_steps}
    else:
        algorithm, settings = blackjax.nuts, {"max_num_doublings": sampler.max_doublings}

    window_adaptation: Any = blackjax.window_adaptation

    def one(x, c, key):
        T = sampler.temperature(0)
        warmup = window_adaptation(
            algorithm,
            log_density(bind(model, c), T),
            initial_inverse_mass_matrix=inverse_masses(sampler, x),
            initial_step_size=sampler.step_size(0) * jnp.sqrt(T),
            target_acceptance_rate=target,
            adaptation_info_fn=get_filter_adapt_info_fn(),  # records nothing
            **settings,
        )
        (state, found), _ = warmup.run(key, x, num_steps=steps)
        return state.position, found["step_size"], found["inverse_mass_matrix"]

    return jax.vmap(one)(x, condition, keys)


def _with_step(sampler, model, x, condition, key, target, steps) -> tuple[Array, Events]:
    """Return by what to multiply the step sizes, and where the chains are."""
    keys = _keys(x, key)
    chains = _start(sampler, model, x, condition, keys)
    start, _, average = dual_averaging_adaptation(target)
    averaging, target = jax.tree.map(jnp.asarray, start(1.0)), jnp.asarray(target)
    arguments = (sampler, model, chains, averaging, condition, keys, target)
    if compiles_loop(_tune, *arguments, jnp.zeros((), int)):
        chains, averaging = _tune_many(*arguments, jnp.asarray(steps))
    else:
        for i in range(steps):
            at = jnp.asarray(i)
            chains, averaging = _tune_once(sampler, model, chains, averaging, condition, keys, target, at)
    return average(averaging), jax.vmap(sampler.position)(chains)


@eqx.filter_jit
def _start(sampler, model, x, condition, keys):
    return jax.vmap(lambda x, c, k: sampler.init(bind(model, c), x, k))(x, condition, keys)


def _tune(sampler, model, chains, averaging, condition, keys, target, i):
    """Return chains and averages after a step of all chains at the step size of the moment."""
    now = sampler.scaled(jnp.exp(averaging.log_step_size))

    def one(chain, c, key):
        return now.step(bind(model, c), chain, jax.random.fold_in(key, i), i)

    chains, info = jax.vmap(one)(chains, condition, keys)
    reported = "one that reports its acceptance"
    check("acceptance" in info, "adapt", "sampler", reported, type(sampler).__name__)
    _, update, _ = dual_averaging_adaptation(target)
    return chains, update(averaging, jnp.mean(info["acceptance"]))


@eqx.filter_jit
def _tune_many(sampler, model, chains, averaging, condition, keys, target, steps):
    def body(i, carry):
        chains, averaging = carry
        return _tune(sampler, model, chains, averaging, condition, keys, target, i)

    return fori(0, steps, body, (chains, averaging))


_tune_once = eqx.filter_jit(_tune)
