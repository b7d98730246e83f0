r"""The bandwidth of a kernel: the median distance, or what a held-out part of the sample says is best.

    median         the median distance between two rows
    power          largest U/√v on the held-out part, U the unbiased discrepancy, v its variance under the
                   alternative, 4 Var_x E_y H(x, y): what power grows with (Sutherland et al. 2017)
    discrepancy    largest U there: Grathwohl et al. (2020), §7.2

The last two try a geometric grid about the median. The part that chose is not tested on: a test on the
rows that its bandwidth was chosen on is no test.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_choice, check_number
from energax.kernels import Kernel, kernel_named, median_bandwidth
from energax.stein import stein_kernel
from energax.typing import Array, Key

__all__ = ["BANDWIDTHS", "choose_kernel"]

BANDWIDTHS = ("median", "power", "discrepancy")
SHARE = 0.2  # of the rows, held out to choose
FACTORS = 2.0 ** np.linspace(-4, 4, 17)
MOST = 2000  # rows that choose
SMALL = 1e-2  # beside a variance, lest a vanishing one be chosen for itself


def choose_kernel(
    owner: str, kernel: str | Kernel, bandwidth: str | float, x: np.ndarray, s: np.ndarray, key: Key
) -> tuple[Kernel, np.ndarray, np.ndarray]:
    """Return the kernel, and the rows with their scores that are left to test on."""
    if isinstance(kernel, Kernel):
        return kernel, x, s
    if not isinstance(bandwidth, str):
        return kernel_named(kernel, check_number(owner, "bandwidth", bandwidth, above=0)), x, s
    check_choice(owner, "bandwidth", bandwidth, BANDWIDTHS)
    split_key, median_key = jax.random.split(key)
    if bandwidth == "median":
        return kernel_named(kernel, median_bandwidth(x, median_key)), x, s
    order = np.asarray(jax.random.permutation(split_key, len(x)))
    held = int(SHARE * len(x))
    check(
        held >= 8,
        owner,
        "x",
        f"at least 40 rows for bandwidth={bandwidth!r}, of which a fifth chooses",
        len(x),
    )
    chosen, kept = order[: min(held, MOST)], order[held:]
    median = median_bandwidth(x[chosen], median_key)
    merits = [
        float(_merit(kernel_named(kernel, float(f * median)), x[chosen], s[chosen], bandwidth == "power"))
        for f in FACTORS
    ]
    return kernel_named(kernel, float(FACTORS[int(np.argmax(merits))] * median)), x[kept], s[kept]


def _merit(kernel: Kernel, x: np.ndarray, s: np.ndarray, power: bool) -> Array:
    return _merit_of(kernel, jnp.asarray(x), jnp.asarray(s), power)


@jax.jit
def _parts(kernel: Kernel, x: Array, s: Array) -> tuple[Array, Array]:
    n = x.shape[0]
    H = stein_kernel(kernel, x, s, x, s)
    H = H - jnp.diag(jnp.diag(H))
    mean = H.sum(1) / (n - 1)
    return mean.mean(), 4 * mean.var()


def _merit_of(kernel: Kernel, x: Array, s: Array, power: bool) -> Array:
    discrepancy, variance = _parts(kernel, x, s)
    return discrepancy / jnp.sqrt(variance + SMALL) if power else discrepancy
