"""What the studies of the learned Stein discrepancy in the plane share: a network, trainings, a tile.

The settings are those of Grathwohl et al. (2020), B.4: λ = 10, five steps of the critic for each of the
model's. The text's decay rates of both Adams are (0.5, 0.9), the code's (0, 0.999); what is trained without a
critic keeps the library's.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from energax.energies import MLP, Energy, WithGaussianBase
from energax.objectives import ExactMaximumLikelihood, LearnedSteinDiscrepancy, Objective
from energax.papers.plane import Square, quadrature
from energax.training import fit

__all__ = [
    "CODE_DECAYS",
    "LIBRARY_DECAYS",
    "RATE",
    "REACH",
    "TEXT_DECAYS",
    "likelihood",
    "network",
    "stein",
    "tile",
    "trained",
]

TEXT_DECAYS, CODE_DECAYS, LIBRARY_DECAYS = (0.5, 0.9), (0.0, 0.999), (0.9, 0.999)
PENALTY, CRITIC_STEPS, RATE = 10.0, 5, 1e-3
DEEP = 8.0  # nats below the highest density that a picture shows
REACH = 4.5  # half the side of the square that is judged and shown


def network(x: np.ndarray, width: int, seed: int = 0) -> Energy:
    """Return E of two hidden layers with a Gaussian base of the data's mean and variances."""
    net = MLP(x.shape[1:], width=width, depth=2, head="linear", key=jax.random.key(seed))
    return WithGaussianBase(net, x.mean(axis=0), x.std(axis=0))


def stein(decays: tuple[float, float], width: int, rate: float = RATE) -> Objective:
    """Return the learned Stein discrepancy with a critic of this width and Adam's rate and decays."""
    beta1, beta2 = decays
    return LearnedSteinDiscrepancy(
        penalty=PENALTY,
        critic_steps=CRITIC_STEPS,
        width=width,
        critic_learning_rate=rate,
        critic_beta1=beta1,
        critic_beta2=beta2,
    )


def likelihood(cells: int) -> Objective:
    """Return the exact likelihood, log Z by so many cells of a side."""
    return ExactMaximumLikelihood(quadrature(Square(REACH, cells)))


def trained(
    objective: Objective,
    x: np.ndarray,
    decays: tuple[float, float],
    width: int,
    steps: int,
    batch: int,
    seed: int,
) -> Energy:
    """Return the network after so many updates by an objective, from a start that all objectives share."""
    beta1, beta2 = decays
    return fit(
        network(x, width, seed),
        objective,
        x,
        key=jax.random.key(seed),
        steps=steps,
        batch_size=batch,
        learning_rate=RATE,
        beta1=beta1,
        beta2=beta2,
        progress=False,
    ).energy


def tile(axes: Any, log_q: np.ndarray, square: Square, top: float) -> None:
    """Draw a log density at the cells, down to DEEP nats below `top`."""
    values = np.clip(log_q, top - DEEP, top).reshape(square.cells, square.cells)
    r = square.reach
    axes.imshow(values, origin="lower", extent=(-r, r, -r, r), cmap="magma", vmin=top - DEEP, vmax=top)
