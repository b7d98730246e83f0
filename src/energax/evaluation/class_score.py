r"""How sure a classifier is of each sample, and how many classes the samples fill: one number of both.

    S = exp E_x KL(p(y | x) ‖ p(y)) = exp(H(y) − H(y | x)),    p(y) = E_x p(y | x)

between 1 (every sample is told the same) and the number of classes (sure of each, all classes alike). With
Inception's thousand ImageNet classes it is the "Inception score" of Salimans et al. (2016). It never looks at
reference rows: a model that makes one perfect image a class reaches the best score.

As is the custom it is the mean over ten parts. p(y) of a part with n rows has too small an entropy, by about
(classes − 1)/2n, which lowers the score.
"""

from __future__ import annotations

import numpy as np
import scipy.special

from energax.checks import check, check_array, check_integer
from energax.evaluation.quality import Quality
from energax.typing import ArrayLike

__all__ = ["class_score"]

ENOUGH = 50  # rows a class in each part: then the bias is below one in a hundred


def class_score(probabilities: ArrayLike, *, parts: int = 10, of: str = "rows") -> Quality:
    """Return S of samples that a classifier has seen.

    Parameters
    ----------
    probabilities
        p(y | x) of each sample, shape (n, classes), samples in no particular order.
    parts
        Into how many the samples are cut.
    of
        Whose probabilities they are, for the number's name.
    """
    owner = "class_score"
    check_integer(owner, "parts", parts, at_least=1)
    p = check_array(owner, "probabilities", probabilities, at_least_rows=2 * parts).astype(np.float64)
    check(p.ndim == 2, owner, "probabilities", "of shape (n, classes)", f"shape {p.shape}")
    sums = p.sum(axis=1)
    proper = p.min() >= 0 and np.allclose(sums, 1, atol=1e-3)
    check(
        proper, owner, "probabilities", "at least 0 and of sum 1 in each row", f"{p.min():g}, {sums.max():g}"
    )
    found = np.array([_score(part) for part in np.array_split(p / sums[:, None], parts)])
    rows, classes = len(p) // parts, p.shape[1]
    few = f"too low: {rows:,} rows in each of {parts} parts, where {ENOUGH * classes:,} are asked"
    return Quality(
        method="class score",
        of=of,
        estimate=float(found.mean()),
        standard_error=float(found.std(ddof=1) / np.sqrt(parts)) if parts > 1 else None,
        n=(len(p), 0),
        status="ok" if rows >= ENOUGH * classes else few,
        settings={"parts": parts, "classes": classes},
    )


def _score(p: np.ndarray) -> float:
    entropy = scipy.special.entr(p).sum(axis=1).mean()
    return float(np.exp(scipy.special.entr(p.mean(axis=0)).sum() - entropy))
