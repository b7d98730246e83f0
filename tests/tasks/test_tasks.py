"""The uses of a model, each held to an energy whose right answer is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.samplers import Langevin, schedules
from energax.tasks import denoise, generate, inpaint, named_mask, score
from energax.testing import assert_mean

MEAN = jnp.array([0.5, 0.2, 0.7, 0.4])
A = np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0.1, 0.3, 0.5, 0], [0.0, -0.4, 0.2, 0.7]]) * 0.3
COVARIANCE = jnp.asarray(A @ A.T)


def smoothed(sigma, sigma_0=0.1):
    """The one-level MDSM optimum on N(MEAN, COVARIANCE): E = (σ²/σ₀²) × energy of the smoothed law."""
    return ex.energies.Gaussian(MEAN, COVARIANCE + sigma**2 * jnp.eye(4)) / (sigma_0**2 / sigma**2)


def test_denoising_is_the_posterior_mean(key):
    sigma = 0.4
    rng = np.random.default_rng(0)
    noisy = rng.normal(size=(1000, 4)).astype(np.float32)
    gain = COVARIANCE @ np.linalg.inv(COVARIANCE + sigma**2 * np.eye(4))
    wanted = MEAN + (noisy - MEAN) @ gain.T
    np.testing.assert_allclose(denoise(smoothed(sigma), noisy), wanted, atol=1e-4)
    # The mutant that forgets σ₀² is far away.
    assert np.abs(denoise(smoothed(sigma), noisy, sigma_0=1.0) - wanted).max() > 1


def test_scores_do_not_depend_on_company_or_order(key):
    energy = ex.energies.MLP((4,), width=32, key=key)
    x = np.random.default_rng(0).normal(size=(700, 4)).astype(np.float32)
    whole = score(energy, x)
    np.testing.assert_array_equal(score(energy, x[::-1])[::-1], whole)
    np.testing.assert_array_equal(np.concatenate([score(energy, x[i : i + 1]) for i in range(5)]), whole[:5])
    np.testing.assert_allclose(whole[:9], [energy(row) for row in x[:9]], rtol=1e-4, atol=1e-5)


def test_generated_samples_have_the_law_that_was_annealed_to(key):
    # σ₀ = 0.5 and T = 1 at the end: the law is exp(−E), whatever the hot start.
    energy = ex.energies.Gaussian(MEAN, COVARIANCE + 0.25 * jnp.eye(4))
    temperature = schedules.join(schedules.geometric(50.0, 1.0, 200), schedules.constant(1.0, 300))
    samples = generate(
        energy, 32_000, key=key, sigma_0=0.5, sampler=Langevin(0.02, temperature), final_jump=False
    )
    groups = samples.reshape(64, 500, 4)
    assert_mean(groups.mean(1), MEAN, "mean of the samples")
    centred = groups - MEAN
    second = np.einsum("gni,gnj->gij", centred, centred) / 500
    # The step's bias is η/2 times the curvature: at most one percent here.
    assert_mean(second, COVARIANCE + 0.25 * np.eye(4), "their covariance", allowance=0.006)


def test_a_sample_does_not_depend_on_how_many_are_drawn(key):
    energy = ex.energies.Gaussian(MEAN, COVARIANCE + 0.01 * jnp.eye(4))
    sampler = Langevin(0.002, schedules.geometric(10.0, 1.0, 50))
    one = generate(energy, 3, key=key, sampler=sampler)
    np.testing.assert_allclose(one, generate(energy, 40, key=key, sampler=sampler)[:3], rtol=1e-4, atol=1e-5)


def test_inpainting_keeps_what_is_known_and_draws_what_is_not(key):
    energy = ex.energies.Gaussian(MEAN, COVARIANCE) / 1.0
    known = np.array([True, True, False, False])
    x = np.tile([0.9, 0.1, np.nan, np.nan], (8000, 1)).astype(np.float32)
    temperature = schedules.join(schedules.geometric(20.0, 1.0, 200), schedules.constant(1.0, 600))
    filled = inpaint(energy, x, known, key=key, sigma_0=1e-3, sampler=Langevin(0.002, temperature))
    np.testing.assert_array_equal(filled[:, :2], x[:, :2])
    C = np.asarray(COVARIANCE)
    gain = C[2:, :2] @ np.linalg.inv(C[:2, :2])
    mean = np.asarray(MEAN)[2:] + gain @ (x[0, :2] - np.asarray(MEAN)[:2])
    assert_mean(filled[:, 2:].reshape(80, 100, 2).mean(1), mean, "mean given the known", allowance=0.01)
    rest = C[2:, 2:] - gain @ C[:2, 2:]
    spread = filled[:, 2:].reshape(80, 100, 2).var(1, ddof=1)
    assert_mean(spread, np.diag(rest), "variance given the known", allowance=0.08 * np.diag(rest))


@pytest.mark.parametrize("name", ["left", "right", "top", "bottom", "center"])
def test_named_masks(name):
    known = named_mask(name, (4, 6, 1))[..., 0]
    missing = np.zeros((4, 6), bool)
    missing[
        {
            "left": np.s_[:, :3],
            "right": np.s_[:, 3:],
            "top": np.s_[:2],
            "bottom": np.s_[2:],
            "center": np.s_[1:3, 1:5],
        }[name]
    ] = True
    np.testing.assert_array_equal(known, ~missing)


def test_conditions_reach_every_task(key):
    energy = ex.energies.LinearGaussian(jnp.array([[2.0], [0.0]]), scale=0.1)
    c = np.array([[1.0], [-1.0]], np.float32)
    np.testing.assert_allclose(score(energy, np.array([[2.0, 0], [2.0, 0]]), condition=c), [0.0, 800.0])
    clean = denoise(energy, np.zeros((2, 2)), sigma_0=0.1, condition=c)
    np.testing.assert_allclose(clean, [[2, 0], [-2, 0]], atol=1e-5)
    drawn = generate(energy, 2, key=key, sigma_0=0.1, condition=c)
    np.testing.assert_allclose(drawn, [[2, 0], [-2, 0]], atol=0.02)


def test_mistakes_are_named(key):
    energy = ex.energies.Gaussian(MEAN, COVARIANCE)
    with pytest.raises(ex.InputError, match=r"x must be of shape \(n, 4\); got shape \(2, 3\)"):
        score(energy, np.ones((2, 3)))
    with pytest.raises(ex.InputError, match="noisy must be finite everywhere; got inf in row 1"):
        denoise(energy, np.array([[1.0] * 4, [1, np.inf, 1, 1]]))
    with pytest.raises(ex.InputError, match="event_shape must be given for a model that has none"):
        generate(lambda x: x.sum(), 2, key=key)
    with pytest.raises(ex.InputError, match=r"mask must be one of .* \(did you mean 'left'\?\)"):
        named_mask("lefft", (4, 4))
    with pytest.raises(ex.InputError, match="energy must be an energy"):
        score(ex.Score(lambda x: -x), np.ones((2, 4)), event_shape=(4,))


def test_chains_that_run_away_are_counted_aloud_and_returned(key):
    # An energy unbounded below: every chain leaves, and nobody pretends otherwise.
    cliff = lambda x: -jnp.sum(x**4)  # noqa: E731
    sampler = Langevin(0.1, schedules.constant(1.0, 50))
    with pytest.warns(UserWarning, match="5 of 5 chains left the region"):
        samples = generate(cliff, 5, key=key, sampler=sampler, event_shape=(2,))
    assert not np.isfinite(samples).any()


def test_a_noise_conditional_model_denoises_at_the_level_it_is_told(key):
    # E[x | x̃] of a mixture, by its components.
    mixture = ex.energies.GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], 0.2 * jnp.eye(2))
    x = np.asarray(jax.random.normal(key, (50, 2)))
    for sigma in (0.3, 2.0):
        got = denoise(ex.energies.Smoothings(mixture), x, sigma=sigma)
        spread = 0.2 + sigma**2
        logs = np.log([0.3, 0.7]) - ((x[:, None] - np.asarray(mixture.means)) ** 2).sum(-1) / (2 * spread)
        share = np.exp(logs - logs.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        means = np.asarray(mixture.means) + 0.2 / spread * (x[:, None] - np.asarray(mixture.means))
        np.testing.assert_allclose(got, (share[..., None] * means).sum(1), rtol=1e-4, atol=1e-5)


def test_a_score_denoises_and_inpaints_like_its_energy(key):
    energy = ex.energies.Gaussian(jnp.zeros(2), jnp.array([[1.0, 0.5], [0.5, 1.0]]))
    field = ex.Score(lambda x, c=None: ex.score(energy, x))
    x = np.asarray(jax.random.normal(key, (8, 2)))
    settings = {"sigma_0": 0.5, "event_shape": (2,)}
    np.testing.assert_allclose(denoise(field, x, **settings), denoise(energy, x, **settings), rtol=1e-5)
    known, sampler = np.array([True, False]), Langevin(0.01, schedules.constant(1.0, 20))
    both = [inpaint(model, x, known, key=key, sampler=sampler, **settings) for model in (field, energy)]
    np.testing.assert_allclose(*both, rtol=1e-5)


def test_a_noise_conditional_model_generates_and_inpaints(key):
    truth = ex.energies.Gaussian([1.0, -1.0], [[1.0, 0.8], [0.8, 1.0]])
    model = ex.energies.Smoothings(truth)
    sampler = ex.samplers.AnnealedNoiseLangevin(np.geomspace(5, 0.1, 12), steps_per_level=50)
    x = generate(model, 64 * 100, key=key, sampler=sampler, center=0.0)
    assert_mean(x.reshape(64, 100, 2).mean(1), [1.0, -1.0], "mean of samples", allowance=0.1)
    rows = np.tile(np.array([[2.0, 0.0]], np.float32), (64 * 100, 1))
    filled = inpaint(model, rows, np.array([True, False]), key=key, sampler=sampler, center=0.0)
    np.testing.assert_array_equal(filled[:, 0], 2.0)
    assert_mean(filled[:, 1].reshape(64, -1).mean(1), -1 + 0.8 / 1.01, "given the known one", allowance=0.1)


def test_chains_start_where_their_sampler_begins(key):
    # Not at 10 σ₀: reverse diffusion starts from its prior.
    model = ex.energies.Smoothings(ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)))
    for process, spread in (
        (ex.samplers.VarianceExploding(0.1, 10.0), 101.0),
        (ex.samplers.VariancePreserving(), 1.0),
    ):
        sampler = ex.samplers.ReverseDiffusion(process, 2)
        seen = ex.tasks.anneal(
            model,
            64 * 100,
            key=key,
            sampler=sampler,
            center=0.0,
            observers={"x": ex.samplers.observers.position},
            every=100,
        ).observed["x"][0]
        assert_mean(np.square(seen).reshape(64, -1).mean(1), spread, "variance at the start", allowance=0.01)
    rows, known = np.zeros((2, 2), np.float32), np.array([True, False])
    with pytest.raises(ex.InputError, match="ReverseDiffusion does not say what noise its chains carry"):
        inpaint(model, rows, known, key=key, sampler=sampler)
