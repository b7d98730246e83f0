r"""Whether samples are copies of training rows: their distances to them against those of held-out rows.

With d(z) = min_i ‖z − x_i‖ over the training rows x_i, samples of the law that the training rows come from
have the law of d that held-out rows have: both are independent of the x_i. Two one-sided tests of that,
given the training rows:

    on the whole      Mann & Whitney's (1947) statistic of d of samples against held-out rows, as Meehan,
                      Chaudhuri & Dasgupta (2020) use it: P(d_sample < d_held-out) above ½;
    at the near end   that the r nearest of all m + n distances are samples' has the probability
                      Π_{i<r} (m − i)/(m + n − i): a few copies among samples that are otherwise far.

The p-value is twice the smaller. A small one says that samples lie nearer to training rows than new rows do;
a large one is no proof of the contrary, least of all where samples are poor: far from all rows. What "near"
means is the distance's doing, and in pixels a shifted copy is far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.stats

from energax.checks import check, check_array, check_integer
from energax.evaluation.neighbours import nearest
from energax.typing import ArrayLike

__all__ = ["Memorisation", "memorisation"]

FEWEST = 20
ROUNDING = 1e-6


class Memorisation(NamedTuple):
    """Samples beside their nearest training rows.

    Parameters
    ----------
    neighbours, distances
        Indices of the nearest training rows of each sample, nearest first, and the distances; shape (m, k).
    from_samples, from_held_out
        Distance to the nearest training row, shapes (m,) and (n,).
    nearer
        P(d_sample < d_held-out) + ½ P(=): ½ for samples like new rows, 1 for copies.
    copies
        r, the samples that lie nearer to a training row than any held-out row does.
    p_value
        Of as much nearness if samples are like held-out rows.
    status
        "ok", or what to be wary of.
    """

    neighbours: np.ndarray
    distances: np.ndarray
    from_samples: np.ndarray
    from_held_out: np.ndarray
    nearer: float
    copies: int
    p_value: float
    status: str


def memorisation(
    samples: ArrayLike,
    train: ArrayLike,
    held_out: ArrayLike,
    *,
    count: int = 10,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Memorisation:
    """Find the training rows nearest to each sample, and whether samples lie nearer than new rows do.

    Parameters
    ----------
    samples
        Shape (m, *event).
    train
        The rows that the model was trained on, shape (N, *event before `transform`).
    held_out
        Rows it has not seen, shape (n, *event).
    count
        Neighbours of each sample that are returned.
    transform
        Brings blocks of training rows to the units of the others.

    Raises
    ------
    InputError
        For fewer than 20 samples or held-out rows, too few for a test.
    """
    owner = "memorisation"
    check_integer(owner, "count", count, at_least=1)
    drawn = check_array(owner, "samples", samples, at_least_rows=FEWEST)
    new = check_array(owner, "held_out", held_out, event_shape=drawn.shape[1:], at_least_rows=FEWEST)
    rows = np.asarray(train)
    check(rows.ndim >= 1 and len(rows) > 0, owner, "train", "the rows of the training", f"shape {rows.shape}")
    index, distance = nearest(drawn, rows, count, transform=transform)
    apart = nearest(new, rows, 1, transform=transform)[1]
    d, e = (_without_rounding(a[:, 0], drawn) for a in (distance, apart))
    m, n = len(d), len(e)
    whole = scipy.stats.mannwhitneyu(d, e, alternative="less")
    copies = int(np.sum(d < e.min()))
    i = np.arange(copies)
    at_end = float(np.prod((m - i) / (m + n - i)))
    repeated = float(np.mean(e == 0))
    return Memorisation(
        neighbours=index,
        distances=distance,
        from_samples=d,
        from_held_out=e,
        nearer=float(1 - whole.statistic / (m * n)),
        copies=copies,
        p_value=float(min(1.0, 2 * min(float(whole.pvalue), at_end))),
        status="ok" if repeated < 0.01 else f"{repeated:.0%} of the held-out rows are training rows",
    )


def _without_rounding(distance: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the distances with those of equal rows, which `nearest` knows to 1e-8 of their norms, at 0."""
    spread = np.sqrt(rows.reshape(len(rows), -1).var(axis=0, dtype=np.float64).sum())
    return np.where(distance < ROUNDING * spread, 0.0, distance)
