"""What a test returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from energax.typing import ArrayLike

__all__ = ["FEW_DECIDE", "Discrepancy", "TestResult", "bootstrap_p_value", "effective_rows"]

FEW_DECIDE = 50  # rows, as they count: below, a sum of them is far from normal


class TestResult(NamedTuple):
    """A statistic and how unusual it is if the hypothesis is true; no level is decided for you.

    Parameters
    ----------
    method
        The test's name.
    statistic
        The larger, the worse the fit.
    p_value
        Probability of such a statistic or a larger one where the hypothesis is true.
    null
        What the statistic was compared with.
    status
        "ok", or what to be wary of.
    n
        Points that the statistic was computed on.
    settings
        What was chosen or fitted on the way: bandwidth, locations, splits.
    """

    __test__ = False  # no test of pytest's

    method: str
    statistic: float
    p_value: float
    null: str
    status: str
    n: int
    settings: dict[str, object]


class Discrepancy(NamedTuple):
    """An estimated discrepancy between a sample's law and a model's; less is better.

    Parameters
    ----------
    method
        What was estimated.
    estimate
        Its value: 0 for the true model, up to its error.
    standard_error
        Of the estimate, from the spread of its terms; what was fitted on other rows is held fixed.
    n
        Rows that the estimate was computed on.
    status
        "ok", or what to be wary of.
    terms
        What the estimate is the mean of, one of each row, or pair of rows: which disagree with the model.
    settings
        What was chosen or fitted on the way: the critic, the bandwidth, the curve of its training.
    """

    method: str
    estimate: float
    standard_error: float
    n: int
    status: str
    terms: np.ndarray
    settings: dict[str, object]


def bootstrap_p_value(statistic: float, draws: ArrayLike) -> float:
    """Return (1 + number of draws ≥ statistic)/(1 + number of draws): never 0, and of level in exactness."""
    draws = np.asarray(draws)
    return float((1 + np.sum(draws >= statistic)) / (1 + len(draws)))


def effective_rows(sizes: ArrayLike) -> float:
    """Return (Σ a)²/Σ a² of sizes a ≥ 0: how many rows decide, n if all are of one size, 1 if one is all."""
    a = np.asarray(sizes, np.float64)
    return float(a.sum() ** 2 / np.sum(a**2)) if a.any() else 0.0
