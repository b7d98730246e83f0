"""Annealed Langevin dynamics over noise levels: the paper's steps, and the weights of far modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Smoothings
from energax.samplers import AnnealedNoiseLangevin, Clamped, Langevin, Masked, run
from energax.testing import assert_mean

FAR = ex.energies.GaussianMixture([0.8, 0.2], [[5.0, 5.0], [-5.0, -5.0]], jnp.eye(2))
LADDER = np.geomspace(20, 1, 10)


def test_the_steps_are_those_of_algorithm_1():
    # Noise-free through a model whose score is zero, and score alone through zero noise.
    class Flat:
        def at(self, sigma):
            return ex.Score(lambda x, c=None: jnp.zeros_like(x))

    sigmas, epsilon = [0.8, 0.4], 0.01
    sampler = AnnealedNoiseLangevin(sigmas, epsilon, 2)
    assert sampler.horizon == 5
    np.testing.assert_allclose(sampler.noise().values, [0.8, 0.8, 0.4, 0.4, 0.4])
    keys = jax.random.split(jax.random.key(0), 20_000)
    model = Smoothings(ex.energies.Gaussian(jnp.zeros(1), 0.25 * jnp.eye(1)))
    for i, alpha in ((0, epsilon * 4), (1, epsilon * 4), (2, epsilon), (3, epsilon)):
        moved = jax.vmap(lambda k, i=i: sampler.step(Flat(), jnp.zeros(1), k, i)[0])(keys)
        assert_mean(jnp.square(moved).reshape(100, -1).mean(1), alpha, f"variance of step {i}")
        drift = jax.vmap(lambda k, i=i: sampler.step(model, jnp.ones(1), k, i)[0] - 1)(keys)
        score = -1 / (0.25 + sigmas[i // 2] ** 2)
        assert_mean(drift.reshape(100, -1).mean(1), alpha / 2 * score, f"drift of step {i}")
    last = sampler.step(Flat(), jnp.ones(1), keys[0], 4)[0]
    np.testing.assert_array_equal(last, 1)  # the last step adds no noise


def test_weights_of_far_modes_are_found_by_annealing_and_missed_without(key):
    # The recipe's toy with exact scores: sampling alone is to blame.
    n = 64 * 64
    sampler = AnnealedNoiseLangevin(LADDER, 0.2, 100)
    start = 20 * jax.random.normal(key, (n, 2))
    x = run(sampler, Smoothings(FAR), start, key=key).x
    share = jnp.mean((x.sum(1) > 0).reshape(64, -1), 1)
    # The last level is one, so the law is the mixture smoothed by one: the same weights.
    assert_mean(share, 0.8, "share of the heavy mode", allowance=0.03)
    plain_start = jax.random.uniform(key, (n, 2), minval=-8, maxval=8)
    plain = run(Langevin.ncsn(0.1), FAR, plain_start, key=key, steps=1000).x
    began = jnp.mean((plain_start.sum(1) > -0.277).reshape(64, -1), 1)  # (log 4)/5 towards the lighter
    stayed = jnp.mean((plain.sum(1) > 0).reshape(64, -1), 1)
    assert_mean(stayed - began, 0.0, "chains keep to the mode they fall into", allowance=0.03)
    with pytest.raises(AssertionError):
        assert_mean(stayed, 0.8, "plain Langevin dynamics does not find the weights", allowance=0.03)


def test_a_held_out_gaussian_is_reached_at_the_last_level(key):
    n, truth = 64 * 200, ex.energies.Gaussian([1.0, -1.0], [[1.0, 0.6], [0.6, 0.8]])
    sampler = AnnealedNoiseLangevin(np.geomspace(3, 0.1, 12), 0.1 * 0.01, 60, denoise=False)
    x = run(sampler, Smoothings(truth), 3 * jax.random.normal(key, (n, 2)), key=key).x
    groups = x.reshape(64, 200, 2)
    # At a level the chain moves α/σ² of what it must relax, ε/σ_L² = 0.1 of each: little is left.
    assert_mean(groups.mean(1), truth.mean, "mean", allowance=0.15)
    covariance = (
        jnp.einsum(
            "gni,gnj->gij", groups - groups.mean(1, keepdims=True), groups - groups.mean(1, keepdims=True)
        )
        / 199
    )
    expected = truth.scale_tril @ truth.scale_tril.T + 0.01 * jnp.eye(2)
    assert_mean(covariance, expected, "covariance", allowance=0.2)


def test_the_step_of_ncsnv2_leaves_a_level_nearest_to_its_noise():
    # NCSNv2's own: 232 levels from 50 to 0.01, T = 5, gives ε = 6.2e-6 for α = ε, twice that here.
    own = AnnealedNoiseLangevin.ncsnv2(np.geomspace(50, 0.01, 232))
    assert (own.steps_per_level, own.horizon) == (5, 232 * 5 + 1)
    assert 0.7 < float(own.epsilon) / 2 / 6.2e-6 < 1.4

    def left(epsilon, T, gamma):  # of a point seen through noise 1, s = −x: x ← x + ½εs + √ε z
        variance = gamma**2
        for _ in range(T):
            variance = (1 - epsilon / 2) ** 2 * variance + epsilon
        return abs(variance - 1)

    for T, gamma in ((2, 1.9), (5, 1.04), (20, 1.9), (100, 1.3)):
        ladder = 0.1 * gamma ** np.arange(3)[::-1]
        epsilon = float(AnnealedNoiseLangevin.ncsnv2(ladder, T).epsilon) / 0.1**2
        assert left(epsilon, T, gamma) < min(left(f * epsilon, T, gamma) for f in (0.9, 1.1))


def test_known_coordinates_carry_the_noise_of_the_level(key):
    rho, a = 0.8, 1.5
    truth = ex.energies.Gaussian(jnp.zeros(2), jnp.array([[1.0, rho], [rho, 1.0]]))
    n = 64 * 200
    sampler = AnnealedNoiseLangevin(np.geomspace(3, 0.2, 10), 0.2 * 0.04, 100)
    known, mask = jnp.tile(jnp.array([a, 0.0]), (n, 1)), jnp.tile(jnp.array([True, False]), (n, 1))
    start = jnp.where(mask, known, 3 * jax.random.normal(key, (n, 2)))
    clamped = Clamped(sampler, sampler.noise())
    assert clamped.horizon == 1001
    x = run(clamped, Smoothings(truth), Masked(start, known, mask), key=key).x
    np.testing.assert_array_equal(x[:, 0], a)
    second = x[:, 1].reshape(64, -1)
    # Known and unknown are noisy alike at σ_L: regression of clean x₂ on x̃₁ = a + σz.
    wanted = rho * a / (1 + 0.2**2)
    assert_mean(second.mean(1), wanted, "mean of the unknown given the known", allowance=0.1)


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match="sigmas must be positive numbers, the largest first"):
        AnnealedNoiseLangevin([0.1, 1.0])
    with pytest.raises(ex.InputError, match=r"epsilon must be below 4 σ_L² = 0\.04; got 1"):
        AnnealedNoiseLangevin([1.0, 0.1], 1.0)
    with pytest.raises(ex.InputError, match=r"sigmas must be a ladder of two levels or more; got \[1\.0\]"):
        AnnealedNoiseLangevin.ncsnv2([1.0])
    with pytest.raises(ex.InputError, match="sigmas must be positive numbers, the largest first"):
        AnnealedNoiseLangevin.ncsnv2([0.1, 1.0])
    with pytest.raises(ex.InputError, match=r"noise-conditional one with a method `at\(sigma\)`"):
        run(AnnealedNoiseLangevin([1.0, 0.1]), FAR, jnp.zeros((2, 2)), key=key)
    model = Smoothings(FAR)
    with pytest.raises(ex.InputError, match="sampler must be given for a noise-conditional model"):
        ex.tasks.generate(model, 2, key=key)
    with pytest.raises(ex.InputError, match="sigma must be given for a noise-conditional model"):
        ex.tasks.denoise(model, np.zeros((2, 2), np.float32))
    with pytest.raises(ex.InputError, match="sigma must be None for a model that is not told the noise"):
        ex.tasks.denoise(FAR, np.zeros((2, 2), np.float32), sigma=0.3)
