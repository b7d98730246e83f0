"""Images with a part taken away, completed, and as they were."""

from __future__ import annotations

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from energax.report.figures.sheet import LABEL, Sheet, as_images, tiles
from energax.report.figures.style import WIDTH, Ink
from energax.report.measure import Inpainting, Measurements

__all__ = ["inpainted"]


def inpainted(found: Measurements, ink: Ink) -> Figure:
    """What was known, the completion, the truth."""
    sheet = Sheet(ink)
    apart = 0.3
    width = (WIDTH - LABEL - apart) / 2
    tall = 0.0
    for place, part in enumerate(found.inpainting):
        left = LABEL + place * (width + apart)
        sheet.word(left, 0.02, f"{part.name} missing")
        rows = (_known(found, part, ink), as_images(found, part.completed), as_images(found, part.truth))
        tall = sheet.picture(tiles(np.stack(rows)), left, 0.26, width)
    for row, name in enumerate(("known", "completed", "truth")):
        color = ink.text if row == 1 else ink.muted
        sheet.word(0, 0.26 + tall * (row + 0.5) / 3, name, va="center", color=color)
    return sheet.figure(0.26 + tall)


def _known(found: Measurements, part: Inpainting, ink: Ink) -> np.ndarray:
    """Return the images with a tint where nothing was known."""
    images = as_images(found, part.truth)
    assert found.image_shape is not None
    missing = ~part.known.reshape(found.image_shape).all(axis=-1)
    images[:, missing] = to_rgba(ink.accent, 0.25)
    return images
