"""Binary Alphadigits: handwritten digits and capital letters in black and white."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from energax.checks import InputError, check
from energax.data.dataset import Dataset, split
from energax.data.sources import fetch

__all__ = ["alphadigits"]

HEIGHT, WIDTH, CLASSES = 20, 16, 36
NAME = "alphadigits"


def _contents(path: Path) -> tuple[Any, Any]:
    """Return rows of pixels and their classes, from 1, of either form the file goes round in."""
    from scipy.io import loadmat

    try:
        file = loadmat(path)
        if "fea" in file:  # a table: a row an image, its columns one after another
            return file["fea"].reshape(-1, WIDTH, HEIGHT).swapaxes(1, 2), file["gnd"].reshape(-1)
        cells = file["dat"]  # the authors': a cell an image, a row of them a class
        images = np.stack([image for cell in cells for image in cell])
        return images, np.repeat(np.arange(1, len(cells) + 1), cells.shape[1])
    # A damaged file makes SciPy raise many kinds of error; all of them are one refusal.
    except Exception as error:
        got = f"{type(error).__name__} while reading"
        raise InputError(
            f"{NAME}: {path.name} must be the authors' file with dat, or one with fea and gnd; got {got}."
        ) from None


def alphadigits() -> Dataset:
    """Load Binary Alphadigits: 39 images of each of 0 … 9 and A … Z, a tenth of them kept back.

    Returns
    -------
    Dataset
        float32 images (20, 16, 1) of zeros and ones; labels 0 … 9 are the digits, 10 … 35 the letters.

    Raises
    ------
    InputError
        If the file is not there, or is damaged.

    References
    ----------
    Roweis, S., Binary Alphadigits, a data set of 1,404 images, New York University.
    """
    path = fetch("binaryalphadigs", "binaryalphadigs.mat")
    images, classes = _contents(path)
    bits = images.shape == (len(classes), HEIGHT, WIDTH) and np.isin(images, (0, 1)).all()
    got = f"{images.dtype} {images.shape} and {len(classes)} labels"
    check(bits, NAME, path.name, f"zeros and ones (n, {HEIGHT}, {WIDTH}) with n labels", got)
    named = np.isin(classes, np.arange(1, CLASSES + 1)).all()
    check(
        named,
        NAME,
        f"the labels of {path.name}",
        f"1 to {CLASSES}",
        f"{np.min(classes)} to {np.max(classes)}",
    )
    rows = images[..., None].astype(np.float32)
    return split(NAME, rows, labels=classes.astype(np.int64) - 1, kind="image", owner=NAME)
