r"""How many of the modes of a law its samples are of, beside what exact samples would show.

Of n draws N_k fell in mode k, of probability q_k. With p̂_k = N_k/n,

    found = Σ_k [N_k > 0],    KL(p̂ ‖ q) = Σ_k p̂_k log(p̂_k/q_k).

Neither is K or 0 for a perfect sampler. Exactly,

    E found = Σ_k 1 − (1 − q_k)ⁿ,    E KL = Σ_k E[(N_k/n) log(N_k/(n q_k))],  N_k ~ Binomial(n, q_k),

the second about (K − 1)/2n: .062 for the 1,000 modes of stacked MNIST and Li, Chen & Sommer's (2019) 8,000
samples, .019 for the 26,000 of Kumar et al. (2019), whose counts must not be compared. Both stand in the
record beside what was found. The modes are a classifier's word: what it makes of real rows is the ceiling,
to be asked of as many.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.stats

from energax.checks import check, check_array, check_integer
from energax.evaluation.classifier import Classifier
from energax.typing import ArrayLike

__all__ = ["Coverage", "classified", "mode_coverage"]

ENOUGH = 5  # draws a mode: with fewer, exact draws miss some, too


class Coverage(NamedTuple):
    """How many modes samples are of.

    Parameters
    ----------
    found, total
        Modes with a sample, and modes.
    expected, deviation
        Mean and standard deviation of `found` for exact draws.
    kl, floor
        KL(p̂ ‖ q) in nats, and its mean for exact draws.
    n
        Samples.
    counts
        Samples in each mode, shape (total,).
    status
        "ok", or what to be wary of.
    """

    found: int
    total: int
    expected: float
    deviation: float
    kl: float
    floor: float
    n: int
    counts: np.ndarray
    status: str


def mode_coverage(modes: ArrayLike, total: int, *, law: ArrayLike | None = None) -> Coverage:
    """Count the modes that samples are of.

    Parameters
    ----------
    modes
        The mode of each sample, whole numbers from 0, shape (n,).
    total
        K, how many modes there are.
    law
        q, shape (total,); by default they are alike.
    """
    owner = "mode_coverage"
    check_integer(owner, "total", total, at_least=2)
    given = check_array(owner, "modes", modes, event_shape=())
    index = given.astype(np.int64)
    fits = bool(np.all(index == given)) and index.min() >= 0 and index.max() < total
    check(fits, owner, "modes", f"whole numbers from 0 to {total - 1}", f"{given.min():g} to {given.max():g}")
    q = (
        np.full(total, 1 / total)
        if law is None
        else check_array(owner, "law", law, event_shape=()).astype(float)
    )
    proper = q.shape == (total,) and q.min() > 0 and np.isclose(q.sum(), 1, atol=1e-3)
    check(proper, owner, "law", f"{total} probabilities above 0", f"{q.shape}, of sum {q.sum():g}")
    q = q / q.sum()
    n, counts = len(index), np.bincount(index, minlength=total)
    there = counts > 0
    share = counts[there] / n
    expected, deviation = found_by_chance(q, n)
    few = f"few: {n:,} samples for {total:,} modes, where {ENOUGH * total:,} are asked"
    return Coverage(
        found=int(there.sum()),
        total=total,
        expected=expected,
        deviation=deviation,
        kl=float(np.sum(share * np.log(share / q[there]))),
        floor=kl_by_chance(q, n),
        n=n,
        counts=counts,
        status="ok" if n >= ENOUGH * total else few,
    )


def found_by_chance(q: np.ndarray, n: int) -> tuple[float, float]:
    """Return mean and standard deviation of the number of modes that n exact draws are of."""
    values, times = np.unique(q, return_counts=True)
    missed = (1 - values) ** n
    pairs = np.maximum(1 - np.add.outer(values, values), 0) ** n - np.outer(missed, missed)
    # Pairs of different modes; a mode with itself has variance a(1 − a).
    variance = times @ pairs @ times - times @ np.diag(pairs) + times @ (missed * (1 - missed))
    return float(times @ (1 - missed)), float(np.sqrt(max(variance, 0.0)))


def kl_by_chance(q: np.ndarray, n: int) -> float:
    """Return the mean of KL(p̂ ‖ q) for n exact draws."""
    values, times = np.unique(q, return_counts=True)
    m = np.arange(1, n + 1)
    means = [np.sum(scipy.stats.binom.pmf(m, n, v) * (m / n) * np.log(m / (n * v))) for v in values]
    return float(times @ np.array(means))


def classified(classifier: Classifier, x: ArrayLike) -> tuple[np.ndarray, int]:
    """Return the mode that a classifier puts each row in, and how many there are.

    Rows of as many channels as the classifier's images have are of one of its K classes. Rows of c channels,
    for a classifier of grey images, are taken apart: of the K^c modes that of classes (a, b, …) is
    aK^(c−1) + bK^(c−2) + …

    Parameters
    ----------
    classifier
        Of `classifier_of`.
    x
        Rows, shape (n, *event); images with their channels last.
    """
    rows = check_array("classified", "x", x)
    size, one = rows[0].size, int(np.prod(classifier.network.shape))
    K, channels = len(classifier.classes), size // one
    grey = channels == 1 or classifier.network.shape[2:] == (1,)
    check(
        size == channels * one and grey, "classified", "x", f"rows of {one} entries a channel", rows.shape[1:]
    )
    apart = np.moveaxis(rows.reshape(len(rows), one, channels), -1, 0)
    places = tuple(classifier.places(channel) for channel in apart)
    return np.ravel_multi_index(places, (K,) * channels), K**channels
