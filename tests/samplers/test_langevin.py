"""Langevin dynamics: five conventions in one, the right law, the right bias, the right temperature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Gaussian, GaussianMixture, GeneralizedLogistic
from energax.samplers import Langevin, annealed_langevin, denoising_jump, run, schedules
from energax.testing import assert_mean, check_sampler

from . import mutants


def test_the_bias_shrinks_at_first_order_in_the_step(key):
    check_sampler(Langevin, key=key, step_size=0.1)


def test_the_checker_accepts_an_exact_sampler(key):
    check_sampler(mutants.Metropolis, key=key, step_size=0.8)


@pytest.mark.parametrize("mutant", [mutants.DroppedRatio, mutants.Frozen])
def test_the_checker_rejects_inexact_metropolis(mutant, key):
    with pytest.raises(AssertionError):
        check_sampler(mutant, key=key, step_size=0.8)


@pytest.mark.parametrize(
    "mutant", [mutants.ClaimsExactness, mutants.WeakNoise, mutants.UphillDrift, mutants.ReusedNoise]
)
def test_the_checker_rejects_each_langevin_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_sampler(mutant, key=key, step_size=0.1)


def test_the_papers_conventions_are_one(key):
    # Each formula written out as its paper has it, with the same z.
    energy = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], 0.5 * jnp.eye(2))
    x, grad = jnp.array([0.3, -0.2]), None
    grad = -ex.score(energy, x)
    z = jax.random.normal(key, (2,))
    e, s, T = 0.03, 0.4, 2.5
    cases = [
        (Langevin.mdsm(e, T), x - e**2 / 2 * grad + e * T**0.5 * z),
        (Langevin.lsd(e), x - e / 2 * grad + e**0.5 * z),
        (Langevin.lecture(e), x - e * grad + (2 * e) ** 0.5 * z),
        (Langevin.ncsn(e), x - e / 2 * grad + e**0.5 * z),
        (Langevin.sgld(e, s), x - e * grad + s * z),
    ]
    for sampler, wanted in cases:
        moved, _ = sampler.step(energy, x, key, jnp.asarray(0))
        np.testing.assert_allclose(moved, wanted, rtol=1e-5)
    # LSD's free σ is a temperature: ε = 1, σ = 0.01 sample at T = 5e-5.
    np.testing.assert_allclose(Langevin.sgld(1.0, 0.01).temperature(0), 5e-5, rtol=1e-6)
    same = [Langevin.mdsm(0.2), Langevin.lsd(0.04), Langevin.lecture(0.02), Langevin.ncsn(0.04)]
    for sampler in same:
        np.testing.assert_allclose(sampler.step_size(0), 0.02, rtol=1e-6)
        assert sampler.temperature(0) == 1


@pytest.mark.parametrize("temperature", [1.0, 0.3])
def test_the_variance_on_a_gaussian_is_the_closed_form(temperature, key):
    # T s² / (1 − η/2s²), an exact statement about the biased chain.
    s2, eta = 0.5, 0.3
    energy = Gaussian(jnp.zeros(3), s2 * jnp.eye(3))
    x = run(Langevin(eta, temperature), energy, jnp.zeros((100_000, 3)), key=key, steps=60).x
    wanted = temperature * s2 / (1 - eta / (2 * s2))
    assert_mean((x**2).reshape(100, 1000, 3).mean(1), wanted, "variance of the chain")


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_equilibrium_identities_at_temperature(temperature, key):
    # E[(x−c)·∇E] = T d and E‖∇E‖² = T E[ΔE], any smooth E and any centre; so the residual
    # noise seen by the jump is rms(x − jump)/√T = σ₀ √(σ₀² E[ΔE]/d).
    energy = GeneralizedLogistic([0.6, 2.0], [0.5, -0.3], [1.0, 0.7])
    d, c, sigma_0 = 2, jnp.array([3.0, -1.0]), 0.1
    start = energy.sample(key, 50_000)
    x = run(Langevin(0.02, temperature), energy, start, key=key, steps=1500).x
    grad = -jax.vmap(lambda x: ex.score(energy, x))(x)
    laplacians = jax.vmap(lambda x: ex.derivatives.laplacian(energy, x))(x)
    np.testing.assert_allclose(jnp.mean(jnp.sum((x - c) * grad, 1)), temperature * d, rtol=0.05)
    np.testing.assert_allclose(jnp.mean(jnp.sum(grad**2, 1)), temperature * laplacians.mean(), rtol=0.05)
    jumped = jax.vmap(lambda x: denoising_jump(energy, x, sigma_0))(x)
    residual = jnp.sqrt(jnp.mean((x - jumped) ** 2) / temperature)
    wanted = sigma_0 * jnp.sqrt(sigma_0**2 * laplacians.mean() / d)
    np.testing.assert_allclose(residual, wanted, rtol=0.05)


def test_annealing_reaches_the_right_law_and_its_bias_shrinks(key):
    # At T = 1 after a hot start far away, on two modes of unequal weight. With η = ε²/2 the bias
    # is of order ε², so 2 m(η/2) − m(η) loses all but a fraction of it.
    energy = GaussianMixture([0.25, 0.75], [[-1.0, 0.0], [1.0, 0.5]], 0.3 * jnp.eye(2))
    n = 64 * 1000
    hot = 5 + 5 * jax.random.normal(key, (n, 2))
    exact = energy.sample(jax.random.fold_in(key, 1), 2_000_000)

    def moments(x):
        return jnp.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] > 0], 1)

    def means(eta, steps):
        hold, anneal = steps // 10, steps // 2
        temperature = schedules.join(
            schedules.constant(20.0, hold),
            schedules.geometric(20.0, 1.0, anneal),
            schedules.constant(1.0, steps - hold - anneal),
        )
        x = run(Langevin(eta, temperature), energy, hot, key=key).x
        return np.asarray(moments(x).reshape(64, -1, 5).mean(1), np.float64)

    truth = np.asarray(moments(exact).mean(0), np.float64)
    coarse, fine = means(0.1, 300), means(0.05, 600)
    bias = coarse.mean(0) - truth
    assert bias[3] > 0.03, "the bias of the second moment shows at the coarse step"
    assert_mean(2 * fine - coarse, truth, "annealed means, extrapolated", allowance=np.abs(bias) / 4)


def test_sigma_0_moves_temperature_and_step_together(key):
    # MDSM §3.1: with T σ₀² and ε/σ₀ kept, energies that differ by σ₀² give the same chain.
    base = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.5]], 0.2 * jnp.eye(2))
    start = jax.random.normal(key, (50, 2))
    ends = []
    for sigma_0 in (0.1, 1.0):
        energy = lambda x, s=sigma_0: base(x) / s**2  # noqa: E731
        sampler = annealed_langevin(
            sigma_0=sigma_0, noise_max=1.0, hold=20, anneal=60, cool=20, epsilon=0.2 * sigma_0
        )
        # Within the hold, where both sit at the same noise √T σ₀ = 1.
        ends.append(run(sampler, energy, start, key=key, steps=20).x)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-3, atol=1e-4)


def test_the_papers_schedule_step_by_step():
    T = np.asarray(schedules.mdsm().values)
    assert len(T) == 2700
    np.testing.assert_array_equal(T[:500], 100)
    np.testing.assert_allclose(T[500:2500], 100 * np.exp(-np.arange(2000) * np.log(100) / 2000), rtol=1e-5)
    np.testing.assert_allclose(T[2500:], np.linspace(1, 0, 200), atol=1e-6)
    assert annealed_langevin().horizon == 2700
    np.testing.assert_allclose(annealed_langevin().step_size(0), 0.02**2 / 2, rtol=1e-6)


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match="least step_size must be a finite number above 0"):
        Langevin(schedules.linear(1.0, 0.0, 5))
    with pytest.raises(ex.InputError, match="temperature must be a finite number at least 0; got -1"):
        Langevin(0.1, -1.0)
    with pytest.raises(ex.InputError, match=r"epsilon must be below 2 σ₀ = 0.2; got 0.3"):
        annealed_langevin(epsilon=0.3)
