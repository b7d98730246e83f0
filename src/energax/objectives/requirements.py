"""What an objective asks of the data and the model, refused in one sentence that names a way out.

Called from `Objective.init`, which sees the whole data set once. Values can be looked at only
when they are concrete: under a trace (a dry run of shapes) the checks on values wait.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from energax import checks
from energax.checks import check, check_continuous, check_spread
from energax.derivatives import Score
from energax.edges import check_no_edge
from energax.kinks import derivative_jumps
from energax.tracing import first_kink, first_suspect
from energax.typing import Condition, Events, Model

__all__ = [
    "WALLED",
    "first_stray",
    "require_array",
    "require_binary",
    "require_continuous",
    "require_energy",
    "require_no_edge",
    "require_smooth",
    "require_spread",
    "require_states",
    "require_within",
    "two_valued",
]

WALLED = "NonNegativeScoreMatching or BoxScoreMatching"
CHECKED = 1000  # rows that are looked beyond
CHUNK = 4096  # rows that are compared at once with the states a machine takes


def require_array(owner: str, x: Events, what: str = "one array") -> None:
    """Refuse rows in a pytree, where a loss speaks of one array; a dictionary of one array is none."""
    plain = jax.tree_util.treedef_is_leaf(jax.tree.structure(x))
    check(plain, owner, "x", what, f"a {type(x).__name__}")


def require_continuous(owner: str, x: Events, instead: str) -> None:
    """Refuse bits, standardised or not: they have no density, and integration by parts says nothing."""
    values = _concrete(x)
    if values is not None:
        check_continuous(owner, "x", values, instead)


def two_valued(x: Events) -> bool:
    """Whether no column has more than two values (`checks.two_valued`), as far as values are known."""
    values = _concrete(x)
    return values is not None and checks.two_valued(values)


def require_spread(owner: str, x: Events) -> None:
    """Refuse constant columns, on which a loss falls without end."""
    values = _concrete(x)
    if values is not None:
        check_spread(owner, "x", values, "leave them out, add noise to them or take DenoisingScoreMatching")


def require_energy(owner: str, model: Model) -> None:
    """Refuse a vector field, where energies of two points are compared."""
    a_field = isinstance(model, Score)
    check(not a_field, owner, "model", "an energy: a vector field has no likelihood", "a Score")


def require_binary(owner: str, x: Events, instead: str) -> None:
    """Refuse data that are not zeros and ones."""
    values = _concrete(x)
    if values is not None:
        other = values[(values != 0) & (values != 1)]
        check(other.size == 0, owner, "x", f"zeros and ones; for other data take {instead}", _few(other[:1]))


def require_within(owner: str, x: Events, low: float, high: float, instead: str) -> None:
    """Refuse data outside [low, high]."""
    values = _concrete(x)
    if values is not None:
        where = f"within [{low:g}, {high:g}]; for data beyond take {instead}"
        outside = values[(values < low) | (values > high)]
        check(outside.size == 0, owner, "x", where, _few(outside[:1]))


def require_states(owner: str, model: Model, x: Events, argument: str = "x") -> None:
    """Refuse data that a machine of bits or spins cannot take (`model.start` moves them)."""
    found = first_stray(model, x)
    if found is None:
        return
    value, row = found
    beyond = np.stack([np.full(np.shape(x)[1:], v, np.float32) for v in (-2, 2)])
    states = " and ".join(f"{v:g}" for v in np.unique(_visible(model, beyond)))
    name = type(model).__name__
    allowed = f"states of the {name}, {states}; for real numbers take a GaussianBernoulliRBM"
    check(False, owner, argument, allowed, f"{_few([value])} in row {row}")


def first_stray(model: Model, x: Events) -> tuple[float, int] | None:
    """Return the first entry of rows that is no state of a machine, and its row; None if all are.

    None, too, of models that move any row, and under a trace.
    """
    if isinstance(x, Tracer) or not isinstance(x, jax.Array | np.ndarray) or not hasattr(model, "start"):
        return None
    for first in range(0, len(x), CHUNK):
        rows = x[first : first + CHUNK]
        nearest = _visible(model, rows)
        if isinstance(nearest, Tracer):  # concrete data, but computed with under a trace
            return None
        off = np.asarray(rows != nearest)
        if off.any():
            row = int(np.argmax(off.reshape(len(rows), -1).any(axis=1)))
            return float(np.asarray(rows)[off][0]), first + row
    return None


def _visible(model: Model, rows: Any) -> Any:
    """Return the states of the visible units that are nearest to rows."""
    nearest = jax.vmap(lambda row: model.start(row, jax.random.key(0)))(jnp.asarray(rows))
    return nearest[0] if isinstance(nearest, tuple) else nearest


def require_no_edge(
    owner: str,
    argument: str,
    model: Model,
    x: Events | None = None,
    condition: Condition | None = None,
    *,
    instead: str,
) -> None:
    """Refuse a model whose density ends at an edge, as it says or as is seen just beyond the rows.

    Of events of several arrays only what the model says counts.
    """
    if not isinstance(x, jax.Array | np.ndarray) or isinstance(x, Tracer):
        x = condition = None
    x, condition = jax.tree.map(lambda a: a[:CHECKED], (x, condition))
    check_no_edge(owner, argument, model, x, condition, instead=instead)


def require_smooth(
    owner: str,
    model: Model,
    x: Events,
    condition: Condition | None,
    *,
    order: int,
    instead: str | None = None,
) -> None:
    """Refuse a model by whose kinks the loss's slope in the parameters would be wrong.

    A loss that holds the r-th derivative of E in x descends by ∂_θ of it. Where that derivative jumps, at a
    place that θ moves, its mean over x moves with the jump, and ∂_θ taken point by point does not see it: for
    E = 1.5 elu(x − b) + x²/2 and normal x exact score matching has the slope −0.41 in b at 0.3, of which
    autodiff finds +0.17. So derivatives up to the r-th must be continuous.

    Parameters
    ----------
    order
        r, of an energy; a field is one derivative further.
    instead
        Objectives that would do, for data such as x.
    """
    if isinstance(model, Score):
        order -= 1
    if order == 0:
        return
    event, c = jax.tree.map(lambda a: a[0], (x, condition))
    arguments = (model, event) if condition is None else (model, event, c)
    kink = first_kink(*arguments, order=order)
    if kink is None and _concrete(x) is not None:
        suspect = first_suspect(*arguments)
        if suspect is not None and any(derivative_jumps(model, x, condition, r) for r in range(1, order + 1)):
            kink = suspect
    smooth = ("silu, softplus, tanh, gelu, elu", "silu, softplus, tanh, gelu")[order - 1]
    what = "a field" if isinstance(model, Score) else "an energy"
    allowed = f"without kinks, its derivatives continuous up to number {order} ({smooth})"
    way_out = "" if instead is None else f"; or take {instead}"
    check(kink is None, owner, "model", allowed + way_out, f"{what} with '{kink}' in it")


def _concrete(x: Events) -> np.ndarray | None:
    leaves = jax.tree.leaves(x)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return None
    return np.concatenate([np.asarray(leaf).reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _few(values: Any) -> str:
    return "entries " + ", ".join(f"{v:g}" for v in values[:3])
