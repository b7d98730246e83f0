"""The probability flow: exact densities, unbiased traces, the right law, and refusals in one sentence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import energax as ex
from energax.derivatives import Score
from energax.energies import Gaussian, GaussianMixture, LinearGaussian, Smoothings
from energax.samplers import (
    ProbabilityFlow,
    denoising_jump,
    probability_flow_log_prob,
    probability_flow_sample,
    run,
)
from energax.testing import assert_mean

MIXTURE = GaussianMixture(
    [0.8, 0.2], [[-1.0, 0.5], [1.5, -0.5]], jnp.array([[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.4]]])
)
MEAN = np.array([-0.5, 0.3])
LEVELS = {"sigma_min": 0.05, "sigma_max": 50.0}


def log_prob(density, x):
    return -jax.vmap(density)(x) - density.log_normalizer()


class AsScore(eqx.Module):
    """The scores of exact levels, their energies forgotten; a factor of ½ is a wrong ODE."""

    levels: Smoothings
    factor: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    def at(self, sigma):
        energy = self.levels.at(sigma)
        return Score(lambda x: self.factor * ex.score(energy, x))


# Programs are slow to compile here: two components and ROWS rows serve most tests by the same one.
ROWS = 4000


def rows(x):
    return jnp.resize(jnp.asarray(x, jnp.float32), (ROWS, 2))


def test_the_likelihood_is_that_of_the_smoothed_mixture(key):
    # What is left is the prior's: N(μ, σ_max² + s²) for a mixture is off by O(σ_max⁻²).
    x = MIXTURE.sample(key, ROWS)
    truth = log_prob(MIXTURE.smoothed(0.05), x)
    got = probability_flow_log_prob(Smoothings(MIXTURE), x, prior_mean=MEAN, prior_scale=0.95, **LEVELS)
    np.testing.assert_allclose(got, truth, atol=5e-3)
    # With the default mean, off by 0.58: by 0.58/σ_max on a typical row.
    off = probability_flow_log_prob(Smoothings(MIXTURE), x, **LEVELS)
    np.testing.assert_allclose(jnp.sqrt(jnp.mean((off - truth) ** 2)), 0.58 / 50, rtol=0.3)


def test_a_gaussian_is_exact_and_a_wrong_factor_is_not(key):
    # On N(μ, s²I) with its own prior nothing but the solver errs. (Two components at one place.)
    mean, s = np.array([1.0, -2.0]), 0.7
    gaussian = GaussianMixture([0.5, 0.5], [mean, mean], s**2 * jnp.eye(2))
    x = gaussian.sample(key, ROWS)
    prior = {"prior_mean": mean, "prior_scale": s}
    truth = log_prob(gaussian.smoothed(0.05), x)
    got = probability_flow_log_prob(Smoothings(gaussian), x, **prior, **LEVELS)
    np.testing.assert_allclose(got, truth, atol=1e-3)
    field = probability_flow_log_prob(AsScore(Smoothings(gaussian)), x, **prior, **LEVELS)
    np.testing.assert_allclose(field, truth, atol=1e-3)
    wrong = probability_flow_log_prob(AsScore(Smoothings(gaussian), 0.5), x, **prior, **LEVELS)
    assert jnp.abs(jnp.mean(wrong - truth)) > 1


def test_hutchinsons_trace_is_unbiased_for_the_exact_one(key):
    x = rows([[0.4, -0.1], [-1.3, 1.0]])
    exact = probability_flow_log_prob(Smoothings(MIXTURE), x, **LEVELS)[:2]
    settings = {"probes": 2, "key": key, **LEVELS}
    each = probability_flow_log_prob(Smoothings(MIXTURE), x, per_probe=True, **settings)
    mean = probability_flow_log_prob(Smoothings(MIXTURE), x, **settings)
    np.testing.assert_allclose(each.mean(1), mean, atol=1e-4)
    # One path for all probes: they err independently, each like any other.
    first, second = (each[:, j].reshape(-1, 2) for j in (0, 1))
    assert_mean((first - exact) * (second - exact), 0.0, "product of two probes' errors", allowance=1e-4)
    drawn = first
    assert drawn.std(0).min() > 0.05, "the probes matter"
    assert_mean(drawn, exact, "log p under Hutchinson's trace", allowance=1e-3)


def test_probes_are_held_along_the_path_and_by_row(key):
    # Where coordinates are independent, vᵀ∇s v = tr ∇s for signs v: Hutchinson's trace is exact.
    line = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, 0.5]], jnp.diag(jnp.array([0.2, 0.6])))
    x = rows(jax.random.normal(key, (ROWS, 2)))
    exact = probability_flow_log_prob(Smoothings(line), x, **LEVELS)
    got = probability_flow_log_prob(Smoothings(line), x, probes=1, key=key, **LEVELS)
    np.testing.assert_allclose(got, exact, atol=2e-3)
    # Elsewhere it is tr ± 2 ∂₁s₂: log p has two values, and no more, if one probe serves the path.
    x = rows([[0.4, -0.1]])
    got = probability_flow_log_prob(Smoothings(MIXTURE), x, probes=1, key=key, **LEVELS)
    assert len(np.unique(np.round(np.asarray(got), 2))) == 2
    other = x.at[2:].set(1.0)
    again = probability_flow_log_prob(Smoothings(MIXTURE), other, probes=1, key=key, **LEVELS)
    np.testing.assert_allclose(again[:2], got[:2], atol=1e-4)


def test_the_flow_carries_the_prior_to_the_law(key):
    starts = 50 * jax.random.normal(key, (64 * 125, 2))
    truth = MIXTURE.smoothed(0.05).sample(jax.random.fold_in(key, 1), 2_000_000)

    def moments(x):
        functions = [x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 0] > 0.5]
        return np.asarray(jnp.stack(functions, 1).reshape(64, -1, 6).mean(1))

    def check(factor):
        x = probability_flow_sample(AsScore(Smoothings(MIXTURE), factor), starts, **LEVELS)
        assert_mean(moments(x), moments(truth).mean(0), "means", allowance=0.01)

    check(1.0)
    with pytest.raises(AssertionError):
        check(0.5)


def test_the_sampler_is_the_flow_from_level_to_level(key):
    starts = 50 * jax.random.normal(key, (500, 2))
    whole = probability_flow_sample(AsScore(Smoothings(MIXTURE)), starts, **LEVELS)
    jumped = jax.vmap(lambda x: denoising_jump(MIXTURE.smoothed(0.05), x, 0.05))(whole)
    ladder = np.geomspace(50.0, 0.05, 6)
    for denoise, wanted in ((False, whole), (True, jumped)):
        sampler = ProbabilityFlow(ladder, denoise=denoise)
        assert sampler.horizon == 5 + denoise
        got = run(sampler, AsScore(Smoothings(MIXTURE)), starts, key=key)
        np.testing.assert_allclose(got.x, wanted, atol=2e-3)
    assert jnp.abs(whole - jumped).max() > 0.01
    wrong = run(sampler, AsScore(Smoothings(MIXTURE), 0.5), starts, key=key)
    assert jnp.median(jnp.abs(wrong.x - jumped)) > 0.1
    np.testing.assert_allclose(sampler.start_noise, np.sqrt(2501), rtol=1e-5)


def test_a_chain_that_does_not_arrive_is_not_a_number(key):
    sampler = ProbabilityFlow([50.0, 0.05], denoise=False, max_steps=2)
    assert np.isnan(run(sampler, Smoothings(MIXTURE), jnp.ones((2, 2)), key=key).x).all()


def test_samples_and_likelihoods_are_one_map():
    # log p(x) = log N(start) + log |det ∂start/∂x|, the determinant by differences of the map.
    start, h = jnp.array([20.0, -35.0]), 0.5
    shifted = start + h * jnp.concatenate([jnp.zeros((1, 2)), jnp.eye(2), -jnp.eye(2)])
    tight = {"rtol": 1e-6, "atol": 1e-6, **LEVELS}
    x = probability_flow_sample(Smoothings(MIXTURE), shifted, **tight)
    jacobian = (x[1:3] - x[3:5]) / (2 * h)
    prior = Gaussian(jnp.zeros(2), (50.0**2 + 1) * jnp.eye(2))
    wanted = log_prob(prior, start[None])[0] - jnp.log(jnp.abs(jnp.linalg.det(jacobian)))
    got = probability_flow_log_prob(Smoothings(MIXTURE), rows(x[:1]), **tight)[0]
    np.testing.assert_allclose(got, wanted, atol=0.01)


class ConditionalLevels(eqx.Module):
    """The levels of x | c ~ N(c, 0.09), of an event that may be a tree."""

    def at(self, sigma):
        energy = LinearGaussian(jnp.eye(2), scale=jnp.sqrt(0.09 + sigma**2))
        return lambda x, c: energy(ravel_pytree(x)[0], c)


def test_conditions_go_with_their_rows_and_events_may_be_trees(key):
    c = jnp.array([[2.0, -1.0], [-1.0, 3.0], [0.0, 0.0]])
    ends = probability_flow_sample(ConditionalLevels(), 50 * jnp.ones((3, 2)), condition=c, **LEVELS)
    np.testing.assert_allclose(ends, c + (50 - c) * np.sqrt(0.0925 / 2500.09), atol=1e-3)
    x = c + 0.3 * jax.random.normal(key, c.shape)
    tree, mean = ({"a": y[..., :1], "b": y[..., 1:]} for y in (x, MEAN))
    got = probability_flow_log_prob(ConditionalLevels(), tree, condition=c, prior_mean=mean, **LEVELS)
    truth = log_prob(Gaussian(jnp.zeros(2), 0.0925 * jnp.eye(2)), x - c)
    # The prior is N(μ, 2501 I) where the law of the end is N(c, 2500.09 I): what that makes is known.
    z = (x - c) * np.sqrt(2500.09 / 0.0925)
    prior = -0.5 * jnp.sum((z + c - MEAN) ** 2 / 2501 - z**2 / 2500.09, 1) - np.log(2501 / 2500.09)
    np.testing.assert_allclose(got, truth + prior, atol=2e-3)


def test_a_solver_that_does_not_arrive_says_so_in_one_sentence():
    model, x = Smoothings(MIXTURE), jnp.zeros((5, 2))
    with pytest.raises(
        ex.InputError, match=r"max_steps must be enough .* got 3, not enough in row 0 and 4 more"
    ):
        probability_flow_sample(model, x, max_steps=3, **LEVELS)
    with pytest.raises(ex.InputError, match=r"got 4096, not enough in row 1\."):
        probability_flow_sample(model, x.at[1].set(jnp.nan), **LEVELS)


def test_mistakes_are_named(key):
    model, x = Smoothings(MIXTURE), rows(0.0)
    with pytest.raises(ex.InputError, match=r"sigma_max must be a finite number above 0.05; got 0.01"):
        probability_flow_sample(model, x, sigma_min=0.05, sigma_max=0.01)
    with pytest.raises(ex.InputError, match=r"model must be a noise-conditional one .* got GaussianMixture"):
        probability_flow_log_prob(MIXTURE, x, **LEVELS)
    with pytest.raises(ex.InputError, match="key must be given with probes; got None"):
        probability_flow_log_prob(model, x, probes=2, **LEVELS)
    with pytest.raises(ex.InputError, match="per_probe must be False without probes; got True"):
        probability_flow_log_prob(model, x, per_probe=True, **LEVELS)
    with pytest.raises(ex.InputError, match="sigmas must be two or more positive numbers, the largest first"):
        ProbabilityFlow([1.0])
    with pytest.raises(ex.InputError, match="ProbabilityFlow: model must be a noise-conditional one"):
        run(ProbabilityFlow([2.0, 1.0]), MIXTURE, jnp.zeros((1, 2)), key=key)
    with pytest.raises(ex.InputError, match="probes must be a whole number of at least 1; got 0"):
        probability_flow_log_prob(model, x, probes=0, key=key, **LEVELS)
    with pytest.raises(
        ex.InputError, match=r"prior_mean must be a number or of shape \(2,\); got shape \(3,\)"
    ):
        probability_flow_log_prob(model, x, prior_mean=jnp.zeros(3), **LEVELS)
    with pytest.raises(ex.InputError, match="rtol must be a finite number above 0; got 0"):
        probability_flow_log_prob(model, x, rtol=0, **LEVELS)
