r"""Where an objective is least on one fixed sample: the estimator that statistics speaks of.

The rows come in blocks, and what an objective draws is decided by one key for each block, so that

    J(θ, c) = mean over blocks b of loss(θ, c; rows of b, key_b)

is a smooth deterministic function, descended on by scipy's L-BFGS-B until it rests. A loss is a mean over
rows with as many noise points for each, so J is the loss of all rows. Blocks keep what is drawn in the
processor's cache, and make one compiled program do for every number of rows.

A loss that is not a number (a precision matrix that lost its definiteness) counts as one nat above the
largest that was seen, which the line search steps back from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.objectives import Batch, Objective
from energax.typing import Array, Float, Key, Model, Scalar

__all__ = ["Minimum", "first_state", "minimise"]

FLAT = 1e-6  # of a gradient's largest entry: beyond float32's reach


class Minimum(NamedTuple):
    """Where a descent came to rest.

    Parameters
    ----------
    model, nuisance
        The parameters.
    loss
        J there.
    slope
        The largest entry of its gradient.
    """

    model: Any
    nuisance: Any
    loss: float
    slope: float


@eqx.filter_jit
def first_state(objective: Objective, model: Model, x: Array, key: Key, rows: int) -> tuple[Any, Any]:
    """Return `objective.init` on rows of data, compiled."""
    return objective.init(model, Batch(x), key, rows)


def minimise(
    objective: Objective,
    model: Model,
    x: Float[Array, "most rows *event"],
    blocks: int,
    *,
    state: Any = None,
    nuisance: Any = None,
    key: Key,
    steps: int = 500,
) -> Minimum:
    """Descend from (model, nuisance) on the first blocks of rows.

    Parameters
    ----------
    objective
        One that renews no state between steps.
    model
        Where to start.
    x
        Blocks of rows.
    blocks
        How many of them are the sample.
    state, nuisance
        What `objective.init` returned.
    key
        Decides what the loss draws.
    steps
        Iterations at most.
    """
    from scipy.optimize import minimize

    learned, static = eqx.partition((model, nuisance), eqx.is_inexact_array)
    start, unravel = ravel_pytree(learned)
    count = jnp.asarray(blocks)  # traced: one program for every number of rows
    largest = -np.inf

    def value_and_slope(flat):
        nonlocal largest
        at = jnp.asarray(flat, jnp.float32)
        value, slope = jax.device_get(_value_and_slope(at, learned, static, objective, state, x, count, key))
        if not (np.isfinite(value) and np.isfinite(slope).all()):
            return largest + 1.0, np.zeros(len(flat))
        largest = max(largest, float(value))
        return float(value), slope.astype(np.float64)

    options = {"maxiter": steps, "maxcor": 20, "ftol": 1e-9, "gtol": FLAT}
    found: Any = minimize(
        value_and_slope, np.asarray(start, np.float64), jac=True, method="L-BFGS-B", options=options
    )
    model, nuisance = eqx.combine(unravel(jnp.asarray(found.x, jnp.float32)), static)
    return Minimum(model, nuisance, float(found.fun), float(np.abs(found.jac).max()))


@eqx.filter_jit
def _value_and_slope(
    flat: Array, learned: Any, static: Any, objective: Objective, state: Any, x: Array, count: Array, key: Key
) -> tuple[Scalar, Array]:
    _, unravel = ravel_pytree(learned)

    def loss(flat, b):
        model, nuisance = eqx.combine(unravel(flat), static)
        return objective.loss(model, nuisance, state, Batch(x[b]), jax.random.fold_in(key, b))[0]

    def add(b, sums):
        return jax.tree.map(jnp.add, sums, jax.value_and_grad(loss)(flat, b))

    value, slope = jax.lax.fori_loop(0, count, add, (jnp.zeros(()), jnp.zeros_like(flat)))
    return value / count, slope / count
