"""Kernels, Stein kernels and statistics against autodiff, definitions and double sums."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.evaluation import (
    bandwidth,
    compare,
    finite_set_stein_discrepancy,
    fssd,
    fssd_test,
    kernel_discrepancy,
    kernel_stein_discrepancy,
    ksd_test,
    learned_stein_discrepancy,
    linear_kernel_stein_discrepancy,
    linear_ksd_test,
    lsd_test,
    mmd,
    mmd_test,
)
from energax.evaluation.fssd import _factor, _features, _moments
from energax.kernels import IMQ, RBF, median_bandwidth, squared_distances
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


@pytest.mark.parametrize("kernel", KERNELS, ids=["rbf", "imq", "imq-0.3"])
def test_an_offset_of_the_rows_costs_no_digits(kernel, key):
    # Of multiples of 2⁻⁸, which float32 moves by 8,192 without rounding.
    x, y, s, t = np.round(256 * np.asarray(jax.random.normal(key, (4, 5, 3)))) / 256
    there = x + 8192, s, y + 8192, t
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(stein_kernel(kernel, *there), stein_kernel(kernel, x, s, y, t), **close)
    u = squared_distances(there[0], there[2])
    np.testing.assert_allclose(u, np.sum((x[:, None] - y) ** 2, 2), rtol=1e-5)
    assert median_bandwidth(there[0], key) == pytest.approx(median_bandwidth(x, key), rel=1e-5)


def test_locations_are_drawn_in_the_rows_units(key):
    rows = np.asarray(jax.random.normal(key, (200, 3)))
    whole, factor = np.cov(rows.T), _factor(rows)
    np.testing.assert_allclose(factor @ factor.T, whole, rtol=1e-5, atol=1e-5)
    units = np.array([1e-5, 1.0, 1e4])
    np.testing.assert_allclose(_factor(rows * units), units[:, None] * factor, rtol=1e-4, atol=1e-9)
    constant = np.concatenate([rows, np.ones((200, 1)), rows[:, :1]], 1)
    assert np.isfinite(_factor(constant)).all()


def test_its_mean_is_zero_under_the_model_and_is_not_elsewhere(key):
    model = skewed_mixture()
    score = jax.vmap(lambda x: ex.score(model, x))
    x, y = (model.sample(k, 64 * 2000) for k in jax.random.split(key))
    H = stein_pairs(IMQ(1.0), x, score(x), y, score(y)).reshape(64, -1).mean(1)
    assert_mean(H, 0.0, "mean Stein kernel of draws of the model")
    off = stein_pairs(IMQ(1.0), x + 0.5, score(x + 0.5), y + 0.5, score(y + 0.5))
    assert off.mean() > 0.02


ESTIMATES = (kernel_stein_discrepancy, linear_kernel_stein_discrepancy, finite_set_stein_discrepancy)


def test_estimates_are_their_definitions_in_double_precision(key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, 61, 3)))
    kernel = IMQ(1.1, 0.3)
    H = stein_matrix(kernel, x, s)
    off = H - np.diag(np.diag(H))

    found = kernel_stein_discrepancy(x, scores=s, kernel=kernel, key=key)
    g = off.sum(1) / 60
    np.testing.assert_allclose(found.estimate, off.sum() / (61 * 60), rtol=1e-4)
    np.testing.assert_allclose(found.terms, 2 * g - g.mean(), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found.standard_error, 2 * g.std(ddof=1) / 61**0.5, rtol=1e-4)

    found = linear_kernel_stein_discrepancy(x, scores=s, kernel=kernel, key=key)
    order = np.asarray(jax.random.permutation(jax.random.split(key)[1], 61))[:60]
    pairs = H[order[::2], order[1::2]]
    np.testing.assert_allclose(found.terms, pairs, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.estimate, pairs.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.standard_error, pairs.std(ddof=1) / 30**0.5, rtol=1e-4)
    assert found.n == 61

    found = finite_set_stein_discrepancy(x, scores=s, locations=2, optimise=False, bandwidth=0.9, key=key)
    places = np.asarray(found.settings["locations"], np.float64)
    k = np.exp(-0.5 * ((x[:, None] - places) ** 2).sum(-1) / 0.9**2)[:, :, None]
    tau = ((s[:, None] - (x[:, None] - places) / 0.9**2) * k).reshape(61, 6) / 6**0.5
    products = tau @ tau.T
    g = (products - np.diag(np.diag(products))).sum(1) / 60
    np.testing.assert_allclose(found.estimate, g.mean(), rtol=1e-4)
    np.testing.assert_allclose(found.terms, 2 * g - g.mean(), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.standard_error, 2 * g.std(ddof=1) / 61**0.5, rtol=1e-4)


def test_estimates_are_what_the_tests_with_the_same_key_say(key):
    x = np.asarray(1.2 * jax.random.normal(key, (120, 2)))
    how = {"scores": -x, "key": key}
    for test, estimate, settings in (
        (ksd_test, kernel_stein_discrepancy, {"bandwidth": "power"}),
        (linear_ksd_test, linear_kernel_stein_discrepancy, {"bandwidth": "power"}),
        (fssd_test, finite_set_stein_discrepancy, {"optimise": False}),
    ):
        u = {"statistic": "u", "draws": 10} if test is ksd_test else {}
        asked, found = test(x, **how, **settings, **u), estimate(x, **how, **settings)
        np.testing.assert_allclose(found.estimate, asked.settings["discrepancy"], rtol=1e-3)
        assert found.settings["bandwidth"] == asked.settings["bandwidth"]
        assert found.n == asked.n
        np.testing.assert_allclose(found.terms.mean(), found.estimate, rtol=1e-9)


def spread_of(estimate, shift, key, **settings):
    """Return KSD² of N(shift, 1) from N(0, 1), 200 estimates, and the error that they say they have."""
    x = np.asarray(shift + jax.random.normal(key, (200, 100, 1)))
    kernel = {} if estimate is finite_set_stein_discrepancy else {"kernel": RBF(1.0)}
    found = [estimate(a, scores=-a, key=key, **kernel, **settings) for a in x]
    a, b = (shift + jax.random.normal(k, (400_000, 1)) for k in jax.random.split(jax.random.fold_in(key, 1)))
    exact = float(stein_pairs(RBF(1.0), a, -a, b, -b).mean())
    return (
        exact,
        np.array([f.estimate for f in found]),
        np.sqrt(np.mean([f.standard_error**2 for f in found])),
    )


@pytest.mark.parametrize("estimate", ESTIMATES[:2])
def test_the_discrepancys_error_is_honest(estimate, key):
    # Two hundred samples of N(0.5, 1) against N(0, 1) scatter about the exact value by as much as is said.
    exact, estimates, said = spread_of(estimate, 0.5, key)
    assert_mean(estimates, exact, "unbiased discrepancy", allowance=2e-3)
    assert 0.8 < said / estimates.std(ddof=1) < 1.25


def one_order_of_two(method, g, test, settings):
    """Return U with the error of a mean of g_i, as if the other row of a pair were not drawn, too."""
    return kernel_discrepancy._of_terms(method, g, len(g), "ok", settings)


def as_many_pairs_as_rows(method, terms, n, status, settings, real=kernel_discrepancy._of_terms):
    """Return a mean over pairs with the error of as many pairs as there are rows."""
    return real(method, np.repeat(terms, 2), n, status, settings)


@pytest.mark.parametrize(
    ("estimate", "part", "mutant"),
    [
        (kernel_stein_discrepancy, "_of_row_means", one_order_of_two),
        (linear_kernel_stein_discrepancy, "_of_terms", as_many_pairs_as_rows),
    ],
)
def test_an_error_that_is_too_small_is_seen(estimate, part, mutant, key, monkeypatch):
    monkeypatch.setattr(kernel_discrepancy, part, mutant)
    with pytest.raises(AssertionError):
        test_the_discrepancys_error_is_honest(estimate, key)


def test_so_it_is_at_locations_that_are_held(key, monkeypatch):
    places = np.array([[-0.7], [0.4]], np.float32)
    located = fssd.located
    fixed = lambda *given: (1.0, places, *located(*given)[2:])  # noqa: E731
    monkeypatch.setattr(kernel_discrepancy, "located", fixed)
    _, estimates, said = spread_of(finite_set_stein_discrepancy, 0.5, key, optimise=False, bandwidth=1.0)
    x = np.asarray(0.5 + jax.random.normal(jax.random.fold_in(key, 2), (400_000, 1)))
    tau = np.asarray(_features(RBF(1.0), places, jnp.asarray(x), jnp.asarray(-x)), np.float64)
    exact = np.sum(tau.mean(0) ** 2)
    assert_mean(estimates, exact, "unbiased discrepancy", allowance=2e-3)
    assert 0.8 < said / estimates.std(ddof=1) < 1.25


def test_at_the_model_the_error_of_all_pairs_is_root_two_too_large(key):
    _, estimates, said = spread_of(kernel_stein_discrepancy, 0.0, key)
    assert 1.2 < said / estimates.std(ddof=1) < 1.65  # of a law skewed as χ² is


def test_the_status_of_an_estimate_says_what_its_error_is_worth(key):
    x = np.asarray(jax.random.normal(key, (1000, 1)))

    def statuses(s):
        fssd = {"optimise": False, "bandwidth": 1.0}
        how = [{"bandwidth": 1.0}, {"bandwidth": 1.0}, fssd]
        return [e(x, scores=s, key=key, **h).status for e, h in zip(ESTIMATES, how, strict=True)]

    quadratic, linear, finite = statuses(-x)
    assert quadratic == "within 2 errors of zero, where it is not normal: ksd_test asks whether it is zero"
    assert linear == "ok"  # independent pairs are normal there, too
    assert finite == "within 2 errors of zero, where it is not normal: fssd_test asks whether it is zero"
    assert statuses(0.5 - x) == ["ok"] * 3
    # One row with a score of its own outweighs all others.
    odd = np.where(x == np.median(x[:-1]), 400.0, 0.5 - x)
    for said in statuses(odd):
        assert re.match(r"few (rows|pairs) decide \(\d+ count as [1-9]\d?\): the error is approx", said)


def test_models_are_ranked_by_a_kernel_too(key):
    x = np.asarray(jax.random.normal(key, (400, 2)))
    models = {"far": 0.8 - x, "true": -x, "near": 0.3 - x}
    ranked = compare(models, x, method="ksd", key=key)
    assert ranked.names == ("true", "near", "far")
    assert (ranked.differences[2, :2] > 4 * ranked.errors[2, :2]).all()
    # In linear time on the same pairs, with the errors of the pairs' differences.
    paired = compare(models, x, method="linear-ksd", bandwidth=1.0, key=key)
    alone = [linear_kernel_stein_discrepancy(x, scores=s, bandwidth=1.0, key=key) for s in models.values()]
    by_name = dict(zip(paired.names, paired.found, strict=True))
    assert [by_name[name].estimate for name in models] == [found.estimate for found in alone]
    i, j = paired.names.index("far"), paired.names.index("true")
    gap = alone[0].terms - alone[1].terms
    assert paired.differences[i, j] == pytest.approx(gap.mean(), rel=1e-9)
    assert paired.errors[i, j] == pytest.approx(gap.std(ddof=1) / 200**0.5, rel=1e-9)


def test_statistics_are_what_they_say(key):
    x = np.asarray(jax.random.normal(key, (60, 2)))
    kernel = IMQ(1.0)
    H = np.asarray(stein_kernel(kernel, *[jnp.asarray(a) for a in (x, -x, x, -x)]), np.float64)
    v, u = (ksd_test(x, scores=-x, kernel=kernel, statistic=name, draws=10, key=key) for name in "vu")
    np.testing.assert_allclose(v.statistic, H.sum() / 60, rtol=1e-4)
    np.testing.assert_allclose(u.statistic, (H.sum() - np.trace(H)) / 59, rtol=1e-3)
    np.testing.assert_allclose(v.settings["discrepancy"], H.mean(), rtol=1e-4)
    # Signs leave the diagonal alone, so that each draw and the statistic lose the same trace.
    assert v.p_value == u.p_value < 1
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
        unbiased, found, _ = _moments(RBF(0.9), places, x, s)
        np.testing.assert_allclose(unbiased, (pairs.sum() - np.trace(pairs)) / (30 * 29), rtol=1e-4)
        some = min(len(found), len(wanted))
        np.testing.assert_allclose(np.sort(found)[::-1][:some], wanted[:some], rtol=1e-4, atol=1e-9)


def test_a_finite_sets_bandwidth_is_the_one_given(key):
    x = np.asarray(jax.random.normal(key, (60, 2)))
    given = {how: fssd_test(x, scores=-x, optimise=False, bandwidth=how, key=key) for how in ("median", 0.7)}
    assert given[0.7].settings["bandwidth"] == 0.7
    np.testing.assert_allclose(given["median"].settings["bandwidth"], median_distance(x), rtol=1e-4)
    assert given[0.7].statistic != given["median"].statistic


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


GRID = 2.0 ** np.linspace(-4, 4, 17)


def median_distance(x):
    return np.median(np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))[np.triu_indices(len(x), 1)])


def others(x, kept):
    """Return the rows of x that are not among those kept."""
    return x[~(x[:, None] == kept[None]).all(-1).any(1)]


def best_of(width, matrices, how, small=1e-2):
    """Return the width, of a grid about this one, of the largest mean U or U/√v, by sums over pairs."""

    def merit(H):
        n = len(H)
        g = np.array([sum(H[i, j] for j in range(n) if j != i) / (n - 1) for i in range(n)])
        variance = 4 * (np.mean(g**2) - np.mean(g) ** 2)
        return g.mean() / np.sqrt(variance + small) if how == "power" else g.mean()

    stacks = [np.array(matrices(float(h)), np.float64) for h in GRID * width]
    merits = [np.mean([merit(H) for H in (stack if stack.ndim == 3 else [stack])]) for stack in stacks]
    return GRID[np.argmax(merits)] * width


def chosen_for_a_model(how, key):
    """Return the bandwidth that was chosen on 60 of 300 rows, and the best one by sums over them."""
    x = 1.4 * np.asarray(jax.random.normal(key, (300, 2))) + 0.5
    kernel, kept, s = bandwidth.choose_kernel("test", "imq", how, x, -x, jax.random.key(1))
    assert kept.shape == (240, 2)
    np.testing.assert_array_equal(s, -kept)
    held = others(x, kept)
    a = jnp.asarray(held)
    best = best_of(median_distance(held), lambda h: stein_kernel(IMQ(h), a, -a, a, -a), how)
    return float(kernel.bandwidth), best


@pytest.mark.parametrize("how", ["power", "discrepancy"])
def test_a_chosen_bandwidth_is_the_best_on_the_rows_held_out(how, key):
    np.testing.assert_allclose(*chosen_for_a_model(how, key), rtol=1e-4)


@pytest.mark.parametrize("how", ["power", "discrepancy"])
def test_the_bandwidth_of_another_merit_is_not(how, key, monkeypatch):
    # The other rule's, and that of the biased discrepancy with its diagonal, which wants narrow kernels.
    real = bandwidth.merit
    if how == "power":
        monkeypatch.setattr(bandwidth, "merit", lambda parts, power, small: real(parts, not power, small))
    else:
        whole = lambda k, x, s: (stein_kernel(k, x, s, x, s).mean(), jnp.ones(()))  # noqa: E731
        monkeypatch.setattr(bandwidth, "_parts", whole)
    found, best = chosen_for_a_model(how, key)
    assert abs(np.log2(found / best)) > 0.4


@pytest.mark.parametrize("how", ["power", "discrepancy"])
def test_so_it_is_of_two_samples(how, key, monkeypatch):
    x = np.asarray(jax.random.normal(key, (100, 2)))
    y = 1.5 * np.asarray(jax.random.normal(jax.random.fold_in(key, 1), (130, 2)))
    seen = []

    def split_and_choose(owner, kernel, width, samples, merit_of, *keys):
        def seen_merit(k, held, power):
            seen.append(held)
            return merit_of(k, held, power)

        found = bandwidth.split_and_choose(owner, kernel, width, samples, seen_merit, *keys)
        for held, kept, rows in zip(seen[0], found[1], (x, y), strict=True):
            np.testing.assert_array_equal(np.sort(np.concatenate([held, kept])), np.arange(len(rows)))
        return found

    monkeypatch.setattr(mmd, "split_and_choose", split_and_choose)
    found = mmd_test(x, y, bandwidth=how, draws=20, key=key)
    assert found.n == 80 + 104
    a, b = x[seen[0][0]], y[seen[0][1]]

    def h(width):
        k = lambda a, b: np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1) / width**2)  # noqa: E731
        across = k(a, b[:20])
        return k(a, a) + k(b[:20], b[:20]) - across - across.T

    best = best_of(median_distance(np.concatenate([a, b])), h, how, small=1e-8)
    np.testing.assert_allclose(found.settings["bandwidth"], best, rtol=1e-4)


@pytest.mark.parametrize("how", ["power", "discrepancy"])
def test_models_that_are_compared_share_the_best_bandwidth(how, key):
    x = np.asarray(jax.random.normal(key, (100, 2)))
    models = {"far": 2.0 - x, "true": -x, "near": 0.3 - x}
    ranked = compare(models, x, method="ksd", kernel="rbf", bandwidth=how, key=key)
    widths = {f.settings["bandwidth"] for f in ranked.found}
    assert ranked.names == ("true", "near", "far")
    assert ([f.n for f in ranked.found], len(widths)) == ([80] * 3, 1)
    # What is largest is the mean of the three merits, not one of them.
    _, kept, _ = bandwidth.choose_kernel("test", "rbf", how, x, -x, jax.random.split(key)[0])
    held = others(x, kept)
    a, s = jnp.asarray(held), [jnp.asarray(mu - held) for mu in (2.0, 0.0, 0.3)]
    matrices = lambda h: [stein_kernel(RBF(h), a, t, a, t) for t in s]  # noqa: E731
    best = best_of(median_distance(held), matrices, how)
    np.testing.assert_allclose(widths.pop(), best, rtol=1e-4)


def test_one_kernel_of_a_comparison_is_that_of_the_discrepancy_alone(key):
    x = np.asarray(jax.random.normal(key, (60, 2)))
    ranked = compare({"a": -x, "b": 1 - x}, x, method="ksd", kernel="rbf", bandwidth=0.7, key=key)
    alone = kernel_stein_discrepancy(x, scores=1 - x, kernel="rbf", bandwidth=0.7, key=key)
    assert ranked.found[1].estimate == alone.estimate
    assert ranked.found[1].settings == alone.settings


def test_a_number_is_taken_as_it_is(key):
    x = np.asarray(jax.random.normal(key, (200, 2)))
    assert ksd_test(x, scores=-x, bandwidth=0.7, draws=50, key=key).settings["bandwidth"] == pytest.approx(
        0.7
    )


GAMMA, EXPONENTIAL = (ex.energies.Gamma([shape] * 2, [1.0, 1.0]) for shape in (2.0, 1.0))


def half_exponential(x):
    return jnp.where(jnp.all(x > 0), -jnp.sum(x), -jnp.inf)


def half_normal(x):
    return jnp.where(x[0] > 0, -0.5 * jnp.sum(x**2), -jnp.inf)


EXACT = {
    "uniform": (ex.energies.Uniform([0.0, 0.0], [1.0, 1.0]), lambda law: law),
    "gamma": (GAMMA, lambda law: law),
    "tempered": (GAMMA, lambda law: law / 2.0),
    "log_prob": (GAMMA, lambda law: ex.evaluation.LogDensity(law.log_prob)),
    "function": (GAMMA, lambda law: ex.evaluation.LogDensity(lambda x: -law(x))),
    "exponential": (EXPONENTIAL, lambda law: ex.evaluation.LogDensity(half_exponential)),
}


STEIN = (ksd_test, linear_ksd_test, fssd_test, lsd_test, learned_stein_discrepancy, *ESTIMATES)


@pytest.mark.parametrize(
    ("test", "name"), [(ksd_test, name) for name in EXACT] + [(test, "tempered") for test in STEIN[1:]]
)
def test_a_law_with_an_edge_is_refused_at_its_own_draws(test, name, key):
    law, model = EXACT[name]
    sentence = "model must be on all of ℝᵈ: where a density ends at an edge, Stein's identity fails"
    with pytest.raises(ex.InputError, match=f"^{test.__name__}: {sentence}"):
        test(law.sample(key, 300), model(law), key=key)


def test_scores_alone_cannot_tell(key):
    # Why it is refused: exact draws of a density with an edge are rejected. Scores hide the edge.
    x = np.asarray(EXPONENTIAL.sample(key, 300))
    assert ksd_test(x, scores=np.full_like(x, -1.0), draws=100, key=key).p_value < 0.01


def test_a_log_normal_law_is_none_with_an_edge(key):
    x = np.exp(np.asarray(jax.random.normal(key, (300, 2))))
    law = ex.evaluation.LogDensity(lambda x: -jnp.sum(0.5 * jnp.log(x) ** 2 + jnp.log(x)))
    assert ksd_test(x, law, draws=100, key=key).p_value > 0.01


def test_an_array_is_what_cannot_be_called(key):
    """Energies may have a `shape`, as the generalised logistic has."""
    law = ex.energies.GeneralizedLogistic([0.7, 2.0])
    x = np.asarray(law.sample(key, 200))
    ranked = compare({"far": -(x - 3), "true": law, "list": (-x).tolist()}, x, method="ksd", key=key)
    assert ranked.names[0] == "true"
    with pytest.raises(ex.InputError, match=r"compare: model must be on all of ℝᵈ.*got a Gamma"):
        compare({"gamma": GAMMA, "true": law}, np.abs(x), method="ksd", key=key)


def test_few_rows_of_either_sample_are_said(key):
    x = np.asarray(jax.random.normal(key, (100, 2)))
    assert mmd_test(x, x[:50], draws=10, key=key).status == "ok"
    for pair in [(x, x[:3]), (x[:3], x)]:
        found = mmd_test(*pair, draws=10, key=key)
        assert found.status.startswith("few rows in the smaller sample (3)")
        assert found.n == 103


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
            lambda k: finite_set_stein_discrepancy(SAMPLE, scores=SAMPLE, locations=0, key=k),
            "finite_set_stein_discrepancy: locations must be a whole number of at least 1",
        ),
        (
            lambda k: linear_kernel_stein_discrepancy(SAMPLE, scores=SAMPLE, bandwidth="mean", key=k),
            "linear_kernel_stein_discrepancy: bandwidth must be one of 'median'",
        ),
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
            lambda k: compare({"a": SAMPLE, "b": -SAMPLE}, SAMPLE, bandwidth="power", key=k),
            "kernel and bandwidth must be left out with method='lsd': a critic is learned",
        ),
        (
            lambda k: compare({"a": SAMPLE, "b": -SAMPLE}, SAMPLE, method="ksd", bandwidth="mean", key=k),
            "compare: bandwidth must be one of 'median', 'power', 'discrepancy'",
        ),
        (
            lambda k: fssd_test(SAMPLE, scores=-SAMPLE, bandwidth="median", key=k),
            "bandwidth must be left out or 'power' with optimise=True, which chooses it with the locations",
        ),
        (
            lambda k: fssd_test(SAMPLE, scores=-SAMPLE, optimise=False, bandwidth="power", key=k),
            "bandwidth must be 'median' or a number with optimise=False: no rows are held out",
        ),
        (
            lambda k: fssd_test(SAMPLE, scores=-SAMPLE, optimise=False, bandwidth=-1.0, key=k),
            "fssd_test: bandwidth must be a finite number above 0",
        ),
        (
            lambda k: mmd_test(SAMPLE, SAMPLE[:30] + 1, bandwidth="power", key=k),
            "mmd_test: reference must be at least 40 rows for bandwidth='power', of which a fifth chooses",
        ),
        (lambda k: mmd_test(SAMPLE, SAMPLE, bandwidth="mean", key=k), "mmd_test: bandwidth must be one of"),
        (lambda k: mmd_test(SAMPLE, SAMPLE[:, :1], key=k), r"reference must be of shape \(n, 2\)"),
        (
            lambda k: ksd_test(np.where(SAMPLE > 1.5, SAMPLE, 1.0), scores=SAMPLE, key=k),
            "x must be rows of which most differ",
        ),
        (
            lambda k: ksd_test(SAMPLE > 0, ex.energies.BernoulliRBM((2,), 3, key=k), key=k),
            "ksd_test: x must be continuous; for binary data take mmd_test.*; got no column .*, entries 0, 1",
        ),
        (
            lambda k: ksd_test(SAMPLE, ex.evaluation.LogDensity(half_normal), key=k),
            r"model must be an energy that is finite at every row; got 25 rows that are not \(2, 4, ",
        ),
        (
            lambda k: compare({"a": SAMPLE[:, :1], "b": SAMPLE}, SAMPLE, method="ksd", key=k),
            "compare: scores must be of the shape of x",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(key)
