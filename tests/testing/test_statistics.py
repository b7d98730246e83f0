"""The statistical assertion fails when it should, as rarely as it says when it should not."""

import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.testing import FALSE_ALARM, StatisticalError, assert_mean, z_scores
from energax.testing.statistics import critical_value


def test_the_critical_value_is_the_stated_rate():
    for n in (16, 64, 1000):
        assert 2 * scipy.stats.t.sf(critical_value(n), n - 1) == pytest.approx(FALSE_ALARM, rel=1e-6)
    assert critical_value(64, 100) > critical_value(64)


def test_z_scores_of_normal_means_are_student(seed):
    values = np.random.default_rng(seed).normal(3.0, 2.0, (64, 20_000))
    p = scipy.stats.kstest(z_scores(values, 3.0), scipy.stats.t(63).cdf).pvalue
    assert p > FALSE_ALARM


def test_it_has_power(seed):
    values = np.random.default_rng(seed).normal(0.0, 1.0, (64, 5))
    assert_mean(values, 0.0)
    with pytest.raises(StatisticalError, match=r"mean: .* is not 1\.5; off by"):
        assert_mean(values, 1.5)
    assert_mean(values, 1.5, allowance=2.0)


def test_values_that_never_vary_must_hit_their_mean():
    assert_mean(np.full((20, 2), 3.0), 3.0)
    with pytest.raises(StatisticalError):
        assert_mean(np.full((20, 2), 3.0), 3.001)


def test_too_few_values_are_refused_rather_than_passed():
    with pytest.raises(ex.InputError, match="at least 16 independent values; got 5"):
        assert_mean(np.zeros(5), 0.0)
