"""The linear denoiser reaches its closed form, and nothing else would."""

import dataclasses

import numpy as np
import pytest

from energax.report.wiener import Wiener
from tests.report.conftest import covariance

SIGMA = 0.4


class ForgetsMean(Wiener):
    def __call__(self, noisy, sigma):
        return dataclasses.replace(Wiener(self.mean, self.axes, self.variances), mean=0 * self.mean)(
            noisy, sigma
        )


class WrongVariance(Wiener):
    def __call__(self, noisy, sigma):
        return Wiener(self.mean, self.axes, self.variances)(noisy, sigma**2)


class ForgetsNoise(Wiener):
    def __call__(self, noisy, sigma):
        return noisy


def reaches_closed_form(cls, seed):
    """Hold E‖x̂ − x‖² against tr C(C + σ²)⁻¹σ² on Gaussian data; false-alarm rate 1e-6."""
    rng = np.random.default_rng(seed)
    d, n = 5, 20_000
    mean, cov = np.linspace(-2, 2, d), covariance(d, rng)
    variances, axes = np.linalg.eigh(cov)
    x = rng.multivariate_normal(mean, cov, n)
    noisy = x + SIGMA * rng.standard_normal(x.shape)
    errors = np.sum((cls(mean, axes, variances)(noisy, SIGMA) - x) ** 2, axis=1)
    exact = np.trace(cov @ np.linalg.inv(cov + SIGMA**2 * np.eye(d))) * SIGMA**2
    assert abs(errors.mean() - exact) < 4.9 * errors.std() / np.sqrt(n)


def test_error_is_the_closed_form(seed):
    reaches_closed_form(Wiener, seed)


@pytest.mark.parametrize("mutant", [ForgetsMean, WrongVariance, ForgetsNoise])
def test_mutants_are_rejected(mutant, seed):
    with pytest.raises(AssertionError):
        reaches_closed_form(mutant, seed)


def test_squared_error_is_the_trace(seed):
    cov = covariance(4, np.random.default_rng(seed))
    variances, axes = np.linalg.eigh(cov)
    wiener = Wiener(np.zeros(4), axes, variances)
    sigmas = np.array([0.1, 0.7])
    exact = [np.trace(cov @ np.linalg.inv(cov + s**2 * np.eye(4))) * s**2 for s in sigmas]
    np.testing.assert_allclose(wiener.squared_error(sigmas), exact, rtol=1e-12)


@pytest.mark.parametrize(("n", "d"), [(50, 6), (6, 50)])
def test_tall_and_wide_rows_give_the_sample_covariance(n, d, seed):
    """Both routes are x̂ = μ + C(C + σ²)⁻¹(x̃ − μ) with the rows' own μ and C."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d)) * np.geomspace(0.1, 2, d) + 5
    noisy = rows[:4] + rng.standard_normal((4, d))
    mean, cov = rows.mean(axis=0), np.cov(rows.T, bias=True)
    gain = cov @ np.linalg.inv(cov + 0.3**2 * np.eye(d))
    np.testing.assert_allclose(Wiener.of_rows(rows)(noisy, 0.3), mean + (noisy - mean) @ gain.T, atol=1e-9)


def test_rows_that_never_vary_are_their_mean():
    wiener = Wiener.of_rows(np.full((3, 2, 2), 7.0))
    np.testing.assert_array_equal(wiener(np.zeros((1, 2, 2)), 0.5), np.full((1, 2, 2), 7.0))
