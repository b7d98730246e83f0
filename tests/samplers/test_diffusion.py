"""Reverse diffusion: the papers' formulas, the right law for both processes, its bias, and what breaks it."""

from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.flatten_util import ravel_pytree

import energax as ex
from energax.derivatives import Score
from energax.energies import Gaussian, GaussianMixture, LinearGaussian, Smoothings
from energax.samplers import ReverseDiffusion, VarianceExploding, VariancePreserving, run, score_at
from energax.testing import assert_mean

from . import diffusion_mutants as mutants

MIXTURE = GaussianMixture(
    [0.8, 0.2], [[-1.0, 0.5], [1.5, -0.5]], jnp.array([[[0.3, 0.1], [0.1, 0.2]], [[0.2, 0.0], [0.0, 0.4]]])
)
PROCESSES = [VarianceExploding(0.01, 50.0), VariancePreserving()]
GROUPS = 64


def moments(x):
    functions = [x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 0] > 0.5]
    return np.asarray(jnp.stack(functions, 1).reshape(GROUPS, -1, len(functions)).mean(1), np.float64)


def true_moments():
    w, mu, C = np.array([0.8, 0.2]), np.asarray(MIXTURE.means), MIXTURE.scale_trils @ MIXTURE.scale_trils.mT
    first, second = w @ mu, np.einsum("k,kij->ij", w, C + np.einsum("ki,kj->kij", mu, mu))
    above = w @ scipy.stats.norm.sf((0.5 - mu[:, 0]) / np.sqrt(C[:, 0, 0]))
    return np.array([*first, second[0, 0], second[1, 1], second[0, 1], above])


def check_law(make, process, key, *, steps, chains=GROUPS * 1000):
    """Hold a sampler, by its number of steps, to the mixture it must draw from, and return its bias.

    The bias is of order 1/steps, so 2 m(2n) − m(n) loses all but a fraction of it.
    """
    start_key, *keys = jax.random.split(key, 3)
    start = process.prior_scale(1.0) * jax.random.normal(start_key, (chains, 2))
    truth = true_moments()
    coarse, fine = (
        moments(run(make(n), Smoothings(MIXTURE), start, key=k).x)
        for n, k in zip((steps, 2 * steps), keys, strict=True)
    )
    bias = coarse.mean(0) - truth
    assert_mean(2 * fine - coarse, truth, "means, extrapolated", allowance=np.abs(bias) / 4)
    return bias


@pytest.mark.parametrize("corrector_steps", [0, 1])
@pytest.mark.parametrize("process", PROCESSES, ids=["VE", "VP"])
def test_the_law_is_reached_and_its_bias_falls_as_one_over_steps(process, corrector_steps, key):
    bias = check_law(lambda n: ReverseDiffusion(process, n, corrector_steps), process, key, steps=30)
    assert 0.02 < bias[5] < 0.08, "the weight of the lesser mode is too large where steps are few"


@pytest.mark.parametrize(
    ("mutant", "corrector_steps"),
    [
        # Alone: correctors, if there are enough, mend what a predictor does wrong.
        (mutants.half_pull, 0),
        (mutants.forgotten_stretch, 0),
        (mutants.weak_kick, 1),
        (mutants.NormsOfTheChain, 1),
    ],
)
def test_the_check_rejects_each_mutant(mutant, corrector_steps, key):
    process = PROCESSES[1]
    make = lambda n: mutant(ReverseDiffusion(process, n, corrector_steps))  # noqa: E731
    with pytest.raises(AssertionError):
        check_law(make, process, key, steps=30, chains=GROUPS * 250)


@pytest.mark.parametrize("process", PROCESSES, ids=["VE", "VP"])
def test_the_variance_on_a_gaussian_is_the_closed_form(process, key):
    # On N(0, s²I) each step is linear, so that the variance of the biased chain is known. It is
    # written here in y = x/a, where neither drift nor scale appears.
    s2, r, steps = 0.5, 0.3, 12
    sampler = ReverseDiffusion(process, steps, 1, r)
    sigma = np.asarray(process.noise(np.linspace(1, process.least, steps + 1)), float)
    v = 1.0 + sigma[0] ** 2
    for high, low in pairwise(sigma):
        gap = high**2 - low**2
        v = (1 - gap / (s2 + high**2)) ** 2 * v + gap
        eta = 2 * (r * low) ** 2
        v = (1 - eta / (s2 + low**2)) ** 2 * v + 2 * eta
    start = process.prior_scale(1.0) * jax.random.normal(key, (64_000, 3))
    model = Smoothings(Gaussian(jnp.zeros(3), s2 * jnp.eye(3)))
    x = run(sampler, model, start, key=key, steps=sampler.horizon - 1).x
    y2 = (x / process.scale(process.least)) ** 2
    assert_mean(y2.reshape(64, -1, 3).mean(1), v, "variance before denoising")
    x = run(sampler, model, start, key=key).x
    shrunk = (s2 / (s2 + sigma[-1] ** 2)) ** 2 * v
    assert_mean((x**2).reshape(64, -1, 3).mean(1), shrunk, "variance after denoising")


def test_steps_are_the_papers_formulas(key):
    # Each formula written out as its paper has it, with the same z and the score of x_t itself.
    x, i = np.array([0.3, -0.2]), jnp.asarray(0)
    z = np.asarray(jax.random.normal(key, (2,)))
    model = Smoothings(MIXTURE)

    def moved_and_score(sampler):
        s = score_at(sampler.process, model, jnp.asarray(x), 1.0)
        return sampler.step(model, jnp.asarray(x), key, i)[0], s

    moved_and_score = eqx.filter_jit(moved_and_score)
    exploding = ReverseDiffusion(PROCESSES[0], 100, 0)
    high, low = np.asarray(exploding.level.values[:2], float)
    moved, s = moved_and_score(exploding)
    wanted = x + (high**2 - low**2) * s + np.sqrt(high**2 - low**2) * z  # algorithm 2
    np.testing.assert_allclose(moved, wanted, rtol=1e-4)

    preserving = ReverseDiffusion(PROCESSES[1], 1000, 0)
    a = np.asarray(preserving.scale.values[:2], float)
    beta = 1 - (a[0] / a[1]) ** 2
    np.testing.assert_allclose(beta, 20 / 1000, rtol=0.02)
    moved, s = moved_and_score(preserving)
    ancestral = (x + beta * s) / np.sqrt(1 - beta) + np.sqrt(beta) * z  # eq. 4
    more_noise = (1 / np.sqrt(1 - beta) - 1) * np.sqrt(beta) * z
    np.testing.assert_allclose(moved, ancestral + more_noise, rtol=1e-3)
    algorithm_3 = (2 - np.sqrt(1 - beta)) * x + beta * s + np.sqrt(beta) * z
    np.testing.assert_allclose(moved, algorithm_3, atol=2 * beta**1.5)


@pytest.mark.parametrize("process", PROCESSES, ids=["VE", "VP"])
def test_the_correctors_signal_to_noise_ratio_is_snr_at_most(process, key):
    # r = ‖ηs‖/‖√(2η)z‖ in root mean square: attained by data that are a point, and less on others.
    r, i, d = 0.16, 7, 20
    sampler = ReverseDiffusion(process, 10, 1, r)
    t = float(np.linspace(1, process.least, 11)[4])
    np.testing.assert_allclose(sampler.level.values[i], process.noise(t), rtol=1e-5)
    eta, kick = float(sampler.step_size.values[i]), float(sampler.kick.values[i])
    np.testing.assert_allclose(kick**2, 2 * eta, rtol=1e-5)

    @jax.jit
    def mean_square_score(variance):
        model = Smoothings(Gaussian(jnp.ones(d), variance * jnp.eye(d)))
        x = process.scale(t) * model.at(process.noise(t)).sample(key, 1000)
        return jnp.mean(jax.vmap(lambda x: score_at(process, model, x, t))(x) ** 2)

    for variance, least, most in ((1e-8, 0.98 * r, 1.02 * r), (1.0, 0.0, r)):
        assert least < eta * np.sqrt(mean_square_score(variance)) / kick < most


@pytest.mark.parametrize("process", PROCESSES, ids=["VE", "VP"])
def test_drift_and_diffusion_are_those_of_scale_and_noise(process):
    # f = (log a)′ and g² = a² (σ²)′, by differentiating in t.
    for t in (0.05, 0.4, 0.9):
        a = process.scale(t)
        f = jax.grad(lambda t: jnp.log(process.scale(t)))(t)
        g2 = a**2 * jax.grad(lambda t: process.noise(t) ** 2)(t)
        np.testing.assert_allclose(process.drift(t), f, rtol=1e-5)
        np.testing.assert_allclose(process.diffusion(t), jnp.sqrt(g2), rtol=1e-5)


def test_the_processes_run_between_the_papers_ends():
    exploding, preserving = PROCESSES
    np.testing.assert_allclose([exploding.noise(0.0), exploding.noise(1.0)], [0.01, 50.0], rtol=1e-5)
    np.testing.assert_allclose(exploding.noise(0.5), np.sqrt(0.01 * 50), rtol=1e-5)
    t = np.array([0.01, 0.3, 1.0])
    b = preserving.scale(t) * preserving.noise(t)
    np.testing.assert_allclose(preserving.scale(t) ** 2 + b**2, 1, rtol=1e-5)
    np.testing.assert_allclose(preserving.scale(1.0), np.exp(-0.5 * 10.05), rtol=1e-5)
    np.testing.assert_allclose(preserving.prior_scale(1.0), 1, rtol=1e-5)
    np.testing.assert_allclose(exploding.prior_scale(), 50, rtol=1e-5)
    np.testing.assert_allclose(exploding.prior_scale(120.0), 130, rtol=1e-5)


@pytest.mark.parametrize("t", [0.01, 0.3, 0.7])
def test_the_score_of_the_scaled_process_is_that_of_the_scaled_mixture(t):
    process = PROCESSES[1]
    a = process.scale(t)
    b = jnp.sqrt(1 - a**2)
    covariances = a**2 * MIXTURE.scale_trils @ MIXTURE.scale_trils.mT + b**2 * jnp.eye(2)
    scaled = GaussianMixture([0.8, 0.2], a * MIXTURE.means, covariances)
    x = jnp.array([[0.3, -0.4], [-1.2, 0.9], [2.0, 0.0]])
    got = jax.jit(jax.vmap(lambda x: score_at(process, Smoothings(MIXTURE), x, t)))(x)
    np.testing.assert_allclose(got, jax.jit(jax.vmap(lambda x: ex.score(scaled, x)))(x), rtol=1e-4, atol=1e-4)


class ConditionalLevels(eqx.Module):
    """The levels of a conditional Gaussian, x | c ~ N(c, 0.09), of an event that may be a tree."""

    as_score: bool = eqx.field(static=True)

    def at(self, sigma):
        density = LinearGaussian(jnp.eye(2), scale=jnp.sqrt(0.09 + sigma**2))
        energy = lambda x, c: density(ravel_pytree(x)[0], c)  # noqa: E731
        return Score(lambda x, c: ex.score(energy, x, c)) if self.as_score else energy


def test_conditions_reach_every_level_of_energies_and_of_scores_on_trees(key):
    c = jnp.tile(jnp.array([[2.0, -1.0], [-1.0, 3.0]]), (8000, 1))
    start = jax.random.normal(key, c.shape)
    sampler = ReverseDiffusion(VariancePreserving(), 40)
    x = run(sampler, ConditionalLevels(False), start, key=key, condition=c).x
    assert_mean((x - c).reshape(32, -1, 4).mean(1), 0.0, "means given c", allowance=0.01)
    tree = {"a": start[:, :1], "b": start[:, 1:]}
    y = run(sampler, ConditionalLevels(True), tree, key=key, condition=c).x
    np.testing.assert_allclose(jnp.concatenate([y["a"], y["b"]], 1), x, rtol=1e-4, atol=1e-4)


def test_the_table_counts_evaluations_of_the_score():
    process = VarianceExploding(0.1, 10.0)
    sampler = ReverseDiffusion(process, 2, corrector_steps=2)
    assert sampler.horizon == 2 * 3 + 1
    np.testing.assert_allclose(sampler.level.values, [10, 1, 1, 1, 0.1, 0.1, 0.1], rtol=1e-5)
    noisy = ReverseDiffusion(process, 2, corrector_steps=0, denoise=False)
    assert noisy.horizon == 2
    assert sampler.kick(6) == 0, "denoising adds no noise"
    assert noisy.kick(1) > 0


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match=r"sigma_max must be a finite number above 1; got 0.5"):
        VarianceExploding(1.0, 0.5)
    with pytest.raises(ex.InputError, match=r"beta_max must be a finite number at least 0.1; got 0.01"):
        VariancePreserving(beta_max=0.01)
    with pytest.raises(ex.InputError, match="process must be a VarianceExploding or a VariancePreserving"):
        ReverseDiffusion(100, 10)
    with pytest.raises(ex.InputError, match=r"snr must be below 1, where the corrector is stable; got 1.5"):
        ReverseDiffusion(VariancePreserving(), 10, snr=1.5)
    with pytest.raises(ex.InputError, match="corrector_steps must be a whole number of at least 0; got -1"):
        ReverseDiffusion(VariancePreserving(), 10, -1)
    sampler = ReverseDiffusion(VariancePreserving(), 2)
    with pytest.raises(ex.InputError, match=r"model must be a noise-conditional one .* got GaussianMixture"):
        run(sampler, MIXTURE, jnp.zeros((1, 2)), key=key)
    with pytest.raises(ex.InputError, match="at most the schedule's 5; got 6"):
        run(sampler, Smoothings(MIXTURE), jnp.zeros((1, 2)), key=key, steps=6)
