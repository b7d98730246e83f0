"""Energies of rows that the model knows beside those of rows that it should not."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.axes import padded
from energax.report.figures.style import Ink, new_figure

__all__ = ["outliers"]


def outliers(energies: Mapping[str, np.ndarray], ink: Ink) -> Figure:
    """Histograms of energies: held-out and training rows in ink, other data in colours."""
    figure = new_figure(2.9)
    ax = figure.subplots()
    joined = np.concatenate(list(energies.values()))
    bins = np.linspace(*padded(*np.quantile(joined, [0.003, 0.997])), 70).tolist()
    others = [name for name in energies if name not in ("held out", "training")]
    colours = [ink.accent, *matplotlib.colormaps["tab10"](np.arange(1, 10))]
    look = {
        "training": {"histtype": "stepfilled", "color": ink.faint},
        "held out": {"histtype": "step", "color": ink.text, "linewidth": 1.2},
        **{
            name: {"histtype": "step", "color": colour, "linewidth": 1.6}
            for name, colour in zip(others, colours, strict=False)
        },
    }
    for name, values in energies.items():
        ax.hist(np.clip(values, bins[0], bins[-1]), bins, weights=np.full(len(values), 1 / len(values)),
                label=name, **look[name])  # fmt: skip
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    ax.set(title="Share of rows", xlabel="energy, nats up to a constant")
    ax.grid(axis="x", visible=False)
    ax.legend()
    return figure
