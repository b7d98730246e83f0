"""Noise-conditional score matching leads to p_σ at every level; its ladder and step follow the data."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.energies import NOISE_FEATURES, NoiseConditional, Smoothings
from energax.objectives import Batch, NoiseConditionalScoreMatching, noise_ladder
from energax.objectives.denoising import add_noise, squared_norms
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture


@pytest.mark.parametrize("settings", [{}, {"weight_power": 0.0, "levels": 3}])
def test_it_leads_to_the_smoothed_density_at_every_level(settings, key):
    check_objective(NoiseConditionalScoreMatching(0.3, 2.0, **{"levels": 5, **settings}), key=key)


class OtherLevel(NoiseConditionalScoreMatching):
    """Tells the model the level above."""

    def loss(self, model, nuisance, state, batch, key):
        sigma = jnp.tile(self.sigmas, -(-len(batch) // self.levels))[: len(batch)]
        noisy, z = add_noise(batch.x, sigma, key)
        told = sigma * 1.3
        s = jax.vmap(lambda x, sigma: ex.score(model.at(sigma), x))(noisy, told)
        return 0.5 * jnp.mean(squared_norms(sigma[:, None] * s + z)), {}


class VarianceForDeviation(NoiseConditionalScoreMatching):
    """s + z where σs + z should be."""

    def loss(self, model, nuisance, state, batch, key):
        sigma = jnp.tile(self.sigmas, -(-len(batch) // self.levels))[: len(batch)]
        noisy, z = add_noise(batch.x, sigma, key)
        s = jax.vmap(lambda x, sigma: ex.score(model.at(sigma), x))(noisy, sigma)
        return 0.5 * jnp.mean(squared_norms(s + z)), {}


@pytest.mark.parametrize("mutant", [OtherLevel, VarianceForDeviation])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(0.3, 2.0, levels=4), key=key)


def test_every_level_weighs_alike_and_is_drawn_equally_often(key):
    # A zero score: ½‖z‖² at each level, d/2 on average.
    class Flat(eqx.Module):
        def at(self, sigma):
            return ex.Score(lambda x, c=None: jnp.zeros_like(x))

    objective = NoiseConditionalScoreMatching(0.01, 50.0, levels=8)
    loss = jax.jit(lambda k: objective.loss(Flat(), None, None, Batch(jnp.zeros((64, 7))), k))
    values, metrics = jax.lax.map(loss, jax.random.split(key, 256))
    assert_mean(values, 3.5, "the loss of no score")
    assert_mean(metrics["loss_by_noise"], np.full(8, 3.5), "the same, by level")


@pytest.mark.parametrize("kind", ["energy", "field"])
def test_a_network_learns_every_level_of_a_gaussian(kind):
    # N(2, 1.5² I) in d = 3: the preconditioning with the wrong centre and scale is put right.
    x = 2 + 1.5 * np.random.default_rng(0).standard_normal((20_000, 3)).astype(np.float32)
    key = jax.random.key(0)
    settings = {"width": 64, "depth": 2, "condition_size": NOISE_FEATURES, "key": key}
    network = (
        ex.energies.MLP((3,), **settings)
        if kind == "energy"
        else ex.Score(ex.energies.MLPField((3,), **settings))
    )
    fit = ex.fit(
        NoiseConditional(network, mean=1.0, scale=1.0),
        NoiseConditionalScoreMatching(0.1, 5.0, levels=8),
        x,
        key=key,
        steps=1500,
        batch_size=256,
        learning_rate=3e-3,
        ema=0.99,
    )
    for sigma in (0.1, 0.7, 5.0):
        y = jnp.asarray(2 + np.hypot(1.5, sigma) * np.random.default_rng(1).standard_normal((500, 3)))
        y = y.astype(jnp.float32)
        model = fit.energy.at(sigma)
        s = jax.vmap(lambda z, m=model: ex.score(m, z))(y)
        error = sigma * np.sqrt(np.mean((s + (y - 2) / (1.5**2 + sigma**2)) ** 2))
        assert error < 0.05, (sigma, error)


def test_preconditioning_is_exact_for_gaussian_data_before_training():
    # With a network that gives nothing the model is N(μ, (s² + σ²) I) at every level.
    class Nothing(eqx.Module):
        def __call__(self, x, c):
            return jnp.zeros(())

    model = NoiseConditional(Nothing(), mean=0.5, scale=2.0)
    x = jnp.array([1.0, -1.0])
    for sigma in (0.1, 3.0):
        np.testing.assert_allclose(ex.score(model.at(sigma), x), -(x - 0.5) / (4 + sigma**2), rtol=1e-5)


def test_a_condition_beside_the_noise(key):
    network = ex.energies.MLP((2,), width=4, depth=1, condition_size=NOISE_FEATURES + 2, key=key)
    model = NoiseConditional(network)
    x, c = jnp.ones((8, 2)), jnp.ones((8, 2))
    value = NoiseConditionalScoreMatching().loss(model, None, None, Batch(x, c), key)[0]
    assert np.isfinite(value)
    bound = ex.derivatives.bind(model, c[0])
    np.testing.assert_allclose(bound.at(0.5)(x[0]), model.at(0.5)(x[0], c[0]))


def test_the_ladder_of_the_data():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 64)).astype(np.float32)
    sigmas = noise_ladder(x, sigma_min=0.05)
    flat = x.astype(np.float64)
    largest = max(np.linalg.norm(a - flat, axis=1).max() for a in flat)
    np.testing.assert_allclose(sigmas[0], largest, rtol=1e-5)
    np.testing.assert_allclose(sigmas[-1], 0.05, rtol=1e-6)
    ratio = sigmas[0] / sigmas[1]
    np.testing.assert_allclose(sigmas[:-1] / sigmas[1:], ratio, rtol=1e-6)
    centre = np.sqrt(128) * (ratio - 1)
    phi = scipy.stats.norm.cdf
    assert 0.45 < phi(centre + 3 * ratio) - phi(centre - 3 * ratio) < 0.75
    # More dimensions, closer levels. NCSNv2 takes 232 for CIFAR-10, from 50 to 0.01: an overlap of
    # 0.566 where its text says about 0.5, which gives 219.
    from energax.objectives.noise_conditional import _ladder_ratio

    assert abs(1 + np.log(50 / 0.01) / np.log(_ladder_ratio(3072)) - 219) < 1.5


def test_the_ladder_of_sorted_data():
    x = np.linspace(0.0, 10.0, 5000, dtype=np.float32)[:, None] ** 2
    np.testing.assert_allclose(noise_ladder(x)[0], 100.0, rtol=1e-6)


def test_mistakes_are_named(key):
    x = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    energy = ex.energies.MLP((2,), width=4, depth=1, key=key)
    with pytest.raises(ex.InputError, match=r"noise-conditional one with a method `at\(sigma\)`.*got MLP"):
        ex.fit(energy, NoiseConditionalScoreMatching(), x, key=key, steps=1)
    with pytest.raises(ex.InputError, match=f"condition_size of {NOISE_FEATURES} or more; got 0"):
        NoiseConditional(energy)
    with pytest.raises(ex.InputError, match="sigma_min must be below the data's extent"):
        noise_ladder(x, sigma_min=100.0)
    with pytest.raises(ex.InputError, match="at least two rows; got 1"):
        noise_ladder(x[:1])
    assert Smoothings(skewed_mixture()).at(0.5).event_shape == (2,)
