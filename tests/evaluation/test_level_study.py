"""Every test of fit has its level in 2, 10 and 50 dimensions: 2,000 replicates each (-m study).

And where it has not: the finite-set test with more features than rows, the learned one with a hundred rows.

What runs unasked, of these and of the learned test, stands in `test_goodness_of_fit.py` and
`test_learned.py`.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from energax.evaluation import CriticTraining, fssd_test, ksd_test, linear_ksd_test, lsd_test, mmd_test

from .calibration import LEVELS, assert_level, results

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
    "lsd": (700, lambda x, k: learned(x, k)),
}
QUICK = CriticTraining(width=32, dropout=0.0, steps=20, check_every=10, learning_rate=1e-2)


def learned(x, key):
    """Test 500 rows by a critic of 100 others, chosen on 100 more."""
    how = {"training": QUICK, "split": (1 / 7, 1 / 7, 5 / 7), "progress": False}
    return lsd_test(x, scores=-x, draws=DRAWS, key=key, **how)


@pytest.mark.study
@pytest.mark.parametrize("d", [2, 10, 50])
@pytest.mark.parametrize("name", TESTS)
def test_the_level_is_kept(name, d, key):
    rows, test = TESTS[name]
    draw = lambda k: jax.random.normal(k, (rows, d))  # noqa: E731
    assert_level_as_said(name, results(test, draw, key, REPLICATES), d)


@pytest.mark.study
@pytest.mark.parametrize("optimise", [False, True], ids=["random", "optimised"])
def test_fssd_rejects_no_more_than_it_says_at_200_rows_of_50(optimise, key):
    # 250 features of 200 rows where locations are drawn, and of 160 where they are chosen.
    fssd = lambda x, k: fssd_test(x, scores=-x, optimise=optimise, draws=DRAWS, key=k)  # noqa: E731
    found = results(fssd, lambda k: jax.random.normal(k, (200, 50)), key, REPLICATES)
    assert not any(f.status == "ok" for f in found)
    assert_level_as_said(f"fssd-{'optimised' if optimise else 'random'}, 200 rows", found, 50)


@pytest.mark.study
@pytest.mark.parametrize("steps", [20, 100])
@pytest.mark.parametrize("d", [2, 10, 50])
def test_the_learned_test_on_a_hundred_rows(d, steps, key):
    # A critic of 32 units learns on 100 rows, is chosen on 100, and tested on 100: few steps, or many.
    how = CriticTraining(width=32, dropout=0.0, steps=steps, check_every=steps // 2, learning_rate=1e-2)
    keys = jax.random.split(key, (1000, 2))
    draw = lambda k: np.asarray(jax.random.normal(k, (300, d)))  # noqa: E731
    found = [
        lsd_test(x, scores=-x, training=how, split=(1 / 3, 1 / 3, 1 / 3), draws=500, key=k, progress=False)
        for x, k in ((draw(a), b) for a, b in keys)
    ]
    bootstrap = np.array([f.p_value for f in found])
    normal = scipy.stats.norm.sf([f.statistic for f in found])  # the other null, of the same statistic
    print("lsd", d, steps, "bootstrap", rejected(bootstrap), "normal", rejected(normal))
    # Row by row the normal null rejects where the bootstrap does not, and hardly ever the other way.
    more, fewer = (int(np.sum((a <= 0.1) & (b > 0.1))) for a, b in ((normal, bootstrap), (bootstrap, normal)))
    assert more > fewer, (more, fewer)


def assert_level_as_said(name, found, d):
    """Fail unless the level is kept, from below where the status says that the test is conservative."""
    p = np.array([f.p_value for f in found])
    warned = np.array([f.status.startswith("conservative") for f in found])
    print(name, d, rejected(p), f"{warned.mean():.3f} warned")
    assert_level(p, conservative=bool(warned.any()))
    if 0 < warned.sum() < len(p):
        print("of the others", rejected(p[~warned]))
        assert_level(p[~warned])


def rejected(p):
    return [float(np.mean(p <= level)) for level in LEVELS]


CHOICES = {
    "V, IMQ, median": {},
    "U, IMQ, median": {"statistic": "u"},
    "V, RBF, median": {"kernel": "rbf"},
    "V, IMQ, power": {"bandwidth": "power"},
    "V, IMQ, discrepancy": {"bandwidth": "discrepancy"},
    "V, RBF, power": {"kernel": "rbf", "bandwidth": "power"},
}
OFF = {  # what is wrong with rows of N(0, I): a shift of one length in any d, one wide column, one in detail
    "shift": lambda k, d: jax.random.normal(k, (200, d)) + 0.3 / d**0.5,
    "one column": lambda k, d: jax.random.normal(k, (200, d)) * jnp.where(jnp.arange(d) == 0, 1.5, 1.0),
    "ripples": lambda k, d: rippled(jax.random.normal(k, (200, d))),
}


def rippled(x):
    """Return rows whose first column is pushed towards whole numbers: wrong in detail, right at large."""
    return x.at[:, 0].add(-0.15 * jnp.sin(2 * jnp.pi * x[:, 0]))


@pytest.mark.study
@pytest.mark.parametrize("d", [2, 10, 50])
@pytest.mark.parametrize("wrong", OFF)
def test_power_of_kernels_statistics_and_bandwidths(wrong, d, key):
    shares = {}
    for name, choice in CHOICES.items():
        test = lambda x, k, choice=choice: ksd_test(x, scores=-x, draws=DRAWS, key=k, **choice)  # noqa: E731
        found = results(test, lambda k: OFF[wrong](k, d), key, 100)
        shares[name] = float(np.mean([f.p_value <= 0.05 for f in found]))
    print(wrong, d, shares)
    assert shares["U, IMQ, median"] == shares["V, IMQ, median"]
    if d == 2:  # where the power is not near the level: a chosen bandwidth pays where the median is wrong
        gain = shares["V, IMQ, power"] - shares["V, IMQ, median"]
        assert gain > 0.4 if wrong == "ripples" else gain < 0
