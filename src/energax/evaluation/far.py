r"""Whether an energy falls far from the data, where no chain that starts near them comes.

Far out, at x = c + Rs ∘ u with ‖u‖ = 1, c and s the rows' mean and standard deviations and R a thousand,
directions descend on the sphere,

    u ← (u − a t/‖t‖) normalised,      t = ∇_u E without its part along u,      a from 0.3 down to 0.

An energy that is lower there than at every row, and lower still at 2R, has more mass there than near the
rows: its log Z is another than chains find, or there is none, where e^{−E} falls in no direction of a cone.
Networks with a quadratic head are quadratic far out and may do so; along a random direction they hardly ever
show it. That no direction was found proves nothing.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import evaluate
from energax.typing import Array, Key, Model

__all__ = ["falls_far_out"]

FAR = 1000.0  # R
DIRECTIONS, STEPS = 32, 60
LONGEST = 0.3  # of a step, in radians
ROWS = 1000  # that tell where near is
FLAT = 1e-3  # of the mean deviation: the least of a column


def falls_far_out(energy: Model, x: np.ndarray, key: Key) -> bool:
    """Return whether the energy is lower far from the rows than at any of them, in a direction found.

    Parameters
    ----------
    energy
        E of one event, of reals.
    x
        Rows, shape (n, *event).
    key
        Decides the directions that are tried first.
    """
    rows = jnp.asarray(x[:ROWS], jnp.float32)
    scale = rows.std(0)
    scale = jnp.maximum(scale, FLAT * jnp.mean(scale))
    place = rows.mean(0), scale
    u = jax.random.normal(key, (DIRECTIONS, rows[0].size))
    u = u / jnp.linalg.norm(u, axis=1, keepdims=True)
    for i in range(STEPS):  # from here, lest a convolution be in a compiled loop
        u = _descended(energy, place, u, jnp.asarray(LONGEST * (1 - i / STEPS)))
    near, once, twice = (np.asarray(a, np.float64) for a in _heights(energy, place, u, rows))
    return bool(np.any((once < near.min()) & (twice < once)))


def _at(place: tuple[Array, Array], u: Array, far: float) -> Array:
    return place[0] + far * place[1] * u.reshape(place[0].shape)


@eqx.filter_jit
def _descended(energy: Model, place: Any, u: Array, step: Array) -> Array:
    slope = jax.vmap(jax.grad(lambda v: evaluate(energy, _at(place, v, FAR), None)))(u)
    along = slope - jnp.sum(slope * u, axis=1, keepdims=True) * u
    along = along / jnp.linalg.norm(along, axis=1, keepdims=True)
    moved = u - step * jnp.where(jnp.isfinite(along), along, 0.0)  # where E is flat, or has overflowed
    return moved / jnp.linalg.norm(moved, axis=1, keepdims=True)


@eqx.filter_jit
def _heights(energy: Model, place: Any, u: Array, rows: Array) -> tuple[Array, Array, Array]:
    once, twice = (
        jax.vmap(lambda v, f=f: evaluate(energy, _at(place, v, f), None))(u) for f in (FAR, 2 * FAR)
    )
    return jax.vmap(lambda y: evaluate(energy, y, None))(rows), once, twice
