r"""Goodness of fit by kernel Stein discrepancies: whether a sample is from the law with this score.

With the Stein kernel H of `energax.stein` and rows x_1 … x_n,

    V = (1/n) Σ_ij H_ij           n times the biased estimate of KSD², never negative
    U = Σ_{i≠j} H_ij / (n − 1)    n times the unbiased one

Where the rows are independent draws of p both tend to weighted sums of χ² variables, whose law the
wild bootstrap copies: with independent signs w_i = ±1 in place of the ones,

    V* = (1/n) Σ_ij w_i w_j H_ij,        U* = Σ_{i≠j} w_i w_j H_ij / (n − 1).

Chwialkowski, Strathmann & Gretton (2016); Liu, Lee & Jordan (2016). Signs have mean zero, so nothing
needs centring; where rows are many `energax.blocks` draws up to 64 of them for the work of one. The
linear-time test averages H over n/2 disjoint pairs, independent and of mean zero under p:
z = √m mean/√(mean H²) is standard normal there (Liu et al. 2016, §4).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.blocks import sign_forms
from energax.checks import check_choice, check_integer
from energax.evaluation.bandwidth import choose_kernel
from energax.evaluation.result import TestResult, bootstrap_p_value
from energax.evaluation.scores import sample_and_scores
from energax.kernels import Kernel
from energax.stein import stein_kernel, stein_pairs
from energax.typing import Array, ArrayLike, Float, Key, Model

__all__ = ["ksd_test", "linear_ksd_test", "pair_terms"]

FEW = 100  # rows: below, asymptotic laws are far away


class SteinBlock(eqx.Module):
    """A block of the matrix of Stein kernels, for `energax.blocks`."""

    kernel: Kernel

    def __call__(self, here: tuple[Array, Array], there: tuple[Array, Array]) -> Array:
        return stein_kernel(self.kernel, *here, *there)


def ksd_test(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    kernel: str | Kernel = "imq",
    bandwidth: str | float = "median",
    statistic: str = "v",
    draws: int = 1000,
    key: Key,
) -> TestResult:
    """Test whether x are independent draws of the model, by the quadratic-time KSD and a wild bootstrap.

    Parameters
    ----------
    x
        Rows, shape (n, *event); or ArviZ's `InferenceData`, whose posterior is thinned to draws that may pass
        for independent and whose rows are all its variables, flattened in their order.
    model
        An energy, a `Score`, or `evaluation.LogDensity(f)`; or None where `scores` are given.
    scores
        ∇ log p at the rows, of the shape of x, computed elsewhere.
    kernel
        "imq", "rbf", or a `kernels.Kernel` with its bandwidth.
    bandwidth
        "median", "power", "discrepancy" (`evaluation.bandwidth`; the last two test on four fifths of the
        rows) or a number.
    statistic
        "v" or "u".
    draws
        Of the bootstrap.
    key
        Decides the bootstrap's signs, and the split.

    Returns
    -------
    TestResult
        Its settings hold the bandwidth and `discrepancy`, KSD² itself.

    Raises
    ------
    InputError
        For fewer rows than a split needs, or scores that are not finite.
    """
    owner = "ksd_test"
    check_choice(owner, "statistic", statistic, ("v", "u"))
    check_integer(owner, "draws", draws, at_least=1)
    rows, s = sample_and_scores(owner, x, model, scores)
    choice_key, sign_key = jax.random.split(key)
    k, rows, s = choose_kernel(owner, kernel, bandwidth, rows, s, choice_key)
    n = len(rows)
    total, trace, forms = sign_forms(SteinBlock(k), (rows, s), draws, sign_key)
    if statistic == "v":
        value, null = total / n, forms / n
    else:
        value, null = (total - trace) / (n - 1), (forms - trace) / (n - 1)
    return TestResult(
        method=f"ksd ({statistic.upper()}-statistic)",
        statistic=value,
        p_value=bootstrap_p_value(value, null),
        null=f"wild bootstrap, {draws} draws",
        status=_status(n),
        n=n,
        settings={
            "kernel": type(k).__name__.lower(),
            "bandwidth": float(k.bandwidth),
            "discrepancy": value / n,
        },
    )


def linear_ksd_test(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    kernel: str | Kernel = "imq",
    bandwidth: str | float = "median",
    key: Key,
) -> TestResult:
    """Test whether x are independent draws of the model, in time linear in n and with less power.

    Parameters
    ----------
    x, model, scores, kernel, bandwidth
        Those of `ksd_test`.
    key
        Decides the pairs, and the split.
    """
    owner = "linear_ksd_test"
    rows, s = sample_and_scores(owner, x, model, scores)
    choice_key, pair_key = jax.random.split(key)
    k, rows, s = choose_kernel(owner, kernel, bandwidth, rows, s, choice_key)
    H = pair_terms(k, rows, s, pair_key)
    z = float(np.sqrt(len(H)) * H.mean() / np.sqrt(np.mean(H**2)))
    return TestResult(
        method="linear ksd",
        statistic=z,
        p_value=float(scipy.stats.norm.sf(z)),
        null="standard normal, as n grows",
        status=_status(len(rows)),
        n=len(rows),
        settings={
            "kernel": type(k).__name__.lower(),
            "bandwidth": float(k.bandwidth),
            "discrepancy": float(H.mean()),
        },
    )


def pair_terms(kernel: Kernel, rows: np.ndarray, s: np.ndarray, key: Key) -> Float[np.ndarray, " m"]:
    """Return H of ⌊n/2⌋ random disjoint pairs of rows, in float64."""
    order = np.asarray(jax.random.permutation(key, len(rows)))[: len(rows) // 2 * 2]
    first, second = order[::2], order[1::2]
    given = (rows[first], s[first], rows[second], s[second])
    return np.asarray(stein_pairs(kernel, *map(jnp.asarray, given)), np.float64)


def _status(n: int) -> str:
    return "ok" if n >= FEW else f"few rows ({n}): the null is one of large samples"
