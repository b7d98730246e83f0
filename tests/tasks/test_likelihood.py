"""Log-likelihoods are the closed form's, their standard errors honest, and no row minds its company."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import GaussianMixture, Smoothings
from energax.tasks import log_likelihood
from energax.testing import assert_mean

MIXTURE = GaussianMixture(
    [0.7, 0.3], [[-1.0, 0.5], [1.5, -0.5]], jnp.array([[[0.3, 0.2], [0.2, 0.3]], [[0.2, 0.0], [0.0, 0.4]]])
)
LEVELS = {"sigma_min": 0.05, "sigma_max": 50.0}
PRIOR = {"prior_mean": np.array([-0.25, 0.2]), "prior_scale": 1.0}


class Known(Smoothings):
    """Knows the data's mean and scale, as `NoiseConditional` does."""

    mean: float = -0.03
    scale: float = 1.0


def test_it_is_the_smoothed_density_and_knows_its_models_prior(key):
    x = np.asarray(MIXTURE.sample(key, 100))
    smoothed = MIXTURE.smoothed(0.05)
    truth = -jax.vmap(smoothed)(x) - smoothed.log_normalizer()
    found = log_likelihood(Smoothings(MIXTURE), x, **PRIOR, **LEVELS)
    assert found.standard_error is None
    np.testing.assert_allclose(found.log_prob, truth, atol=5e-3)
    by_model = log_likelihood(Known(MIXTURE), x, **LEVELS).log_prob
    by_hand = log_likelihood(Smoothings(MIXTURE), x, prior_mean=-0.03, **LEVELS).log_prob
    np.testing.assert_allclose(by_model, by_hand, atol=1e-5)
    # In other company, in another chunk: the same.
    again = log_likelihood(Smoothings(MIXTURE), x[::-1][:70], **PRIOR, **LEVELS).log_prob
    np.testing.assert_allclose(again, found.log_prob[::-1][:70], atol=1e-4)


def squared_errors(key, change=lambda s: s):
    """Squared errors of 64 × 50 rows, less what their standard errors promise."""
    x = np.tile(np.array([[0.4, -0.1], [-1.3, 1.0]], np.float32), (32 * 50, 1))
    exact = np.tile(log_likelihood(Smoothings(MIXTURE), x[:2], **PRIOR, **LEVELS).log_prob, 32 * 50)
    found = log_likelihood(Smoothings(MIXTURE), x, probes=3, key=key, **PRIOR, **LEVELS)
    assert found.standard_error is not None
    promised = change(found.standard_error) ** 2
    return ((found.log_prob - exact) ** 2 - promised).reshape(64, -1).mean(1)


def test_standard_errors_are_honest(key):
    assert_mean(squared_errors(key), 0.0, "squared error less its estimate", allowance=1e-3)
    wrong = squared_errors(key, lambda s: np.sqrt(3) * s)
    with pytest.raises(AssertionError):  # the spread of one probe, not of their mean
        assert_mean(wrong, 0.0, "squared error less its estimate", allowance=1e-3)


def test_rows_of_different_chunks_have_different_probes(key):
    x = np.tile(np.array([[0.4, -0.1]], np.float32), (128, 1))
    found = log_likelihood(Smoothings(MIXTURE), x, probes=3, key=key, **PRIOR, **LEVELS)
    assert np.abs(found.log_prob[:64] - found.log_prob[64:]).max() > 0.01


def test_mistakes_are_named(key):
    model, x = Smoothings(MIXTURE), np.zeros((2, 2))
    with pytest.raises(ex.InputError, match=r"probes must be 0 for the exact trace, or 2 and more .*; got 1"):
        log_likelihood(model, x, probes=1, key=key, **LEVELS)
    with pytest.raises(ex.InputError, match="key must be given where the trace is estimated; got None"):
        log_likelihood(model, x, probes=4, **LEVELS)
    wide = Smoothings(GaussianMixture([1.0], np.zeros((1, 40)), np.eye(40)))
    with pytest.raises(ex.InputError, match="key must be given"):
        log_likelihood(wide, np.zeros((2, 40)), **LEVELS)
    with pytest.raises(ex.InputError, match="a noise-conditional one"):
        log_likelihood(MIXTURE, x, **LEVELS)
