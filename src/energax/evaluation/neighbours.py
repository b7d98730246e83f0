r"""The training rows nearest to a sample, exactly, in blocks.

‖q − r‖² = ‖q‖² + ‖r‖² − 2 qᵀr in double precision, about the queries' own mean so that a common
offset costs no digits. Memory is O(m·block + block·d), never an (m, n, d) array.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

__all__ = ["nearest"]


def nearest(
    queries: np.ndarray,
    rows: np.ndarray,
    count: int,
    *,
    transform: Callable[[np.ndarray], np.ndarray] | None = None,
    block: int = 2048,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of, and the distances to, the nearest rows of each query.

    Parameters
    ----------
    queries
        Shape (m, *event).
    rows
        Shape (n, *event before `transform`).
    count
        How many neighbours; all n if there are fewer.
    transform
        Applied to each block of rows, to bring them to the queries' units.
    block
        Rows looked at together.

    Returns
    -------
    indices, distances
        Shape (m, min(count, n)), nearest first; equally near rows in their order.
    """
    q = np.asarray(queries, np.float64).reshape(len(queries), -1)
    origin = q.mean(axis=0)
    q = q - origin
    q_norms = np.sum(q**2, axis=1)[:, None]
    indices = np.zeros((len(q), 0), np.int64)
    squares = np.zeros((len(q), 0))
    for begin in range(0, len(rows), block):
        r = rows[begin : begin + block]
        r = np.asarray(r if transform is None else transform(r), np.float64).reshape(len(r), -1) - origin
        here = q_norms + np.sum(r**2, axis=1) - 2 * q @ r.T
        squares = np.concatenate([squares, here], axis=1)
        indices = np.concatenate(
            [indices, np.broadcast_to(np.arange(begin, begin + len(r)), here.shape)], axis=1
        )
        best = np.argsort(squares, axis=1, kind="stable")[:, :count]
        squares = np.take_along_axis(squares, best, axis=1)
        indices = np.take_along_axis(indices, best, axis=1)
    return indices, np.sqrt(np.maximum(squares, 0.0))
