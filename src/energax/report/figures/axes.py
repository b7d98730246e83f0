"""Axes with few numbers: logarithmic ones ticked at 1, 2 and 5 times powers of ten, and room to spare."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator

__all__ = ["few_log_ticks", "log_if_wide", "padded", "sigma_axis"]


def log_if_wide(ax: Axes, values: np.ndarray) -> None:
    """Take a logarithmic axis for positive values that span more than a factor of three."""
    if len(values) and values.min() > 0 and values.max() > 3 * values.min():
        ax.set_yscale("log")
        few_log_ticks(ax, values)


def few_log_ticks(ax: Axes, values: np.ndarray) -> None:
    """Tick the y axis for positive values on a logarithmic scale."""
    ax.yaxis.set_minor_formatter(NullFormatter())
    ticks = _log_ticks(float(values.min()), float(values.max()))
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())


def sigma_axis(ax: Axes, sigmas: np.ndarray) -> None:
    """Take a logarithmic x axis for noise levels."""
    ax.set_xscale("log")
    ticks = _log_ticks(float(sigmas.min()), float(sigmas.max()))
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return numbers of one digit, 1, 2 or 5, within a range; 1 alone if those are many."""
    tens = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    digits = (1.0,) if np.log10(high / low) > 3 else (1.0, 2.0, 5.0)
    ticks = np.sort(np.concatenate([np.round(d * tens, 12) for d in digits]))
    inside = ticks[(ticks >= low * 0.999) & (ticks <= high * 1.001)]
    return inside if len(inside) else np.array([low, high])


def padded(low: float, high: float) -> tuple[float, float]:
    """Return limits with 3 % of room on either side."""
    room = 0.03 * (high - low) or 1.0
    return low - room, high + room
