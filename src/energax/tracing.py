"""What a function is made of, read from its traced program: decisions that look at no timing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["contains_convolution", "first_kink"]


def contains_convolution(function: Callable[..., Any], *args: Any) -> bool:
    """Whether tracing `function(*args)` meets a convolution, at any depth."""
    closed, *_ = eqx.filter_make_jaxpr(function)(*args)
    return any(eqn.primitive.name == "conv_general_dilated" for eqn in _equations(closed.jaxpr))


def first_kink(function: Callable[..., Any], *args: Any) -> str | None:
    """Return the name of a piecewise linear operation in `function(*args)`, or None.

    Such an operation has a second derivative of zero almost everywhere and none at its kink:
    ReLU and its relatives by name, and max or min against a constant. Functions with a
    derivative rule of their own (softplus, logsumexp) are taken at their word.
    """
    closed, *_ = eqx.filter_make_jaxpr(function)(*args)
    return next(filter(None, map(_kink, _equations(closed.jaxpr, opaque=("custom_jvp_call",)))), None)


KINKED_NAMES = ("relu", "relu6", "leaky_relu", "hard_tanh", "hard_sigmoid", "hard_silu")


def _kink(eqn: Any) -> str | None:
    if eqn.params.get("name") in KINKED_NAMES:
        return eqn.params["name"]
    if not jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating):
        return None
    primitive = eqn.primitive.name
    # Against a finite constant: the running maximum of a logsumexp starts from −∞.
    constant = any(np.all(np.isfinite(v.val)) for v in eqn.invars if hasattr(v, "val"))
    return primitive if primitive in ("max", "min", "clamp") and constant else None


def _equations(jaxpr: Any, opaque: tuple[str, ...] = ()) -> Iterator[Any]:
    for eqn in jaxpr.eqns:
        yield eqn
        hidden = eqn.primitive.name in opaque
        for parameter in jax.tree.leaves(eqn.params, is_leaf=_is_jaxpr):
            if _is_jaxpr(parameter):
                inner = getattr(parameter, "jaxpr", parameter)
                # Of what has a rule of its own only the named calls are shown: one may be a relu.
                named = (e for e in inner.eqns if "name" in e.params)
                yield from named if hidden else _equations(inner, opaque)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns")
