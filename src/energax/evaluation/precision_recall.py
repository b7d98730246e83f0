r"""Improved precision and recall: fidelity and variety of samples, apart (Kynkäänniemi et al. 2019).

The support of a law is guessed from its rows y_j as the union of balls about them, each reaching to its k-th
nearest other row:

    precision = share of samples within a ball of the reference,   recall = share of reference rows within
                                                                            a ball of the samples.

For two samples of one law and of one size both have the same mean, below 1: it is that ceiling, not 1, that a
good model reaches. A mode that the samples lack costs its share of recall and no precision; rows far from the
data cost precision. One outlier among the rows has a ball that holds much. Both grow with n.
"""

from __future__ import annotations

import jax
import numpy as np

from energax.checks import check, check_array, check_integer
from energax.evaluation.neighbours import nearest
from energax.evaluation.quality import Quality
from energax.typing import ArrayLike, Key

__all__ = ["precision_and_recall"]

BLOCK = 1024


def precision_and_recall(
    x: ArrayLike, reference: ArrayLike, *, neighbours: int = 3, of: str = "rows", key: Key
) -> tuple[Quality, Quality]:
    """Return precision and recall of samples against reference rows.

    Parameters
    ----------
    x, reference
        Features, shapes (m, *event) and (n, *event); of the larger as many rows are drawn as the smaller has,
        since both numbers change with the rows.
    neighbours
        k.
    of
        What the features are, for the numbers' names.
    key
        Decides which rows are drawn.
    """
    owner = "precision_and_recall"
    check_integer(owner, "neighbours", neighbours, at_least=1)
    first = check_array(owner, "x", x, at_least_rows=2)
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=2)
    n = min(len(first), len(second))
    check(n > neighbours, owner, "neighbours", f"fewer than the {n} rows", neighbours)
    first, second = (
        rows if len(rows) == n else rows[np.asarray(jax.random.permutation(k, len(rows)))[:n]]
        for rows, k in zip((first, second), jax.random.split(key), strict=True)
    )
    return tuple(
        Quality(
            method=name,
            of=of,
            estimate=float(inside.mean()),
            standard_error=float(np.sqrt(inside.mean() * (1 - inside.mean()) / n)),
            n=(n, n),
            status="ok",
            settings={"neighbours": neighbours},
        )
        for name, inside in {
            "precision": covered(first, second, neighbours),
            "recall": covered(second, first, neighbours),
        }.items()
    )  # pyright: ignore[reportReturnType]


def covered(queries: np.ndarray, rows: np.ndarray, k: int) -> np.ndarray:
    """Return which queries lie within a ball about a row that reaches to its k-th nearest other row."""
    radius = nearest(rows, rows, k + 1)[1][:, k]
    origin = rows.reshape(len(rows), -1).mean(axis=0, dtype=np.float64)
    q, r = (np.asarray(a, np.float64).reshape(len(a), -1) - origin for a in (queries, rows))
    inside = np.zeros(len(q), bool)
    for begin in range(0, len(q), BLOCK):
        here = q[begin : begin + BLOCK]
        square = np.sum(here**2, axis=1)[:, None] + np.sum(r**2, axis=1) - 2 * here @ r.T
        inside[begin : begin + BLOCK] = np.any(square <= radius**2, axis=1)
    return inside
