"""Kernels, Stein kernels and statistics against autodiff, definitions and double sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.evaluation import (
    compare,
    fssd,
    fssd_test,
    kernel_stein_discrepancy,
    ksd_test,
    linear_ksd_test,
    mmd_test,
)
from energax.evaluation.fssd import _features, _moments
from energax.kernels import IMQ, RBF, median_bandwidth
from energax.stein import stein_kernel, stein_pairs
from energax.testing import assert_mean
from energax.testing.objective import skewed_mixture
from tests.stein_matrix import stein_matrix

KERNELS = [RBF(1.3), IMQ(0.8), IMQ(1.1, 0.3)]


@pytest.mark.parametrize("kernel", KERNELS, ids=["rbf", "imq", "imq-0.3"])
def test_the_stein_kernel_is_the_operator_on_both_arguments(kernel, key):
    x, y, s, t = jax.random.normal(key, (4, 5, 3))

    def by_autodiff(x, s, y, t):
        in_x, in_y = jax.grad(kernel, 0)(x, y), jax.grad(kernel, 1)(x, y)
        both = jax.jacfwd(jax.grad(kernel, 0), 1)(x, y)
        return kernel(x, y) * s @ t + s @ in_y + t @ in_x + jnp.trace(both)

    exact = jax.vmap(lambda x, s: jax.vmap(lambda y, t: by_autodiff(x, s, y, t))(y, t))(x, s)
    np.testing.assert_allclose(stein_kernel(kernel, x, s, y, t), exact, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(stein_pairs(kernel, x, s, y, t), jnp.diag(exact), rtol=2e-4, atol=2e-5)
    u = jnp.array([0.3, 2.0])
    profile = kernel.profile(u)
    first = jax.vmap(jax.grad(lambda v: kernel.profile(v).value))(u)
    second = jax.vmap(jax.grad(lambda v: kernel.profile(v).first))(u)
    np.testing.assert_allclose(profile.first, first, rtol=1e-5)
    np.testing.assert_allclose(profile.second, second, rtol=1e-5)


def test_its_mean_is_zero_under_the_model_and_is_not_elsewhere(key):
    model = skewed_mixture()
    score = jax.vmap(lambda x: ex.score(model, x))
    x, y = (model.sample(k, 64 * 2000) for k in jax.random.split(key))
    H = stein_pairs(IMQ(1.0), x, score(x), y, score(y)).reshape(64, -1).mean(1)
    assert_mean(H, 0.0, "mean Stein kernel of draws of the model")
    off = stein_pairs(IMQ(1.0), x + 0.5, score(x + 0.5), y + 0.5, score(y + 0.5))
    assert off.mean() > 0.02


def test_the_discrepancys_error_is_honest(key):
    # Two hundred samples of N(0.5, 1) against N(0, 1) scatter about the exact value by as much as is said.
    x = np.asarray(0.5 + jax.random.normal(key, (200, 100, 1)))
    found = [kernel_stein_discrepancy(a, scores=-a, kernel=RBF(1.0), key=key) for a in x]
    a, b = (0.5 + jax.random.normal(k, (400_000, 1)) for k in jax.random.split(jax.random.fold_in(key, 1)))
    exact = float(stein_pairs(RBF(1.0), a, -a, b, -b).mean())
    estimates = np.array([f.estimate for f in found])
    assert_mean(estimates, exact, "unbiased discrepancy", allowance=2e-3)
    said = np.sqrt(np.mean([f.standard_error**2 for f in found]))
    assert 0.8 < said / estimates.std(ddof=1) < 1.25
    np.testing.assert_allclose(found[0].terms.mean(), found[0].estimate, rtol=1e-9)


def test_models_are_ranked_by_a_kernel_too(key):
    x = np.asarray(jax.random.normal(key, (400, 2)))
    ranked = compare({"far": 0.8 - x, "true": -x, "near": 0.3 - x}, x, method="ksd", key=key)
    assert ranked.names == ("true", "near", "far")
    assert (ranked.differences[2, :2] > 4 * ranked.errors[2, :2]).all()


def test_statistics_are_what_they_say(key):
    x = np.asarray(jax.random.normal(key, (60, 2)))
    kernel = IMQ(1.0)
    H = np.asarray(stein_kernel(kernel, *[jnp.asarray(a) for a in (x, -x, x, -x)]), np.float64)
    v, u = (ksd_test(x, scores=-x, kernel=kernel, statistic=name, draws=10, key=key) for name in "vu")
    np.testing.assert_allclose(v.statistic, H.sum() / 60, rtol=1e-4)
    np.testing.assert_allclose(u.statistic, (H.sum() - np.trace(H)) / 59, rtol=1e-3)
    np.testing.assert_allclose(v.settings["discrepancy"], H.mean(), rtol=1e-4)
    # The energy's own scores are what the numbers are.
    gaussian = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
    again = ksd_test(x, gaussian, kernel=kernel, draws=10, key=key)
    np.testing.assert_allclose(again.statistic, v.statistic, rtol=1e-4)
    said = ksd_test(x, ex.evaluation.LogDensity(lambda x: -0.5 * x @ x), kernel=kernel, draws=10, key=key)
    np.testing.assert_allclose(said.statistic, v.statistic, rtol=1e-4)
    # Events of any shape are rows of numbers.
    image = ksd_test(x.reshape(60, 2, 1), scores=-x.reshape(60, 2, 1), kernel=kernel, draws=10, key=key)
    np.testing.assert_allclose(image.statistic, v.statistic, rtol=1e-5)


@pytest.mark.parametrize("kernel", KERNELS, ids=["rbf", "imq", "imq-0.3"])
def test_the_linear_statistic_is_that_of_its_pairs_in_double_precision(kernel, key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, 301, 3)))
    found = linear_ksd_test(x, scores=s, kernel=kernel, key=key)
    order = np.asarray(jax.random.permutation(jax.random.split(key)[1], 301))[:300]
    H = stein_matrix(kernel, x, s)[order[::2], order[1::2]]
    np.testing.assert_allclose(found.settings["discrepancy"], H.mean(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.statistic, 150**0.5 * H.mean() / np.sqrt(np.mean(H**2)), rtol=1e-4)
    np.testing.assert_allclose(found.p_value, scipy.stats.norm.sf(found.statistic), rtol=1e-12)
    # Every row but the odd one is in one pair.
    assert len(set(order)) == 300


def test_fssd_is_its_definition(key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, 30, 2)))
    places = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (3, 2)))
    kernel = RBF(0.9)
    tau = np.asarray(_features(kernel, jnp.asarray(places), jnp.asarray(x), jnp.asarray(s)))

    def one(x, s):
        witness = [s * kernel(x, v) + jax.grad(kernel)(x, v) for v in places]
        return jnp.concatenate(witness) / jnp.sqrt(6.0)

    exact = np.asarray(jax.vmap(one)(x, s), np.float64)
    np.testing.assert_allclose(tau, exact, rtol=1e-4, atol=1e-6)
    pairs = exact @ exact.T
    off = (pairs.sum() - np.trace(pairs)) / (30 * 29)
    np.testing.assert_allclose(_moments(kernel, places, x, s)[0], off, rtol=1e-3)


@pytest.mark.parametrize("locations", [3, 20])
def test_fssds_moments_are_those_of_all_rows_whatever_is_in_memory_at_once(locations, key, monkeypatch):
    # More rows than features, and fewer; eight rows at a time, and the last ones six.
    x, s = (np.asarray(a) for a in 1.0 + jax.random.normal(key, (2, 30, 2)))
    places = np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (locations, 2)))
    tau = np.asarray(_features(RBF(0.9), places, jnp.asarray(x), jnp.asarray(s)), np.float64)
    pairs = tau @ tau.T
    wanted = np.sort(np.linalg.eigvalsh(np.cov(tau.T, bias=True)))[::-1]
    for at_once in (fssd.AT_ONCE, 8 * 2 * locations):
        monkeypatch.setattr(fssd, "AT_ONCE", at_once)
        unbiased, found = _moments(RBF(0.9), places, x, s)
        np.testing.assert_allclose(unbiased, (pairs.sum() - np.trace(pairs)) / (30 * 29), rtol=1e-4)
        some = min(len(found), len(wanted))
        np.testing.assert_allclose(np.sort(found)[::-1][:some], wanted[:some], rtol=1e-4, atol=1e-9)


def test_mmd_is_its_definition(key):
    x, y = np.asarray(jax.random.normal(key, (20, 2))), np.asarray(jax.random.normal(key, (30, 2)) + 1)
    kernel = RBF(1.0)
    found = mmd_test(x, y, kernel=kernel, draws=5, key=key).statistic
    k = lambda a, b: np.mean(np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1)))  # noqa: E731
    np.testing.assert_allclose(found, k(x, x) + k(y, y) - 2 * k(x, y), rtol=1e-4)


def test_the_median_is_of_distances_between_different_rows(key):
    x = np.asarray(jax.random.normal(key, (50, 3)))
    distances = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))[np.triu_indices(50, 1)]
    np.testing.assert_allclose(median_bandwidth(x, key), np.median(distances), rtol=1e-4)


def test_a_chosen_bandwidth_is_chosen_on_rows_that_are_not_tested(key):
    x = np.asarray(jax.random.normal(key, (200, 2))) * 1.5
    for how in ("power", "discrepancy"):
        found = ksd_test(x, scores=-x, bandwidth=how, draws=50, key=key)
        assert found.n == 160
    assert ksd_test(x, scores=-x, bandwidth=0.7, draws=50, key=key).settings["bandwidth"] == pytest.approx(
        0.7
    )


SAMPLE = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda k: ksd_test(SAMPLE, key=k),
            "model or scores must be given: an energy, a Score, a LogDensity",
        ),
        (
            lambda k: ksd_test(SAMPLE, ex.energies.Gamma([2.0, 2.0], [1.0, 1.0]), key=k),
            "model must be on all of ℝᵈ: where a density ends at an edge, Stein's identity fails",
        ),
        (
            lambda k: ksd_test(SAMPLE, ex.Score(lambda x: -x), scores=-0.5 * SAMPLE, key=k),
            "scores must be the gradient of the given log-density; got a difference of",
        ),
        (
            lambda k: ksd_test(SAMPLE, scores=SAMPLE[:, :1], key=k),
            r"scores must be of the shape of x, \(50, 2\)",
        ),
        (
            lambda k: ksd_test(SAMPLE, scores=np.where(np.arange(50)[:, None] == 7, np.nan, SAMPLE), key=k),
            r"scores must be finite at every row; got 1 rows that are not \(7\)",
        ),
        (lambda k: ksd_test(SAMPLE[:3], scores=SAMPLE[:3], key=k), "x must be an array of at least 4 rows"),
        (
            lambda k: ksd_test(SAMPLE[:30], scores=SAMPLE[:30], bandwidth="power", key=k),
            "x must be at least 40 rows",
        ),
        (lambda k: fssd_test(SAMPLE[:30], scores=SAMPLE[:30], key=k), "x must be at least 40 rows"),
        (
            lambda k: ksd_test(SAMPLE, scores=SAMPLE, kernel="cosine", key=k),
            "name must be one of 'imq', 'rbf'",
        ),
        (
            lambda k: ksd_test(SAMPLE, scores=SAMPLE, bandwidth="mean", key=k),
            "bandwidth must be one of 'median'",
        ),
        (
            lambda k: ksd_test(SAMPLE, scores=SAMPLE, bandwidth=0.0, key=k),
            "bandwidth must be a finite number above 0",
        ),
        (
            lambda k: compare({"a": SAMPLE, "b": -SAMPLE}, SAMPLE, method="ksd", bandwidth="power", key=k),
            "bandwidth must be 'median' or a number, one for all models",
        ),
        (lambda k: mmd_test(SAMPLE, SAMPLE[:, :1], key=k), r"reference must be of shape \(n, 2\)"),
        (lambda k: ksd_test(np.ones((50, 2)), scores=SAMPLE, key=k), "x must be rows of which most differ"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(key)
