r"""How samples of digits are judged.

A sample is *recognised* if a classifier fitted to training digits is at least 90 % confident of it,
and it lies no farther from its nearest training digit than 95 % of held-out digits do (a classifier
alone is confident of noise, too). The entropy of the recognised classes tells whether all are there.

The energy distance of samples X to held-out digits Y, with independent copies X', Y',

    D(X, Y) = 2E‖X − Y‖ − E‖X − X'‖ − E‖Y − Y'‖ ≥ 0,

is zero only for equal laws (Székely & Rizzo 2013). Here it is the unbiased estimate, which may fall
below zero, on pixels clipped to [0, 1]. Rows that are not finite count as mid-grey.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from energax.data import Dataset

__all__ = ["Judge", "energy_distance", "pixels"]

CONFIDENT = 0.9
JUDGED = 6000  # training rows the judge sees
HELD_OUT = 1000  # rows that say how far from the training rows a digit may lie
GREY = 0.5


class Judge(NamedTuple):
    """What decides whether a sample is recognised."""

    classifier: Any
    neighbours: Any
    reach: float

    @classmethod
    def of(cls, dataset: Dataset) -> Judge:
        """Fit a judge to a labelled data set."""
        from sklearn.calibration import CalibratedClassifierCV
        from sklearn.neighbors import NearestNeighbors
        from sklearn.svm import SVC

        assert dataset.train_labels is not None
        rows = pixels(dataset.train[:JUDGED])
        classifier = CalibratedClassifierCV(SVC(C=10.0), ensemble=False, cv=3)  # pyright: ignore[reportArgumentType]
        classifier.fit(rows, dataset.train_labels[:JUDGED])
        neighbours = NearestNeighbors(n_neighbors=1).fit(rows)
        distance, _ = neighbours.kneighbors(pixels(dataset.test[:HELD_OUT]))
        return cls(classifier, neighbours, float(np.quantile(distance, 0.95)))

    def verdict(self, samples: np.ndarray) -> dict[str, float]:
        """Return the share recognised and the entropy of their classes."""
        rows = pixels(samples)
        probability = self.classifier.predict_proba(rows)
        distance, _ = self.neighbours.kneighbors(rows)
        recognised = (probability.max(1) >= CONFIDENT) & (distance[:, 0] <= self.reach)
        share = np.bincount(probability.argmax(1)[recognised], minlength=10) / max(recognised.sum(), 1)
        entropy = -np.sum(share[share > 0] * np.log(share[share > 0]))
        return {"recognised": float(recognised.mean()), "entropy": float(entropy)}


def pixels(x: np.ndarray) -> np.ndarray:
    """Return flat rows in [0, 1]; rows that are not finite are mid-grey."""
    rows = np.asarray(x, np.float64).reshape(len(x), -1)
    rows = np.where(np.isfinite(rows).all(1, keepdims=True), rows, GREY)
    return np.clip(rows, 0, 1)


def energy_distance(samples: np.ndarray, held_out: np.ndarray) -> float:
    """Estimate D(X, Y) from rows of both, without bias."""
    from scipy.spatial.distance import cdist, pdist

    x, y = pixels(samples), pixels(held_out)
    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())
