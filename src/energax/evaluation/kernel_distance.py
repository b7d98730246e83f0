r"""The kernel distance of two samples of features: squared MMD under k(x, y) = (x·y/d + 1)³, without bias.

    MMD² = mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) − 2 mean_ij k(x_i, y_j)

On features of Inception it is the "KID" of Bińkowski et al. (2018). As a polynomial it compares the first
three moments and nothing else,

    MMD² = (3/d)‖Δm₁‖² + (3/d²)‖Δm₂‖² + (1/d³)‖Δm₃‖²,    m_k = E x⊗…⊗x, k factors.

Both samples are cut into disjoint blocks; the estimate is the mean of the blocks' U-statistics. It is
unbiased whatever the number of rows and may fall below zero, and, the blocks being independent, the square of
its standard error is unbiased too.
"""

from __future__ import annotations

import jax
import numpy as np

from energax.checks import check_array, check_integer
from energax.evaluation.quality import Quality
from energax.typing import ArrayLike, Key

__all__ = ["kernel_distance"]

FEWEST, MOST = 10, 1000  # blocks, and rows in one


def kernel_distance(
    x: ArrayLike, reference: ArrayLike, *, blocks: int | None = None, of: str = "rows", key: Key
) -> Quality:
    """Return the squared polynomial MMD between two samples of features.

    Parameters
    ----------
    x, reference
        Features, shapes (m, *event) and (n, *event); at least two rows a block in each.
    blocks
        How many; by default ten, or more so that none has more than 1,000 rows.
    of
        What the features are, for the number's name.
    key
        Decides which rows form a block.
    """
    owner = "kernel_distance"
    if blocks is not None:
        check_integer(owner, "blocks", blocks, at_least=2)
    first = check_array(owner, "x", x, at_least_rows=2 * (blocks or FEWEST))
    second = check_array(
        owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=2 * (blocks or FEWEST)
    )
    count = blocks or max(FEWEST, -(-max(len(first), len(second)) // MOST))
    count = min(count, len(first) // 2, len(second) // 2)
    parts = [
        np.array_split(np.asarray(rows, np.float64).reshape(len(rows), -1)[_order(k, len(rows))], count)
        for rows, k in zip((first, second), jax.random.split(key), strict=True)
    ]
    found = np.array([unbiased(a, b) for a, b in zip(*parts, strict=True)])
    return Quality(
        method="kernel distance",
        of=of,
        estimate=float(found.mean()),
        standard_error=float(found.std(ddof=1) / np.sqrt(count)),
        n=(len(first), len(second)),
        status="ok",
        settings={"kernel": "(x·y/d + 1)³", "blocks": count},
    )


def unbiased(a: np.ndarray, b: np.ndarray) -> float:
    """Return the U-statistic of the squared MMD between two blocks."""
    within = [(_kernel(z, z).sum() - np.trace(_kernel(z, z))) / (len(z) * (len(z) - 1)) for z in (a, b)]
    return float(sum(within) - 2 * _kernel(a, b).mean())


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _order(key: Key, n: int) -> np.ndarray:
    return np.asarray(jax.random.permutation(key, n))
