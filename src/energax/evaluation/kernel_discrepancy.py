r"""Kernel Stein discrepancies as estimates with an error, beside the tests that ask whether they are zero.

    quadratic     U = Σ_{i≠j} H_ij / n(n − 1)                    E H(x, x′) = KSD²
    linear        mean of H over ⌊n/2⌋ disjoint pairs            the same, in time n
    finite set    U with τ(x_i)·τ(x_j) in the place of H_ij      ‖E τ‖² = FSSD² (`evaluation.fssd`)

All are without bias. Pairs are independent, so that the linear one has the error of a mean. U has that of
the mean of 2 g_i − U, where g_i = Σ_{j≠i} H_ij/(n − 1) (Hoeffding's projection). With ζ₁ the variance of
E[H(x, x′) | x] and ζ₂ that of H(x, x′), for large n,

    Var U = 4 ζ₁/n + 2 ζ₂/n²,        and what the error estimates is 4 ζ₁/n + 4 ζ₂/n²:

right away from the model, and √2 too large at the model itself, where ζ₁ = 0. There U is a weighted sum of
χ² variables less their means, skewed, not normal; `ksd_test` and `fssd_test` ask whether it is zero, and the
status says so where an estimate is within two errors of zero.
"""

from __future__ import annotations

import jax
import numpy as np

from energax.blocks import row_sums
from energax.evaluation.bandwidth import choose_kernel
from energax.evaluation.fssd import located, row_means
from energax.evaluation.kernel_tests import SteinBlock, pair_terms
from energax.evaluation.result import FEW_DECIDE, Discrepancy, effective_rows
from energax.evaluation.scores import sample_and_scores
from energax.kernels import Kernel, kernel_named
from energax.typing import ArrayLike, Float, Key, Model

__all__ = [
    "KERNEL_DISCREPANCIES",
    "finite_set_stein_discrepancy",
    "kernel_stein_discrepancy",
    "linear_kernel_stein_discrepancy",
]

NEAR = 2.0  # errors from zero


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
        Decides the split of a chosen bandwidth: with one key the same as in `ksd_test`.

    Returns
    -------
    Discrepancy
        Its terms are 2 g_i − U, of mean U. Its settings hold kernel and bandwidth.
    """
    owner = "kernel_stein_discrepancy"
    rows, s = sample_and_scores(owner, x, model, scores)
    return quadratic(*choose_kernel(owner, kernel, bandwidth, rows, s, jax.random.split(key)[0]), key)


def linear_kernel_stein_discrepancy(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    kernel: str | Kernel = "imq",
    bandwidth: str | float = "median",
    key: Key,
) -> Discrepancy:
    """KSD² of the rows' law from the model in time n: the mean over random disjoint pairs, with its error.

    Liu, Lee & Jordan (2016), §4. Its error is that of n/2 values of H, of one or two orders above U's.

    Parameters
    ----------
    x, model, scores, kernel, bandwidth
        Those of `ksd_test`.
    key
        Decides the pairs, and the split of a chosen bandwidth: with one key the same as in `linear_ksd_test`.

    Returns
    -------
    Discrepancy
        Its terms are H of the pairs, shape (n/2,). Its settings hold kernel and bandwidth.
    """
    owner = "linear_kernel_stein_discrepancy"
    rows, s = sample_and_scores(owner, x, model, scores)
    return linear(*choose_kernel(owner, kernel, bandwidth, rows, s, jax.random.split(key)[0]), key)


def finite_set_stein_discrepancy(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    locations: int = 5,
    optimise: bool = True,
    kernel: str = "rbf",
    bandwidth: str | float | None = None,
    key: Key,
) -> Discrepancy:
    """FSSD² of the rows' law from the model at a few locations, unbiased, with its standard error, in time n.

    Jitkrittum et al. (2017). The locations are held fixed in the error; it is of them that the value is.

    Parameters
    ----------
    x, model, scores, locations, optimise, kernel, bandwidth
        Those of `fssd_test`.
    key
        Decides the locations and the split: with one key the same as in `fssd_test`.

    Returns
    -------
    Discrepancy
        Its terms are 2 g_i − U, of mean U. Its settings hold kernel, bandwidth and `locations`, shape (J, d).
    """
    owner = "finite_set_stein_discrepancy"
    width, places, rows, s = located(owner, x, model, scores, locations, optimise, kernel, bandwidth, key)
    g = row_means(kernel_named(kernel, width), places, rows, s)
    settings = {"kernel": kernel, "bandwidth": float(width), "locations": places}
    return _of_row_means("finite set stein discrepancy", g, "fssd_test", settings)


def quadratic(kernel: Kernel, rows: np.ndarray, s: np.ndarray, key: Key) -> Discrepancy:
    """Return U of rows and scores under one kernel; there is nothing for the key to decide."""
    sums, diagonal = row_sums(SteinBlock(kernel), (rows, s))
    g = (sums - diagonal) / (len(rows) - 1)
    return _of_row_means("kernel stein discrepancy", g, "ksd_test", _settings(kernel))


def linear(kernel: Kernel, rows: np.ndarray, s: np.ndarray, key: Key) -> Discrepancy:
    """Return the mean over pairs of rows under one kernel."""
    H = pair_terms(kernel, rows, s, jax.random.split(key)[1])
    return _of_terms("linear kernel stein discrepancy", H, len(rows), _doubt(H, "pairs"), _settings(kernel))


KERNEL_DISCREPANCIES = {"ksd": quadratic, "linear-ksd": linear}  # by the names of their tests


def _settings(kernel: Kernel) -> dict[str, object]:
    return {"kernel": type(kernel).__name__.lower(), "bandwidth": float(kernel.bandwidth)}


def _of_row_means(
    method: str, g: Float[np.ndarray, " n"], test: str, settings: dict[str, object]
) -> Discrepancy:
    """Return U of its row means, with the error of a mean of 2 g_i − U."""
    terms = 2 * g - g.mean()
    found = _of_terms(method, terms, len(g), _doubt(terms, "rows"), settings)
    near = found.status == "ok" and found.estimate < NEAR * found.standard_error
    unsure = f"within {NEAR:g} errors of zero, where it is not normal: {test} asks whether it is zero"
    return found._replace(status=unsure) if near else found


def _of_terms(
    method: str, terms: Float[np.ndarray, " m"], n: int, status: str, settings: dict[str, object]
) -> Discrepancy:
    error = float(terms.std(ddof=1) / np.sqrt(len(terms)))
    return Discrepancy(method, float(terms.mean()), error, n, status, terms, settings)


def _doubt(terms: Float[np.ndarray, " m"], what: str) -> str:
    """Return "ok", or that few terms decide, of whose spread little is known then."""
    counted = effective_rows((terms - terms.mean()) ** 2)
    few = f"few {what} decide ({len(terms)} count as {counted:.0f}): the error is approximate"
    return "ok" if counted >= FEW_DECIDE else few
