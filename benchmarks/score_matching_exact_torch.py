"""The same step as `score-matching-exact` in PyTorch, by the quickest automatic derivative we found.

The trace takes 64 backward passes through the score, batched 16 at a time (`is_grads_batched`).
CPU time of loss and gradient on one thread, best of 14 taken in turns (the last two lines: of 5,
apart), on a machine with other jobs, so good for the order only; relative to that:

    batched, 8 or 16 at a time      1       (32: 1.1–1.2, all 64: 1.5)
    one pass per coordinate         1.3     (as ebmkit does)
    vmap of jvp over grad           1.4–1.5 (all at once or 16 at a time)
    vmap of jacfwd over grad        1.5
    the batch repeated 64 times     2.2
    one jvp per coordinate          3.5

A derivative worked out by hand for this one network is another row, `score-matching-exact-by-hand`.
"""

from __future__ import annotations

import torch

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.score_matching_pair import score_matching_pair

__all__ = ["ROW"]

CHUNK = 16


def exact(module: torch.nn.Module, x: torch.Tensor, z: None) -> torch.Tensor:
    """Return ½‖∇E‖² − ΔE, its mean over rows."""
    x = x.detach().requires_grad_(True)
    gradient = torch.autograd.grad(module(x).sum(), x, create_graph=True)[0]
    laplacian = torch.zeros(len(x))
    for first, basis in enumerate(torch.eye(x.shape[1]).split(CHUNK)):
        directions = basis[:, None, :].expand(-1, *x.shape)
        (rows,) = torch.autograd.grad(gradient, x, directions, create_graph=True, is_grads_batched=True)
        diagonal = rows[:, :, first * CHUNK :].diagonal(dim1=0, dim2=2)
        laplacian = laplacian + diagonal.sum(1)
    return (0.5 * gradient.square().sum(1) - laplacian).mean()


def build(quick: bool) -> Pair:
    return score_matching_pair(ex.objectives.ScoreMatching(), exact, units=3 if quick else 6)


ROW = Row(
    "score-matching-exact-torch",
    "Exact score matching step, MLP 64-256-256, batch 128",
    "PyTorch eager, batched double backward",
    build,
    least=2.5,
)
