"""Kinks: where a derivative of a model in x jumps, found by looking.

`tracing.first_kink` knows them by name; where a program only may have one (`tracing.first_suspect`), its
derivative is followed along lines.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import derivative_along, probe
from energax.typing import Condition, Events, Model

__all__ = ["derivative_jumps"]

LINES, POINTS, WIDTH, FOLLOWED = 4, 65, 2.0, 8
FEWEST_HALVINGS, WATCHED = 8, 4


def derivative_jumps(model: Model, x: Events, condition: Condition | None, order: int) -> bool:
    """Whether the model's derivative of that order along some line through the rows jumps.

    The derivative is taken at POINTS places of each line. Where it bends most between two of them, the
    interval is halved again and again, towards the half in which it changes more: of a smooth function the
    change dwindles with the interval, of one that jumps it stays.
    """
    few, given = jax.tree.map(lambda a: jnp.asarray(a[np.arange(LINES) % len(a)]), (x, condition))
    flat = np.concatenate([np.asarray(a).reshape(len(a), -1) for a in jax.tree.leaves(x)], axis=1)
    spread = float(flat[:1000].std(axis=0).mean()) or 1.0
    grain = np.finfo(np.float32).eps * (np.abs(flat).max() + WIDTH * spread)
    halvings = int(np.log2(2 * WIDTH * spread / POINTS / (4 * grain)))
    if halvings < FEWEST_HALVINGS:
        return False  # float32 has no room for places so near to each other

    v_key, u_key = jax.random.split(jax.random.key(0))
    drawn = jax.vmap(lambda row, k: probe("gaussian", row, k))
    v, u = (drawn(few, jax.random.split(k, LINES)) for k in (v_key, u_key))

    @jax.jit
    def derivative(t: jax.Array) -> jax.Array:
        """Return it at places of each line, shape (LINES, POINTS)."""
        along = lambda x, c, v, u, t: derivative_along(model, x, c, v, u, t, order=order)  # noqa: E731
        return jax.vmap(along)(few, given, v, u, t)

    def at(places: np.ndarray) -> np.ndarray:
        padded = np.zeros((LINES, POINTS), np.float32)  # one shape, one program
        padded[:, : places.shape[1]] = places
        return np.asarray(derivative(padded), np.float64)[:, : places.shape[1]]

    t = np.tile(np.linspace(-WIDTH * spread, WIDTH * spread, POINTS, dtype=np.float32), (LINES, 1))
    values = at(t)
    if not np.isfinite(values).all():
        return False
    size = np.ptp(values, axis=1, keepdims=True) + 1e-3 * np.abs(values).max(axis=1, keepdims=True)
    where = np.argsort(-np.abs(np.diff(values, 2)))[:, :FOLLOWED]  # a bend lies in one of two intervals
    low, high = (np.take_along_axis(t, np.concatenate([where + k, where + k + 1], 1), 1) for k in (0, 1))
    changes = []
    for _ in range(halvings):
        middle = (low + high) / 2
        a, m, b = np.split(at(np.concatenate([low, middle, high], axis=1)), 3, axis=1)
        left = np.abs(m - a) > np.abs(b - m)
        low, high = np.where(left, low, middle), np.where(left, middle, high)
        changes.append(np.where(left, np.abs(m - a), np.abs(b - m)))
    last, earlier = changes[-1], changes[-1 - WATCHED]
    return bool(np.any((last > earlier / 2) & (last > 1e-3 * size)))
