"""The order in which rows are visited: a function of (seed, step) alone.

Epoch e visits every row once, in the e-th permutation of a counter-based generator; step t
takes the rows at positions t·b … t·b + b − 1 of that endless sequence. Nothing has to be
remembered, so a resumed fit sees the rows it would have seen.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

__all__ = ["rows_of_steps"]


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    return generator.permutation(n).astype(np.int32)


def rows_of_steps(seed: int, start: int, stop: int, batch: int, n: int) -> np.ndarray:
    """Return the row numbers of steps start … stop − 1, shape (stop − start, batch)."""
    position = np.arange(start * batch, stop * batch)
    epoch = position // n
    rows = np.empty(position.size, np.int32)
    for e in np.unique(epoch):
        here = epoch == e
        rows[here] = _permutation(seed, int(e), n)[position[here] % n]
    return rows.reshape(stop - start, batch)
