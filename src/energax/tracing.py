"""What a function is made of, read from its traced program: decisions that look at no timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["contains_convolution", "contains_loop", "first_kink", "first_suspect"]


def contains_convolution(function: Callable[..., Any], *args: Any) -> bool:
    """Whether tracing `function(*args)` meets a convolution, at any depth."""
    closed, *_ = eqx.filter_make_jaxpr(function)(*args)
    return any(eqn.primitive.name == "conv_general_dilated" for eqn in _equations(closed.jaxpr))


def contains_loop(function: Callable[..., Any], *args: Any) -> bool:
    """Whether tracing `function(*args)` meets a loop (`scan`, `fori`, `while`), at any depth."""
    closed, *_ = eqx.filter_make_jaxpr(function)(*args)
    return any(eqn.primitive.name in ("scan", "while") for eqn in _equations(closed.jaxpr))


def first_kink(function: Callable[..., Any], *args: Any, order: int = 1) -> str | None:
    """Return the name of an operation in `function(*args)` whose derivative of that order jumps, or None.

    Known ones: ReLU and its relatives, and max or min against a constant, whose first derivative jumps; ELU
    and its relatives, whose second does. Functions with a derivative rule of their own (softplus,
    logsumexp) are taken at their word.
    """
    found = (_kink(eqn, order) for eqn in _operations(function, *args))
    return next(filter(None, found), None)


def first_suspect(function: Callable[..., Any], *args: Any) -> str | None:
    """Return the name of an operation in `function(*args)` that may have a kink, or None if all are smooth.

    |·|, max and min of two functions, rounding, sorting, and a choice by comparing numbers: whether they
    have one hangs on what they are given. The functions that `first_kink` knows are not looked into.
    """
    names = [e.primitive.name for e in _operations(function, *args)]
    if "select_n" in names and not COMPARISONS.isdisjoint(names):
        return "where"
    return next((name for name in names if name in SUSPECTS), None)


KINKS = {
    1: ("relu", "relu6", "leaky_relu", "hard_tanh", "hard_sigmoid", "hard_silu", "selu", "sparse_sigmoid"),
    2: ("elu", "celu", "soft_sign", "sparse_plus"),
}
"""Named functions by the first of their derivatives that jumps."""

KNOWN = tuple(name for names in KINKS.values() for name in names)
COMPARISONS = {"gt", "lt", "ge", "le"}
SUSPECTS = ("abs", "sign", "max", "min", "clamp", "floor", "ceil", "round", "rem", "sort", "top_k")


def _operations(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    """Return the equations on real numbers of a function, and comparisons, but of no rule's inside."""
    closed, *_ = eqx.filter_make_jaxpr(function)(*args)
    for eqn in _equations(closed.jaxpr, opaque=("custom_jvp_call",), shut=KNOWN):
        real = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)
        if real or eqn.primitive.name in COMPARISONS:
            yield eqn


def _kink(eqn: Any, order: int) -> str | None:
    name = eqn.params.get("name")
    if any(name in names for jumps, names in KINKS.items() if jumps <= order):
        return name
    primitive = eqn.primitive.name
    # Against a finite constant: the running maximum of a logsumexp starts from −∞.
    constant = any(np.all(np.isfinite(v.val)) for v in eqn.invars if hasattr(v, "val"))
    return primitive if primitive in ("max", "min", "clamp") and constant else None


def _equations(jaxpr: Any, opaque: tuple[str, ...] = (), shut: tuple[str, ...] = ()) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        if eqn.params.get("name") in shut:
            continue
        hidden = eqn.primitive.name in opaque
        for parameter in jax.tree.leaves(eqn.params, is_leaf=_is_jaxpr):
            if _is_jaxpr(parameter):
                inner = getattr(parameter, "jaxpr", parameter)
                # Of what has a rule of its own only the named calls are shown: one may be a relu.
                named = (e for e in inner.eqns if "name" in e.params)
                yield from named if hidden else _equations(inner, opaque, shut)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns")
