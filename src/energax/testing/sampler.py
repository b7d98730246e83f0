r"""Holds a sampler to what it claims about its invariant law.

Chains start from exact draws of an asymmetric target and run for a while; then the means of a
few test functions over the chains' last states are compared with the truth. No effective
sample size is needed, since the chains are independent. A frozen sampler leaves every law
invariant, so movement is required too.

    exact           (`bias_order` None) the means are the true ones.
    of order r      the bias at step h is C h^r + O(h^{r+1}): it must show at h, and Richardson's
                    combination (2^r m(h/2) − m(h))/(2^r − 1) must be unbiased to that order.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.energies import GaussianMixture
from energax.samplers import Sampler, run
from energax.testing.statistics import FALSE_ALARM, assert_mean, critical_value
from energax.typing import Array, Float, Key

__all__ = ["check_sampler"]

GROUPS = 64


def check_sampler(
    make: Callable[[float], Sampler],
    *,
    key: Key,
    step_size: float,
    steps: int = 100,
    chains: int = 200_000,
) -> None:
    """Raise AssertionError unless the sampler keeps the law it claims to keep.

    Parameters
    ----------
    make
        step size ↦ sampler, at temperature 1.
    key
        Decides the draws.
    step_size
        For a biased sampler, large enough for the bias to show.
    steps
        How many steps, at step_size; half the step takes twice as many.
    chains
        Independent chains.
    """
    target = GaussianMixture(
        [0.35, 0.65],
        [[-1.0, 0.6], [0.9, -0.3]],
        jnp.array([[[0.5, 0.2], [0.2, 0.4]], [[0.4, 0.0], [0.0, 0.9]]]),
    )
    start_key, run_key, _ = jax.random.split(key, 3)
    start = target.sample(start_key, chains)

    def means(h: float, count: int) -> tuple[np.ndarray, np.ndarray]:
        x = run(make(h), target, start, key=run_key, steps=count).x
        return _by_group(x), np.asarray(jnp.mean(jnp.sum((x - start) ** 2, axis=1)))

    truth = _exact(target)
    order = make(step_size).bias_order
    if order is None:
        values, moved = means(step_size, steps)
        assert_mean(values, truth, "means under an exact sampler")
    else:
        coarse, moved = means(step_size, steps)
        fine, _ = means(step_size / 2, 2 * steps)
        bias = coarse.mean(0) - truth
        error = coarse.std(0, ddof=1) / np.sqrt(GROUPS)
        shows = np.abs(bias) > critical_value(GROUPS) * error
        assert shows.any(), "the declared bias does not show: take a larger step_size"
        ratio = 2.0**order
        combined = (ratio * fine - coarse) / (ratio - 1)
        # What is left is of order h^{r+1}: a quarter of the bias that was there.
        assert_mean(combined, truth, "means extrapolated to step 0", allowance=np.abs(bias) / 4)
    spread = float(jnp.sum(jnp.var(start, axis=0)))
    assert moved > 0.1 * spread, (
        f"the chains hardly moved: mean squared distance {moved:.3g} (p > {FALSE_ALARM})"
    )


def _exact(target: GaussianMixture) -> np.ndarray:
    """Return the means of `_by_group`'s functions under a mixture of two-dimensional normal laws."""
    weights = np.asarray(jax.nn.softmax(target.logits), np.float64)
    mean, tril = (np.asarray(a, np.float64) for a in (target.means, target.scale_trils))
    covariance = tril @ tril.swapaxes(1, 2)
    (a, b), (aa, bb, ab) = mean.T, (covariance[:, 0, 0], covariance[:, 1, 1], covariance[:, 0, 1])
    above = scipy.stats.norm.sf(0.5, a, np.sqrt(aa))
    parts = [a, b, a**2 + aa, b**2 + bb, a * b + ab, a**3 + 3 * a * aa, above]
    return np.array([weights @ part for part in parts])


def _by_group(x: Float[Array, "n two"]) -> np.ndarray:
    functions = jnp.stack(
        [x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 0] ** 3, x[:, 0] > 0.5], axis=1
    )
    return np.asarray(functions[: len(x) // GROUPS * GROUPS].reshape(GROUPS, -1, 7).mean(1), np.float64)
