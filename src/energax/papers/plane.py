r"""Densities in the plane whose log p is known, and how far an energy is from them, by quadrature.

`data.toy` draws; here are its laws, normalised over a square that holds all but a trace of them:

    eight Gaussians     ⅛ Σ_k N(2 (cos kπ/4, sin kπ/4), 0.2² I)
    two moons, swiss roll, two spirals     ∫ N(x; c(t), 0.1² I) dt along a curve c, by the midpoint rule
    rings               ⅓ Σ_r N(‖x‖; r, 0.1²) / 2π‖x‖, r = 1, 2, 3
    checkerboard        ⅛ on its black squares

An energy's density is exp(−E) over its sum on the same cells, so that

    KL(p ‖ q) = Σ p (log p − log q) · cell,

to the accuracy of the sum, with no sampler in between. Where p falls into separate parts A_k, the chain rule
tells apart what is wrong between them and what is wrong inside:

    KL(p ‖ q) = Σ_k p(A_k) log (p(A_k) / q(A_k)) + Σ_k p(A_k) KL(p(·|A_k) ‖ q(·|A_k)).

The first part, that of the weights, is what a score hardly shows: between the parts there are no data.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from energax.papers.fields import energies_at
from energax.typing import Float, Model, Scalar

__all__ = ["LAWS", "PARTS", "Square", "divergence", "log_density", "quadrature", "weights_divergence"]

ALONG = 500  # points of a curve: closer to each other than 0.1
BLOCK = 4_096  # rows whose distances to a curve are held at a time
THICKNESS = 0.1  # standard deviation around a curve

Points = Float[np.ndarray, "n 2"]


class Square(NamedTuple):
    """Cells of a square around the origin.

    Parameters
    ----------
    reach
        Half the side.
    cells
        Along each side; the checkerboard's edges are theirs if 2 reach / cells divides one.
    """

    reach: float
    cells: int

    @property
    def points(self) -> Points:
        """The centres of the cells, row after row from below: shape (cells², 2)."""
        at = (np.arange(self.cells) + 0.5) / self.cells * 2 * self.reach - self.reach
        return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2).astype(np.float32)

    @property
    def log_cell(self) -> float:
        """The logarithm of a cell's area."""
        return 2 * float(np.log(2 * self.reach / self.cells))


def log_density(name: str, square: Square) -> Float[np.ndarray, " cells"]:
    """Return log p at the cells, −∞ where p is zero, of total mass one over the square.

    Parameters
    ----------
    name
        One of `LAWS`, as `data.toy` calls it.
    """
    values = LAWS[name](square.points.astype(np.float64))
    return values - np.logaddexp.reduce(values) - square.log_cell


def divergence(
    log_p: Float[np.ndarray, " cells"], energy: Model, square: Square
) -> tuple[float, Float[np.ndarray, " cells"]]:
    """Return KL(p ‖ q) in nats and log q at the cells, q ∝ exp(−E) over the square."""
    log_q = -np.asarray(energies_at(energy, jnp.asarray(square.points)), np.float64)
    log_q = log_q - np.logaddexp.reduce(log_q) - square.log_cell
    inside = np.isfinite(log_p)
    p = np.exp(log_p[inside] + square.log_cell)
    return float(np.sum(p * (log_p - log_q)[inside])), log_q


def weights_divergence(
    name: str, log_p: Float[np.ndarray, " cells"], log_q: Float[np.ndarray, " cells"], square: Square
) -> float:
    """Return the part of KL(p ‖ q) that is of the weights of a density's separate parts, in nats.

    Parameters
    ----------
    name
        Of the density; zero if it is not among `PARTS`.
    """
    if name not in PARTS:
        return 0.0
    part = PARTS[name](square.points.astype(np.float64))
    masses = [np.bincount(part, np.exp(values + square.log_cell)) for values in (log_p, log_q)]
    p, q = (m[masses[0] > 0] for m in masses)
    return float(np.sum(p * np.log(p / q)))


def quadrature(square: Square) -> Callable[[Model], Scalar]:
    """Return E ↦ log Z by a sum over the cells, for `ExactMaximumLikelihood`."""
    points = jnp.asarray(square.points)

    def log_normalizer(model: Model) -> Scalar:
        return jax.nn.logsumexp(-jax.vmap(model)(points)) + square.log_cell

    return log_normalizer


def _polar(radius: np.ndarray | float, angle: np.ndarray) -> Points:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _around(centres: Points, spread: float) -> Callable[[Points], np.ndarray]:
    """Return log of the equal mixture of Gaussians of one standard deviation."""

    def log_p(x: Points) -> np.ndarray:
        parts = []
        for rows in np.array_split(x, -(-len(x) // BLOCK)):
            u = (rows**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * rows @ centres.T
            parts.append(logsumexp(-0.5 * u / spread**2, axis=1))
        return np.concatenate(parts) - np.log(len(centres) * 2 * np.pi * spread**2)

    return log_p


def _moons() -> Points:
    x = _polar(1.0, np.pi * _middles())
    return np.concatenate([x, [1.0, 0.5] - x])


def _roll() -> Points:
    radius = 1 + 2 * _middles()
    return _polar(radius, 1.5 * np.pi * radius)


def _spirals() -> Points:
    radius = np.pi * np.sqrt(_middles())
    x = _polar(radius, 3 * radius)
    return np.concatenate([x, -x])


def _middles() -> np.ndarray:
    return (np.arange(ALONG) + 0.5) / ALONG


def _rings(x: Points) -> np.ndarray:
    radius = np.linalg.norm(x, axis=1)
    z = (radius[:, None] - np.arange(1, 4)) / THICKNESS
    log_radial = np.logaddexp.reduce(-0.5 * z**2, axis=1) - np.log(3 * THICKNESS * np.sqrt(2 * np.pi))
    return log_radial - np.log(2 * np.pi * radius)


def _board(x: Points) -> np.ndarray:
    black = (np.floor(x).sum(1) % 2 == 0) & (np.abs(x) < 2).all(1)
    return np.where(black, -np.log(8.0), -np.inf)


LAWS: dict[str, Callable[[Points], np.ndarray]] = {
    "eight-gaussians": _around(_polar(2.0, np.arange(8) * np.pi / 4), 0.2),
    "two-moons": _around(_moons(), THICKNESS),
    "checkerboard": _board,
    "rings": _rings,
    "swiss-roll": _around(_roll(), THICKNESS),
    "two-spirals": _around(_spirals(), THICKNESS),
}


def _sectors(x: Points) -> np.ndarray:
    return np.round(np.arctan2(x[:, 1], x[:, 0]) / (np.pi / 4)).astype(int) % 8


def _squares(x: Points) -> np.ndarray:
    i, j = np.clip(np.floor(x) + 2, 0, 3).astype(int).T
    return 4 * i + j


def _shells(x: Points) -> np.ndarray:
    return np.digitize(np.linalg.norm(x, axis=1), [1.5, 2.5])


# Which part of the plane, of those that hold one part of the density each.
PARTS: dict[str, Callable[[Points], np.ndarray]] = {
    "eight-gaussians": _sectors,
    "checkerboard": _squares,
    "rings": _shells,
}
