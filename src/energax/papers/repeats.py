"""Numbers repeated over seeds: their mean and its standard error, in words too, and when a difference counts.

Cases that share seeds are compared in pairs: a difference is *clear* if its mean over the seeds is
farther from zero than Student's 97.5 % quantile times its standard error.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

__all__ = ["Difference", "difference", "pm", "summary", "word"]

Values = Sequence[float] | np.ndarray


class Difference(NamedTuple):
    """The mean of paired differences and its standard error.

    Parameters
    ----------
    mean, error
        Mean over the seeds, and its standard error (infinite for one seed).
    clear
        Whether zero lies outside the 95 % interval of Student's t.
    """

    mean: float
    error: float
    clear: bool

    @property
    def word(self) -> str:
        """Whether it is clear, as verdicts say it."""
        return word(self.clear)


def word(clear: bool) -> str:
    """Return "clear" or "not clear"."""
    return "clear" if clear else "not clear"


def summary(values: Values) -> tuple[float, float]:
    """Return the mean and its standard error (infinite for one value)."""
    v = np.asarray(values, np.float64)
    return float(v.mean()), float(v.std(ddof=1) / np.sqrt(v.size)) if v.size > 1 else float("inf")


def pm(values: Values, form: str = ".3f", error_form: str | None = None) -> str:
    """Return "mean ± standard error", and of one value the value alone.

    Parameters
    ----------
    values
        One for each seed.
    form, error_form
        How the mean and the error are written; the error as the mean by default.
    """
    mean, error = summary(values)
    return f"{mean:{form}} ± {error:{error_form or form}}" if len(values) > 1 else f"{mean:{form}}"


def difference(these: Values, those: Values) -> Difference:
    """Compare two cases seed by seed: these − those."""
    from scipy.stats import t

    mean, error = summary(np.asarray(these, np.float64) - np.asarray(those, np.float64))
    reach = t.ppf(0.975, len(these) - 1) * error if len(these) > 1 else float("inf")
    return Difference(mean, error, bool(abs(mean) > reach))
