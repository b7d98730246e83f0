"""Samples beside held-out rows: images, points over the energy's landscape, or columns of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from energax.report.figures.axes import padded
from energax.report.figures.planar import column_name, frame, scatter
from energax.report.figures.sheet import Sheet, as_images, tiles
from energax.report.figures.style import WIDTH, Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["columns", "samples"]


def samples(found: Measurements, ink: Ink) -> Figure:
    """Samples beside held-out rows."""
    if found.image_shape is None:
        return _planar_samples(found, ink) if len(found.columns) <= 2 else _pairs(found, ink)
    sheet = Sheet(ink)
    width, bottom = (WIDTH - 0.5) / 2, 0.0
    for left, name, rows in (
        (0.0, "Samples", found.samples.data),
        (width + 0.5, "Held-out rows", found.samples.held_out),
    ):
        images = as_images(found, rows)
        across = min(8, len(images))
        empty = np.zeros((-len(images) % across, *images.shape[1:]))
        images = np.concatenate([images, empty])
        sheet.word(left, 0.02, name)
        grid = tiles(images.reshape(-1, across, *images.shape[1:]))
        bottom = max(bottom, 0.26 + sheet.picture(grid, left, 0.26, width))
    return sheet.figure(bottom)


def _planar_samples(found: Measurements, ink: Ink) -> Figure:
    s, map_ = found.samples, found.landscape
    panels = 2 if map_ is None else 3
    figure = new_figure(3.3)
    axes = figure.subplots(1, panels, sharex=True, sharey=True)
    scatter(axes[0], s.data, ink.accent)
    scatter(axes[1], s.held_out, ink.text, alpha=0.55)
    axes[0].set_title("Samples")
    axes[1].set_title("Held-out rows")
    x_limits, y_limits = frame(found)
    if map_ is not None:
        shades = LinearSegmentedColormap.from_list("accent", [ink.accent, to_rgba(ink.accent, 0.0)])
        axes[2].contourf(map_.first, map_.second, map_.energy, np.linspace(0, 10, 21), cmap=shades)
        axes[2].contour(
            map_.first, map_.second, map_.energy, np.arange(1, 10, 2), colors=ink.muted, linewidths=0.5
        )
        axes[2].set_title("Energy: 0 to 10 nats above its least")
        (a, b), (c, d) = x_limits, y_limits
        x_limits = (max(a, map_.first[0]), min(b, map_.first[-1]))
        y_limits = (max(c, map_.second[0]), min(d, map_.second[-1]))
    for ax in axes:
        ax.set(xlim=x_limits, ylim=y_limits, xlabel=column_name(found, 0))
    axes[0].set_ylabel(column_name(found, 1))
    return figure


def _pairs(found: Measurements, ink: Ink) -> Figure:
    """Pair marginals of the first columns: held out above the diagonal, samples below."""
    s = found.samples
    k = min(4, len(found.columns))
    samples, held_out = s.data.reshape(len(s.data), -1), s.held_out.reshape(len(s.held_out), -1)
    figure = Figure(figsize=(WIDTH, 2.05 * k), layout="constrained")
    axes = figure.subplots(k, k, squeeze=False)
    limits = [padded(*np.quantile(held_out[:, i], [0.002, 0.998])) for i in range(k)]
    for i in range(k):
        for j in range(k):
            ax = axes[i, j]
            if i == j:
                _histogram(ax, samples[:, i], held_out[:, i], limits[i], ink)
            else:
                rows, color = (samples, ink.accent) if i > j else (held_out, ink.text)
                ax.scatter(rows[:, j], rows[:, i], s=4, color=color, alpha=0.5, linewidths=0)
                ax.set_ylim(limits[i])
            ax.set_xlim(limits[j])
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.yaxis.set_major_locator(NullLocator() if i == j else MaxNLocator(3))
            ax.tick_params(labelbottom=i == k - 1, labelleft=j == 0 and i != 0)
        axes[i, 0].set_ylabel(column_name(found, i))
        axes[-1, i].set_xlabel(column_name(found, i))
    return figure


def columns(found: Measurements, ink: Ink) -> Figure:
    """One histogram per column, with its distance from the held-out one."""
    s = found.samples
    k = min(12, len(found.columns))
    across = min(4, k)
    down = -(-k // across)
    samples, held_out = s.data.reshape(len(s.data), -1), s.held_out.reshape(len(s.held_out), -1)
    figure = Figure(figsize=(WIDTH, 1.75 * down + 0.1), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        if i >= k:
            ax.set_axis_off()
            continue
        limits = padded(*np.quantile(held_out[:, i], [0.002, 0.998]))
        _histogram(ax, samples[:, i], held_out[:, i], limits, ink)
        ax.set_title(f"{column_name(found, i)}   KS {s.distances[i]:.2f}")
        ax.set_xlim(limits)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(NullLocator())
    return figure


def _histogram(
    ax: Axes, samples: np.ndarray, held_out: np.ndarray, limits: Sequence[float], ink: Ink
) -> None:
    bins = np.linspace(limits[0], limits[1], 26).tolist()
    ax.hist(held_out, bins, weights=np.full(len(held_out), 1 / len(held_out)), color=ink.faint)
    ax.hist(
        samples,
        bins,
        weights=np.full(len(samples), 1 / len(samples)),
        histtype="step",
        color=ink.accent,
        lw=1.4,
    )
    ax.grid(visible=False)
