"""Denoising score matching leads to the σ-smoothed density, and the checker knows when not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch, DenoisingScoreMatching
from energax.testing import assert_mean, check_objective

from . import mutants


@pytest.mark.parametrize("sigma", [0.3, 0.8])
def test_it_leads_to_the_smoothed_density(sigma, key):
    check_objective(DenoisingScoreMatching(sigma), key=key)


@pytest.mark.parametrize(
    "mutant", [mutants.FlippedSign, mutants.MissingVariance, mutants.StaleNoise, mutants.CleanInput]
)
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(0.5), key=key)


def test_the_minimum_on_a_gaussian_is_one_over_one_plus_sigma_squared(key):
    # At the optimum of N(0, I) in d = 4 the loss itself is known: ½ d (1/σ² − 1/(1 + σ²)).
    sigma, d = 0.7, 4
    objective = DenoisingScoreMatching(sigma)
    energy = lambda x: 0.5 * jnp.sum(x**2) / (1 + sigma**2)  # noqa: E731

    @jax.jit
    def loss(k):
        a, b = jax.random.split(k)
        return objective.loss(energy, None, None, Batch(jax.random.normal(a, (4096, d))), b)[0]

    values = jax.lax.map(loss, jax.random.split(key, 64))
    assert_mean(values, 0.5 * d * (1 / sigma**2 - 1 / (1 + sigma**2)), "the loss at the optimum")


def test_pytree_events_have_the_loss_of_their_concatenation(key):
    # The draws differ in layout, so the two are compared in the mean.
    objective = DenoisingScoreMatching(0.5)
    flat = lambda x: jnp.sum(x**4)  # noqa: E731
    tree = lambda x: jnp.sum(x["a"] ** 4) + jnp.sum(x["b"] ** 4)  # noqa: E731

    @jax.jit
    def difference(k):
        k1, k2, k3 = jax.random.split(k, 3)
        x = jax.random.normal(k1, (512, 3))
        one = objective.loss(flat, None, None, Batch(x), k2)[0]
        two = objective.loss(tree, None, None, Batch({"a": x[:, :1], "b": x[:, 1:]}), k3)[0]
        return one - two

    assert_mean(jax.lax.map(difference, jax.random.split(key, 256)), 0.0, "flat minus pytree")


def test_a_conditional_gaussian_is_learned_through_fit():
    # x | c ~ N(Wc + b, 1), smoothed by σ: W and b are kept, β² becomes 1 + σ².
    rng = np.random.default_rng(0)
    W, b = np.array([[1.0, -0.5], [0.3, 2.0]]), np.array([0.5, -1.0])
    c = rng.standard_normal((20_000, 2)).astype(np.float32)
    x = (c @ W.T + b + rng.standard_normal((20_000, 2))).astype(np.float32)
    energy = ex.energies.LinearGaussian(np.zeros((2, 2)), 0.0, 2.0)
    fit = ex.fit(
        energy,
        DenoisingScoreMatching(0.5),
        x,
        condition=c,
        key=jax.random.key(0),
        steps=3000,
        batch_size=512,
        learning_rate=1e-2,
        ema=0.99,
    )
    np.testing.assert_allclose(fit.energy.weight, W, atol=0.03)
    np.testing.assert_allclose(fit.energy.bias, b, atol=0.03)
    np.testing.assert_allclose(np.square(fit.energy.scale), 1.25, atol=0.05)


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match=r"sigma must be a finite number above 0; got -0\.1"):
        DenoisingScoreMatching(-0.1)
