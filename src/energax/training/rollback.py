r"""What is done about a diagnosis: the fit stops, or goes back and changes what is named.

A copy of the state is taken every `STRIDE` steps and at each checkpoint, in a step without a sign
of trouble, and counts as healthy once the next step shows none either. So the newest such copy is
from before the first sign of whatever is diagnosed later, and so is every checkpoint.

A rollback, the k-th of a fit, returns to that copy, multiplies the tunables that the diagnosis
names by 2⁻ᵏ (on top of what earlier ones changed; the learning rate not where chains failed before
any update), starts chains afresh if it names them, and replaces the fit's key by
fold_in(key, 2³¹ + k). All of it is state, so that a fit killed and resumed rolls back to the same
bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from energax.training.health import Diagnosis
from energax.training.mesh import constrain, place
from energax.training.state import FitState
from energax.typing import Key

if TYPE_CHECKING:
    from energax.training.loop import Fit

__all__ = ["STRIDE", "Change", "Copy", "DivergenceError", "changed", "copied", "told"]

STRIDE = 50


class Change(NamedTuple):
    """What a rollback changes: tunables by name, if the fit has them, and whether chains are fresh."""

    lowered: tuple[str, ...]
    fresh: bool


CHANGES = {
    "non-finite": Change(("learning_rate", "step_size"), True),
    "exploding-energy": Change(("learning_rate", "step_size"), True),
    "collapsing-energy": Change(("learning_rate", "step_size"), True),
    "exploding-score": Change(("learning_rate", "step_size"), True),
    "exploding-loss": Change(("learning_rate",), False),
    "exploding-gradient": Change(("learning_rate",), False),
    "rejecting": Change(("step_size",), False),
    "frozen-chains": Change(("learning_rate",), True),
    "chains-do-not-meet": Change(("learning_rate",), True),
    "slow-chains": Change(("learning_rate",), True),
}


@dataclass(frozen=True)
class Copy:
    """A state to go back to, with what the host knew then.

    Parameters
    ----------
    state
        The state; never donated.
    memory
        What the monitor remembered then.
    step
        Updates made.
    rows
        Metrics of steps before it that are not yet in a record.
    metrics
        To be written beside it if it is a checkpoint; None if it is none.
    """

    state: FitState
    memory: dict[str, Any]
    step: int
    rows: list[Any] = field(default_factory=list)
    metrics: dict[str, float] | None = None


class DivergenceError(ArithmeticError):
    """A fit that diverged and stopped.

    Parameters
    ----------
    diagnosis
        What was found: its name, its step and the step of the first sign, the quantity.
    checkpoint
        The newest whole checkpoint (a step), or None; all are from before the first sign.
    where
        The folder it is in.
    fit
        The fit as it was in the last healthy state: before the first sign.
    stopped
        The state in which it stopped; nothing non-finite was ever applied to it.
    """

    def __init__(self, diagnosis: Diagnosis, checkpoint: int | None, where: str, fit: Fit, stopped: FitState):
        self.diagnosis, self.checkpoint, self.fit, self.stopped = diagnosis, checkpoint, fit, stopped
        self.step, self.quantity, self.value = diagnosis.step, diagnosis.quantity, diagnosis.value
        kept = (
            f"the last good checkpoint is of step {checkpoint} in {where}"
            if checkpoint is not None
            else "no checkpoint had been written"
        )
        before = "; ".join(f"at step {r['at']} {r['diagnosis']} ({told(r)})" for r in fit.rollbacks)
        tries = f"; the tries before: {before}" if before else ""
        super().__init__(f"fit: {diagnosis.name}: {diagnosis.sentence}; {kept}{tries}. {diagnosis.remedy}")


def told(record: Mapping[str, Any]) -> str:
    """Return in words what a rollback changed, from its record."""
    words = [f"{name.replace('_', ' ')} {a:.3g} → {b:.3g}" for name, (a, b) in record["changed"].items()]
    return ", ".join([*words, *(["fresh chains"] if record["fresh_chains"] else []), "new key"])


@partial(jax.jit, static_argnums=1)
def copied(state: FitState, mesh: Mesh) -> FitState:
    """Return a copy, where the state is: a step donates the state it is given."""
    return constrain(jax.tree.map(jnp.copy, state), mesh, split=False)


def changed(
    copy: Copy, diagnosis: Diagnosis, mesh: Mesh, init: Callable[[FitState, Key], Any]
) -> tuple[Copy, dict[str, Any]]:
    """Return the state to go on from, and the record of it.

    Parameters
    ----------
    copy
        The last healthy state.
    diagnosis
        What was found after it.
    mesh
        The fit's devices.
    init
        (state, key) ↦ the objective's own state as it begins with that model.
    """
    state, change = copy.state, CHANGES[diagnosis.name]
    number = int(state.rollbacks) + 1
    key = jax.random.fold_in(state.key, 2**31 + number)  # steps fold in less
    tunables = dict(state.tunables)
    moved = {}
    for name in change.lowered:
        # No update lies between the copy and the sign: the chains alone are to blame.
        innocent = name == "learning_rate" and diagnosis.since == copy.step and "step_size" in tunables
        if name in tunables and not innocent:
            tunables[name] = tunables[name] * 0.5**number
            moved[name] = [float(state.tunables[name]), float(tunables[name])]
    inner = state.state
    fresh = change.fresh and bool(jax.tree.leaves(inner))
    if fresh:
        inner = place(init(state, jax.random.fold_in(key, 2**31)), mesh)
    new = FitState(
        model=state.model,
        nuisance=state.nuisance,
        average=state.average,
        opt=state.opt,
        state=inner,
        tunables=tunables,
        key=key,
        step=state.step,
        rollbacks=state.rollbacks + 1,
        health=state.health,
    )
    record = {
        "step": copy.step,
        "rollback": number,
        "diagnosis": diagnosis.name,
        "since": diagnosis.since,
        "at": diagnosis.step,
        "sentence": diagnosis.sentence,
        "changed": moved,
        "fresh_chains": fresh,
    }
    return replace(copy, state=copied(new, mesh), metrics=None), record
