"""`fit`: what it is given, looked at before anything is compiled; then the loop (`training.loop`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_choice, check_condition
from energax.config import FitConfig
from energax.data import Transform
from energax.objectives import Batch, Objective
from energax.objectives.requirements import first_stray, require_states
from energax.training.checkpoint import Checkpoints
from energax.training.log import MetricsLog
from energax.training.loop import Fit, Loop
from energax.training.mesh import data_mesh
from energax.typing import Condition, Events, Key, Model

__all__ = ["Fit", "fit"]

GLANCE = 1000  # training rows that tell whether a machine is to learn states


def fit(
    model: Model,
    objective: Objective,
    x: Events,
    *,
    key: Key,
    condition: Condition | None = None,
    validation: Events | Batch | None = None,
    preprocessing: Transform | None = None,
    config: FitConfig | None = None,
    checkpoints: Path | str | None = None,
    resume: bool = False,
    log: Path | str | None = None,
    tensorboard: bool = False,
    progress: bool | None = None,
    devices: Sequence[jax.Device] | None = None,
    **settings: Any,
) -> Fit:
    """Train a model on rows of data by an objective.

    Parameters
    ----------
    model
        An energy, or a `Score`; any pytree whose floating-point arrays are to be learned.
    objective
        The training principle.
    x
        Rows of data, leading axis n; an array, or a pytree of them.
    key
        Decides everything random: the order of the rows, the noise, the objective's draws.
    condition
        Conditions of the rows, leading axis n, for a conditional model.
    validation
        Held-out rows (a `Batch` for a conditional model); their loss is recorded as
        `validation_loss` at each checkpoint and at the end.
    preprocessing
        The transform from the units of x to the model's, applied to each batch as it is
        taken, with its training-only randomness (dequantisation, flips).
    config, **settings
        A `FitConfig`, and entries of it by name: `steps=3000, batch_size=128, …`.
    checkpoints
        A folder to checkpoint into, every `checkpoint_every` steps and at the end.
    resume
        Continue from the newest checkpoint in that folder (from the start if it has none).
    log
        A `.jsonl` file for the metrics.
    tensorboard
        Also write TensorBoard scalars beside `log`.
    progress
        Show a progress bar; by default only on a terminal.
    devices
        Devices to split batches over. If None all, but of a CPU, whose devices are cores, the first; with
        convolutions as many as divide the batch, up to eight.

    Returns
    -------
    Fit

    Raises
    ------
    InputError
        For bad arguments or data, a checkpoint folder in use, or an unwritable disk.
    DivergenceError
        If `training.health` finds that the fit diverges, and it is not to be rolled back, or has
        been as often as it may. Nothing non-finite is ever applied.
    """
    names = [f.name for f in dataclasses.fields(FitConfig)]
    for name in settings:
        check_choice("fit", "setting", name, names)
    config = dataclasses.replace(config or FitConfig(), **settings)
    _check_roles(model, objective, key)
    data = _rows("x", x, condition)
    _check_event("x", model, data, preprocessing)
    held_out = None
    if validation is not None:
        given = validation if isinstance(validation, Batch) else Batch(validation)
        held_out = _rows("validation", given.x, given.condition)
        _check_event("validation", model, held_out, preprocessing)
        _check_states(model, data, held_out, preprocessing)
    mesh = data_mesh(devices)
    whole = config.batch_size % mesh.size == 0
    check(whole, "fit", "batch_size", f"a multiple of the {mesh.size} devices", config.batch_size)
    if config.keep == "best":
        check(held_out is not None, "fit", "validation", 'given when keep="best"', None)

    asked = None if devices is None else mesh
    loop = Loop(model, objective, data, held_out, preprocessing, config, asked, key)
    store = None if checkpoints is None else Checkpoints(checkpoints, config)
    metrics_log = None
    try:
        if store is not None and store.latest is not None:
            check(resume, "fit", "checkpoints", "an empty folder unless resume=True", str(checkpoints))
            loop.restore(store)
        back = int(loop.state.rollbacks)
        metrics_log = MetricsLog(log, after=loop.done, rollbacks=back, tensorboard=tensorboard)
        loop.run(metrics_log, store, progress)
        return loop.result(metrics_log.records)
    finally:
        if metrics_log is not None:
            metrics_log.close()
        if store is not None:
            store.close()


def _rows(name: str, x: Events, condition: Condition | None) -> Batch:
    """Return checked float32 rows with their conditions."""
    leaves = jax.tree.leaves(x)
    allowed = "an array of rows or a pytree of them (np.asarray makes an array of a nested list)"
    ok = len(leaves) > 0 and all(np.ndim(leaf) for leaf in leaves)
    check(ok, "fit", name, allowed, type(x).__name__)
    rows = jax.tree.map(lambda leaf: check_array("fit", name, leaf), x)
    n = jax.tree.leaves(rows)[0].shape[0]
    for leaf in jax.tree.leaves(rows):
        check(len(leaf) == n, "fit", name, f"arrays of {n} rows, like the first", len(leaf))
    return Batch(rows, check_condition("fit", condition, n))


def _check_roles(model: Model, objective: Objective, key: Key) -> None:
    """Refuse arguments that are not what their places are for."""
    got = f"the class {objective.__name__}" if isinstance(objective, type) else type(objective).__name__
    example = "an objective, such as MultiscaleDenoisingScoreMatching()"
    check(isinstance(objective, Objective), "fit", "objective", example, got)
    wrong = isinstance(model, Objective | type)
    got = model.__name__ if isinstance(model, type) else type(model).__name__
    check(not wrong, "fit", "model", "an energy or a Score", got)
    typed = isinstance(key, jax.Array) and jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    raw = isinstance(key, jax.Array) and key.dtype == jnp.uint32 and key.shape == (2,)
    check(typed or raw, "fit", "key", "a key, such as jax.random.key(0)", repr(key)[:40])


def _check_states(model: Model, data: Batch, held_out: Batch, preprocessing: Transform | None) -> None:
    """Refuse held-out rows that are no states of a machine, where the rows it is trained on are.

    Of the latter the objective judges: some learn machines of other rows.
    """
    arrays = isinstance(data.x, np.ndarray) and isinstance(held_out.x, np.ndarray)
    if not arrays or not hasattr(model, "start"):
        return
    forward: Any = jax.vmap((lambda x: x) if preprocessing is None else preprocessing.forward)
    if first_stray(model, forward(data.x[:GLANCE])) is None:
        require_states("fit", model, forward(held_out.x), "validation")


def _check_event(name: str, model: Model, data: Batch, preprocessing: Transform | None) -> None:
    """Refuse rows that are no events of a model which says what its events are."""
    shape = getattr(model, "event_shape", None)
    if not isinstance(shape, tuple) or not all(isinstance(n, int) for n in shape):
        return
    if not isinstance(data.x, np.ndarray) or hasattr(model, "latents"):  # rows of a generator are latent
        return
    event = jax.ShapeDtypeStruct(data.x.shape[1:], jnp.float32)
    seen = event if preprocessing is None else jax.eval_shape(preprocessing.forward, event)
    behind = "" if preprocessing is None else " behind the preprocessing"
    wanted = "(n, " + ", ".join(map(str, shape)) + ")" if shape else "(n,)"
    got = f"shape {(len(data.x), *seen.shape)}"
    check(seen.shape == shape, "fit", name, f"of shape {wanted}{behind}, as the model has it", got)
