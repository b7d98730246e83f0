"""Clamped Langevin dynamics draws the unknown part from its law given the known one."""

import jax.numpy as jnp
import numpy as np

import energax as ex
from energax.samplers import Clamped, Langevin, Masked, run
from energax.testing import assert_mean


def test_the_unknown_coordinate_of_a_gaussian_given_the_other(key):
    # The noise on x₁ is fresh at each step and small, so it averages out: x₂ ~ N(ρa, 1−ρ²).
    rho, a, sigma_0 = 0.8, 1.5, 0.05
    energy = ex.energies.Gaussian(jnp.zeros(2), jnp.array([[1.0, rho], [rho, 1.0]]))
    n = 64 * 500
    known, mask = jnp.array([a, 0.0]), jnp.array([True, False])
    chains = Masked(jnp.zeros((n, 2)), jnp.tile(known, (n, 1)), jnp.tile(mask, (n, 1)))
    sampler = Clamped(Langevin(0.005), Langevin(0.005).noise(sigma_0))
    x = run(sampler, energy, chains, key=key, steps=800).x
    np.testing.assert_array_equal(x[:, 0], a)
    second = x[:, 1].reshape(64, -1)
    assert_mean(second.mean(1), rho * a, "mean of the unknown given the known")
    assert_mean(second.var(1), 1 - rho**2, "its variance", allowance=0.01)


def test_known_pixels_are_noised_as_the_temperature_asks(key):
    # The energy sees x_known + σ₀√T z: watch it through an energy that drags x₂ to x₁ at once.
    sigma_0, T = 0.2, 4.0
    follow = lambda x: 0.5 * (x[1] - x[0]) ** 2  # noqa: E731
    n = 20_000
    chains = Masked(jnp.zeros((n, 2)), jnp.zeros((n, 2)), jnp.tile(jnp.array([True, False]), (n, 1)))
    sampler = Clamped(Langevin(1.0, T), Langevin(1.0, T).noise(sigma_0))
    state = run(sampler, follow, chains, key=key, steps=1).x
    # x₂ ← x₂ − (x₂ − x₁) + √(2T) z = x₁ + √(2T) z, x₁ ~ N(0, σ₀² T).
    variance = jnp.square(state[:, 1]).reshape(100, -1).mean(1)
    assert_mean(variance, sigma_0**2 * T + 2 * T, "noise passed on by the known pixel")
    silent = jnp.square(run(Clamped(Langevin(1.0, T), 0.0), follow, chains, key=key, steps=1).x[:, 1])
    assert_mean(silent.reshape(100, -1).mean(1), 2 * T, "without it")
