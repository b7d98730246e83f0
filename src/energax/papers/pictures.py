"""What the studies' pictures share: a figure without a screen, and a sheet of small grey images."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["canvas", "show_sheet", "tiled"]

FRAME = 0.35  # grey between images


def canvas(width: float, height: float) -> Any:
    """Return a figure of so many inches that lays its parts out by itself and needs no screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tiled(images: np.ndarray, across: int, frame: float = FRAME) -> np.ndarray:
    """Return images (n, h, w) in rows of `across`, a pixel of grey around each; n is a multiple of it."""
    n, h, w = images.shape
    framed = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=frame)
    grid = framed.reshape(n // across, across, h + 2, w + 2)
    return grid.transpose(0, 2, 1, 3).reshape(n // across * (h + 2), across * (w + 2))


def show_sheet(
    axes: Any, images: np.ndarray, across: int, title: str, size: int, frame: float = FRAME
) -> None:
    """Show grey images (n, h, w) with values in [0, 1] as one picture.

    Parameters
    ----------
    axes
        Matplotlib's.
    images, across, frame
        As `tiled` takes them.
    title, size
        What stands above, and how large.
    """
    axes.imshow(tiled(images, across, frame), cmap="gray", vmin=0, vmax=1)
    axes.set_title(title, fontsize=size)
    axes.set_axis_off()
