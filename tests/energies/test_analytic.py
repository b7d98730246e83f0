"""The oracles are true: their draws, their derivatives and their log Z agree; mutants do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats

import energax as ex
from energax.energies import Gaussian, GaussianMixture, GeneralizedLogistic
from energax.testing import assert_mean, check_energy

ORACLES = {
    "gaussian": lambda: Gaussian([1.0, -2.0], [[1.0, 0.3], [0.3, 0.5]]),
    "mixture": lambda: GaussianMixture(
        [0.3, 0.7], [[0.0, 0.0], [1.0, 2.0]], [[[1.0, 0.2], [0.2, 0.4]], [[0.3, 0.0], [0.0, 0.6]]]
    ),
    "logistic": lambda: GeneralizedLogistic([0.5, 2.0, 1.0], 1.0, 2.0),
}


@pytest.mark.parametrize("name", ORACLES)
def test_the_oracles_keep_their_contract(name, key):
    check_energy(ORACLES[name](), key=key)


class WrongNormaliser(Gaussian):
    def log_normalizer(self):
        return 0.5 * self.mean.size * jnp.log(2 * jnp.pi)  # forgets ½ log det Σ


class WideDraws(Gaussian):
    def sample(self, key, n):
        return self.mean + 1.05 * (super().sample(key, n) - self.mean)


class FlippedSign(Gaussian):
    def __call__(self, x, condition=None):
        return -super().__call__(x)


class WrongGradient(Gaussian):
    def __call__(self, x, condition=None):
        return super().__call__(jax.lax.stop_gradient(x)) + 0 * x.sum()  # a stale gradient


class Vector(Gaussian):
    def __call__(self, x, condition=None):
        return super().__call__(x) * jnp.ones(1)


@pytest.mark.parametrize("mutant", [WrongNormaliser, WideDraws, FlippedSign, WrongGradient, Vector])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_energy(mutant([1.0, -2.0], [[1.0, 0.3], [0.3, 0.5]]), key=key)


def test_densities_agree_with_scipy():
    x = np.array([0.3, -0.7])
    gaussian = ORACLES["gaussian"]()
    cov = np.array([[1.0, 0.3], [0.3, 0.5]])
    wanted = scipy.stats.multivariate_normal([1.0, -2.0], cov).logpdf(x)
    np.testing.assert_allclose(gaussian.log_prob(jnp.asarray(x)), wanted, rtol=1e-5)
    logistic = GeneralizedLogistic([0.7, 1.8], [0.5, 0.0], [2.0, 1.0])
    z = (x - [0.5, 0.0]) / [2.0, 1.0]
    wanted = scipy.stats.genlogistic([0.7, 1.8]).logpdf(z).sum() - np.log(2.0)
    np.testing.assert_allclose(logistic.log_prob(jnp.asarray(x)), wanted, rtol=1e-5)


def test_logistic_moments(key):
    alpha = np.array([0.5, 2.0])
    x = GeneralizedLogistic(alpha).sample(key, 64 * 4000).reshape(64, 4000, 2)
    mean = scipy.special.digamma(alpha) - scipy.special.digamma(1)
    assert_mean(x.mean(1), mean, "mean of the generalised logistic")
    variance = scipy.special.polygamma(1, alpha) + scipy.special.polygamma(1, 1)
    assert_mean(((x - mean) ** 2).mean(1), variance, "its variance")


def test_smoothing_a_mixture_is_convolution():
    mixture = GaussianMixture([0.4, 0.6], [[-1.0], [0.8]], [[[0.2]], [[0.5]]])
    sigma = 0.7

    def convolved(x):
        def density(y):
            return float(jnp.exp(mixture.log_prob(jnp.array([y])))) * scipy.stats.norm.pdf(x, y, sigma)

        return scipy.integrate.quad(density, -8, 8, limit=200)[0]

    for x in (-1.5, 0.3, 2.0):
        got = float(jnp.exp(mixture.smoothed(sigma).log_prob(jnp.array([x]))))
        np.testing.assert_allclose(got, convolved(x), rtol=1e-4)


def test_bad_parameters_are_named():
    with pytest.raises(ex.InputError, match="covariance must be positive definite"):
        Gaussian([0.0, 0.0], [[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ex.InputError, match="weights must be positive"):
        GaussianMixture([1.0, -1.0], [[0.0], [1.0]], jnp.eye(1))
