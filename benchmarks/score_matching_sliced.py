"""Training step of sliced score matching, MLP 64-256-256, batch 128, against ebmkit's.

Both take one Gaussian direction per row and the variance-reduced loss, which is what ebmkit
offers. To show that both agree, ebmkit's `torch.randn_like` is made to return our directions.
"""

from __future__ import annotations

from contextlib import nullcontext
from unittest.mock import patch

import jax
import torch
from ebm import SlicedScoreMatching

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.score_matching_pair import score_matching_pair
from energax.derivatives import probe

__all__ = ["ROW"]


def directions(x: jax.Array, state: None, keys: jax.Array) -> jax.Array:
    """Return what `SlicedScoreMatching` draws, one direction per row."""
    rows = jax.random.split(keys[1], len(x))
    return jax.vmap(lambda row, k: probe("gaussian", row, jax.random.split(k, 1)[0]))(x, rows)


def build(quick: bool) -> Pair:
    sliced = SlicedScoreMatching(n_projections=1, vr=True)

    def loss(module: torch.nn.Module, x: torch.Tensor, v: torch.Tensor | None) -> torch.Tensor:
        with nullcontext() if v is None else patch.object(torch, "randn_like", lambda _: v):
            return sliced(module, x).loss

    objective = ex.objectives.SlicedScoreMatching(1, "gaussian", variance_reduced=True)
    return score_matching_pair(objective, loss, drawn=directions, units=40 if quick else 100)


ROW = Row(
    "score-matching-sliced",
    "Sliced score matching step, one direction, MLP 64-256-256, batch 128",
    "ebmkit",
    build,
    least=2.5,
)
