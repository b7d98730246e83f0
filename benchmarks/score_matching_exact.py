"""Training step of exact score matching, MLP 64-256-256, batch 128, against ebmkit's.

ebmkit's trace is one more backward pass per coordinate.
"""

from __future__ import annotations

import torch
from ebm import ExactScoreMatching

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.score_matching_pair import score_matching_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    exact = ExactScoreMatching()

    def loss(module: torch.nn.Module, x: torch.Tensor, z: None) -> torch.Tensor:
        return exact(module, x).loss

    return score_matching_pair(ex.objectives.ScoreMatching(), loss, units=3 if quick else 6)


ROW = Row(
    "score-matching-exact",
    "Exact score matching step, MLP 64-256-256, batch 128",
    "ebmkit",
    build,
    least=2.5,
)
