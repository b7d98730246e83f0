"""All that is said of samples beside reference rows, on one choice of features."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from energax.checks import check_array
from energax.evaluation.class_score import class_score
from energax.evaluation.classifier_test import classifier_test
from energax.evaluation.frechet import frechet_distance
from energax.evaluation.kernel_distance import kernel_distance
from energax.evaluation.mmd import mmd_test
from energax.evaluation.precision_recall import precision_and_recall
from energax.evaluation.quality import Quality
from energax.evaluation.result import TestResult
from energax.typing import ArrayLike, Key

__all__ = ["SampleQuality", "sample_quality"]

TESTED = 1000  # rows of either sample that the permutation test looks at
DRAWS = 500


class SampleQuality(NamedTuple):
    """How good samples are.

    Parameters
    ----------
    measures
        The Frechet and the kernel distance, precision and recall, and the class score where probabilities
        were given, by name.
    tests
        Two tests of whether both are of one law, by name.
    """

    measures: dict[str, Quality]
    tests: dict[str, TestResult]


def sample_quality(
    x: ArrayLike,
    reference: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    of: str = "rows",
    key: Key,
) -> SampleQuality:
    """Judge samples by reference rows.

    Parameters
    ----------
    x, reference
        Features of the samples and of rows that the model has not seen, shapes (m, *event) and (n, *event);
        20 or more of either.
    probabilities
        p(y | x) of the samples, shape (m, classes), for the class score.
    of
        What the features are, for the numbers' names.
    key
        Decides blocks, splits and permutations.
    """
    owner = "sample_quality"
    first = check_array(owner, "x", x, at_least_rows=20)
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=20)
    blocks, chosen, orders, splits = jax.random.split(key, 4)
    precision, recall = precision_and_recall(first, second, of=of, key=chosen)
    measures = {
        "Frechet distance": frechet_distance(first, second, of=of),
        "kernel distance": kernel_distance(first, second, of=of, key=blocks),
        "precision": precision,
        "recall": recall,
    }
    if probabilities is not None:
        measures["class score"] = class_score(np.asarray(probabilities), of=of)
    tests = {
        "MMD test": mmd_test(first[:TESTED], second[:TESTED], draws=DRAWS, key=orders),
        "classifier test": classifier_test(first, second, key=splits),
    }
    return SampleQuality(measures, tests)
