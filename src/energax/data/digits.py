"""The 8 × 8 handwritten digits that come with scikit-learn: real data without a download."""

from __future__ import annotations

import numpy as np

from energax.data.dataset import Dataset

__all__ = ["digits"]


def digits() -> Dataset:
    """Load scikit-learn's bundled digits with a fixed split.

    Returns
    -------
    Dataset
        1,500 training and 297 test images as flat float32 events of shape (64,) in [0, 1]:
        the files count ink in 17 levels, 0 to 16, and are divided by 16. `image_shape` is
        (8, 8, 1); labels are the digits.

    References
    ----------
    Alpaydin and Kaynak, Optical recognition of handwritten digits, UCI Machine Learning
    Repository, 1998 (its test part).
    """
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(a) for a in load_digits(return_X_y=True))
    rows = (images / 16.0).astype(np.float32)
    order = np.random.default_rng(0).permutation(len(rows))
    train, test = order[:1500], order[1500:]
    return Dataset(
        "digits", "image", rows[train], rows[test], labels[train], labels[test], image_shape=(8, 8, 1)
    )
