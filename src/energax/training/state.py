"""Everything a fit remembers, as one pytree of arrays: what is checkpointed, and all of it."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.config import FitConfig
from energax.data import Transform
from energax.objectives import Batch, Objective
from energax.training.health import Monitor
from energax.training.optimiser import optimiser
from energax.typing import Array, Key, Model, PyTree

__all__ = ["FitState", "averaged", "seen", "start"]

SEEN = 1000  # of a key whose first few parts an objective's start takes: the rows' noise is another


class FitState(eqx.Module):
    """The state of a fit; arrays only.

    Parameters
    ----------
    model
        The model's arrays (its other parts are kept apart, since they never change).
    nuisance
        What is learned by descent on the same loss, beside the model.
    average
        Exponential average of the parameters of (model, nuisance), uncorrected; None without one.
    opt
        State of the optimiser.
    state
        The objective's own state.
    tunables
        What a recovery may change: the learning rate and the objective's own tunables.
    key
        The fit's key; step t uses fold_in(key, t).
    step
        Updates made.
    rollbacks
        How often the fit has gone back to a healthy state.
    health
        What the monitor of its health remembered (`Monitor.memory`) when the state was last kept.
    """

    model: PyTree
    nuisance: Any
    average: PyTree
    opt: Any
    state: Any
    tunables: dict[str, Array]
    key: Key
    step: Array
    rollbacks: Array
    health: dict[str, Array]


def seen(data: Batch, preprocessing: Transform | None, key: Key) -> Batch:
    """Return all rows as training shows them to the model, once: with the noise of `Dequantise`, say.

    Without that noise a constant pixel would be constant here, though no minibatch has it so.
    """
    if preprocessing is None:
        return data
    keys = jax.random.split(jax.random.fold_in(key, SEEN), len(data))
    return Batch(jax.vmap(preprocessing.training)(data.x, keys), data.condition)


def start(model: Model, objective: Objective, data: Batch, config: FitConfig, key: Key) -> FitState:
    """Return the state before the first step."""
    init_key, step_key = jax.random.split(key)
    nuisance, state = objective.init(model, data, init_key, config.batch_size)
    arrays = eqx.filter(model, eqx.is_array)
    parameters = eqx.filter((model, nuisance), eqx.is_inexact_array)
    return FitState(
        model=arrays,
        nuisance=nuisance,
        average=jax.tree.map(jnp.zeros_like, parameters) if config.ema else None,
        opt=optimiser(config).init(parameters),
        state=state,
        tunables={
            name: jnp.asarray(value, jnp.float32)
            for name, value in {"learning_rate": config.learning_rate, **objective.tunables}.items()
        },
        key=step_key,
        step=jnp.zeros((), jnp.int32),
        rollbacks=jnp.zeros((), jnp.int32),
        health=jax.tree.map(jnp.asarray, Monitor().memory),
    )


def averaged(state: FitState, static: Model, config: FitConfig) -> tuple[Model, Any]:
    """Return the model and the nuisance with averaged parameters, their start at zero corrected.

    Both by one average: a log Z belongs to the energy it was learned with. After t steps of
    decay β the average of a constant is 1 − βᵗ of it, so it is divided by that; before the first
    step, and without an average, they are the model and the nuisance themselves.
    """
    learned = eqx.combine(state.model, static), state.nuisance
    if state.average is None:
        return learned
    mass = 1 - jnp.asarray(config.ema) ** state.step
    fresh = state.step == 0
    parameters = jax.tree.map(
        lambda a, p: jnp.where(fresh, p, a / jnp.where(fresh, 1.0, mass)),
        state.average,
        eqx.filter(learned, eqx.is_inexact_array),
    )
    return eqx.combine(parameters, learned)
