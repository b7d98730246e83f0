r"""Schedules: a value for every step, as data.

A schedule is a table indexed by the step i; past its end it keeps its last value. Since the
values are array leaves, another schedule of the same length compiles nothing anew.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_integer, check_number
from energax.typing import Array, ArrayLike, Float, Scalar

__all__ = ["Schedule", "constant", "geometric", "join", "linear", "mdsm"]


class Schedule(eqx.Module):
    """values[i] at step i, and the last value for ever after.

    Parameters
    ----------
    values
        Shape (n,), n ≥ 1, finite.
    """

    values: Float[Array, " n"]

    def __init__(self, values: ArrayLike):
        table = np.atleast_1d(np.asarray(values, np.float32))
        ok = table.ndim == 1 and table.size > 0 and bool(np.isfinite(table).all())
        check(ok, "Schedule", "values", "a non-empty list of finite numbers", f"shape {table.shape}")
        self.values = jnp.asarray(table)

    def __len__(self) -> int:
        return self.values.shape[0]

    def __call__(self, i: jax.Array | int) -> Scalar:
        """Return the value at step i."""
        return self.values[jnp.minimum(i, len(self) - 1)]


def constant(value: float, steps: int = 1) -> Schedule:
    """Return the schedule of one value."""
    check_number("constant", "value", value)
    return Schedule(np.full(check_integer("constant", "steps", steps, at_least=1), value))


def linear(start: float, stop: float, steps: int) -> Schedule:
    """Return `steps` equally spaced values from start to stop, both included."""
    check_integer("linear", "steps", steps, at_least=1)
    return Schedule(np.linspace(start, stop, steps))


def geometric(start: float, stop: float, steps: int, *, endpoint: bool = True) -> Schedule:
    """Return `steps` values of constant ratio from start to stop, both positive."""
    check_number("geometric", "start", start, above=0)
    check_number("geometric", "stop", stop, above=0)
    check_integer("geometric", "steps", steps, at_least=1)
    return Schedule(np.geomspace(start, stop, steps, endpoint=endpoint))


def join(*schedules: Schedule) -> Schedule:
    """Return the schedules one after another."""
    return Schedule(np.concatenate([np.asarray(s.values) for s in schedules]))


def mdsm(temperature: float = 100.0, *, hold: int = 500, anneal: int = 2000, cool: int = 200) -> Schedule:
    """Return MDSM's temperatures: 500 steps hot, 2,000 geometric to 1, 200 linear from 1 to 0.

    Li, Chen & Sommer (2019), appendix D and figure F.1B; the lengths are those of the
    authors' code. Fewer steps in the same proportion give a quicker, rougher anneal.

    Parameters
    ----------
    temperature
        Where the anneal starts; √T σ₀ is the noise it starts from (1.0 for 100 and σ₀ = 0.1).
    hold, anneal, cool
        Steps of the three parts.
    """
    return join(
        constant(temperature, hold),
        geometric(temperature, 1.0, anneal, endpoint=False),
        linear(1.0, 0.0, cool),
    )
