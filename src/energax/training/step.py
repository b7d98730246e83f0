"""One compiled step, and chunks of it: inside one program, or driven from the host."""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from energax.config import FitConfig
from energax.data import Transform
from energax.objectives import Batch, Objective
from energax.training.mesh import constrain
from energax.training.optimiser import optimiser, rate
from energax.training.state import FitState
from energax.typing import Array, Metrics, Model

__all__ = ["Constants", "advance", "advance_once", "loss_shapes", "validate"]


class Constants(NamedTuple):
    """What a step reads and never changes.

    Parameters
    ----------
    static
        The parts of the model that are no arrays.
    objective, config, mesh
        How to descend, on what.
    data
        All rows, in the data's own units, replicated.
    preprocessing
        From the data's units to the model's, with its training-only randomness; or None.
    rows
        Row numbers of each step of the chunk, shape (chunk, batches, batch size).
    first
        The step that rows[0] belongs to.
    """

    static: Model
    objective: Objective
    config: FitConfig
    mesh: Mesh
    data: Batch
    preprocessing: Transform | None
    rows: Array
    first: Array


def _take(constants: Constants, rows: Array, key: Array) -> Batch:
    batch = constrain(jax.tree.map(lambda a: a[rows], constants.data), constants.mesh, split=True)
    if constants.preprocessing is None:
        return batch
    x = jax.vmap(constants.preprocessing.training)(batch.x, jax.random.split(key, len(batch)))
    return Batch(x, batch.condition)


def _step(constants: Constants, state: FitState, step: Array) -> tuple[FitState, Metrics]:
    static, objective, config, mesh = constants[:4]
    objective = objective.tuned(state.tunables)
    refresh_key, loss_key, data_key = jax.random.split(jax.random.fold_in(state.key, state.step), 3)
    data_keys = jax.random.split(data_key, objective.batches)
    rows = constants.rows[step - constants.first]
    batches = [_take(constants, rows[b], data_keys[b]) for b in range(objective.batches)]
    batch = batches[-1]
    model = eqx.combine(state.model, static)

    frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, model)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    inner, refreshed = objective.refresh(frozen, state.nuisance, state.state, stacked, refresh_key)

    def loss(learned):
        model_, nuisance = learned
        return objective.loss(model_, nuisance, inner, batch, loss_key)

    (value, metrics), gradient = eqx.filter_value_and_grad(loss, has_aux=True)((model, state.nuisance))
    norm = optax.global_norm(gradient)

    learning_rate = rate(config, state.tunables["learning_rate"], state.step)
    # A non-finite update is never applied: the state stays that of the last healthy step,
    # and later steps of the same chunk, whose number no longer matches, leave it alone. A
    # branch, not a selection: selecting would keep two copies of every parameter alive.
    healthy = jnp.isfinite(value) & jnp.isfinite(norm) & (state.step == step)
    kept = jax.lax.cond(
        healthy, lambda s: _descend(constants, s, inner, gradient, learning_rate), lambda s: s, state
    )
    report = {"loss": value, "gradient_norm": norm, "learning_rate": learning_rate, **refreshed, **metrics}
    return constrain(kept, mesh, split=False), constrain(report, mesh, split=False)


def _descend(
    constants: Constants, state: FitState, inner: Any, gradient: Any, learning_rate: Array
) -> FitState:
    """Return the state after a healthy step, `inner` being the objective's renewed state."""
    config = constants.config
    learned = eqx.combine(state.model, constants.static), state.nuisance
    parameters = eqx.filter(learned, eqx.is_inexact_array)
    descent, opt = optimiser(config).update(gradient, state.opt, parameters)
    model, nuisance = eqx.apply_updates(learned, jax.tree.map(lambda u: -learning_rate * u, descent))
    average = state.average
    if average is not None:
        now = eqx.filter((model, nuisance), eqx.is_inexact_array)
        average = optax.incremental_update(now, average, 1 - config.ema)
    arrays = eqx.filter(model, eqx.is_array)
    return FitState(
        model=arrays,
        nuisance=nuisance,
        average=average,
        opt=opt,
        state=inner,
        tunables=state.tunables,
        key=state.key,
        step=state.step + 1,
        rollbacks=state.rollbacks,
        health=state.health,
    )


@eqx.filter_jit(donate="all-except-first")
def advance(bounds: tuple[Constants, Array, Array], state: FitState) -> tuple[FitState, Metrics]:
    """Return the state after steps start … stop − 1 and every step's metrics, in one program.

    The metrics' leading axis is that of `Constants.rows`; entries not reached are zero. The
    loop ends early at a step that is not healthy.
    """
    constants, start, stop = bounds
    _, shapes = jax.eval_shape(lambda s: _step(constants, s, start), state)
    empty = jax.tree.map(lambda a: jnp.zeros((constants.rows.shape[0], *a.shape), a.dtype), shapes)

    def going(carry):
        i, state, _ = carry
        return (i < stop) & (state.step == i)

    def body(carry):
        i, state, history = carry
        state, metrics = _step(constants, state, i)
        history = jax.tree.map(lambda h, m: h.at[i - constants.first].set(m), history, metrics)
        return i + 1, state, history

    _, state, history = jax.lax.while_loop(going, body, (start, state, empty))
    return state, constrain(history, constants.mesh, split=False)


@eqx.filter_jit(donate="all-except-first")
def advance_once(bounds: tuple[Constants, Array], state: FitState) -> tuple[FitState, Metrics]:
    """Return the state after one step and its metrics (for loops driven from the host)."""
    constants, step = bounds
    return _step(constants, state, step)


@eqx.filter_jit
def validate(
    model: Model,
    objective: Objective,
    mesh: Mesh,
    preprocessing: Transform | None,
    learned: tuple[Any, Any],
    batch: Batch,
    key: Array,
) -> Array:
    """Return the loss of one batch that is not descended on, without training-only randomness."""
    nuisance, state = learned
    if preprocessing is not None:
        batch = Batch(jax.vmap(preprocessing.forward)(batch.x), batch.condition)
    return objective.loss(model, nuisance, state, constrain(batch, mesh, split=True), key)[0]


def loss_shapes(constants: Constants, state: FitState) -> tuple[Any, ...]:
    """Return (function, *arguments) of one loss, for deciding where the loop runs."""
    rows = jnp.zeros(constants.config.batch_size, int)
    batch = _take(constants, rows, state.key)
    model = eqx.combine(state.model, constants.static)
    objective = constants.objective
    return (
        (lambda m, n, s, b, k: objective.loss(m, n, s, b, k)[0]),
        model,
        state.nuisance,
        state.state,
        batch,
        state.key,
    )
