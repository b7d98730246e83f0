"""Shares of classes, by name where they are few, by rank where they are many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.style import Ink, new_figure

__all__ = ["coverage"]

MOST = 40  # classes that bars have room for


def coverage(
    shares: Mapping[str, np.ndarray], law: np.ndarray, names: Sequence[Any] | None, ink: Ink
) -> Figure:
    """Draw the shares of samples and of held-out rows.

    Parameters
    ----------
    shares
        Of "samples" and "held out", shape (classes,) each.
    law
        What exact samples have.
    names
        Of the classes; None for many, which are ranked instead.
    """
    figure = new_figure(2.5)
    ax = figure.subplots()
    kinds = {"held out": (ink.muted, -0.2), "samples": (ink.accent, 0.2)}
    if names is not None and len(names) <= MOST:
        for kind, (color, aside) in kinds.items():
            ax.bar(np.arange(len(law)) + aside, shares[kind], 0.38, color=color, label=kind)
        ax.set_xticks(range(len(law)), [str(name) for name in names])
        ax.set(title="Share of each class", xlabel="class")
    else:
        for kind, (color, _) in kinds.items():
            ax.plot(np.sort(shares[kind])[::-1], color=color, label=kind)
        ax.axhline(float(law.mean()), color=ink.text, lw=0.9, ls="--")
        ax.set(title="Share of each class, the fullest first", xlabel="rank of the class")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    ax.grid(axis="x", visible=False)
    ax.legend()
    return figure
