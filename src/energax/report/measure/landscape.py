r"""−log p_X(x) = E(f(x)) − log|det ∂f/∂x| + constant of points in the plane, on a grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax import tasks
from energax.report.measure.units import Units
from energax.typing import Model

__all__ = ["Landscape", "landscape"]


@dataclass(frozen=True)
class Landscape:
    """E(f(x)) − log|det ∂f/∂x| of two-dimensional data on a grid: −log p_X up to a constant.

    Parameters
    ----------
    first, second
        Grid lines.
    energy
        Shape (len(second), len(first)), least value 0.
    """

    first: np.ndarray
    second: np.ndarray
    energy: np.ndarray


def landscape(model: Model, units: Units, points: int = 120) -> Landscape:
    """Evaluate the energy on a grid that holds the training rows."""
    train = units.dataset.train
    low, high = train.min(0), train.max(0)
    margin = 0.12 * np.maximum(high - low, 1e-6)
    first, second = np.linspace(low - margin, high + margin, points, dtype=np.float32).T
    grid = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    rows = units.to_model(grid)
    finite = np.isfinite(rows).all(axis=1)
    value = np.full(len(grid), np.nan)
    energy = tasks.score(model, rows[finite], event_shape=units.model_shape)
    value[finite] = energy - units.log_det(grid[finite])
    return Landscape(first, second, (value - np.nanmin(value)).reshape(points, points))
