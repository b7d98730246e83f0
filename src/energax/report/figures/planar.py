"""Rows of a table as points of the plane: their first two columns, in limits set by held-out rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from energax.report.measure import Measurements

__all__ = ["column_name", "frame", "scatter"]


def _plane(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two columns; a single column stands over the rows' own number."""
    flat = rows.reshape(len(rows), -1)
    second = flat[:, 1] if flat.shape[1] > 1 else np.linspace(0, 1, len(flat))
    return flat[:, 0], second


def frame(found: Measurements, *others: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits that hold all held-out rows, and nearly all of the others."""
    x, y = _plane(found.samples.held_out)
    limits = []
    for held_out, column in ((x, 0), (y, 1)):
        near = [np.quantile(_plane(o)[column], [0.02, 0.98]) for o in others]
        ends = np.concatenate([held_out, *near])
        low, high = float(ends.min()), float(ends.max())
        room = 0.08 * (high - low) or 1.0
        limits.append((low - room, high + room))
    return limits[0], limits[1]


def scatter(ax: Axes, rows: np.ndarray, color: str, size: float = 5, alpha: float = 0.7, **more: Any) -> None:
    """Draw rows as points."""
    x, y = _plane(rows)
    ax.scatter(x, y, s=size, color=color, alpha=alpha, linewidths=0, **more)


def column_name(found: Measurements, i: int) -> str:
    """Return the name of a column as a label: no mathematics in it, and not long."""
    if i >= len(found.columns):
        return "row"
    name = found.columns[i].replace("$", r"\$")
    return name if len(name) <= 18 else name[:17] + "…"
