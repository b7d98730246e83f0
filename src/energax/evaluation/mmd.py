r"""The maximum mean discrepancy of two samples, with a permutation test: the baseline of all the others.

    MMD² = Σ_ij w_i w_j k(z_i, z_j),    z the two samples together, w = 1/m on the first, −1/n on the second

Gretton et al. (2012), biased form. If both come from one law, any permutation of w is as likely, so the
test is of its level exactly. The matrix is held in blocks, as the Stein tests hold H.
"""

from __future__ import annotations

import equinox as eqx
import jax
import numpy as np

from energax.blocks import quadratic_forms
from energax.checks import check, check_array, check_integer
from energax.evaluation.result import TestResult, bootstrap_p_value
from energax.kernels import Kernel, kernel_named, median_bandwidth, squared_distances
from energax.typing import Array, ArrayLike, Key

__all__ = ["mmd_test"]


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
        Rows, shapes (m, *event) and (n, *event).
    kernel
        "rbf", "imq", or a `kernels.Kernel` with its bandwidth.
    bandwidth
        "median", of both samples together, or a number.
    draws
        Permutations.
    key
        Decides them.
    """
    owner = "mmd_test"
    check_integer(owner, "draws", draws, at_least=1)
    first = check_array(owner, "x", x, at_least_rows=2)
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=2)
    z = np.concatenate([first, second]).reshape(len(first) + len(second), -1)
    median_key, order_key = jax.random.split(key)
    if not isinstance(kernel, Kernel):
        number = not isinstance(bandwidth, str)
        check(number or bandwidth == "median", owner, "bandwidth", "'median' or a number", repr(bandwidth))
        width = float(bandwidth) if number else median_bandwidth(z, median_key)
        kernel = kernel_named(kernel, width)
    seed = int(jax.random.randint(order_key, (), 0, 2**31 - 1))
    rng = np.random.default_rng(seed)
    # A byte for each row and permutation, 0 of the first sample and 1 of the second, and no order for long.
    of = np.repeat(np.array([0, 1], np.int8), [len(first), len(second)])
    kinds = np.stack([of, *(of[rng.permutation(len(z))] for _ in range(draws))])
    weights = np.array([1 / len(first), -1 / len(second)], np.float32)
    forms = quadratic_forms(KernelBlock(kernel), (z,), kinds, weights)
    return TestResult(
        method="mmd",
        statistic=float(forms[0]),
        p_value=bootstrap_p_value(forms[0], forms[1:]),
        null=f"permutations, {draws} draws",
        status="ok",
        n=len(z),
        settings={"kernel": type(kernel).__name__.lower(), "bandwidth": float(kernel.bandwidth)},
    )
