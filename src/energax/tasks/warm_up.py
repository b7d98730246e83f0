"""A warm-up before samples are drawn: chains reach the law, and its step size and masses are found."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.samplers import ParallelTempering, Reflected, adapt, schedules
from energax.tasks.generate import event_shape_of, starts
from energax.tasks.way import Way
from energax.typing import Array, ArrayLike, Condition, Key, Model

__all__ = ["warm_up"]


def warm_up(
    the_way: Way,
    energy: Model,
    n: int,
    *,
    key: Key,
    start: ArrayLike | None = None,
    center: float | Array = 0.5,
    condition: Condition | None = None,
    event_shape: tuple[int, ...] | None = None,
) -> tuple[Way, Array]:
    """Return the way with the step size and masses that `samplers.adapt` found, and where the n chains are.

    Give both to `anneal`, as `sampler=` and `start=`. All chains decide the step, so a sample depends on n.

    Parameters
    ----------
    the_way
        With a `warmup`, of one temperature, or of replicas whose first has it.
    energy, n, key, start, center, condition, event_shape
        As for `anneal`; the chains start as they do there.

    Raises
    ------
    InputError
        If no step size makes proposals acceptable.
    """
    if isinstance(the_way.sampler, ParallelTempering):
        # At temperature 1 alone: the replicas' own factors bring its step to each level.
        replicas = the_way.sampler
        inner = dataclasses.replace(the_way, sampler=replicas.sampler)
        found, x = warm_up(
            inner,
            energy,
            n,
            key=key,
            start=start,
            center=center,
            condition=condition,
            event_shape=event_shape,
        )
        tempered = eqx.tree_at(lambda replicas: replicas.sampler, replicas, found.sampler)
        return dataclasses.replace(found, sampler=tempered), x
    start_key, run_key = jax.random.split(key)
    if start is None:
        shape = event_shape_of(energy, event_shape, "warm_up")
        start = starts(start_key, n, shape, center, the_way.start)
    start = jnp.asarray(start)
    one, walls = the_way.sampler, None
    if isinstance(one, Reflected):  # the chain in u, which knows no walls
        walls, one, energy, start = one, one.sampler, one.unfolded(energy), one.folded(start)
    temperature = lambda s: s.temperature  # noqa: E731
    # A table of the temperatures' length is the sampler's horizon, which a warm-up has of its own.
    endless = eqx.tree_at(temperature, one, schedules.constant(1.0))
    found = adapt(endless, energy, start, key=run_key, steps=the_way.warmup, condition=condition)
    sampler = eqx.tree_at(temperature, found.sampler, temperature(one))
    if walls is None:
        return dataclasses.replace(the_way, sampler=sampler, warmup=0), found.x
    walled = eqx.tree_at(lambda r: r.sampler, walls, sampler)
    return dataclasses.replace(the_way, sampler=walled, warmup=0), walls.folded(found.x)
