r"""The same step as `score-matching-exact`, its derivatives in x worked out by hand for PyTorch.

E(x) = w·φ(z₂) + b, z₂ = W₂φ(z₁) + b₂, z₁ = W₁x + b₁. With u = w∘φ′(z₂) and r = W₂ᵀu,

    ∇E = W₁ᵀ(φ′(z₁)∘r),    ΔE = Σ_k φ″(z₁)_k r_k ‖W₁k‖² + Σ_j w_j φ″(z₂)_j ‖∇z₂j‖²,

which asks one backward pass of PyTorch and none of the second order. It is no rival in
generality, since it fits this network alone; nothing is promised against it. It shows how
much of the other rows is the algorithm and how much is XLA.
"""

from __future__ import annotations

import torch

import energax as ex
from benchmarks.harness import Pair, Row
from benchmarks.score_matching_pair import linear_layers, score_matching_pair

__all__ = ["ROW"]


def silu_derivatives(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return φ, φ′ and φ″ of φ(z) = z·sigmoid(z)."""
    g = torch.sigmoid(z)
    return z * g, g * (1 + z * (1 - g)), g * (1 - g) * (2 + z * (1 - 2 * g))


def exact(module: torch.nn.Module, x: torch.Tensor, z: None) -> torch.Tensor:
    """Return ½‖∇E‖² − ΔE, its mean over rows."""
    first, second, last = linear_layers(module)
    W1, W2, w = first.weight, second.weight, last.weight[0]
    h, slope_1, bend_1 = silu_derivatives(first(x))
    _, slope_2, bend_2 = silu_derivatives(second(h))
    r = (w * slope_2) @ W2
    gradient = (slope_1 * r) @ W1
    jacobian = (slope_1[:, None, :] * W1.T) @ W2.T  # of z₂: rows × coordinates × units
    laplacian = (bend_1 * r) @ W1.square().sum(1) + (bend_2 * jacobian.square().sum(1)) @ w
    return (0.5 * gradient.square().sum(1) - laplacian).mean()


def build(quick: bool) -> Pair:
    return score_matching_pair(ex.objectives.ScoreMatching(), exact, units=3 if quick else 6)


ROW = Row(
    "score-matching-exact-by-hand",
    "Exact score matching step, MLP 64-256-256, batch 128",
    "PyTorch eager, this network's Laplacian by hand",
    build,
)
