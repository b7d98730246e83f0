"""A chain that is right passes, one that is wrong does not, and ArviZ's container is all that is needed."""

import warnings

import numpy as np
import pytest

import energax as ex
from energax.evaluation import LogDensity, ksd_test, lsd_test, mmd_test, posterior_rows

from .calibration import assert_level

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version
    import arviz


def chains(generator, spread=1.0, rho=0.9, count=4, draws=1000):
    """Return draws of x' = ρ x + √(1 − ρ²) z: normal, and far from independent."""
    x = generator.standard_normal((count, draws, 3)).astype(np.float32)
    for t in range(1, draws):
        x[:, t] = rho * x[:, t - 1] + (1 - rho**2) ** 0.5 * x[:, t]
    x = spread * x
    return arviz.from_dict(posterior={"a": x[..., :2], "b": x[..., 2]})


def normal(x):
    return -0.5 * (x @ x)


def test_a_right_chain_passes_as_often_as_it_should(key):
    generator = np.random.default_rng(0)
    p = [ksd_test(chains(generator), LogDensity(normal), draws=200, key=key).p_value for _ in range(150)]
    assert_level(np.array(p))


def test_all_its_draws_taken_for_independent_do_not(key):
    generator = np.random.default_rng(0)
    p = []
    for _ in range(40):
        rows, _ = posterior_rows(chains(generator))
        p.append(ksd_test(rows[::4], scores=-rows[::4], draws=200, key=key).p_value)
    with pytest.raises(AssertionError):
        assert_level(np.array(p))


def test_a_wrong_chain_is_found(key):
    data = chains(np.random.default_rng(0), spread=1.6, rho=0.5)
    assert ksd_test(data, LogDensity(normal), draws=200, key=key).p_value < 0.01
    rows, kept = posterior_rows(data)
    found = ksd_test(data, scores=-rows, draws=200, key=key)
    assert found.n == len(kept) < len(rows)
    assert found.p_value < 0.01
    np.testing.assert_array_equal(
        rows[0], np.concatenate([data.posterior["a"][0, 0], data.posterior["b"][0, :1]])
    )


def test_two_samples_are_compared_at_the_draws_that_are_kept(key):
    data = chains(np.random.default_rng(0))
    rows, kept = posterior_rows(data)
    other = np.random.default_rng(1).standard_normal((200, 3)).astype(np.float32)
    found = mmd_test(data, other, draws=20, key=key)
    assert (found.settings["rows"], found.settings["reference"]) == (len(kept), 200)
    assert found.statistic == mmd_test(rows[kept], other, draws=20, key=key).statistic
    assert mmd_test(other, data, draws=20, key=key).settings["reference"] == len(kept)


def test_independent_draws_are_all_kept(key):
    _, kept = posterior_rows(chains(np.random.default_rng(0), rho=-0.2))
    assert len(kept) > 0.4 * 4000


@pytest.mark.parametrize(
    ("posterior", "sentence"),
    [
        ({"a": np.ones((2, 50, 2))}, "posterior must be of draws that move in every coordinate"),
        ({"a": np.full((2, 50), np.nan)}, "posterior must be of finite draws"),
        ({"a": np.full((2, 50), "x")}, "posterior must be of real variables; got a of another type"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(posterior, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        lsd_test(arviz.from_dict(posterior=posterior), LogDensity(normal), key=key)
