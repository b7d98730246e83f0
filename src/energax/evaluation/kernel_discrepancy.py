r"""The kernel Stein discrepancy as an estimate with an error, beside the test that asks whether it is zero.

    KSD² = E H(x, x′),      U = Σ_{i≠j} H_ij / n(n − 1),

unbiased, and away from the model normal as n grows: with g_i = Σ_{j≠i} H_ij/(n − 1) its error is that of a
mean of 2 g_i − U, rows independent (Hoeffding's projection). At the model itself the projection vanishes and
U falls as 1/n: there the error is too small to be believed, and `ksd_test` is the question to ask.
"""

from __future__ import annotations

import jax
import numpy as np

from energax.blocks import row_sums
from energax.evaluation.bandwidth import choose_kernel
from energax.evaluation.kernel_tests import SteinBlock
from energax.evaluation.result import Discrepancy
from energax.evaluation.scores import sample_and_scores
from energax.kernels import Kernel
from energax.typing import ArrayLike, Key, Model

__all__ = ["discrepancy_for", "kernel_stein_discrepancy"]


def kernel_stein_discrepancy(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    kernel: str | Kernel = "imq",
    bandwidth: str | float = "median",
    key: Key,
) -> Discrepancy:
    """KSD² of the rows' law from the model, unbiased, with its standard error.

    Liu, Lee & Jordan (2016). Time n², memory a block.

    Parameters
    ----------
    x, model, scores, kernel, bandwidth
        Those of `ksd_test`.
    key
        Decides the split of a chosen bandwidth.

    Returns
    -------
    Discrepancy
        Its terms are 2 g_i − U, of mean U. Its settings hold kernel and bandwidth.
    """
    return discrepancy_for("kernel_stein_discrepancy", x, model, scores, kernel, bandwidth, key)


def discrepancy_for(
    owner: str,
    x: ArrayLike,
    model: Model | None,
    scores: ArrayLike | None,
    kernel: str | Kernel,
    bandwidth: str | float,
    key: Key,
) -> Discrepancy:
    """Return `kernel_stein_discrepancy`; what it refuses is refused in the name of `owner`."""
    rows, s = sample_and_scores(owner, x, model, scores)
    # Split as in `ksd_test`: one key, one bandwidth in both.
    k, rows, s = choose_kernel(owner, kernel, bandwidth, rows, s, jax.random.split(key)[0])
    n = len(rows)
    sums, diagonal = row_sums(SteinBlock(k), (rows, s))
    g = (sums - diagonal) / (n - 1)
    terms = 2 * g - g.mean()
    return Discrepancy(
        method="kernel stein discrepancy",
        estimate=float(g.mean()),
        standard_error=float(terms.std(ddof=1) / np.sqrt(n)),
        n=n,
        status="ok",
        terms=terms,
        settings={"kernel": type(k).__name__.lower(), "bandwidth": float(k.bandwidth)},
    )
