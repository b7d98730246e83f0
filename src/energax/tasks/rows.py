"""Applying a function to many rows in chunks of one padded shape.

One shape means one compilation for any number of rows, and a row's result that does not
depend on how many rows came with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from energax.typing import Events

__all__ = ["CHUNK", "map_rows"]

CHUNK = 256


def map_rows(function: Callable[[Any], Any], rows: Any, size: int = CHUNK) -> Events:
    """Return `function` of the rows (a pytree of NumPy arrays, leading axis n), as NumPy arrays.

    `function` takes and returns `size` rows at a time; the last chunk is padded with copies
    of its first row, whose results are dropped.
    """
    n = jax.tree.leaves(rows)[0].shape[0]
    results = []
    for begin in range(0, n, size):
        chunk = jax.tree.map(lambda a, b=begin: np.asarray(a[b : b + size]), rows)
        count = jax.tree.leaves(chunk)[0].shape[0]
        padded = jax.tree.map(
            lambda a, k=count: np.concatenate([a, np.repeat(a[:1], size - k, axis=0)]) if k < size else a,
            chunk,
        )
        value = function(padded)
        results.append(jax.tree.map(lambda a, k=count: np.asarray(a)[:k], value))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *results)
