"""The units of Boltzmann machines: bits and spins drawn from their logits, and events made flat."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from energax.checks import check, check_array
from energax.typing import Array, Event, Float, Key

__all__ = ["draw_bits", "draw_spins", "flat", "log_odds", "nearest_bits", "nearest_spins"]


def flat(owner: str, name: str, x: Event, shape: tuple[int, ...]) -> Float[Array, " d"]:
    """Return one event as a vector, refusing one that is not of that shape."""
    shape = tuple(shape)
    units = math.prod(shape)
    wanted = f"one event of shape {shape}" + (f", {units} units" if len(shape) > 1 else "")
    given = getattr(x, "shape", None)
    check(given == shape, owner, name, wanted, f"shape {given}" if given is not None else type(x).__name__)
    return x.ravel()


def draw_bits(logits: Array, key: Key) -> Array:
    """Return independent bits, each 1 with probability σ(logit)."""
    return jax.random.bernoulli(key, jax.nn.sigmoid(logits)).astype(logits.dtype)


def draw_spins(logits: Array, key: Key) -> Array:
    """Return independent spins ±1, each +1 with probability σ(logit)."""
    return 2 * draw_bits(logits, key) - 1


def nearest_bits(x: Array) -> Array:
    """Return 1 where x > ½ and 0 elsewhere."""
    return jnp.where(x > 0.5, 1.0, 0.0)


def nearest_spins(x: Array) -> Array:
    """Return +1 where x > 0 and −1 elsewhere."""
    return jnp.where(x > 0, 1.0, -1.0)


def log_odds(owner: str, x: Any) -> Array:
    """Return log(p/(1 − p)), p the share of rows in which a bit is on: Hinton (2012), §8.

    One row of each kind is added, so that a bit that never changes stays finite.
    """
    rows = check_array(owner, "x", x)
    inside = bool(((rows >= 0) & (rows <= 1)).all())
    check(inside, owner, "x", "within [0, 1]", f"{rows.min():g} to {rows.max():g}")
    on = jnp.asarray(rows.sum(0) + 1)
    return jnp.log(on) - jnp.log(len(rows) + 2 - on)
