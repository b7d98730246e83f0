"""Applying a function to many rows in chunks of one padded shape.

One shape means one compilation for any number of rows, and a row's result that does not
depend on how many rows came with it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax.data import Pipeline
from energax.typing import Array, Events

__all__ = ["CHUNK", "map_rows", "to_data", "to_model"]

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


def to_model(pipeline: Pipeline, x: np.ndarray) -> np.ndarray:
    """Return rows of the data, shape (n, *event), in the units that a model behind the pipeline sees."""
    return map_rows(lambda chunk: _forward(pipeline, chunk), x)


def to_data(pipeline: Pipeline, z: np.ndarray) -> np.ndarray:
    """Return rows of a model's units in the data's own."""
    return map_rows(lambda chunk: _inverse(pipeline, chunk), z)


@eqx.filter_jit
def _forward(pipeline: Pipeline, x: Array) -> Array:
    return jax.vmap(pipeline.forward)(x)


@eqx.filter_jit
def _inverse(pipeline: Pipeline, z: Array) -> Array:
    return jax.vmap(pipeline.inverse)(z)
