"""The model's score at the sample, from whatever the user has: an energy, a log-density, a score, numbers."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_continuous, check_finite_rows
from energax.derivatives import Score, energy_and_score, score
from energax.edges import check_no_edge, has_edge
from energax.evaluation.posterior import is_posterior, posterior_rows
from energax.typing import Array, ArrayLike, Model

__all__ = ["LogDensity", "sample_and_scores"]

CHUNK = 4096
FEWEST = 4
AGREE = 1e-2
WALLED = "log x, or a logit of x, as the variable"
DISCRETE = "mmd_test, which asks for no score but for draws of the law"


class LogDensity(eqx.Module):
    """The energy x ↦ −log p(x) of a user's log-density, up to a constant.

    Parameters
    ----------
    function
        x ↦ log p(x) + constant on one row, written in JAX.
    """

    function: Any

    @property
    def has_edge(self) -> bool:
        """That of the energy whose `log_prob` this is, if it is one's."""
        return has_edge(getattr(self.function, "__self__", self.function))

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
        If neither is given, shapes differ, rows are of bits, a score or the energy is not finite (the rows
        are named), the scores are not the model's, or the model has an edge (scores alone do not tell).
    """
    given = model is not None or scores is not None
    check(
        given,
        owner,
        "model or scores",
        "given: an energy, a Score, a LogDensity; or ∇ log p at the rows",
        None,
    )
    check_no_edge(owner, "model", model, instead=WALLED)
    kept: Any = slice(None)
    if is_posterior(x):
        x, kept = posterior_rows(x)
    rows = check_array(owner, "x", x, at_least_rows=FEWEST)
    shape, rows = rows.shape, rows[kept]
    enough = len(rows) >= FEWEST
    check(enough, owner, "x", f"draws worth at least {FEWEST} independent ones", f"worth {len(rows)}")
    check_continuous(owner, "x", rows.reshape(len(rows), -1), DISCRETE)
    energies, own = (None, None) if model is None else _scores(model, rows)
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
    check_finite_rows(owner, "scores", flat, where)
    if energies is not None:
        check_finite_rows(owner, "model", energies, "an energy that is finite at every row")
        check_no_edge(owner, "model", model, rows, instead=WALLED)
    if scores is not None and own is not None:
        off = np.linalg.norm(flat - own.reshape(flat.shape), axis=1) / (1 + np.linalg.norm(flat, axis=1))
        worst = int(np.argmax(off))
        got = f"a difference of {off[worst]:.2g} of their size in row {worst}"
        check(off[worst] < AGREE, owner, "scores", "the gradient of the given log-density", got)
    return rows.reshape(len(rows), -1), flat


@eqx.filter_jit
def _chunk(model: Model, x: Array) -> tuple[Array | None, Array]:
    if isinstance(model, Score):
        return None, jax.vmap(lambda y: score(model, y))(x)
    return jax.vmap(lambda y: energy_and_score(model, y))(x)


def _scores(model: Model, rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    """Return the energies, None of a `Score`, and the scores."""
    size = min(CHUNK, 1 << (len(rows) - 1).bit_length())  # powers of two: few programs for all sizes
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    parts = [
        jax.tree.map(np.asarray, _chunk(model, jnp.asarray(padded[i : i + size])))
        for i in range(0, len(padded), size)
    ]
    return jax.tree.map(lambda *part: np.concatenate(part)[: len(rows)], *parts)
