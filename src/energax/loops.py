"""Where a loop over steps runs: inside one compiled program, or driven from the host.

On CPU, XLA runs a convolution inside a compiled loop many times slower than the same
convolution in a plain compiled call; every other operation, and every accelerator, prefers
the compiled loop. `compiles_loop` is the one place that decides. It looks at the function
and the backend only, never at timings, so that the choice (and with it the rounding) is the
same in every run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.tracing import contains_convolution

__all__ = ["compiles_loop", "fori", "repeat"]


def compiles_loop(function: Callable[..., Any], *args: Any) -> bool:
    """Whether a loop over `function(*args)` belongs inside a compiled program on this backend."""
    return jax.default_backend() != "cpu" or not contains_convolution(function, *args)


def fori(start: Any, stop: Any, body: Callable[[Any, Any], Any], carry: Any) -> Any:
    """`lax.fori_loop` over a carry that may hold non-arrays (they must not change).

    The bounds may be traced, which gives one executable for every length of a chunk.
    """
    arrays, static = eqx.partition(carry, eqx.is_array)

    def step(i, arrays):
        return eqx.filter(body(i, eqx.combine(arrays, static)), eqx.is_array)

    return eqx.combine(jax.lax.fori_loop(start, stop, step, arrays), static)


def repeat(count: int, body: Callable[[Any, Any], Any], carry: Any) -> Any:
    """Return the carry after body(0, ·) … body(count − 1, ·), for a count known when compiling.

    A loop where loops are compiled; on CPU, with a convolution in the body, its steps written
    out one after another: longer to compile, many times faster to run.
    """
    if compiles_loop(body, jnp.zeros((), int), carry):
        return fori(0, count, body, carry)
    for i in range(count):
        carry = body(jnp.asarray(i), carry)
    return carry
