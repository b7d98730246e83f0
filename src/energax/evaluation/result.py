"""What a test returns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from energax.typing import ArrayLike

__all__ = ["TestResult", "bootstrap_p_value"]


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


def bootstrap_p_value(statistic: float, draws: ArrayLike) -> float:
    """Return (1 + number of draws ≥ statistic)/(1 + number of draws): never 0, and of level in exactness."""
    draws = np.asarray(draws)
    return float((1 + np.sum(draws >= statistic)) / (1 + len(draws)))
