r"""The bandwidth of a kernel: the median distance, or what a held-out part of the sample says is best.

    median         the median distance between two rows
    power          largest U/√v on the held-out part, U the unbiased discrepancy, v its variance under the
                   alternative, 4 Var_x E_y H(x, y): what power grows with (Sutherland et al. 2017)
    discrepancy    largest U there: Grathwohl et al. (2020), §7.2; of two samples, Fukumizu et al. (2009)

The last two try a geometric grid about the median. The part that chose is not tested on: a test on the
rows that its bandwidth was chosen on is no test. H is the Stein kernel of a sample and a score; of two
samples it is that of `energax.evaluation.mmd`. Models that are compared have one bandwidth, of the largest
mean of their merits: two numbers under two kernels rank nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_choice, check_number
from energax.kernels import Kernel, kernel_named, median_bandwidth
from energax.stein import stein_kernel
from energax.typing import Array, Key

__all__ = ["BANDWIDTHS", "choose_common_kernel", "choose_kernel", "merit", "split_and_choose"]

BANDWIDTHS = ("median", "power", "discrepancy")
SHARE = 0.2  # of the rows, held out to choose
FACTORS = 2.0 ** np.linspace(-4, 4, 17)
MOST = 2000  # rows that choose
SMALL = 1e-2  # beside a variance, lest a vanishing one be chosen for itself


def choose_kernel(
    owner: str, kernel: str | Kernel, bandwidth: str | float, x: np.ndarray, s: np.ndarray, key: Key
) -> tuple[Kernel, np.ndarray, np.ndarray]:
    """Return the kernel, and the rows with their scores that are left to test on."""
    chosen, kept = choose_common_kernel(owner, kernel, bandwidth, x, [s], key)
    return chosen, x[kept], s[kept]


def choose_common_kernel(
    owner: str,
    kernel: str | Kernel,
    bandwidth: str | float,
    x: np.ndarray,
    scores: Sequence[np.ndarray],
    key: Key,
) -> tuple[Kernel, np.ndarray]:
    """Return one kernel for several models' scores at the same rows, and which rows are left to judge by."""

    def of_models(k: Kernel, held: tuple[np.ndarray, ...], power: bool) -> float:
        rows = jnp.asarray(x[held[0]])
        found = [merit(_parts(k, rows, jnp.asarray(s[held[0]])), power, SMALL) for s in scores]
        return float(np.mean(found))

    split_key, median_key = jax.random.split(key)
    chosen, (kept,) = split_and_choose(owner, kernel, bandwidth, {"x": x}, of_models, split_key, median_key)
    return chosen, kept


def split_and_choose(
    owner: str,
    kernel: str | Kernel,
    bandwidth: str | float,
    samples: Mapping[str, np.ndarray],
    merit_of: Callable[[Kernel, tuple[np.ndarray, ...], bool], float],
    split_key: Key,
    median_key: Key,
) -> tuple[Kernel, tuple[np.ndarray, ...]]:
    """Return the kernel, and which rows of each sample are left to test on.

    Parameters
    ----------
    owner, kernel, bandwidth
        Who asks, and for what.
    samples
        Rows by their argument's name, shape (n, d) each; the median is that of all together.
    merit_of
        (kernel, the held-out rows of each sample, whether power is asked) ↦ what is to be largest.
    split_key, median_key
        Decide the held-out rows, and those whose distances give the median.
    """
    whole = tuple(np.arange(len(rows)) for rows in samples.values())
    if isinstance(kernel, Kernel):
        return kernel, whole
    if not isinstance(bandwidth, str):
        return kernel_named(kernel, check_number(owner, "bandwidth", bandwidth, above=0)), whole
    check_choice(owner, "bandwidth", bandwidth, BANDWIDTHS)
    if bandwidth == "median":
        return kernel_named(kernel, median_bandwidth(np.concatenate([*samples.values()]), median_key)), whole
    held, kept = [], []
    for i, (name, rows) in enumerate(samples.items()):
        order = np.asarray(
            jax.random.permutation(jax.random.fold_in(split_key, i) if i else split_key, len(rows))
        )
        count = int(SHARE * len(rows))
        wanted = f"at least 40 rows for bandwidth={bandwidth!r}, of which a fifth chooses"
        check(count >= 8, owner, name, wanted, len(rows))
        held.append(order[: min(count, MOST)])
        kept.append(order[count:])
    chosen = np.concatenate([rows[part] for rows, part in zip(samples.values(), held, strict=True)])
    median = median_bandwidth(chosen, median_key)
    tried = [kernel_named(kernel, float(f * median)) for f in FACTORS]
    merits = [merit_of(k, tuple(held), bandwidth == "power") for k in tried]
    return tried[int(np.argmax(merits))], tuple(kept)


def merit(parts: tuple[Array, Array], power: bool, small: float) -> float:
    """Return U of (U, v), or U/√v where power is asked."""
    discrepancy, variance = parts
    return float(discrepancy / jnp.sqrt(variance + small) if power else discrepancy)


@jax.jit
def _parts(kernel: Kernel, x: Array, s: Array) -> tuple[Array, Array]:
    n = x.shape[0]
    H = stein_kernel(kernel, x, s, x, s)
    H = H - jnp.diag(jnp.diag(H))
    mean = H.sum(1) / (n - 1)
    return mean.mean(), 4 * mean.var()
