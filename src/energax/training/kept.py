"""The models that a fit's checkpoints hold, each as `fit` would have returned it at that step."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import equinox as eqx
import jax

from energax.config import FitConfig
from energax.objectives import Batch, Objective
from energax.training.checkpoint import Checkpoints
from energax.training.mesh import data_mesh, place
from energax.training.state import averaged, start
from energax.typing import Array, Model

__all__ = ["kept_models"]


def kept_models(
    model: Model, objective: Objective, x: Array, *, config: FitConfig, checkpoints: Path | str
) -> Iterator[tuple[int, Model]]:
    """Yield the step of each checkpoint and the model of that step, averaged as the fit averages.

    Parameters
    ----------
    model, objective, config
        Those of the fit.
    x
        Some of its rows, in the model's units: the shapes of the objective's state are theirs.
    checkpoints
        Its folder of checkpoints.
    """
    like = place(start(model, objective, Batch(x), config, jax.random.key(0)), data_mesh())
    static = eqx.filter(model, eqx.is_array, inverse=True)
    store = Checkpoints(checkpoints, config)
    try:
        for step in store.steps:
            yield step, averaged(store.restore(like, step), static, config)[0]
    finally:
        store.close()
