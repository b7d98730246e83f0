"""The model's score at the sample, from whatever the user has: an energy, a log-density, a score, numbers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array
from energax.derivatives import score
from energax.typing import ArrayLike, Model

__all__ = ["LogDensity", "sample_and_scores"]

CHUNK = 4096
FEWEST = 4


class LogDensity(eqx.Module):
    """The energy x ↦ −log p(x) of a user's log-density, up to a constant.

    Parameters
    ----------
    function
        x ↦ log p(x) + constant on one row, written in JAX.
    """

    function: Any

    def __call__(self, x: Any, condition: Any = None) -> Any:
        """Return −log p(x)."""
        return -self.function(x)


def sample_and_scores(
    owner: str, x: ArrayLike, model: Model | None, scores: ArrayLike | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and the model's scores at them, each of shape (n, d) in float32.

    Exactly one of `model` (an energy, a `Score`, a `LogDensity`) and `scores` (∇ log p at the rows)
    is to be given.

    Raises
    ------
    InputError
        If neither or both are given, shapes differ, or a score is not finite (the rows are named).
    """
    check(
        (model is None) != (scores is None),
        owner,
        "model and scores",
        "given one without the other",
        "both or neither",
    )
    rows = check_array(owner, "x", x, at_least_rows=FEWEST)
    if scores is None:
        assert model is not None
        found = _scores(model, rows)
        where = f"finite at every row ({type(model).__name__})"
    else:
        found = np.asarray(scores)
        check(
            found.dtype.kind in "fiu",
            owner,
            "scores",
            "an array of real numbers",
            f"entries of type {found.dtype}",
        )
        check(
            found.shape == rows.shape,
            owner,
            "scores",
            f"of the shape of x, {rows.shape}",
            f"shape {found.shape}",
        )
        found, where = found.astype(np.float32), "finite at every row"
    flat = found.reshape(len(rows), -1)
    bad = np.flatnonzero(~np.isfinite(flat).all(1))
    some = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
    check(bad.size == 0, owner, "scores", where, f"{bad.size} rows that are not ({some})")
    return rows.reshape(len(rows), -1), flat


def _scores(model: Model, rows: np.ndarray) -> np.ndarray:
    @eqx.filter_jit
    def chunk(model, x):
        return jax.vmap(lambda y: score(model, y))(x)

    size = min(CHUNK, len(rows))
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    parts = [np.asarray(chunk(model, jnp.asarray(padded[i : i + size]))) for i in range(0, len(padded), size)]
    return np.concatenate(parts)[: len(rows)]
