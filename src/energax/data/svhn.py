"""Street View House Numbers in the authors' MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from energax.checks import InputError, check
from energax.data.dataset import Dataset
from energax.data.sources import fetch

__all__ = ["svhn"]


def _part(path: Path) -> tuple[np.ndarray, np.ndarray]:
    from scipy.io import loadmat

    try:
        file = loadmat(path, variable_names=["X", "y"])
        images, labels = file["X"], file["y"].reshape(-1)
    # A damaged file makes SciPy raise many kinds of error; all of them are one refusal.
    except Exception as error:
        got = f"{type(error).__name__} while reading"
        raise InputError(f"svhn: {path.name} must be the authors' file with X and y; got {got}.") from None
    right = images.dtype == np.uint8 and images.ndim == 4 and images.shape == (32, 32, 3, len(labels))
    got = f"{images.dtype} {images.shape} and {len(labels)} labels"
    check(right, "svhn", path.name, "bytes (32, 32, 3, n) with n labels", got)
    # The files have rows last, and call the digit 0 by the label 10.
    rows = np.moveaxis(images, -1, 0).astype(np.float32) / np.float32(255)
    return rows, labels.astype(np.int64) % 10


def svhn() -> Dataset:
    """Load SVHN in its cropped form: 73,257 training and 26,032 test house numbers.

    Returns
    -------
    Dataset
        float32 images (32, 32, 3) in [0, 1]; labels are the digits, with 0 for the files'
        label 10.

    Raises
    ------
    InputError
        If a file is not there and cannot be downloaded, or is damaged.

    References
    ----------
    Netzer et al., Reading digits in natural images with unsupervised feature learning, NIPS
    workshop, 2011.
    """
    train, train_labels = _part(fetch("svhn", "train_32x32.mat"))
    test, test_labels = _part(fetch("svhn", "test_32x32.mat"))
    return Dataset("svhn", "image", train, test, train_labels, test_labels)
