"""Samples, some before their nearest training rows, and how near those are beside held-out rows'."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from energax.report.figures.sheet import tiles
from energax.report.figures.style import WIDTH, Ink, new_figure

__all__ = ["distances", "judged", "with_colours"]

ACROSS = 10


def judged(
    images: Mapping[str, np.ndarray] | None,
    from_samples: np.ndarray,
    from_held_out: np.ndarray,
    shown: int,
    ink: Ink,
) -> Figure:
    """Draw a sheet of samples beside one of neighbours (images alone), and the distances.

    Parameters
    ----------
    images
        As bytes: "samples", shape (m, H, W, C), and "nearest training rows" of the first `shown`, each its k
        nearest, shape (shown·k, H, W, C). None for rows that are no images.
    from_samples, from_held_out
        Distances to the nearest training row.
    shown
        Samples that neighbours are shown of.
    """
    if images is None:
        figure = new_figure(2.6)
        distances(figure.subplots(), from_samples, from_held_out, ink)
        return figure
    figure = new_figure(2.6 + WIDTH / 2)
    grids: dict[str, Axes] = figure.subplot_mosaic(
        [["left", "right"], ["below", "below"]], height_ratios=[2, 1]
    )  # pyright: ignore
    drawn = with_colours(images["samples"])[: ACROSS**2]
    drawn = drawn[: len(drawn) // ACROSS * ACROSS]
    near = with_colours(images["nearest training rows"])
    k = len(near) // shown
    first = drawn[:shown]
    rows = np.concatenate([first[:, None], near.reshape(shown, k, *near.shape[1:])[: len(first)]], axis=1)
    for name, title, sheet in (
        ("left", "samples", drawn.reshape(-1, ACROSS, *drawn.shape[1:])),
        ("right", "samples (first) and their nearest training rows", rows),
    ):
        grids[name].imshow(tiles(sheet), interpolation="nearest")
        grids[name].set_title(title)
        grids[name].set_axis_off()
    distances(grids["below"], from_samples, from_held_out, ink)
    return figure


def distances(ax: Axes, from_samples: np.ndarray, from_held_out: np.ndarray, ink: Ink) -> None:
    """Draw histograms of two sets of distances on common bins, with their medians."""
    low = min(from_samples.min(), from_held_out.min())
    high = min(max(from_samples.max(), from_held_out.max()), 2 * from_held_out.max())
    bins = np.linspace(low, high if high > low else low + 1.0, 46).tolist()
    kinds = (("held out", from_held_out, ink.text, 1.2), ("samples", from_samples, ink.accent, 1.6))
    for name, values, color, width in kinds:
        share = np.full(len(values), 1 / len(values))
        ax.hist(
            np.minimum(values, bins[-1]),
            bins,
            weights=share,
            histtype="step",
            color=color,
            lw=width,
            label=name,
        )
        ax.axvline(float(np.median(values)), color=color, linewidth=0.9, linestyle="--")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    ax.set(title="Distance to the nearest training row (dashed: medians)", xlabel="L2 distance, model units")
    ax.grid(axis="x", visible=False)
    ax.legend()


def with_colours(images: np.ndarray) -> np.ndarray:
    """Return bytes (n, H, W, 1 or 3) as (n, H, W, 4) in [0, 1], opaque."""
    colours = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    return np.concatenate([colours / 255, np.ones((*images.shape[:3], 1))], axis=-1)
