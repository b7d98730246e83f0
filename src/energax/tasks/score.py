"""One energy per row: lower is likelier."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax.checks import check, check_array, check_condition
from energax.derivatives import Score, evaluate
from energax.tasks.generate import event_shape_of
from energax.tasks.rows import map_rows
from energax.typing import Condition, Model

__all__ = ["score"]


@eqx.filter_jit
def _energies(energy: Model, rows: Any) -> jax.Array:
    return jax.vmap(lambda row: evaluate(energy, row[0], row[1]))(rows)


def score(
    energy: Model,
    x: np.ndarray,
    *,
    condition: Condition | None = None,
    event_shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return E(x) of every row, in nats up to the model's one additive constant log Z.

    A row's energy does not depend on the rows it came with, nor on their order.

    Parameters
    ----------
    energy
        An energy (a `Score` has no value to report).
    x
        Rows, shape (n, *event).
    condition
        One condition per row, for a conditional energy.
    event_shape
        Shape of one event, checked if the energy does not say.

    Returns
    -------
    numpy.ndarray
        Shape (n,).
    """
    check(not isinstance(energy, Score), "score", "energy", "an energy", "a Score, which has no value")
    rows = check_array("score", "x", x, event_shape=event_shape_of(energy, event_shape, "score", x))
    condition = check_condition("score", condition, len(rows))
    values = map_rows(lambda chunk: _energies(energy, chunk), (rows, condition))
    check(values.ndim == 1, "score", "energy", "one number for an event", f"an array {values.shape[1:]}")
    return values
