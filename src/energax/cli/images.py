"""Pictures of samples: grids of images, clouds of points, and traces, as PNG files.

Grids are made of the pixels themselves, enlarged without smoothing; nothing but clouds and
traces needs a plotting library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from energax.files import write_whole

__all__ = ["IMAGES_SHOWN", "draw_clouds", "draw_strip", "draw_trace", "save_grid", "to_pixels"]

IMAGES_SHOWN = 16  # of what a command was given
GAP = 2  # pixels between images
PAPER = 255
TILE = 56  # images smaller than this are enlarged to about it
BLUE, GREY = "#1f6feb", "#9a9a9a"


def to_pixels(images: np.ndarray, shape: Sequence[int], low: float, high: float) -> np.ndarray:
    """Return rows of images (n, …) as bytes (n, h, w, 1 or 3), `low` black and `high` white."""
    n, (height, width, channels) = len(images), shape
    scaled = (images.reshape(n, height, width, channels) - low) / ((high - low) or 1.0)
    pixels = np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return pixels if channels in (1, 3) else pixels[..., :1]


def save_grid(path: Path, rows: Sequence[np.ndarray]) -> None:
    """Write a grid, given as one array (columns, h, w, c) of bytes per row."""
    from PIL import Image

    columns = max(len(row) for row in rows)
    height, width, channels = rows[0].shape[1:]
    scale = max(1, round(TILE / max(height, width)))
    tall, wide = height * scale + GAP, width * scale + GAP
    sheet = np.full((len(rows) * tall + GAP, columns * wide + GAP, channels), PAPER, np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            big = image.repeat(scale, axis=0).repeat(scale, axis=1)
            top, left = GAP + i * tall, GAP + j * wide
            sheet[top : top + big.shape[0], left : left + big.shape[1]] = big
    picture = Image.fromarray(sheet[..., 0] if channels == 1 else sheet)
    write_whole(path, lambda part: picture.save(part, format="PNG"))


def draw_clouds(path: Path, samples: np.ndarray, held_out: np.ndarray | None, columns: Sequence[str]) -> None:
    """Draw samples over held-out data: every pair of the first four columns, and each alone.

    Parameters
    ----------
    path
        The PNG file.
    samples, held_out
        Rows (n, d); held-out rows may be missing.
    columns
        d names.
    """
    d = min(4, samples.shape[1])
    figure = _figure(2.2 * d + 1.2, 2.2 * d + 0.6)
    axes = figure.subplots(d, d, squeeze=False)
    layers = [(samples, BLUE, "samples")]
    if held_out is not None:
        layers.insert(0, (held_out, GREY, "held-out data"))
    for i in range(d):
        for j in range(d):
            axis = axes[i, j]
            together = np.concatenate([rows[:, j] for rows, _, _ in layers])
            bins = np.linspace(together.min(), together.max() + 1e-6, 31)
            for rows, color, label in layers:
                if i == j:
                    axis.hist(rows[:, j], bins, color=color, label=label, density=True, alpha=0.5)
                else:
                    axis.scatter(rows[:, j], rows[:, i], s=3, color=color, alpha=0.6, linewidths=0)
            if i == d - 1:
                axis.set_xlabel(columns[j])
            if j == 0 and i > 0:
                axis.set_ylabel(columns[i])
    # In a place of its own: to look for the best one takes a loaded machine over a second, and a warning.
    axes[0, 0].legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, fontsize="x-small", frameon=False)
    _save(path, figure)


def draw_strip(path: Path, strips: Sequence[np.ndarray], titles: Sequence[str]) -> None:
    """Draw points over time: positions above and, if given, denoised in one step below.

    Parameters
    ----------
    path
        The PNG file.
    strips
        One or two arrays of shape (times, n, d); the first two coordinates are shown.
    titles
        One per time.
    """
    times = len(strips[0])
    figure = _figure(1.7 * times, 1.9 * len(strips))
    axes = figure.subplots(len(strips), times, squeeze=False)
    last = strips[-1][-1][:, :2]
    middle, reach = np.median(last, axis=0), 1.2 * np.abs(last - np.median(last, axis=0)).max(axis=0) + 1e-6
    for row, clouds in enumerate(strips):
        for j, cloud in enumerate(clouds):
            axis = axes[row, j]
            y = cloud[:, 1] if cloud.shape[1] > 1 else np.linspace(-1, 1, len(cloud))
            axis.scatter(cloud[:, 0], y, s=2, color=BLUE, alpha=0.6, linewidths=0)
            axis.set_xlim(middle[0] - 2 * reach[0], middle[0] + 2 * reach[0])
            if cloud.shape[1] > 1:
                axis.set_ylim(middle[1] - 2 * reach[1], middle[1] + 2 * reach[1])
            axis.set_xticks([])
            axis.set_yticks([])
            if row == 0:
                axis.set_title(titles[j], fontsize="small")
    for axis, label in zip(axes[:, 0], ("chains", "denoised"), strict=False):
        axis.set_ylabel(label)
    _save(path, figure)


def draw_trace(path: Path, table: Mapping[str, np.ndarray]) -> None:
    """Draw mean energy and temperature against the step."""
    figure = _figure(6.4, 3.6)
    axis = figure.subplots()
    axis.plot(table["step"], table["mean_energy"], color=BLUE)
    axis.set_xlabel("step")
    axis.set_ylabel("mean energy (nats)", color=BLUE)
    other = axis.twinx()
    other.plot(table["step"], table["temperature"], color=GREY, linestyle="--")
    other.set_yscale("symlog", linthresh=1.0)
    other.set_ylim(bottom=0)
    other.set_ylabel("temperature", color="#5a5a5a")
    _save(path, figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(path: Path, figure: Any) -> None:
    write_whole(path, lambda part: figure.savefig(part, dpi=110, format="png"))
