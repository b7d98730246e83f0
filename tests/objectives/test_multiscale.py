"""MDSM leads to its ladder's compromise; its identities and its units hold."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch, DenoisingScoreMatching, MultiscaleDenoisingScoreMatching
from energax.testing import assert_mean, check_objective

from . import mutants


@pytest.mark.parametrize(
    "settings",
    [
        {"sigma_min": 0.4, "sigma_max": 0.4, "sigma_0": 0.5, "levels": 1},
        {"sigma_min": 0.2, "sigma_max": 1.5, "sigma_0": 0.5},
        {
            "sigma_min": 0.3,
            "sigma_max": 1.2,
            "sigma_0": 1.0,
            "levels": 8,
            "spacing": "linear",
            "weight_power": 1.0,
        },
    ],
)
def test_it_leads_to_the_ladders_compromise(settings, key):
    check_objective(MultiscaleDenoisingScoreMatching(**settings), key=key)


@pytest.mark.parametrize("mutant", [mutants.MissingSigma0, mutants.Unweighted, mutants.PaperTarget])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(0.2, 1.5, sigma_0=0.5, levels=8), key=key)


def test_the_compromise_on_a_gaussian_is_the_closed_form():
    objective = MultiscaleDenoisingScoreMatching(0.1, 2.0, sigma_0=0.3)
    sigmas = np.geomspace(0.1, 2.0, 128)
    wanted = 1 / (1 + np.mean(sigmas**-2)) / 0.3**2
    np.testing.assert_allclose(objective.target.isotropic_precision(), wanted, rtol=1e-4)
    one = MultiscaleDenoisingScoreMatching(0.7, 0.7, sigma_0=0.3, levels=1)
    np.testing.assert_allclose(one.target.isotropic_precision(), 0.49 / 1.49 / 0.09, rtol=1e-5)


def test_one_level_is_twice_sigma_squared_times_denoising(key):
    # L[E] = 2σ² J[(σ₀²/σ²) E], draw by draw.
    sigma, sigma_0 = 0.6, 0.2
    energy = ex.energies.MLP((5,), width=8, key=key)
    batch = Batch(jax.random.normal(key, (64, 5)))
    many = MultiscaleDenoisingScoreMatching(sigma, sigma, sigma_0=sigma_0)
    scaled = lambda x: energy(x) * sigma_0**2 / sigma**2  # noqa: E731
    left = many.loss(energy, None, None, batch, key)[0]
    right = 2 * sigma**2 * DenoisingScoreMatching(sigma).loss(scaled, None, None, batch, key)[0]
    np.testing.assert_allclose(left, right, rtol=1e-5)


def test_temperatures_are_noise_levels_in_units_of_sigma_0():
    by_temperature = MultiscaleDenoisingScoreMatching.from_temperature(0.25, 144.0, sigma_0=0.1)
    by_sigma = MultiscaleDenoisingScoreMatching(0.05, 1.2, sigma_0=0.1)
    np.testing.assert_allclose(by_temperature.ladder(128), by_sigma.ladder(128), rtol=1e-5)
    # ADSM's l(T) = 1/T is σ₀² times l(σ) = 1/σ².
    sigma = by_sigma.ladder(128)
    np.testing.assert_allclose(1 / (sigma / 0.1) ** 2, 0.1**2 * by_sigma.target.weights, rtol=1e-5)


def test_the_loss_starts_at_d_and_sums_over_coordinates(key):
    zero = lambda x: 0.0 * jnp.sum(x)  # noqa: E731
    objective = MultiscaleDenoisingScoreMatching()

    @jax.jit
    def loss(k):
        value, metrics = objective.loss(zero, None, None, Batch(jnp.zeros((128, 7, 3))), k)
        return value, metrics["loss_by_noise"]

    value, by_noise = jax.lax.map(loss, jax.random.split(key, 256))
    assert_mean(value, 21.0, "the loss of a flat energy on 21 coordinates")
    assert_mean(by_noise, np.full(16, 21.0), "the same, by noise level")


def test_every_level_is_once_in_each_batch():
    linear = MultiscaleDenoisingScoreMatching.preset("cifar10")
    np.testing.assert_allclose(np.diff(linear.ladder(128)), (1.2 - 0.05) / 127, rtol=1e-3)
    geometric = np.asarray(MultiscaleDenoisingScoreMatching.preset("mnist").ladder(128))
    np.testing.assert_allclose(geometric[[0, -1]], [0.1, 3.0], rtol=1e-5)
    np.testing.assert_allclose(np.diff(np.log(geometric)), np.log(30) / 127, rtol=1e-3)
    # Data at the origin and a flat energy: a row's loss is ‖z‖², so the noise itself is seen.
    seen = MultiscaleDenoisingScoreMatching(0.1, 2.0, weight_power=0.0)
    flat = lambda x: 0.0 * jnp.sum(x)  # noqa: E731
    _, metrics = seen.loss(flat, None, None, Batch(jnp.zeros((16, 4096))), jax.random.key(0))
    np.testing.assert_allclose(jnp.sqrt(metrics["loss_by_noise"] / 4096), seen.ladder(16), rtol=0.06)


def test_sigma_0_only_scales_the_energy(key):
    # MDSM §3.1: E with σ₀ = 1 has the loss of E/σ₀² … of 100 E with σ₀ = 0.1, draw by draw.
    energy = ex.energies.MLP((5,), width=8, key=key)
    batch = Batch(jax.random.normal(key, (64, 5)))
    one = MultiscaleDenoisingScoreMatching(sigma_0=1.0).loss(energy, None, None, batch, key)[0]
    hundredfold = lambda x: 100 * energy(x)  # noqa: E731
    tenth = MultiscaleDenoisingScoreMatching(sigma_0=0.1).loss(hundredfold, None, None, batch, key)[0]
    np.testing.assert_allclose(one, tenth, rtol=1e-4)


def test_fits_with_two_sigma_0_agree_up_to_the_factor(key):
    # Within a family closed under scaling the two fits end in the same place: E ∝ 1/σ₀².
    x = np.asarray(jax.random.normal(key, (4096, 2))) * [1.0, 0.5]
    ends = []
    for sigma_0 in (0.1, 1.0):
        start = ex.energies.Gaussian(jnp.zeros(2), sigma_0**2 * jnp.eye(2))
        objective = MultiscaleDenoisingScoreMatching(sigma_0=sigma_0)
        fit = ex.fit(
            start, objective, x, key=jax.random.key(1), steps=1500, learning_rate=0.02 * sigma_0, ema=0.99
        )
        precision = np.linalg.inv(np.asarray(fit.energy.scale_tril @ fit.energy.scale_tril.T))
        ends.append(sigma_0**2 * precision)
    np.testing.assert_allclose(ends[0], ends[1], rtol=0.02, atol=0.01)


def test_modes_do_not_multiply_with_temperature():
    # ADSM §3.1: fewer modes as T grows. Of the smoothed density that is so on this toy; E/T
    # has the critical points of E whatever T is, so that only how far they are filled changes.
    angles = np.arange(8) * np.pi / 4
    means = np.stack([np.cos(angles), np.sin(angles)], 1) * [2.0, 1.5]
    mixture = ex.energies.GaussianMixture(np.ones(8), means, 0.05 * jnp.eye(2))
    grid = np.linspace(-3.5, 3.5, 141)
    points = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)

    def modes(energy):
        E = np.asarray(jax.vmap(energy)(points)).reshape(141, 141)
        inner = E[1:-1, 1:-1]
        shifts = [
            E[1 + i : 140 + i, 1 + j : 140 + j] for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)
        ]
        return int(np.all([inner < s for s in shifts], axis=0).sum())

    smoothed = [modes(mixture.smoothed(0.1 * T**0.5)) for T in (1, 9, 36, 81, 400)]
    assert smoothed == sorted(smoothed, reverse=True)
    assert smoothed[0] == 8
    assert smoothed[-1] == 1
    assert {modes(mixture / T) for T in (1.0, 10.0, 100.0)} == {8}


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match=r"sigma_max must be a finite number at least 0\.5"):
        MultiscaleDenoisingScoreMatching(0.5, 0.1)
    with pytest.raises(ex.InputError, match=r"did you mean 'geometric'\?"):
        MultiscaleDenoisingScoreMatching(spacing="geometrical")
    with pytest.raises(ex.InputError, match="levels must be a divisor of the batch size"):
        MultiscaleDenoisingScoreMatching(levels=5).loss(
            lambda x: x.sum(), None, None, Batch(jnp.ones((8, 2))), key
        )
