r"""Statistical assertions with a written false-alarm rate.

Every random check of the suite goes through `z_scores` or `assert_mean`, each of which
may fail by chance with probability at most `FALSE_ALARM` = 1e-6 per number compared. The
suite makes a few hundred such comparisons: a correct library fails one run in some
thousands. A check also needs power: too few independent values raise instead of passing.
"""

from __future__ import annotations

import numpy as np
import scipy.stats

from energax.checks import check
from energax.typing import ArrayLike

__all__ = ["FALSE_ALARM", "FEWEST_VALUES", "StatisticalError", "assert_mean", "critical_value", "z_scores"]

FALSE_ALARM = 1e-6
FEWEST_VALUES = 16


class StatisticalError(AssertionError):
    """A mean that is not where it must be, beyond what chance allows."""


def critical_value(n: int, comparisons: int = 1) -> float:
    """Return the two-sided Student bound for n values, shared among `comparisons` numbers."""
    return float(scipy.stats.t.isf(FALSE_ALARM / 2 / comparisons, n - 1))


def z_scores(values: ArrayLike, expected: ArrayLike) -> np.ndarray:
    """Return (mean − expected)/(standard error) over the leading axis of independent values.

    Parameters
    ----------
    values
        Shape (n, …), n ≥ 16 independent values (means of many draws are nearly normal).
    expected
        The mean they must have, broadcast to shape (…).

    Raises
    ------
    InputError
        If there are too few values to say anything.
    """
    rows = np.asarray(values, np.float64)
    n = rows.shape[0]
    check(n >= FEWEST_VALUES, "z_scores", "values", f"at least {FEWEST_VALUES} independent values", n)
    error = rows.std(axis=0, ddof=1) / np.sqrt(n)
    difference = rows.mean(axis=0) - np.asarray(expected, np.float64)
    # Values that never vary have no standard error: they must then hit the mean to rounding.
    scale = np.maximum(np.abs(rows).max(axis=0), np.abs(expected))
    floor = 1e-6 * np.maximum(scale, 1e-30)
    return difference / np.maximum(error, floor)


def assert_mean(
    values: ArrayLike, expected: ArrayLike, what: str = "mean", *, allowance: ArrayLike = 0.0
) -> None:
    """Fail unless independent values have the mean they must have.

    Parameters
    ----------
    values
        Shape (n, …): n independent values of some numbers.
    expected
        The means they must have.
    what
        What is compared, for the message.
    allowance
        A bias that is declared rather than random, added to the interval on both sides.

    Raises
    ------
    StatisticalError
        With probability at most `FALSE_ALARM` if the mean is within the allowance.
    """
    rows = np.asarray(values, np.float64)
    z_scores(rows, expected)  # refuses too few values
    n = rows.shape[0]
    mean, error = rows.mean(axis=0), rows.std(axis=0, ddof=1) / np.sqrt(n)
    bound = critical_value(n, max(mean.size, 1)) * error + np.asarray(allowance) + 1e-6 * np.abs(mean)
    off = np.abs(mean - np.asarray(expected))
    if not np.all(off <= bound):
        worst = np.unravel_index(np.argmax(np.atleast_1d(off - bound)), np.atleast_1d(mean).shape)
        got, wanted = np.atleast_1d(mean)[worst], np.broadcast_to(expected, np.atleast_1d(mean).shape)[worst]
        raise StatisticalError(
            f"{what}: {got:.6g} is not {wanted:.6g}; off by {np.atleast_1d(off)[worst]:.3g}, "
            f"allowed {np.atleast_1d(bound)[worst]:.3g} ({n} values, false-alarm rate {FALSE_ALARM:g})."
        )
