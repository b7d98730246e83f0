"""States of bits or spins that differ from a given one in a single coordinate."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from energax.checks import check
from energax.derivatives import evaluate
from energax.objectives.requirements import require_array
from energax.typing import Array, Condition, Events, Float, Model, Scalar

__all__ = ["flipped_energies", "other_state"]

FLIP_CHUNK = 64  # flips evaluated at a time


def other_state(owner: str, x: Events, instead: str) -> Scalar:
    """Return the sum of a coordinate's two states, 1 for bits and 0 for spins; refuse other data."""
    require_array(owner, x, "one array of bits or spins")
    if isinstance(x, Tracer):  # a dry run of shapes
        return jnp.ones(())
    values = np.unique(np.asarray(x))
    bits, spins = bool(np.isin(values, (0, 1)).all()), bool(np.isin(values, (-1, 1)).all())
    allowed = f"zeros and ones, or spins ±1; for other data take {instead}"
    check(bits or spins, owner, "x", allowed, "entries " + ", ".join(f"{v:g}" for v in values[:3]))
    return jnp.asarray(1.0 if bits else 0.0)


def flipped_energies(
    model: Model, x: Array, condition: Condition | None, total: float | Scalar
) -> Float[Array, " d"]:
    """Return E(x̄ⁱ) for each coordinate i turned from x_i to total − x_i, shape (d,)."""
    states = x.ravel()

    def flipped(i):
        return evaluate(model, states.at[i].set(total - states[i]).reshape(x.shape), condition)

    coordinates = jnp.arange(states.size)
    if states.size <= FLIP_CHUNK:
        return jax.vmap(flipped)(coordinates)
    return jax.lax.map(jax.checkpoint(flipped), coordinates, batch_size=FLIP_CHUNK)
