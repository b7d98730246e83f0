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
from jax.flatten_util import ravel_pytree

from energax.checks import check
from energax.derivatives import Score, hessian_vector_product, probe
from energax.tracing import first_kink
from energax.typing import Condition, Events, Model

__all__ = [
    "require_binary",
    "require_continuous",
    "require_energy",
    "require_smooth",
    "require_spread",
    "require_states",
    "require_within",
    "two_valued",
]

TRIED = 16  # rows at which curvature is looked for
CHECKED = 1000  # rows whose entries are compared with the states a machine takes
TELLING = 3  # rows from which on a column of two values tells bits: two rows have no more, whatever the law


def require_continuous(owner: str, x: Events, instead: str) -> None:
    """Refuse bits, standardised or not: they have no density, so integration by parts says nothing of them.

    One column of more than two values lets a table pass: which of the others to leave out is the user's.
    """
    values = _concrete(x)
    if values is not None and two_valued(x):
        varied = values.min(0) < values.max(0)
        got = f"no column of more than two values, {_few(np.unique(values[:, int(varied.argmax())]))}"
        check(False, owner, "x", f"continuous; for binary data take {instead}", got)


def two_valued(x: Events) -> bool:
    """Whether no column has more than two values; of fewer than three rows, whether all entries have none."""
    values = _concrete(x)
    if values is None:
        return False
    if len(values) < TELLING:
        return len(np.unique(values)) <= 2
    # Most data have a third value among the first rows.
    return all(
        bool(((rows == rows.min(0)) | (rows == rows.max(0))).all()) for rows in (values[:CHECKED], values)
    )


def require_spread(owner: str, x: Events) -> None:
    """Refuse constant columns: on the plane they lie in nothing keeps an energy from falling without end."""
    values = _concrete(x)
    if values is not None:
        flat = np.flatnonzero(values.min(0) == values.max(0))
        some = ", ".join(map(str, flat[:5])) + (", …" if len(flat) > 5 else "")
        ways = "leave them out, add noise to them or take DenoisingScoreMatching"
        allowed = f"free of constant columns, which have no density: {ways}"
        got = f"{flat.size} of {values.shape[1]} columns constant ({some})"
        check(flat.size == 0, owner, "x", allowed, got)


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


def require_states(owner: str, model: Model, x: Events) -> None:
    """Refuse data that a machine of bits or spins cannot take (`model.start` moves them)."""
    if _concrete(x) is None or not isinstance(x, jax.Array | np.ndarray) or not hasattr(model, "start"):
        return
    rows = jnp.asarray(x[:CHECKED])
    nearest = jax.vmap(lambda row: model.start(row, jax.random.key(0)))(rows)
    visible = nearest[0] if isinstance(nearest, tuple) else nearest
    if isinstance(visible, Tracer):  # concrete data, but computed with under a trace
        return
    off = np.asarray(rows != visible)
    name = type(model).__name__
    other = "; for real numbers take a GaussianBernoulliRBM" if off.any() else ""
    allowed = f"states that a {name} can take, {_few(np.unique(visible)[:2])}{other}"
    check(not off.any(), owner, "x", allowed, _few(np.asarray(rows)[off][:1]))


def require_smooth(owner: str, model: Model, x: Events, condition: Condition | None, instead: str) -> None:
    """Refuse an energy with a piecewise linear part: its second derivative is zero or missing."""
    if isinstance(model, Score):  # one derivative of a field is all that is taken
        return
    event, c = jax.tree.map(lambda a: a[0], (x, condition))
    kink = first_kink(model, event) if condition is None else first_kink(model, event, c)
    smooth = "twice differentiable (silu, softplus, tanh, elu), since the loss takes ∇²E"
    check(kink is None, owner, "model", f"{smooth}; or take {instead}", f"an energy with '{kink}' in it")
    if _concrete(x) is not None:
        flat = "an energy whose Hessian is zero wherever it was tried"
        check(_is_curved(model, x, condition), owner, "model", f"{smooth}; or take {instead}", flat)


def _is_curved(model: Model, x: Events, condition: Condition | None) -> bool:
    """Whether some ∇²E v of the first rows is not exactly zero (leaky ReLUs and |·| end so)."""
    rows = jax.tree.map(lambda a: jnp.asarray(a[:TRIED]), (x, condition))

    @jax.jit
    def products(rows):
        def one(row, k):
            v = probe("gaussian", row[0], k)
            return ravel_pytree(hessian_vector_product(model, row[0], v, row[1]))[0]

        return jax.vmap(one)(rows, jax.random.split(jax.random.key(0), jax.tree.leaves(rows)[0].shape[0]))

    return bool(jnp.any(products(rows) != 0))


def _concrete(x: Events) -> np.ndarray | None:
    leaves = jax.tree.leaves(x)
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return None
    return np.concatenate([np.asarray(leaf).reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _few(values: Any) -> str:
    return "entries " + ", ".join(f"{v:g}" for v in values[:3])
