"""Rows of a data set as pictures: scaled to its range, laid out in tiles, placed on a sheet in inches."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.style import WIDTH, Ink
from energax.report.measure import Measurements

__all__ = ["LABEL", "Sheet", "as_images", "tiles"]

LABEL = 0.86  # inches kept at the left of rows of pictures for their names


class Sheet:
    """A figure of pictures and words laid out in inches from the top left corner."""

    def __init__(self, ink: Ink):
        self.ink = ink
        self.pictures: list[tuple[np.ndarray, float, float, float]] = []
        self.words: list[tuple[float, float, str, dict[str, object]]] = []

    def picture(self, canvas: np.ndarray, left: float, top: float, width: float) -> float:
        """Place a canvas; return its height."""
        self.pictures.append((canvas, left, top, width))
        return width * canvas.shape[0] / canvas.shape[1]

    def word(self, left: float, top: float, text: str, **look: object) -> None:
        """Place a text."""
        self.words.append((left, top, text, look))

    def figure(self, height: float) -> Figure:
        """Return the figure of all that was placed, of this height."""
        figure = Figure(figsize=(WIDTH, height))
        for canvas, left, top, width in self.pictures:
            tall = width * canvas.shape[0] / canvas.shape[1]
            box = (left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height)
            ax = figure.add_axes(box)
            ax.imshow(canvas, interpolation="nearest", aspect="auto")
            ax.set_axis_off()
        for left, top, text, look in self.words:
            options = {"va": "top", "ha": "left", "fontsize": 9, "color": self.ink.text, **look}
            figure.text(left / WIDTH, 1 - top / height, text, **options)
        return figure


def as_images(found: Measurements, rows: np.ndarray) -> np.ndarray:
    """Return rows in data units as RGBA images, shape (..., H, W, 4), clipped to the data's range."""
    shape = found.image_shape
    assert shape is not None
    lead = rows.shape[: rows.ndim - 1] if rows.shape[-3:] != shape else rows.shape[:-3]
    images = rows.reshape(*lead, *shape)
    span = (found.high - found.low) or 1.0
    images = np.clip((images - found.low) / span, 0, 1)
    if shape[2] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    # What a lost chain left is transparent.
    opaque = np.isfinite(images).all(axis=-1, keepdims=True)
    return np.concatenate([np.nan_to_num(images), opaque], axis=-1)


def tiles(images: np.ndarray) -> np.ndarray:
    """Lay images (rows, columns, H, W, 4) out with transparent gaps of a twelfth of their height."""
    r, c, h, w, _ = images.shape
    # Gaps finer than a pixel of a small image: enlarge before laying out.
    grow = max(1, 32 // max(h, w))
    images = images.repeat(grow, axis=2).repeat(grow, axis=3)
    h, w = images.shape[2:4]
    gap = max(1, h // 12)
    canvas = np.zeros((r * (h + gap) - gap, c * (w + gap) - gap, 4))
    for i in range(r):
        for j in range(c):
            canvas[i * (h + gap) : i * (h + gap) + h, j * (w + gap) : j * (w + gap) + w] = images[i, j]
    return canvas
