r"""Edges: where a density ends, as on a half-line or a box, and integration by parts fails there.

Every Stein discrepancy, and score matching with f the model's score, rests on

    E_p[s·f + tr ∇f] = ∫ div(p f) dx = 0,        s the score of p,

which on a domain with an edge lacks the flux of p f through it. Two things tell: an energy that says so
(`has_edge`), and one that is no longer finite just beyond the rows.

Where p falls to zero like tᵃ, t the distance from the edge, nothing flows through it; but E‖s‖⁴, on which
the spread of a test's diagonal rests, is finite only for a > 3. Such an edge (of a log-normal law, or of a
Gaussian seen through a logistic function) does no harm. Of 300 samples of 200 rows of Gamma(a + 1, 1)² the
kernel test rejected at the level 0.05: all at a = 0, 0.19 at ½, 0.11 at 1, 0.08 at 2, 0.05 at 3.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer

from energax.checks import check
from energax.derivatives import Score, evaluate
from energax.typing import Array, Condition, Events, Model

__all__ = ["check_no_edge", "has_edge"]

BEYOND = 0.1  # of a coordinate's range: rows of a law with mass at its edge come far nearer to it
COORDINATES = 256  # at most, evenly spread
HALVINGS = 20
WITHIN = 2.0**-8  # of the step: how near the edge the fall of the density is measured
HARMLESS = 3.0  # of a


def has_edge(model: Model) -> bool:
    """Whether a model says that its density ends at an edge."""
    return bool(getattr(model, "has_edge", False))


def check_no_edge(
    owner: str,
    argument: str,
    model: Model,
    x: Any = None,
    condition: Condition | None = None,
    *,
    instead: str,
) -> None:
    """Refuse a law that says it has an edge, and one whose energy is not finite just beyond the rows.

    Parameters
    ----------
    model
        An energy, conditional or not; of a `Score` nothing can be seen but what it says.
    x, condition
        Rows in one array, shape (n, *event), and their conditions; None asks the model alone.
    instead
        What to take for such a law.
    """
    allowed = f"on all of ℝᵈ: where a density ends at an edge, Stein's identity fails; take {instead}"
    check(not has_edge(model), owner, argument, allowed, f"a {type(model).__name__}")
    # A model that lost its parameters has no edge: the watch over training names what happened to it.
    if x is not None and not isinstance(model, Score) and not _lost(model):
        found = _edge_near(model, np.asarray(x, np.float32), condition)
        check(found is None, owner, argument, allowed, found)


def _lost(model: Model) -> bool:
    parameters = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    return any(not isinstance(a, Tracer) and bool(np.isnan(a).any()) for a in parameters)


def _edge_near(model: Model, x: np.ndarray, condition: Condition | None) -> str | None:
    """Return where the energy is not finite at, or a step beyond, the outermost rows; None if nowhere.

    In each coordinate the lowest and the highest row are moved outwards, the others held.
    """
    flat = x.reshape(len(x), -1)
    columns = np.unique(np.linspace(0, flat.shape[1] - 1, COORDINATES).astype(int))
    which = np.concatenate([flat[:, columns].argmin(0), flat[:, columns].argmax(0)])
    column = np.tile(columns, 2)
    low, high = flat.min(0)[column], flat.max(0)[column]
    step = BEYOND * (high - low) * np.repeat([-1, 1], len(columns))
    moved = np.arange(len(which)), column
    given = jax.tree.map(lambda a: np.asarray(a)[which], condition)

    def rows(t):
        y = flat[which]
        y[moved] += t * step
        return y

    def energies(t):
        return _energies(model, rows(t).reshape(-1, *x.shape[1:]), given)

    here, beyond = energies(0.0), energies(1.0)
    if isinstance(here, Tracer):  # concrete rows, but computed with under a trace
        return None
    outside = ~np.isfinite(here)
    if outside.any():
        i = int(np.argmax(outside))
        return f"an energy of {here[i]} at row {which[i]}"
    suspect = ~np.isfinite(beyond)
    if not suspect.any():
        return None
    ends = np.zeros(len(which)), np.ones(len(which))
    for _ in range(HALVINGS):
        middle = (ends[0] + ends[1]) / 2
        inside = np.isfinite(np.asarray(energies(middle)))
        ends = np.where(inside, middle, ends[0]), np.where(inside, ends[1], middle)
    with np.errstate(over="ignore", invalid="ignore"):
        far, near = (np.asarray(energies(ends[0] - h)) for h in (WITHIN, WITHIN / 4))
        # a of p ~ tᵃ. An overflow is reached through huge energies, and does no harm either.
        fall = (near - far) / np.log(4)
    suspect &= ~(fall > HARMLESS)
    if not suspect.any():
        return None
    i = int(np.argmax(suspect))
    was, became = flat[which[i], column[i]], rows(1.0)[i, column[i]]
    return (
        f"an energy of {beyond[i]} where entry {column[i]} of row {which[i]} moves from {was:.3g} "
        f"to {became:.3g}"
    )


def _energies(model: Model, x: Events, condition: Condition | None) -> Any:
    found = _evaluated(model, x, condition)
    return found if isinstance(found, Tracer) else np.asarray(found)


@eqx.filter_jit
def _evaluated(model: Model, x: Events, condition: Condition | None) -> Array:
    return jax.vmap(lambda y, c: evaluate(model, y, c))(x, condition)
