"""Samples before their nearest training rows, and the distances beside those of held-out rows."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.sheet import Sheet, as_images, tiles
from energax.report.figures.style import WIDTH, Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["neighbour_distances", "neighbours"]


def neighbours(found: Measurements, ink: Ink) -> Figure:
    """Each sample before its nearest training rows."""
    n = found.neighbours
    first, others = as_images(found, n.samples), as_images(found, n.neighbours)
    sheet = Sheet(ink)
    half = -(-len(first) // 2)
    across = others.shape[1] + 1
    apart, nudge = 0.5, 0.14
    tile = ((WIDTH - apart) / 2 - nudge) / across
    bottom = 0.0
    for place, rows in enumerate((slice(0, half), slice(half, len(first)))):
        if len(first[rows]) == 0:
            continue
        left = place * ((WIDTH - apart) / 2 + apart)
        sheet.word(left, 0.02, "sample", color=ink.accent)
        sheet.word(left + tile + nudge, 0.02, "nearest training rows, nearest first", color=ink.muted)
        tall = sheet.picture(tiles(first[rows][:, None]), left, 0.26, tile * 0.94)
        sheet.picture(tiles(others[rows]), left + tile + nudge, 0.26, tile * (across - 1) - tile * 0.06)
        bottom = max(bottom, 0.26 + tall)
    return sheet.figure(bottom)


def neighbour_distances(found: Measurements, ink: Ink) -> Figure:
    """Distances to the nearest training row: of samples, and of rows that were held out."""
    n = found.neighbours
    figure = new_figure(2.4)
    ax = figure.subplots()
    low, high = np.quantile(np.concatenate([n.from_samples, n.from_held_out]), [0.005, 0.995])
    wide = low > 0 and high > 30 * low
    bins = (np.geomspace(low, high, 46) if wide else np.linspace(0, high or 1.0, 46)).tolist()
    if wide:
        ax.set_xscale("log")
    kinds = (("held out", n.from_held_out, ink.text, 1.2), ("samples", n.from_samples, ink.accent, 1.6))
    for name, values, color, width in kinds:
        share = np.full(len(values), 1 / len(values))
        filled = {"histtype": "stepfilled", "alpha": 0.14} if name == "held out" else {}
        ax.hist(values, bins, weights=share, histtype="step", color=color, lw=width, label=name)
        if filled:
            ax.hist(values, bins, weights=share, color=color, linewidth=0, **filled)
        ax.axvline(float(np.median(values)), color=color, linewidth=0.9, linestyle="--")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    ax.set(title="Distance to the nearest training row (dashed: medians)", xlabel="L2 distance, model units")
    ax.grid(axis="x", visible=False)
    ax.legend()
    return figure
