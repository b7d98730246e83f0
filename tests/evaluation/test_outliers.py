"""Outlier scores against closed forms, and what is said of scores against counting and theory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.evaluation import detection, detections, outlier_scores
from energax.testing import assert_mean

D = 6
ENERGY = ex.energies.Gaussian(jnp.zeros(D), jnp.eye(D))


@pytest.fixture
def x(key):
    return np.asarray(jax.random.normal(key, (300, D)))


def test_scores_are_what_they_say(x, key):
    square = (x**2).sum(1)
    exact = np.asarray(jax.vmap(ENERGY)(x))
    np.testing.assert_allclose(outlier_scores(ENERGY, x, key=key), exact, rtol=1e-5)
    np.testing.assert_allclose(outlier_scores(ENERGY, x, "score-norm", key=key), square**0.5, rtol=1e-5)
    typical = outlier_scores(ENERGY, x, "typicality", reference=x, key=key)
    np.testing.assert_allclose(typical, np.abs(exact - exact.mean()), rtol=1e-3, atol=1e-4)


def test_noise_adds_what_it_must(x, key):
    # E_z[½‖x + σz‖²] = ½‖x‖² + ½dσ²; one step leaves x̂ − x = σz − σ²(x + σz).
    sigma, draws = 0.5, 4000
    noisy = outlier_scores(ENERGY, x[:4], sigma=sigma, draws=draws, key=key)
    plain = outlier_scores(ENERGY, x[:4], key=key)
    spread = 6 * sigma * np.linalg.norm(x[:4], axis=1).max() / draws**0.5
    np.testing.assert_allclose(noisy - plain, 0.5 * D * sigma**2, atol=spread)
    left = outlier_scores(ENERGY, x[:4], "denoising", sigma=sigma, draws=draws, key=key)
    exact = sigma**2 * (1 - sigma**2) ** 2 * D + sigma**4 * (x[:4] ** 2).sum(1)
    np.testing.assert_allclose(left, exact, rtol=0.12)


def test_a_row_does_not_depend_on_the_others(x, key):
    whole = outlier_scores(ENERGY, x, "denoising", sigma=0.3, key=key)
    np.testing.assert_allclose(
        outlier_scores(ENERGY, x[7:9], "denoising", sigma=0.3, key=key), whole[7:9], rtol=1e-5
    )


def test_the_mode_is_no_typical_point(x, key):
    mode = np.zeros((20, D), np.float32)
    by_energy = detection(outlier_scores(ENERGY, mode, key=key), outlier_scores(ENERGY, x, key=key))
    heights = [outlier_scores(ENERGY, rows, "typicality", reference=x, key=key) for rows in (mode, x)]
    assert by_energy.auroc == 0.0
    assert detection(*heights).auroc > 0.8


def test_areas_are_counts():
    generator = np.random.default_rng(0)
    s, t = generator.integers(0, 6, 40) + 1.0, generator.integers(0, 6, 70) + 0.0  # with ties
    found = detection(s, t)
    wins = (s[:, None] > t) + 0.5 * (s[:, None] == t)
    np.testing.assert_allclose(found.auroc, wins.mean(), rtol=1e-12)
    error = wins.mean(1).var(ddof=1) / 40 + wins.mean(0).var(ddof=1) / 70
    np.testing.assert_allclose(found.auroc_error, error**0.5, rtol=1e-12)
    assert detection(t, s).auroc == pytest.approx(1 - found.auroc)


def test_they_are_those_of_two_normal_laws():
    generator, shift, areas, errors = np.random.default_rng(0), 1.2, [], []
    for _ in range(300):
        found = detection(shift + generator.standard_normal(60), generator.standard_normal(90))
        areas.append(found.auroc)
        errors.append(found.auroc_error)
    exact = scipy.stats.norm.cdf(shift / 2**0.5)
    assert_mean(np.array(areas), exact, "area under the curve")
    assert 0.85 < np.sqrt(np.mean(np.square(errors))) / np.std(areas) < 1.18
    many = detection(shift + generator.standard_normal(200_000), generator.standard_normal(200_000))
    alarms = scipy.stats.norm.sf(shift + scipy.stats.norm.ppf(0.05))
    assert abs(many.fpr95 - alarms) < 0.01
    nothing = detection(generator.standard_normal(20_000), generator.standard_normal(60_000))
    assert abs(nothing.auprc - 0.25) < 0.015


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda x, k: outlier_scores(ENERGY, x, "entropy", key=k), "score must be one of 'energy'"),
        (
            lambda x, k: outlier_scores(ENERGY, x, "denoising", key=k),
            "sigma must be above 0, noise to be removed",
        ),
        (
            lambda x, k: outlier_scores(ENERGY, x, "typicality", key=k),
            "reference must be rows that are typical",
        ),
        (lambda x, k: outlier_scores(ENERGY, x, sigma=-1, key=k), "sigma must be a finite number at least 0"),
        (lambda x, k: detection([1.0], [2.0, 3.0]), "outliers must be an array of at least 2 rows"),
        (lambda x, k: detection([1.0, np.nan], [2.0, 3.0]), "outliers"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, x, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(x, key)


def test_every_score_is_judged_against_the_same_inliers(x, key):
    far, again = 3 * x, np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (300, D)))
    found = detections(ENERGY, x, {"far": far, "again": again}, sigma=0.3, reference=x, key=key)
    for score, of in found.found.items():
        how = {"sigma": 0.3, "reference": x, "key": key}
        alone = outlier_scores(ENERGY, far, score, **how), outlier_scores(ENERGY, x, score, **how)
        assert of["far"] == detection(*alone)
        assert of["far"].auroc > 0.9
        assert abs(of["again"].auroc - 0.5) < 5 * of["again"].auroc_error  # rows of the same law are not told
    assert set(detections(ENERGY, x, {"far": far}, key=key).found) == {"energy", "score-norm"}
