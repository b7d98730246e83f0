"""The one style of all figures: two inks, a width, and matplotlib's settings for an ink.

One accent and greys, on no background. `encode` applies the settings around the drawing; they
are set nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

__all__ = ["DARK", "LIGHT", "WIDTH", "Ink", "new_figure", "style"]

WIDTH = 9.2  # inches; the page shows 100 of its pixels to an inch


@dataclass(frozen=True)
class Ink:
    """The colours of one theme: one accent, and three strengths of grey."""

    text: str
    muted: str
    faint: str
    paper: str
    accent: str


LIGHT = Ink(text="#23272d", muted="#757d88", faint="#d9dce0", paper="#fcfcfa", accent="#0a6c8e")
DARK = Ink(text="#dfe3e8", muted="#8f98a4", faint="#3b424b", paper="#15181c", accent="#56bcdb")


def style(ink: Ink) -> dict[Any, Any]:
    """Return matplotlib's settings for an ink."""
    return {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.titlepad": 7,
        "axes.labelsize": 8.5,
        "axes.labelcolor": ink.muted,
        "axes.edgecolor": ink.faint,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": ink.text,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": ink.faint,
        "grid.linewidth": 0.5,
        "grid.alpha": 0.6,
        "text.color": ink.text,
        "xtick.color": ink.faint,
        "ytick.color": ink.faint,
        "xtick.labelcolor": ink.muted,
        "ytick.labelcolor": ink.muted,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "legend.labelcolor": ink.text,
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.08,
    }


def new_figure(height: float) -> Figure:
    """Return an empty figure of the one width."""
    return Figure(figsize=(WIDTH, height), layout="constrained")
