"""The model's score at the sample, from whatever the user has: an energy, a log-density, a score, numbers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array
from energax.derivatives import score
from energax.energies import Gamma, TruncatedGaussian
from energax.evaluation.posterior import is_posterior, posterior_rows
from energax.typing import Array, ArrayLike, Model

__all__ = ["LogDensity", "sample_and_scores"]

CHUNK = 4096
FEWEST = 4
AGREE = 1e-2
BOUNDED = (Gamma, TruncatedGaussian)


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

    Of `model` (an energy, a `Score`, a `LogDensity`) and `scores` (∇ log p at the rows) one is enough; where
    both are given they must agree.

    Raises
    ------
    InputError
        If neither is given, shapes differ, a score is not finite (the rows are named), the scores are
        not the model's, or the model lives on a half-space or a box.
    """
    given = model is not None or scores is not None
    check(
        given,
        owner,
        "model or scores",
        "given: an energy, a Score, a LogDensity; or ∇ log p at the rows",
        None,
    )
    allowed = "on all of ℝᵈ: where a density ends at an edge, Stein's identity fails"
    check(not isinstance(model, BOUNDED), owner, "model", allowed, f"a {type(model).__name__}")
    kept: Any = slice(None)
    if is_posterior(x):
        x, kept = posterior_rows(x)
    rows = check_array(owner, "x", x, at_least_rows=FEWEST)
    shape, rows = rows.shape, rows[kept]
    enough = len(rows) >= FEWEST
    check(enough, owner, "x", f"draws worth at least {FEWEST} independent ones", f"worth {len(rows)}")
    own = None if model is None else _scores(model, rows)
    if scores is None:
        assert own is not None
        found, where = own, f"finite at every row ({type(model).__name__})"
    else:
        found, where = np.asarray(scores), "finite at every row"
        numeric = found.dtype.kind in "fiu"
        check(numeric, owner, "scores", "an array of real numbers", f"entries of type {found.dtype}")
        check(found.shape == shape, owner, "scores", f"of the shape of x, {shape}", f"shape {found.shape}")
        found = found[kept].astype(np.float32)
    flat = found.reshape(len(rows), -1)
    bad = np.flatnonzero(~np.isfinite(flat).all(1))
    some = ", ".join(map(str, bad[:5])) + (", …" if len(bad) > 5 else "")
    check(bad.size == 0, owner, "scores", where, f"{bad.size} rows that are not ({some})")
    if scores is not None and own is not None:
        off = np.linalg.norm(flat - own.reshape(flat.shape), axis=1) / (1 + np.linalg.norm(flat, axis=1))
        worst = int(np.argmax(off))
        got = f"a difference of {off[worst]:.2g} of their size in row {worst}"
        check(off[worst] < AGREE, owner, "scores", "the gradient of the given log-density", got)
    return rows.reshape(len(rows), -1), flat


@eqx.filter_jit
def _chunk(model: Model, x: Array) -> Array:
    return jax.vmap(lambda y: score(model, y))(x)


def _scores(model: Model, rows: np.ndarray) -> np.ndarray:
    size = min(CHUNK, 1 << (len(rows) - 1).bit_length())  # powers of two: few programs for all sizes
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    parts = [
        np.asarray(_chunk(model, jnp.asarray(padded[i : i + size]))) for i in range(0, len(padded), size)
    ]
    return np.concatenate(parts)[: len(rows)]
