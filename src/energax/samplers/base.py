r"""The contract of a sampler, and the one loop that runs every sampler.

A sampler is dynamics on ONE chain,

    state = init(model, x, key),      state, info = step(model, state, key, i),

with the model an argument and never a field. `run` owns the loop: it vmaps the chains, gives
chain j at step i the key fold_in(fold_in(key, j), i), so that a chain depends on neither the
number of chains nor the number of steps that follow, splits the chains over the devices
(`energax.devices`), and calls observers between chunks.
`walk` is the same dynamics inside a compiled program, for objectives whose chains move in
every training step: same key, same chains.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import InputError, check, check_integer
from energax.derivatives import Score, bind
from energax.devices import gather, spread
from energax.loops import compiles_loop, fori, repeat
from energax.samplers.schedules import Schedule
from energax.typing import Array, Condition, Event, Events, Key, Metrics, Model, Scalar

__all__ = ["Observer", "Run", "Sampler", "check_conditional", "check_energy", "run", "walk"]

Observer = Callable[[Model, Event, jax.Array], Any]
"""(model, x, i) ↦ what to record of one chain before step i; vmapped over chains."""

LEAST_ACCEPTED = 0.01  # mean acceptance under which chains as good as stand still
REPORT_EVERY = 100  # steps between calls of `progress`, when nothing is observed


class Sampler(eqx.Module):
    """Base of the samplers: fields are settings and schedules, never a model or a state."""

    @property
    def horizon(self) -> int | None:
        """Steps the sampler's schedules are laid out for, or None for any number."""
        return None

    @property
    def bias_order(self) -> float | None:
        """None if the law is kept exactly; else r, the bias being of order (step size)^r."""
        return None

    @property
    def start_noise(self) -> float | None:
        """Standard deviation of the noise its schedule begins at, or None if it has none of its own."""
        return None

    def law_temperature(self, i: jax.Array | int) -> float | Scalar:
        """Return T of the law exp(−E/T) that step i keeps: 1, of dynamics without temperatures."""
        return 1.0

    def noise(self, sigma_0: float) -> Schedule:
        """Return the noise that coordinates carry at each step; σ₀ is the unit of the energy."""
        raise InputError(f"{type(self).__name__} does not say what noise its chains carry.")

    def scaled(self, factor: float | Array) -> Sampler:
        """Return the same dynamics with its step size multiplied; itself if it has none."""
        return self

    def init(self, model: Model, x: Event, key: Key) -> Any:
        """Return the state of a chain that starts at x."""
        raise NotImplementedError

    def step(self, model: Model, state: Any, key: Key, i: jax.Array) -> tuple[Any, Metrics]:
        """Return the state after step i, and what the step reports (scalars; arrays where they say so)."""
        raise NotImplementedError

    def troubles(self, info: Mapping[str, np.ndarray]) -> list[str]:
        """Return what the report of a run says is wrong with the dynamics, a clause each."""
        accepted = np.mean(info.get("acceptance", 1.0))
        if not accepted < LEAST_ACCEPTED:
            return []
        return [
            f"{accepted:.2g} of the proposals were accepted, so that the chains are all but where they "
            "started; try a tenth of the step size, or let samplers.adapt find it"
        ]

    def position(self, state: Any) -> Event:
        """Return where the chain is."""
        return state

    def whole(self, state: Any) -> Event:
        """Return all that the law is of: where the chain is, and what it hides (layers of hidden units)."""
        return self.position(state)

    def joint(self, model: Model) -> Model:
        """Return the energy of `whole`: the model itself, of a chain that hides nothing."""
        return model

    def moved_to(self, model: Model, state: Any, x: Event) -> Any:
        """Return the state of a chain whose whole is made x by someone else: x, where a state is that."""
        return x


class Run(NamedTuple):
    """What `run` returns.

    Parameters
    ----------
    x
        Last position of every chain, shape (n, *event).
    observed
        For each observer, its records stacked over time: leading axes (times, n).
    steps
        The step before which each record was taken, shape (times,); the last is the end.
    info
        What the steps report, each chain's mean over all its steps: name → shape (n,); (n, …) of an array.
    """

    x: Events
    observed: dict[str, Any]
    steps: np.ndarray
    info: dict[str, np.ndarray]


def run(
    sampler: Sampler,
    model: Model,
    x: Events,
    *,
    key: Key,
    steps: int | None = None,
    condition: Condition | None = None,
    observers: Mapping[str, Observer] | None = None,
    every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    warn: bool = True,
) -> Run:
    """Run one chain from each row of x.

    Parameters
    ----------
    sampler
        The dynamics.
    model
        An energy or a `Score`; a conditional one with `condition`.
    x
        Starting points, shape (n, *event).
    key
        Decides every draw: same key, same bits; chain j does not depend on how many there are.
    steps
        How many steps; the sampler's own horizon if None.
    condition
        One condition per chain, leading axis n.
    observers
        Name → (model, x, i) ↦ record of one chain. Called every `every` steps and at the end.
    every
        Steps between records; required with observers.
    progress
        Called as progress(done, steps) after each chunk of steps.
    warn
        Whether to warn of the sampler's `troubles`: that next to no proposal was accepted, so that the chains
        are still at their start; that replicas at two temperatures hardly ever changed places.

    Raises
    ------
    InputError
        If steps is missing for a sampler without a horizon, or exceeds the horizon.
    """
    horizon = sampler.horizon
    check(steps is not None or horizon is not None, "run", "steps", "given for a sampler without one", steps)
    total = check_integer("run", "steps", horizon if steps is None else steps, at_least=0)
    if horizon is not None:
        check(total <= horizon, "run", "steps", f"at most the schedule's {horizon}", total)
    observers = dict(observers or {})
    check(not observers or every is not None, "run", "every", "given with observers", every)
    chunk = total if every is None and progress is None else every or REPORT_EVERY
    chunk = check_integer("run", "every", max(chunk, 1) if every is None else every, at_least=1)

    n = jax.tree.leaves(x)[0].shape[0]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    x = jax.tree.map(jnp.asarray, x)
    came = x
    (sampler, model), (x, condition, keys) = spread((sampler, model), (x, condition, keys))
    states, totals, compiled = _start(sampler, model, x, condition, keys)

    records: dict[str, list[Any]] = {name: [] for name in observers}
    times: list[int] = []

    def observe(i: int) -> None:
        times.append(i)
        if observers:
            seen = _observe(sampler, model, states, condition, observers, jnp.asarray(i))
            for name, value in seen.items():
                records[name].append(jax.tree.map(np.asarray, value))

    done = 0
    while done < total:
        if observers:
            observe(done)
        stop = min(done + chunk, total)
        if compiled:
            bounds = jnp.asarray(done), jnp.asarray(stop)
            states, totals = _advance(sampler, model, states, totals, condition, keys, *bounds)
        else:
            for i in range(done, stop):
                at = jnp.asarray(i)
                states, totals = _advance_once(sampler, model, states, totals, condition, keys, at)
        done = stop
        if progress is not None:
            jax.block_until_ready(states)
            progress(done, total)
    observe(total)
    stacked = {
        name: jax.tree.map(lambda *rows: np.stack(rows), *values)
        for name, values in records.items()
        if values
    }
    info = {name: np.asarray(value) / max(total, 1) for name, value in totals.items()}
    for trouble in sampler.troubles(info) if warn and total else ():
        warnings.warn(f"run: {trouble}.", stacklevel=2)
    return Run(gather(jax.vmap(sampler.position)(states), came), stacked, np.asarray(times), info)


def walk(
    sampler: Sampler,
    model: Model,
    x: Events,
    key: Key,
    steps: int,
    condition: Condition | None = None,
) -> tuple[Events, Metrics]:
    """Return where one chain from each row of x is after some steps, and what they reported.

    The dynamics of `run` inside a compiled program: for objectives, whose chains move in every
    training step. The report is each name's mean over chains and steps, a scalar.

    Parameters
    ----------
    sampler, model, x, key, condition
        As for `run`.
    steps
        How many steps, a static number.
    """
    n = jax.tree.leaves(x)[0].shape[0]
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    states, totals, _ = _start(sampler, model, x, condition, keys)

    def body(i: Array, carry: Any) -> Any:
        states, totals = carry
        return _step_all(sampler, model, states, totals, condition, keys, i)

    states, totals = repeat(steps, body, (states, totals))
    report = {name: jnp.mean(total) / max(steps, 1) for name, total in totals.items()}
    return jax.vmap(sampler.position)(states), report


def check_conditional(owner: str, model: Model) -> None:
    """Refuse a model that is not noise-conditional."""
    wanted = "a noise-conditional one with a method `at(sigma)`"
    check(hasattr(model, "at"), owner, "model", wanted, type(model).__name__)


def check_energy(owner: str, model: Model) -> None:
    """Refuse a model that has no energy to compare two points by."""
    energy = callable(model) and not isinstance(model, Score)
    check(energy, owner, "model", "an energy (a vector field has no value to compare)", type(model).__name__)


def _one_step(sampler, model, state, condition, key, i):
    return sampler.step(bind(model, condition), state, jax.random.fold_in(key, i), i)


def _step_all(sampler, model, states, totals, condition, keys, i):
    step = jax.vmap(_one_step, (None, None, 0, 0, 0, None))
    states, info = step(sampler, model, states, condition, keys, i)
    return states, jax.tree.map(jnp.add, totals, info)


@eqx.filter_jit
def _start(sampler, model, x, condition, keys):
    """Return where chains start, zeros in the shape of their reports, and where their loop belongs.

    To know the last two a step is traced, which can take longer than running it: here it is
    traced when this is compiled, and not at every call.
    """

    def one(x, c, key):
        # Steps fold in i ≥ 0; the start takes a stream no step can reach.
        return sampler.init(bind(model, c), x, jax.random.fold_in(key, 2**31 - 1))

    states = jax.vmap(one)(x, condition, keys)
    first, given = jax.tree.map(lambda a: a[0], (states, condition))
    at = jnp.zeros((), int)
    compiled = compiles_loop(_one_step, sampler, model, first, given, keys[0], at)
    _, info = eqx.filter_eval_shape(_one_step, sampler, model, first, given, keys[0], at)
    totals = jax.tree.map(lambda a: jnp.zeros((keys.shape[0], *a.shape), jnp.float32), info)
    return states, totals, compiled


@eqx.filter_jit
def _advance(sampler, model, states, totals, condition, keys, start, stop):
    body = lambda i, c: _step_all(sampler, model, c[0], c[1], condition, keys, i)  # noqa: E731
    return fori(start, stop, body, (states, totals))


@eqx.filter_jit
def _advance_once(sampler, model, states, totals, condition, keys, i):
    return _step_all(sampler, model, states, totals, condition, keys, i)


@eqx.filter_jit
def _observe(sampler, model, states, condition, observers, i):
    def one(state, c):
        bound = bind(model, c)
        return {name: f(bound, sampler.position(state), i) for name, f in observers.items()}

    return jax.vmap(one)(states, condition)
