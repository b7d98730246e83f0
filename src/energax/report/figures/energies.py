"""Energies of several kinds of rows: histograms of those that should agree, and the range of each."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from energax.report.figures.axes import padded
from energax.report.figures.style import Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["energies"]


def energies(found: Measurements, ink: Ink) -> Figure:
    """Histograms of energies of the kinds that should agree; the range of every kind."""
    e = found.energies
    assert e is not None
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    core = {name: e.values[name] for name in ("train", "held out", "samples") if name in e.values}
    joined = np.concatenate(list(core.values()))
    bins = np.linspace(*padded(*np.quantile(joined, [0.003, 0.997])), 33)
    look = {
        "train": {"histtype": "stepfilled", "color": ink.faint},
        "held out": {"histtype": "step", "color": ink.text, "linewidth": 1.2},
        "samples": {"histtype": "step", "color": ink.accent, "linewidth": 1.6},
    }
    for name, values in core.items():
        # Shares of all rows, so that what lies beyond the bins is missing rather than moved.
        left.hist(values, bins, weights=np.full(len(values), 1 / len(values)), label=name, **look[name])
    left.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    left.set(title="Share of rows", xlabel="energy, nats up to a constant")
    left.grid(axis="x", visible=False)
    left.legend()

    centre = np.median(e.values["held out"])
    names = {"noisy": f"held out + {e.sigma:.2g} noise", "uniform": "uniform noise"}
    kinds = list(e.values)[::-1]
    for row, kind in enumerate(kinds):
        q = np.quantile(e.values[kind] - centre, [0.01, 0.25, 0.5, 0.75, 0.99])
        color = ink.accent if kind == "samples" else ink.text if kind in core else ink.muted
        right.plot(q[[0, 4]], [row, row], color=color, linewidth=1)
        right.plot(q[[1, 3]], [row, row], color=color, linewidth=5, solid_capstyle="butt")
        right.plot(q[2], row, marker="o", color=ink.paper, markeredgecolor=color, markersize=5)
    scale = max(float(np.quantile(np.abs(joined - centre), 0.99)), 1e-6)
    largest = max(np.abs(np.quantile(v - centre, [0.01, 0.99])).max() for v in e.values.values())
    if largest > 4 * scale:
        unit = 10.0 ** np.ceil(np.log10(scale))
        right.set_xscale("symlog", linthresh=unit, linscale=1.5)
        lowest = min(np.quantile(v - centre, 0.01) for v in e.values.values())
        tens = unit * 10.0 ** np.arange(np.floor(np.log10(max(largest / unit, 1.0))) + 1)
        ticks = np.r_[-tens[::-1][tens[::-1] <= -lowest], 0, tens[tens <= largest]]
        right.set_xticks(ticks, [f"{t:,g}".replace("-", "−") for t in ticks])
        right.xaxis.set_minor_locator(NullLocator())
    right.axvline(0, color=ink.muted, linewidth=0.8)
    right.set_yticks(range(len(kinds)), [names.get(k, k) for k in kinds])
    right.tick_params(axis="y", labelcolor=ink.text)
    right.set(title="Energy less the held-out median", xlabel="nats")
    right.grid(axis="y", visible=False)
    return figure
