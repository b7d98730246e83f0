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

__all__ = ["require_binary", "require_continuous", "require_smooth", "require_states", "require_within"]

TRIED = 16  # rows at which curvature is looked for
CHUNK = 4096  # rows that are compared at once with the states a machine takes


def require_continuous(owner: str, x: Events, instead: str) -> None:
    """Refuse data of two values: it has no density, so integration by parts says nothing of it."""
    values = _concrete(x)
    if values is not None:
        known = np.unique(values[: 10_000 // max(values.shape[1], 1) + 100])
        if len(known) <= 2:
            known = np.unique(values)
        check(len(known) > 2, owner, "x", f"continuous; for binary data take {instead}", _few(known))


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
    if isinstance(x, Tracer) or not isinstance(x, jax.Array | np.ndarray) or not hasattr(model, "start"):
        return
    for first in range(0, len(x), CHUNK):
        rows = x[first : first + CHUNK]
        nearest = _visible(model, rows)
        if isinstance(nearest, Tracer):  # concrete data, but computed with under a trace
            return
        off = np.asarray(rows != nearest)
        if off.any():
            beyond = np.stack([np.full(rows.shape[1:], v, np.float32) for v in (-2, 2)])
            states = " and ".join(f"{v:g}" for v in np.unique(_visible(model, beyond)))
            name = type(model).__name__
            allowed = f"states of the {name}, {states}; for real numbers take a GaussianBernoulliRBM"
            row = first + int(np.argmax(off.reshape(len(rows), -1).any(axis=1)))
            check(False, owner, "x", allowed, f"{_few(np.asarray(rows)[off][:1])} in row {row}")


def _visible(model: Model, rows: Any) -> Any:
    """Return the states of the visible units that are nearest to rows."""
    nearest = jax.vmap(lambda row: model.start(row, jax.random.key(0)))(jnp.asarray(rows))
    return nearest[0] if isinstance(nearest, tuple) else nearest


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
