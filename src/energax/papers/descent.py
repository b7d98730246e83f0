r"""Plain stochastic gradient descent, θ ← θ − rate · ∇ loss, of any objective without a nuisance.

`energax.fit` has Adam. The studies of Boltzmann machines compare methods as their literature and
scikit-learn run them: plain steps, no momentum, no average, every row once an epoch, at a constant
rate or one that falls linearly to zero.

One rate for all is no comparison. Steps along the exact gradient go uphill only below

    rate < 2/λ,        λ the largest eigenvalue of the Hessian of −mean log p(x)  (`curvature`),

and so do unbiased estimates of it, while a biased estimate has other slopes, and noise forbids rates that
its mean would allow. So `at_best_rate` gives each method the best of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.loops import fori
from energax.objectives import Batch, Objective
from energax.training.order import rows_of_steps
from energax.typing import Array, Key, Model

__all__ = ["at_best_rate", "curvature", "descend", "log_likelihood"]

T = TypeVar("T")


def descend(
    model: Model,
    objective: Objective,
    x: np.ndarray,
    *,
    key: Key,
    rate: float,
    falling: bool = False,
    batch: int,
    steps: int,
    every: int,
) -> Iterator[tuple[int, Model, dict[str, float]]]:
    """Yield, after each `every` steps, how many were made, the model, and the means of its metrics.

    Parameters
    ----------
    model
        Where to start.
    objective
        What to descend on: one fresh minibatch a step, nothing learned beside the model.
    x
        Rows of data, in a new order each epoch.
    key
        Decides the order and the objective's draws.
    rate
        What multiplies the gradient of the mean over a minibatch.
    falling
        Whether the rate falls linearly to zero over the steps; else it is constant.
    batch
        Rows of a minibatch.
    steps
        Updates in all, a multiple of `every`.
    """
    init_key, order_key, step_key = jax.random.split(key, 3)
    seed = int(jax.random.bits(order_key, dtype=jnp.uint32))
    rows = jnp.asarray(x)
    _, state = objective.init(model, Batch(rows), init_key, batch)
    rates = rate * (1 - np.arange(steps) / steps if falling else np.ones(steps)).astype(np.float32)
    for first in range(0, steps, every):
        order = jnp.asarray(rows_of_steps(seed, first, first + every, batch, len(x)))
        keys = jax.vmap(jax.random.fold_in, (None, 0))(step_key, jnp.arange(first, first + every))
        pace = jnp.asarray(rates[first : first + every])
        model, state, totals = _steps(model, objective, state, rows, order, keys, pace)
        yield first + every, model, {name: float(value) / every for name, value in totals.items()}


@eqx.filter_jit
def _steps(model, objective, state, x, order, keys, rates):
    def step(i, model, state):
        refresh_key, loss_key = jax.random.split(keys[i])
        batch = Batch(x[order[i]])
        frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, model)
        stacked = jax.tree.map(lambda a: a[None], batch)
        state, refreshed = objective.refresh(frozen, None, state, stacked, refresh_key)
        gradient, metrics = eqx.filter_grad(
            lambda m: objective.loss(m, None, state, batch, loss_key), has_aux=True
        )(model)
        model = eqx.apply_updates(model, jax.tree.map(lambda g: -rates[i] * g, gradient))
        return model, state, {**refreshed, **metrics}

    def body(i, carry):
        model, state, totals = carry
        model, state, metrics = step(i, model, state)
        return model, state, jax.tree.map(jnp.add, totals, metrics)

    shapes = eqx.filter_eval_shape(lambda m, s: step(0, m, s)[2], model, state)
    totals = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shapes)
    return fori(0, len(order), body, (model, state, totals))


@eqx.filter_jit
def log_likelihood(model: Any, *rows: Array) -> tuple[Array, ...]:
    """Return mean log p(x) in nats of each set of rows, log Z being enumerated once."""
    log_normalizer = model.log_normalizer()
    return tuple(-jnp.mean(jax.vmap(model)(x)) - log_normalizer for x in rows)


@eqx.filter_jit
def curvature(model: Any, x: Array, iterations: int = 20) -> Array:
    """Return the eigenvalue largest in size of the Hessian of −mean log p(x), by power iteration.

    The Hessian is in the parameters, log Z is enumerated. The iteration starts from a random direction, so
    what it returns is a little too small if the next eigenvalue is near.
    """
    start, unravel = ravel_pytree(model)
    slope = jax.grad(lambda v: -log_likelihood(unravel(v), x)[0])

    def body(_, u):
        return jax.jvp(slope, (start,), (u / jnp.linalg.norm(u),))[1]

    u = jax.lax.fori_loop(0, iterations, body, jax.random.normal(jax.random.key(0), start.shape))
    u = u / jnp.linalg.norm(u)
    return u @ jax.jvp(slope, (start,), (u,))[1]


def at_best_rate(
    rates: Sequence[float],
    seeds: int,
    train: Callable[[float, int], T],
    worth: Callable[[T], float],
) -> tuple[float, list[T], dict[float, float]]:
    """Train with each rate and the first seed; with the other seeds at the rate that was best.

    Parameters
    ----------
    train
        Rate and seed ↦ what a training ends with.
    worth
        What is largest for the best of them: the likelihood of *training* rows. NaN is worst.

    Returns
    -------
    The best rate, what its trainings ended with, and what each rate was worth.
    """
    first = {rate: train(rate, 0) for rate in rates}
    values = {rate: worth(found) for rate, found in first.items()}
    best = max(rates, key=lambda rate: -math.inf if math.isnan(values[rate]) else values[rate])
    return best, [first[best], *(train(best, seed) for seed in range(1, seeds))], values
