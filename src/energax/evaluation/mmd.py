r"""The maximum mean discrepancy of two samples, with a permutation test: the baseline of all the others.

    MMD² = Σ_ij w_i w_j k(z_i, z_j),    z the two samples together, w = 1/m on the first, −1/n on the second

Gretton et al. (2012), biased form. If both come from one law, any permutation of w is as likely, so the
test is of its level exactly. The matrix is held in blocks, as the Stein tests hold H.

A bandwidth can be chosen on a fifth of each sample (`evaluation.bandwidth`), in pairs z_i = (x_i, y_i):

    h(z_i, z_j) = k(x_i, x_j) + k(y_i, y_j) − k(x_i, y_j) − k(x_j, y_i),

whose mean over i ≠ j is the unbiased MMD², of variance 4 Var_i E_j h / n where the laws differ (Gretton et
al. 2012, Lemma 6; Sutherland et al. 2017).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.blocks import quadratic_forms
from energax.checks import check_array, check_integer
from energax.evaluation.bandwidth import merit, split_and_choose
from energax.evaluation.posterior import is_posterior, posterior_rows
from energax.evaluation.result import TestResult, bootstrap_p_value
from energax.kernels import Kernel, squared_distances
from energax.typing import Array, ArrayLike, Key

__all__ = ["mmd_test"]

SMALL = 1e-8  # beside the variance of h, which is bounded whatever the sample's units
# In the plane, beside 300 rows: 50 found a shift of half a standard deviation in each coordinate in all of
# 60 trials at the level 0.05, 20 in three of four, 3 in one of four.
FEW = 50


class KernelBlock(eqx.Module):
    """A block of the kernel's matrix, for `energax.blocks`."""

    kernel: Kernel

    def __call__(self, here: tuple[Array], there: tuple[Array]) -> Array:
        return self.kernel.profile(squared_distances(here[0], there[0])).value


def mmd_test(
    x: ArrayLike,
    reference: ArrayLike,
    *,
    kernel: str | Kernel = "rbf",
    bandwidth: str | float = "median",
    draws: int = 1000,
    key: Key,
) -> TestResult:
    """Test whether two samples come from one law.

    Parameters
    ----------
    x, reference
        Rows, shapes (m, *event) and (n, *event); or ArviZ's `InferenceData`, thinned as by `ksd_test`, for
        permutations take rows that are independent.
    kernel
        "rbf", "imq", or a `kernels.Kernel` with its bandwidth.
    bandwidth
        "median", of both samples together, "power", "discrepancy" (`evaluation.bandwidth`; these two test on
        four fifths of each sample) or a number.
    draws
        Permutations.
    key
        Decides them, and the split.

    Returns
    -------
    TestResult
        Its n counts both samples; its settings hold kernel and bandwidth, and the rows of each.
    """
    owner = "mmd_test"
    check_integer(owner, "draws", draws, at_least=1)
    first = check_array(owner, "x", _thinned(x), at_least_rows=2)
    second = check_array(
        owner, "reference", _thinned(reference), event_shape=first.shape[1:], at_least_rows=2
    )
    first, second = (rows.reshape(len(rows), -1) for rows in (first, second))
    median_key, order_key = jax.random.split(key)

    def of_samples(k: Kernel, held: tuple[np.ndarray, ...], power: bool) -> float:
        pairs = min(map(len, held))
        x, y = (jnp.asarray(rows[part[:pairs]]) for rows, part in zip((first, second), held, strict=True))
        return merit(_parts(k, x, y), power, SMALL)

    samples = {"x": first, "reference": second}
    split_key = jax.random.fold_in(median_key, 1)
    chosen, kept = split_and_choose(owner, kernel, bandwidth, samples, of_samples, split_key, median_key)
    first, second = first[kept[0]], second[kept[1]]
    z = np.concatenate([first, second])
    seed = int(jax.random.randint(order_key, (), 0, 2**31 - 1))
    rng = np.random.default_rng(seed)
    # A byte for each row and permutation, 0 of the first sample and 1 of the second, and no order for long.
    of = np.repeat(np.array([0, 1], np.int8), [len(first), len(second)])
    kinds = np.stack([of, *(of[rng.permutation(len(z))] for _ in range(draws))])
    weights = np.array([1 / len(first), -1 / len(second)], np.float32)
    forms = quadratic_forms(KernelBlock(chosen), (z,), kinds, weights)
    sizes = {"rows": len(first), "reference": len(second)}
    least = min(sizes.values())
    few = f"few rows in the smaller sample ({least}): of its level, but only gross differences are seen"
    return TestResult(
        method="mmd",
        statistic=float(forms[0]),
        p_value=bootstrap_p_value(forms[0], forms[1:]),
        null=f"permutations, {draws} draws",
        status="ok" if least >= FEW else few,
        n=len(z),
        settings={"kernel": type(chosen).__name__.lower(), "bandwidth": float(chosen.bandwidth), **sizes},
    )


@jax.jit
def _parts(kernel: Kernel, x: Array, y: Array) -> tuple[Array, Array]:
    """Return the unbiased MMD² of as many rows of each sample, and 4 Var_i E_j h."""
    n = x.shape[0]
    one, other, across = (kernel.profile(squared_distances(a, b)).value for a, b in ((x, x), (y, y), (x, y)))
    h = one + other - across - across.T
    mean = (h.sum(1) - jnp.diag(h)) / (n - 1)
    return mean.mean(), 4 * mean.var()


def _thinned(source: Any) -> Any:
    if not is_posterior(source):
        return source
    rows, kept = posterior_rows(source)
    return rows[kept]
