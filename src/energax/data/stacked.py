"""Three grey images in one, a channel each: as many classes as there are triples of the classes."""

from __future__ import annotations

import numpy as np

from energax.checks import check, check_integer
from energax.data.dataset import Dataset
from energax.data.digits import digits
from energax.data.idx import mnist

__all__ = ["stacked", "stacked_digits", "stacked_mnist"]

CHANNELS = 3


def stacked(dataset: Dataset, *, rows: int, held_out: int, seed: int = 111) -> Dataset:
    """Draw triples of a data set's images, each image with replacement.

    Of ten classes whose digits are as frequent as one another the triples have 1,000 classes alike: what a
    sample is of can be counted (`evaluation.mode_coverage`), and a model that has lost some shows it.

    Parameters
    ----------
    dataset
        Grey images with class labels.
    rows, held_out
        How many triples are drawn from its training and its test images.
    seed
        Decides them.

    Returns
    -------
    Dataset
        Images of three channels, flat if those of `dataset` are; the label of a triple of classes (a, b, c)
        out of K is aK² + bK + c.

    Raises
    ------
    InputError
        For what is not grey images, or has no labels.

    References
    ----------
    Metz et al. (2017), "Unrolled generative adversarial networks"; the numbers of Kumar et al. (2019) are
    128,000 rows and seed 111.
    """
    owner = "stacked"
    shape = dataset.image_shape
    check(shape is not None and shape[2] == 1, owner, "dataset", "one of grey images", dataset.name)
    labelled = dataset.train_labels is not None and dataset.test_labels is not None
    check(labelled, owner, "dataset", "one with class labels", f"{dataset.name}, which has none")
    assert shape is not None
    assert dataset.train_labels is not None
    assert dataset.test_labels is not None
    classes = np.unique(dataset.train_labels)
    generator = np.random.default_rng(seed)
    event = (*shape[:2], CHANNELS)
    event = event if len(dataset.event_shape) == len(event) else (int(np.prod(event)),)

    def draw(images: np.ndarray, labels: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
        chosen = generator.integers(0, len(images), (n, CHANNELS))
        triples = images.reshape(len(images), *shape[:2])[chosen]
        place = np.searchsorted(classes, labels)[chosen]
        label = np.asarray(np.ravel_multi_index(tuple(place.T), (len(classes),) * CHANNELS))
        return np.moveaxis(triples, 1, -1).reshape(n, *event), label

    check_integer(owner, "rows", rows, at_least=1)
    check_integer(owner, "held_out", held_out, at_least=1)
    train, train_labels = draw(dataset.train, dataset.train_labels, rows)
    test, test_labels = draw(dataset.test, dataset.test_labels, held_out)
    return Dataset(
        f"stacked-{dataset.name}",
        "image",
        train,
        test,
        train_labels,
        test_labels,
        image_shape=(*shape[:2], CHANNELS),
    )


def stacked_mnist() -> Dataset:
    """Return 60,000 triples of MNIST's training digits, and 10,000 of its test digits."""
    return stacked(mnist(), rows=60_000, held_out=10_000)


def stacked_digits() -> Dataset:
    """Return 20,000 triples of the bundled 8 × 8 training digits, and 10,000 of the test digits."""
    return stacked(digits(), rows=20_000, held_out=10_000)
