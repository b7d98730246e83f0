"""What the parts that look at samples share: the samples, and the classifier of the run's own data."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from energax.cli.sample import draw
from energax.cli.trained import Trained
from energax.data import Dataset, load
from energax.evaluation import Classifier, classifier_of

__all__ = ["Features", "classifier_for", "features_for", "samples_of"]

STACKED = "stacked-"


@lru_cache(maxsize=2)
def samples_of(trained: Trained, n: int, seed: int) -> np.ndarray:
    """Return n samples in the data's units: one sampling for all parts that ask for the same."""
    return draw(trained, n, seed).samples


def classifier_for(dataset: Dataset) -> Classifier:
    """Return a classifier of the data's classes; of stacked images, that of one channel's."""
    stacked = dataset.name.startswith(STACKED)
    return classifier_of(load(dataset.name.removeprefix(STACKED)) if stacked else dataset, progress=None)


class Features(NamedTuple):
    """What statistics of samples are computed on.

    Parameters
    ----------
    name
        In words, for every number's name.
    of
        From rows in the data's units to features.
    classifier
        Whose they are; None where they are the rows themselves.
    """

    name: str
    of: Callable[[np.ndarray], np.ndarray]
    classifier: Classifier | None


def features_for(trained: Trained, dataset: Dataset) -> Features:
    """Return a classifier's features for images with labels, else the rows in the model's units."""
    if dataset.kind != "image" or dataset.train_labels is None:
        return Features("rows in the model's units", trained.to_model, None)
    classifier = classifier_for(dataset)
    if not dataset.name.startswith(STACKED):
        return Features(classifier.name, classifier.features, classifier)

    def apart(rows: np.ndarray) -> np.ndarray:
        channels = np.moveaxis(rows.reshape(len(rows), -1, 3), -1, 0)
        return np.concatenate([classifier.features(channel) for channel in channels], axis=1)

    return Features(f"{classifier.name}, channel by channel", apart, None)
