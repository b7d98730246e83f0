r"""How likely rows are, in the units in which it is reported.

Of rows with log-densities log p(x_i) in nats, x in the units in which the data came:

    mean of log-densities      (1/n) Σ log p(x_i)        what the MDSM paper reports, and nearly everybody
    log of the mean density    log (1/n) Σ p(x_i)        above the former, decided by the few likeliest rows

A pixel of L grey levels, k = 0 … L − 1, comes as x = low + (high − low) k/(L − 1) and stands for its cell, in
which U, uniform on [0, 1), places it: y = (k + U)/L fills [0, 1]. With s = (high − low)/(L − 1), the distance
of two levels, ∂x/∂y = s L and ∂x/∂(k + U) = s. So for D pixels the bits per dimension are

    [0, 1] pixels                                −[log p(x) + D log(s L)]/(D log 2)      of the density of y
    [0, L − 1] pixels, uniform dequantisation    −[log p(x) + D log s]/(D log 2)         of that of k + U,

log₂ L apart: 8 bits for bytes. The second is comparable between all models of levels, discrete ones too: a
cell of k + U has the volume 1, so that E_U p(k + U) = P(k), the probability of the levels, and by Jensen's
inequality E_U log p ≤ log P(k). The first is negative where a density is narrow.

log p is −E − log Z. A log Z between two ends carries them into all of this: upper end, least likely.

Sources: Theis, van den Oord & Bethge (2016), "A note on the evaluation of generative models"; Li, Chen &
Sommer (2019), whose 7.04 bits for CIFAR-10 are in [0, 255] and whose 1.21 for MNIST in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
import scipy.special

from energax.checks import check, check_array, check_integer
from energax.evaluation.partition import LogNormalizerEstimate
from energax.typing import ArrayLike, Key

__all__ = [
    "Dequantised",
    "GreyLevels",
    "LikelihoodSummary",
    "Quantity",
    "dequantised",
    "summarise_likelihood",
]

MOST_LEVELS = 256
ON_GRID = 1e-3  # of the distance of two levels: how far rounding may put a value from its own


class GreyLevels(NamedTuple):
    """The values a pixel can take, equally far from each other.

    Parameters
    ----------
    count
        L.
    low, high
        The least and the largest, in the data's units.
    """

    count: int
    low: float
    high: float

    @classmethod
    def of(cls, x: ArrayLike) -> GreyLevels | None:
        """Return the fewest levels, at most 256, that all entries lie on; None if there are none.

        The least and the largest entry are taken for the ends.
        """
        values = np.unique(check_array("GreyLevels.of", "x", x)).astype(np.float64)
        low, high = values[0], values[-1]
        for count in range(max(2, len(values)), MOST_LEVELS + 1 if high > low else 0):
            steps = (values - low) * ((count - 1) / (high - low))
            if np.all(np.abs(steps - np.round(steps)) < ON_GRID):
                return cls(count, float(low), float(high))
        return None

    @property
    def spacing(self) -> float:
        """s, the distance of two levels."""
        return (self.high - self.low) / (self.count - 1)

    @property
    def conventions(self) -> dict[str, float]:
        """The conventions' names, and log ∂x/∂(pixel in that convention) in nats a pixel."""
        return {
            "[0, 1] pixels": math.log(self.spacing * self.count),
            f"[0, {self.count - 1}] pixels, uniform dequantisation": math.log(self.spacing),
        }


class Quantity(NamedTuple):
    """A number with what is not known of it.

    Parameters
    ----------
    value
        The estimate.
    least, most
        With log Z at its ends; the estimate itself where log Z is exact.
    standard_error
        By the choice of rows, and of log Z where it is an estimate.
    """

    value: float
    least: float
    most: float
    standard_error: float

    def scaled(self, factor: float, offset: float = 0.0) -> Quantity:
        """Return factor · (quantity + offset)."""
        ends = sorted(factor * (end + offset) for end in (self.least, self.most))
        return Quantity(factor * (self.value + offset), ends[0], ends[1], abs(factor) * self.standard_error)


class LikelihoodSummary(NamedTuple):
    """What `summarise_likelihood` returns.

    Parameters
    ----------
    rows
        How many.
    mean
        The mean of log-densities, nats a row.
    log_mean
        The log of the mean density, nats.
    effective
        (Σ p)²/Σ p²: how many rows decide `log_mean`.
    bits
        Bits per dimension of `mean`, by the name of the convention.
    """

    rows: int
    mean: Quantity
    log_mean: Quantity
    effective: float
    bits: dict[str, Quantity]


class Dequantised(NamedTuple):
    """What `dequantised` returns, in nats and in the data's units, one number a row.

    Parameters
    ----------
    bound
        E_U log p(x + s(U − ½)), from draws of U; with D log s added, below log P(k).
    log_mean
        log E_U p from the same draws: with D log s added, log P(k) for very many of them.
    standard_error
        Of the bound, by the draws.
    """

    bound: np.ndarray
    log_mean: np.ndarray
    standard_error: np.ndarray


def dequantised(
    log_density: Callable[[np.ndarray], ArrayLike],
    x: ArrayLike,
    levels: GreyLevels,
    *,
    draws: int = 4,
    key: Key,
) -> Dequantised:
    """Return log-densities of rows of grey levels, each level placed uniformly in its cell.

    Parameters
    ----------
    log_density
        Takes rows in the data's units, returns log p of each in those units: −E and the preprocessing's
        log-determinant, less log Z or without it.
    x
        Rows on the levels, shape (n, *event).
    levels
        What they lie on.
    draws
        Of U, 2 or more.
    key
        Decides them.
    """
    rows = check_array("dequantised", "x", x)
    count = check_integer("dequantised", "draws", draws, at_least=2)
    found = []
    for k in jax.random.split(key, count):
        places = np.asarray(jax.random.uniform(k, rows.shape)) - np.float32(0.5)
        found.append(np.asarray(log_density(rows + np.float32(levels.spacing) * places), np.float64))
    values = np.stack(found)
    return Dequantised(
        values.mean(0),
        scipy.special.logsumexp(values, axis=0) - math.log(count),
        values.std(0, ddof=1) / math.sqrt(count),
    )


def summarise_likelihood(
    log_density: ArrayLike,
    size: int,
    *,
    log_z: LogNormalizerEstimate | None = None,
    levels: GreyLevels | None = None,
    unit: str = "the data's units",
) -> LikelihoodSummary:
    """Return the mean log-density of rows, the log of their mean density, and bits per dimension.

    Parameters
    ----------
    log_density
        In the data's units: −E and the preprocessing's log-determinant, shape (n,).
    size
        D, the coordinates of the data.
    log_z
        What is subtracted, with its ends; None where `log_density` is normalised.
    levels
        Of pixels: bits per dimension are then given in both conventions.
    unit
        How the convention is called where there are no levels.

    Raises
    ------
    InputError
        If there are fewer than two rows, or one has no finite log-density.
    """
    owner = "summarise_likelihood"
    D = check_integer(owner, "size", size, at_least=1)
    values = np.asarray(log_density, np.float64).ravel()
    n = len(values)
    check(n > 1, owner, "log_density", "of two or more rows", n)
    bad = int(np.sum(~np.isfinite(values)))
    check(bad == 0, owner, "log_density", "finite", f"{bad} of {n} rows that are not")
    lower, middle, upper, error = (
        (0.0,) * 4 if log_z is None else (log_z.lower, log_z.estimate, log_z.upper, log_z.standard_error)
    )

    def less_log_z(value: float, spread: float) -> Quantity:
        return Quantity(value - middle, value - upper, value - lower, math.hypot(spread, error))

    mean = less_log_z(float(values.mean()), float(values.std(ddof=1)) / math.sqrt(n))
    peak = values.max()
    p = np.exp(values - peak)
    relative = float(p.std(ddof=1) / p.mean()) / math.sqrt(n)  # the delta method's
    conventions = {unit: 0.0} if levels is None else levels.conventions
    return LikelihoodSummary(
        rows=n,
        mean=mean,
        log_mean=less_log_z(float(peak + math.log(p.mean())), relative),
        effective=float(p.sum() ** 2 / np.sum(p**2)),
        bits={name: mean.scaled(-1 / (D * math.log(2)), D * c) for name, c in conventions.items()},
    )
