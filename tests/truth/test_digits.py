"""What the trained digits model must do on held-out digits, never told the noise level."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.report.wiener import Wiener
from energax.samplers import Langevin, annealed_langevin, observers, run, schedules
from tests.conftest import train_digits

SIGMAS = (0.07, 0.1, 0.2, 0.3, 0.6, 0.8, 1.0)


def errors(energy):
    """Root-mean-square errors of the noisy input, the best linear denoiser and the model, by σ."""
    digits, rng = ex.data.digits(), np.random.default_rng(0)
    wiener, x = Wiener.of_rows(digits.train), digits.test
    rows = {}
    for sigma in SIGMAS:
        squares = []
        for _ in range(10):
            noisy = (x + sigma * rng.standard_normal(x.shape)).astype(np.float32)
            guesses = noisy, wiener(noisy, sigma), ex.tasks.denoise(energy, noisy)
            squares.append([np.mean((guess - x) ** 2) for guess in guesses])
        rows[sigma] = np.sqrt(np.mean(squares, 0))
    return rows


def test_one_step_denoising_beats_the_best_linear_denoiser(digits_fit):
    rows = errors(digits_fit.energy)
    for noisy, _, model in rows.values():
        assert model < noisy
    for sigma in (0.1, 0.2, 0.3):
        assert rows[sigma][2] < rows[sigma][1]
    for sigma in (0.6, 0.8, 1.0):
        assert rows[sigma][2] < 1.25 * rows[sigma][1]


@pytest.mark.study
def test_it_does_so_further_after_5000_steps():
    rows = errors(train_digits(steps=5000).energy)
    for sigma in (0.1, 0.2, 0.3, 0.6):
        assert rows[sigma][2] < rows[sigma][1]


def test_the_energy_is_quadratic_along_rays_where_the_noise_is_large(digits_fit):
    energy, x = digits_fit.energy, jnp.asarray(ex.data.digits().test)
    z = jax.random.normal(jax.random.key(0), x.shape)

    @eqx.filter_jit
    def curvature(energy, x, z, t):
        second = lambda x, z: z @ ex.derivatives.hessian_vector_product(energy, x + t * z, z)  # noqa: E731
        return jnp.mean(jax.vmap(second)(x, z)) / 64 * 0.1**2

    # In units of 1/σ₀² the curvature is near one from √T σ₀ = 0.3 on, and well below it inside.
    for t in (0.3, 0.5, 0.8):
        assert 0.8 < curvature(energy, x, z, jnp.asarray(t)) < 1.2
    assert curvature(energy, x, z, jnp.asarray(0.05)) < 0.8


def test_the_energy_is_linear_in_temperature_where_it_is_quadratic(digits_fit):
    # At equilibrium at each temperature, from √T σ₀ = 0.3 to 1: slope d/2 by equipartition.
    digits, rng = ex.data.digits(), np.random.default_rng(0)
    temperatures, means = np.array([9.0, 25, 49, 81, 100]), []
    for temperature in temperatures:
        noise = 0.1 * temperature**0.5 * rng.standard_normal((128, 64))
        seen = run(
            Langevin.mdsm(0.02, schedules.constant(temperature, 600)),
            digits_fit.energy,
            (digits.test[:128] + noise).astype(np.float32),
            key=jax.random.key(0),
            observers={"energy": observers.energy},
            every=100,
        )
        means.append(seen.observed["energy"][2:].mean())
    slope, start = np.polyfit(temperatures, means, 1)
    residual = means - (slope * temperatures + start)
    assert np.abs(residual).max() < 0.03 * np.ptp(means)
    assert 0.85 < slope / 32 < 1.15


def test_samples_are_new_and_look_like_digits(digits_fit):
    # Nearest training neighbours: as near as held-out digits are, yet not copies.
    digits = ex.data.digits()
    samples = ex.tasks.generate(
        digits_fit.energy,
        100,
        key=jax.random.key(2),
        sampler=annealed_langevin(hold=200, anneal=1000, cool=100),
    )
    nearest = lambda rows: np.linalg.norm(rows[:, None] - digits.train, axis=-1).min(1)  # noqa: E731
    drawn, held_out = nearest(samples), nearest(digits.test)
    assert np.median(drawn) < 1.5 * np.median(held_out)
    assert drawn.min() > 0.05
