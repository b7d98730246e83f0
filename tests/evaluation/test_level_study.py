"""Every test of fit has its level in 2, 10 and 50 dimensions: 2,000 replicates each (-m study).

What runs unasked, of these and of the learned test, stands in `test_goodness_of_fit.py` and
`test_learned.py`.
"""

import jax
import numpy as np
import pytest

from energax.evaluation import fssd_test, ksd_test, linear_ksd_test, mmd_test

from .calibration import assert_level, p_values

DRAWS, REPLICATES = 300, 2000

TESTS = {
    "ksd": (200, lambda x, k: ksd_test(x, scores=-x, draws=DRAWS, key=k)),
    "ksd-u": (200, lambda x, k: ksd_test(x, scores=-x, statistic="u", kernel="rbf", draws=DRAWS, key=k)),
    "ksd-power": (200, lambda x, k: ksd_test(x, scores=-x, bandwidth="power", draws=DRAWS, key=k)),
    "ksd-tuned": (200, lambda x, k: ksd_test(x, scores=-x, bandwidth="discrepancy", draws=DRAWS, key=k)),
    "linear-ksd": (1000, lambda x, k: linear_ksd_test(x, scores=-x, key=k)),
    "fssd-random": (400, lambda x, k: fssd_test(x, scores=-x, optimise=False, draws=DRAWS, key=k)),
    "fssd-optimised": (500, lambda x, k: fssd_test(x, scores=-x, locations=2, draws=DRAWS, key=k)),
    "mmd": (160, lambda x, k: mmd_test(x[:80], x[80:], draws=DRAWS, key=k)),
}


@pytest.mark.study
@pytest.mark.parametrize("d", [2, 10, 50])
@pytest.mark.parametrize("name", TESTS)
def test_the_level_is_kept(name, d, key):
    rows, test = TESTS[name]
    draw = lambda k: jax.random.normal(k, (rows, d))  # noqa: E731
    p = p_values(lambda x, k: test(np.asarray(x), k), draw, key, REPLICATES)
    print(name, d, [float(np.mean(p <= level)) for level in (0.01, 0.05, 0.1)])
    # The covariance of many features is estimated from few rows: FSSD rejects less often than it says.
    assert_level(p, conservative=name.startswith("fssd") and d > 2)
