"""Exact likelihood leads to the density, and chains that forget everything have its gradient."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import BernoulliRBM, GaussianBernoulliRBM, enumerate_log_normalizer
from energax.objectives import Batch, ContrastiveDivergence, ExactMaximumLikelihood
from energax.samplers import Sampler
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture

from ..energies.states import random_parameters

KEY = jax.random.key(0)
RBM = random_parameters(BernoulliRBM((3,), 2, key=KEY), scale=1.0)
ENUMERATED = functools.partial(enumerate_log_normalizer, event_shape=(3,))


def by_quadrature(model):
    """log ∫ exp(−E) over a square of side 16, where the midpoint rule is exact to rounding."""
    side = (jnp.arange(160) + 0.5) / 10 - 8
    points = jnp.stack(jnp.meshgrid(side, side), -1).reshape(-1, 2)
    return jax.nn.logsumexp(-jax.vmap(model)(points)) + 2 * jnp.log(0.1)


def gradient(objective, model, x, key, state=None):
    return eqx.filter_grad(lambda m: objective.loss(m, None, state, Batch(x), key)[0])(model)


def test_it_leads_to_the_density_of_bits(key):
    check_objective(ExactMaximumLikelihood(ENUMERATED), key=key, data=RBM)


def test_it_leads_to_the_density_of_reals(key):
    check_objective(ExactMaximumLikelihood(by_quadrature), key=key, data=skewed_mixture())


def test_rows_that_are_no_states_are_refused(key):
    x = jnp.zeros((5000, 3)).at[4999, 1].set(0.37)
    with pytest.raises(
        ex.InputError, match=r"states of the BernoulliRBM, 0 and 1; .*got entries 0\.37 in row"
    ):
        ExactMaximumLikelihood().init(RBM, Batch(x), key, 8)
    assert ExactMaximumLikelihood().init(RBM, Batch(jnp.round(x)), key, 8) == (None, None)


class ForgetsLogZ(ExactMaximumLikelihood):
    """mean E alone: there is no minimum."""

    def loss(self, model, nuisance, state, batch, key):
        return super().loss(model, nuisance, state, batch, key)[1]["energy_data"], {}


class FlippedEnergy(ExactMaximumLikelihood):
    """−mean E + log Z: the sign of the data term."""

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return value - 2 * metrics["energy_data"], {}


class StaleLogZ(ExactMaximumLikelihood):
    """log Z held constant under the derivative."""

    def _log_normalizer(self, model):
        return jax.lax.stop_gradient(super()._log_normalizer(model))


@pytest.mark.parametrize("mutant", [ForgetsLogZ, FlippedEnergy, StaleLogZ])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(ENUMERATED), key=key, data=RBM)


def test_the_best_gaussian_is_that_of_the_samples_moments(key):
    # In closed form: at the sample's mean and covariance the gradient vanishes to rounding.
    x = jax.random.normal(key, (200, 3)) @ jnp.array([[1.0, 0.3, 0], [0, 0.5, -0.4], [0, 0, 0.8]]) + 2
    best = ex.energies.Gaussian(x.mean(0), jnp.cov(x.T, bias=True))
    for leaf in jax.tree.leaves(gradient(ExactMaximumLikelihood(), best, x, key)):
        np.testing.assert_allclose(leaf, 0.0, atol=2e-5)
    value, metrics = ExactMaximumLikelihood().loss(best, None, None, Batch(x), key)
    np.testing.assert_allclose(value, -jax.vmap(best.log_prob)(x).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["log_likelihood"], -value)


@pytest.mark.parametrize("scale", [0.01, 2.0])
def test_its_gradient_is_the_slope_of_an_enumeration_in_64_bits(scale):
    x = np.asarray(jax.random.bernoulli(KEY, 0.4, (50, 12)), np.float64)
    states = (np.arange(2**6)[:, None] >> np.arange(6) & 1).astype(np.float64)

    def log_likelihood(W, b, c):
        hidden = states @ c + np.logaddexp(0, b + states @ W.T).sum(1)
        return np.mean(x @ b + np.logaddexp(0, c + x @ W).sum(1)) - np.logaddexp.reduce(hidden)

    model = random_parameters(BernoulliRBM((12,), 6, key=KEY), scale=scale)
    rows = jnp.asarray(x, jnp.float32)
    slopes = [
        np.asarray(g, np.float64)
        for g in jax.tree.leaves(gradient(ExactMaximumLikelihood(), model, rows, KEY))
    ]
    at = [np.asarray(p, np.float64) for p in (model.weights, model.visible_bias, model.hidden_bias)]
    rng = np.random.default_rng(0)
    for _ in range(8):
        u = [rng.standard_normal(p.shape) for p in at]
        ahead, behind = (
            log_likelihood(*(p + h * v for p, v in zip(at, u, strict=True))) for h in (1e-5, -1e-5)
        )
        expected = -(ahead - behind) / 2e-5
        found = sum(np.sum(g * v) for g, v in zip(slopes, u, strict=True))
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


class Forgetful(Sampler):
    """Each step an exact draw of the model, wherever the chain was: CD-∞ in one step."""

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        return model.sample(key, 1)[0], {}


@pytest.mark.parametrize(
    "model",
    [RBM, random_parameters(GaussianBernoulliRBM((2,), 2, key=KEY)), skewed_mixture()],
    ids=lambda m: type(m).__name__,
)
def test_contrastive_divergence_of_chains_that_forget_has_the_exact_gradient(model, key):
    # The data are far from the model, so that both phases are there to be wrong.
    x = jnp.ones((256, *model.event_shape))
    objective = ContrastiveDivergence(Forgetful(), 1)

    @jax.jit
    def estimate(k):
        _, state = objective.init(model, Batch(x), k, 256)
        state, _ = objective.refresh(model, None, state, Batch(x[None]), k)
        return jax.flatten_util.ravel_pytree(gradient(objective, model, x, k, state))[0]

    exact = jax.flatten_util.ravel_pytree(gradient(ExactMaximumLikelihood(), model, x, key))[0]
    assert float(jnp.abs(exact).max()) > 0.2
    estimates = jax.lax.map(estimate, jax.random.split(key, 400))
    assert_mean(estimates, exact, "the gradient of CD with exact draws", allowance=1e-6)


def test_it_is_fit_to_bits_by_enumeration(key):
    # An energy without a log Z of its own, over bits few enough to list.
    x = RBM.sample(key, 2000)
    energy = ex.energies.MLP((3,), width=16, depth=1, key=jax.random.key(1))
    fit = ex.fit(
        energy,
        ExactMaximumLikelihood(ENUMERATED),
        x,
        key=key,
        steps=300,
        learning_rate=0.03,
        ema=0.98,
        progress=False,
    )
    counts = np.unique(np.asarray(x), axis=0, return_counts=True)[1] / 2000
    best = -(counts * np.log(counts)).sum()  # no model of these rows does better
    found = ExactMaximumLikelihood(ENUMERATED).loss(fit.energy, None, None, Batch(x), key)[0]
    assert -1e-5 < found - best < 0.01


def test_mistakes_are_named(key):
    objective, data = ExactMaximumLikelihood(), Batch(jnp.zeros((4, 2)))
    with pytest.raises(ex.InputError, match=r"one that knows its log Z.*PersistentContrast.*got MLP\."):
        objective.init(ex.energies.MLP((2,), width=4, depth=1, key=key), data, key, 4)
    with pytest.raises(ex.InputError, match=r"at most 20 units.*got 500 units"):
        objective.init(BernoulliRBM((784,), 500, key=key), Batch(jnp.zeros((4, 784))), key, 4)
    with pytest.raises(ex.InputError, match=r"condition must be None: log Z would change with it"):
        objective.init(RBM, Batch(data.x, data.x), key, 4)
