"""Aliases for the types that every room of the house speaks of.

Notation used everywhere: an *event* is one unbatched point x; E(x) is an energy, lower is
likelier; p(x) ∝ exp(−E(x)); the score is s(x) = ∇ log p(x) = −∇E(x).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

ArrayLike: TypeAlias = Array | np.ndarray | Sequence[Any] | float
"""What an argument may be that becomes an array: an array of JAX or NumPy, a list, a number."""

Event: TypeAlias = PyTree[Array]
"""One unbatched point: an array, or a pytree of arrays."""

Events: TypeAlias = PyTree[Array]
"""Points along a leading axis that every leaf shares."""

Condition: TypeAlias = PyTree[Array]
"""What a conditional energy E(x, c) is given: a noise level, a class, covariates."""

Scalar: TypeAlias = Array
"""An array of shape ()."""

Key: TypeAlias = PRNGKeyArray
"""A typed JAX key, `jax.random.key(seed)`."""

Model: TypeAlias = Any
"""An energy x ↦ E(x) or (x, c) ↦ E(x, c) on one event; a `Score`; or what has `at(sigma)`."""

Metrics: TypeAlias = dict[str, Array]
"""What a step reports; every value keeps its shape from step to step."""

__all__ = [
    "Array",
    "ArrayLike",
    "Condition",
    "Event",
    "Events",
    "Float",
    "Key",
    "Metrics",
    "Model",
    "PyTree",
    "Scalar",
]
