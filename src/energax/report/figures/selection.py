"""A number of each checkpoint, and which was chosen by it."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from energax.report.figures.style import Ink, new_figure

__all__ = ["selection"]


def selection(values: Mapping[int, float], best: int, ink: Ink) -> Figure:
    """Draw values against steps, the best marked."""
    figure = new_figure(2.3)
    ax = figure.subplots()
    ax.plot(list(values), list(values.values()), color=ink.muted, marker="o", markersize=4)
    ax.plot([best], [values[best]], color=ink.accent, marker="o", markersize=8, ls="", label=f"step {best:,}")
    ax.set(title="Frechet distance of samples (less is better)", xlabel="step")
    ax.legend()
    return figure
