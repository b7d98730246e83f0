"""Energies and scores of a model at rows, compiled, and how far one field of scores is from another."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.derivatives import score
from energax.typing import Array, Float

__all__ = ["energies_at", "relative_error", "scores_at"]


@eqx.filter_jit
def energies_at(model: Any, x: Array) -> Float[Array, " n"]:
    """Return E at every row of x."""
    return jax.vmap(model)(x)


@eqx.filter_jit
def scores_at(model: Any, x: Array) -> Array:
    """Return −∇E at every row of x."""
    return jax.vmap(lambda row: score(model, row))(x)


def relative_error(s: Array, truth: Array) -> float:
    """Return √(Σ‖s − s_p‖² / Σ‖s_p‖²) over rows of two fields of scores."""
    return float(jnp.sqrt(jnp.sum((s - truth) ** 2) / jnp.sum(truth**2)))
