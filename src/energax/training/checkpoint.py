"""Checkpoints of a fit: written atomically by Orbax, restored onto the start state's places.

A checkpoint is a flat dictionary from the path of each array in `FitState` to the array. Orbax
writes it under a temporary name and renames it when it is whole, so that a process killed at
any moment leaves only whole checkpoints behind.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from energax.checks import InputError, check
from energax.config import FitConfig
from energax.training.state import FitState

__all__ = ["Checkpoints", "Unwritable"]


def _flatten(state: FitState) -> dict[str, jax.Array]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)

    def raw(leaf):
        is_key = jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return jax.random.key_data(leaf) if is_key else leaf

    return {jax.tree_util.keystr(path): raw(leaf) for path, leaf in leaves}


def _unflatten(values: dict[str, jax.Array], like: FitState) -> FitState:
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)

    def restore(path, leaf):
        value = values[jax.tree_util.keystr(path)]
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(value, impl=str(jax.random.key_impl(leaf)))
        return value

    return structure.unflatten([restore(path, leaf) for path, leaf in leaves])


class Unwritable(InputError):
    """A checkpoint that the machine would not write, which is no mistake in what was asked."""


class Checkpoints:
    """The checkpoints of one fit, in one folder.

    Parameters
    ----------
    folder
        Where they are; made if absent.
    config
        Says which are kept: the last, the best by validation loss, or all.
    """

    def __init__(self, folder: Path | str, config: FitConfig):
        import orbax.checkpoint as ocp

        self.folder = Path(folder).absolute()
        self._ocp = ocp
        # A fit that is interrupted keeps the state it would roll back to beside its last.
        count = max(config.keep_count, 2) if config.on_divergence == "rollback" else config.keep_count
        self._judged = config.keep == "best"
        best = {"best_fn": _validation_loss, "best_mode": "min"} if self._judged else {}
        options = ocp.CheckpointManagerOptions(
            max_to_keep=None if config.keep == "all" else count,
            step_prefix="step",
            enable_async_checkpointing=False,
            **best,
        )
        try:
            # The handler is named so that a checkpoint's shapes can be asked for before it is read.
            self._manager = ocp.CheckpointManager(
                self.folder, options=options, item_handlers=ocp.StandardCheckpointHandler()
            )
        except OSError as error:
            raise InputError(f"fit: cannot open the checkpoint folder {self.folder}: {error}.") from error

    @property
    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    @property
    def steps(self) -> list[int]:
        """Steps of the whole checkpoints, oldest first."""
        return sorted(self._manager.all_steps())

    def before(self, step: int) -> int | None:
        """Step of the newest whole checkpoint before this step, or None."""
        return max((s for s in self._manager.all_steps() if s < step), default=None)

    def save(self, state: FitState, step: int, metrics: dict[str, float]) -> None:
        """Write a checkpoint; it is whole when this returns.

        Of the best by validation loss, one without that loss (where a fit was stopped) is kept beside
        them, until the next that has it.

        Raises
        ------
        Unwritable
            If it cannot be written (a full disk, say). Older checkpoints are untouched.
        """
        if self.latest is not None and self.latest >= step:
            return
        ocp = self._ocp
        try:
            self._manager.save(step, args=ocp.args.StandardSave(_flatten(state)), metrics=metrics or None)
            self._manager.wait_until_finished()
            if self._judged and metrics:
                self._drop_unjudged(step)
        except (OSError, ValueError, RuntimeError) as error:
            for partial in self.folder.glob(f"*{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
            # TensorStore names its files at length before it says what every full disk is told by.
            full = os.strerror(errno.ENOSPC)
            reason = full if full in str(error) else str(error).splitlines()[0][:200]
            raise Unwritable(
                f"fit: the checkpoint of step {step} could not be written to {self.folder}: {reason}; "
                f"the newest whole one is of step {self.latest}."
            ) from error

    def restore(self, like: FitState, step: int | None = None) -> FitState:
        """Return the state of a step (the newest if None), on the devices of `like`.

        Raises
        ------
        InputError
            If there is none, it is damaged, or it belongs to another model.
        """
        step = self.latest if step is None else step
        check(step is not None, "fit", "resume", "asked of a folder with a checkpoint", str(self.folder))
        template = _flatten(like)
        assert step is not None
        self._check_shapes(step, template)
        abstract = {
            name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in template.items()
        }
        try:
            values: Any = self._manager.restore(step, args=self._ocp.args.StandardRestore(abstract))
        except Exception as error:
            reason = str(error).splitlines()[0][:200]
            raise InputError(
                f"fit: the checkpoint of step {step} in {self.folder} cannot be read as this model's: "
                f"{reason}."
            ) from error
        # A copy, so that the restored buffers are XLA's own and may be donated.
        return jax.tree.map(jnp.copy, _unflatten(values, like))

    def _drop_unjudged(self, step: int) -> None:
        """Delete what a stopped fit left before this step: Orbax never counts it among the best."""
        for earlier in self.steps:
            if earlier < step and self._manager.metrics(earlier) is None:
                self._manager.delete(earlier)

    def _check_shapes(self, step: int, template: dict[str, jax.Array]) -> None:
        """Refuse another model's checkpoint before reading it: TensorStore fails loudly on it."""
        try:
            stored = {name: tuple(a.shape) for name, a in self._manager.item_metadata(step).tree.items()}
        except Exception:  # damaged metadata: let the read itself say what is wrong
            return
        wanted = {name: tuple(a.shape) for name, a in template.items()}
        differ = sorted(
            name for name in stored.keys() | wanted.keys() if stored.get(name) != wanted.get(name)
        )
        if differ:
            name = differ[0]
            raise InputError(
                f"fit: the checkpoint of step {step} in {self.folder} cannot be read as this model's: "
                f"{name} has shape {wanted.get(name, 'none')} here and {stored.get(name, 'none')} there."
            )

    def close(self) -> None:
        """Wait for anything under way and release the folder."""
        self._manager.wait_until_finished()
        self._manager.close()


def _validation_loss(metrics: dict[str, float]) -> float:
    return metrics["validation_loss"]
