"""The time of one whole update by each method of the study of a step's cost, on each network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import energies
from energax.config import FitConfig
from energax.objectives import Batch, Objective
from energax.papers.ml_speed_methods import BATCH
from energax.papers.timing import seconds_of
from energax.training.optimiser import optimiser
from energax.typing import Array, Key, Model

__all__ = ["MIXER", "NETWORKS", "PERCEPTRONS", "RESIDUAL", "timed", "update"]

LEAST_SECONDS = 0.05  # that one timing lasts

PERCEPTRONS = ("digits, perceptron 3 × 256", "digits, perceptron 4 × 512")
MIXER, RESIDUAL = "mnist, mixer 64", "mnist, residual 12"
NETWORKS: dict[str, Callable[[Key], Any]] = {
    "small": lambda key: energies.MLP((64,), width=32, depth=1, key=key),
    PERCEPTRONS[0]: lambda key: energies.MLP((64,), width=256, depth=3, key=key),
    PERCEPTRONS[1]: lambda key: energies.MLP((64,), width=512, depth=4, key=key),
    MIXER: lambda key: energies.PatchMixer((28, 28, 1), width=64, key=key),
    RESIDUAL: lambda key: energies.ResNet((32, 32, 1), layers=12, width=64, key=key),
}


def timed(network: str, methods: Mapping[str, Objective], rounds: int) -> dict[str, dict[str, float]]:
    """Return the least seconds of one update by each method, by processor and by clock."""
    model = eqx.filter_jit(NETWORKS[network])(jax.random.key(0))
    rows = 0.5 + 0.3 * jax.random.normal(jax.random.key(1), (4 * BATCH, *model.event_shape))
    calls = {name: update(model, objective, rows) for name, objective in methods.items()}
    least = {name: np.full(2, np.inf) for name in methods}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            least[name] = np.minimum(least[name], seconds_of(call, LEAST_SECONDS))
    return {name: {"processor": float(p), "clock": float(c)} for name, (p, c) in least.items()}


def update(model: Model, objective: Objective, rows: Array) -> Callable[[], Any]:
    """Return a call of one compiled update: the chains' steps, the gradient, and Adam's step."""
    config = FitConfig()
    data_rows = Batch(rows)
    nuisance, state = objective.init(model, data_rows, jax.random.key(2), BATCH)
    descent = optimiser(config)
    opt = descent.init((eqx.filter(model, eqx.is_inexact_array), nuisance))

    @eqx.filter_jit
    def update(model: Any, state: Any, opt: Any, batch: Batch, key: Key) -> Any:
        refresh_key, loss_key = jax.random.split(key)
        stacked = jax.tree.map(lambda a: a[None], batch)
        frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, model)
        state, _ = objective.refresh(frozen, nuisance, state, stacked, refresh_key)

        def loss(learned):
            return objective.loss(learned[0], learned[1], state, batch, loss_key)[0]

        gradient = eqx.filter_grad(loss)((model, nuisance))
        steps: Any
        steps, opt = descent.update(gradient, opt, eqx.filter((model, nuisance), eqx.is_inexact_array))
        return eqx.apply_updates(model, jax.tree.map(lambda u: -1e-3 * u, steps[0])), state, opt

    batch, key = Batch(rows[:BATCH]), jax.random.key(3)
    return lambda: eqx.filter(update(model, state, opt, batch, key), eqx.is_array)
