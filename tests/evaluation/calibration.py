"""Level and power of a test from replicates, with a false-alarm rate of 1e-6."""

import jax
import numpy as np
import scipy.stats

from energax.testing import FALSE_ALARM

LEVELS = (0.01, 0.05, 0.1)


def results(test, draw, key, replicates):
    """Return what `test(x, key)` says of independent draws `draw(key)`."""
    draw_keys, test_keys = (jax.random.split(k, replicates) for k in jax.random.split(key))
    return [test(np.asarray(draw(a)), b) for a, b in zip(draw_keys, test_keys, strict=True)]


def p_values(test, draw, key, replicates):
    """Return the p-values of `test(x, key)` on independent draws `draw(key)`."""
    return np.array([found.p_value for found in results(test, draw, key, replicates)])


def assert_level(p, *, conservative=False):
    """Fail unless p-values under the null reject as often as they say, and are uniform."""
    n = len(p)
    for level in LEVELS:
        rejected = int(np.sum(p <= level))
        low, high = scipy.stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n, level)
        assert rejected <= high, f"{rejected / n:.4f} rejected at level {level}, allowed {high / n:.4f}"
        assert conservative or rejected >= low, f"{rejected / n:.4f} rejected at {level}, least {low / n:.4f}"
    if not conservative:
        assert scipy.stats.kstest(p, "uniform").pvalue > FALSE_ALARM


def assert_power(p, least, level=0.05):
    """Fail unless at least that share of alternatives is found, with luck allowed for."""
    found = int(np.sum(p <= level))
    assert scipy.stats.binom.cdf(found, len(p), least) > FALSE_ALARM, (
        f"{found / len(p):.3f} found, {least} asked"
    )
