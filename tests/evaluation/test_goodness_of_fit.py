"""Tests of fit reject the truth as often as they say, find what is wrong, and their mutants do not."""

import jax
import numpy as np
import pytest

from energax.blocks import quadratic_forms, random_signs
from energax.evaluation import fssd_test, ksd_test, linear_ksd_test, mmd_test
from energax.evaluation import kernel_tests as module
from energax.evaluation.result import TestResult, bootstrap_p_value, effective_rows

from .calibration import assert_level, assert_power, p_values, results

N, DRAWS, REPLICATES = 200, 300, 500  # 2,000 of each: test_level_study.py


def normal(d, n=N, shift=0.0, spread=1.0):
    return lambda key: shift + spread * jax.random.normal(key, (n, d))


def ksd(x, key, **settings):
    return ksd_test(x, scores=-x, draws=DRAWS, key=key, **settings)


@pytest.mark.parametrize(("d", "n"), [(2, N), (10, 256), (50, N)])
def test_ksd_has_its_level(d, n, key):
    # 256 rows are split into four parts, whose draws share signs.
    assert_level(p_values(ksd, normal(d, n), key, REPLICATES))


def test_the_unbiased_statistic_has_it_too(key):
    assert_level(p_values(lambda x, k: ksd(x, k, statistic="u", kernel="rbf"), normal(2), key, REPLICATES))


def test_a_bandwidth_chosen_for_power_keeps_the_level(key):
    assert_level(p_values(lambda x, k: ksd(x, k, bandwidth="power"), normal(2), key, 500))


@pytest.mark.parametrize("d", [2, 50])
def test_linear_ksd_has_its_level(d, key):
    linear = lambda x, k: linear_ksd_test(x, scores=-x, bandwidth=float(d) ** 0.5, key=k)  # noqa: E731
    assert_level(p_values(linear, normal(d, 1000), key, REPLICATES))


def test_fssd_has_its_level(key):
    random = lambda x, k: fssd_test(x, scores=-x, optimise=False, draws=DRAWS, key=k)  # noqa: E731
    assert_level(p_values(random, normal(2), key, REPLICATES))


def test_optimised_fssd_has_its_level(key):
    optimised = lambda x, k: fssd_test(x, scores=-x, locations=2, draws=DRAWS, key=k)  # noqa: E731
    assert_level(p_values(optimised, normal(2, 400), key, 150))


def test_fssd_is_conservative_with_more_features_than_rows_and_says_so(key):
    random = lambda x, k: fssd_test(x, scores=-x, optimise=False, draws=DRAWS, key=k)  # noqa: E731
    assert_level(p_values(random, normal(50), key, 100), conservative=True)
    assert random(np.asarray(normal(50)(key)), key).status.startswith(
        "conservative: 200 rows for 250 features"
    )


def test_fssd_says_when_few_rows_decide(key):
    # Chosen where the fit is good, locations wander off: there a few rows' features outweigh the others'.
    optimised = lambda x, k: fssd_test(x, scores=-x, locations=2, draws=DRAWS, key=k)  # noqa: E731
    found = results(optimised, normal(10, 500), key, 40)
    warned = [f for f in found if f.status.startswith("conservative: at the locations 400 rows count as ")]
    assert 2 < len(warned) < 35
    assert {f.status for f in found if f not in warned} == {"ok"}
    assert min(f.p_value for f in warned) > 0.05


def test_rows_count_by_their_size():
    rows = np.arange(50)
    assert effective_rows(np.full(50, 7.0)) == pytest.approx(50)
    assert effective_rows(np.where(rows == 7, 1e9, 1.0)) == pytest.approx(1)
    assert effective_rows(np.where(rows < 20, 3.0, 0.0)) == pytest.approx(20)
    assert effective_rows(np.zeros(50)) == 0


def test_mmd_has_its_level(key):
    two = lambda x, k: mmd_test(x[:80], x[80:], draws=DRAWS, key=k)  # noqa: E731
    assert_level(p_values(two, normal(2), key, REPLICATES))


def test_mmd_has_its_level_with_a_chosen_bandwidth(key):
    two = lambda x, k: mmd_test(x[:80], x[80:], bandwidth="power", draws=DRAWS, key=k)  # noqa: E731
    assert_level(p_values(two, normal(2, 160), key, 300))


def test_a_bandwidth_for_power_finds_what_the_median_passes_over(key):
    # Two narrow clusters far apart, of another width in the reference: the median is the gap.
    def clusters(key, spread):
        place, noise = jax.random.split(key)
        return 20.0 * jax.random.rademacher(place, (100, 1)) + spread * jax.random.normal(noise, (100, 2))

    found = {}
    for how in ("median", "power"):

        def test(x, k, how=how):
            return mmd_test(x, np.asarray(clusters(k, 2.0)), bandwidth=how, draws=DRAWS, key=k)

        found[how] = p_values(test, lambda k: clusters(k, 1.0), key, 40)
    assert_power(found["power"], 0.8)
    with pytest.raises(AssertionError):
        assert_power(found["median"], 0.8)


def test_power_rises_with_the_perturbation(key):
    powers = []
    for i, shift in enumerate((0.05, 0.12, 0.4)):
        p = p_values(ksd, normal(2, shift=shift), jax.random.fold_in(key, i), 150)
        powers.append(np.mean(p <= 0.05))
    assert powers[0] < powers[1] < powers[2]
    assert_power(p, 0.95)


def linear(x, key):
    return linear_ksd_test(x, scores=-x, bandwidth=2.0, key=key)


def fssd(x, key, **settings):
    return fssd_test(x, scores=-x, locations=1, draws=DRAWS, key=key, **settings)


def mmd(x, key):
    return mmd_test(x[: N // 2], np.asarray(normal(2, N // 2)(key)), draws=DRAWS, key=key)


RISES = {  # by name: the test, the dimension, and shifts found seldom, about every other time, nearly always
    "ksd": (ksd, 10, (0.02, 0.07, 0.2)),
    "linear-ksd": (linear, 2, (0.05, 0.4, 1.0)),
    "fssd-random": (lambda x, k: fssd(x, k, optimise=False), 2, (0.03, 0.13, 0.5)),
    "fssd-optimised": (fssd, 2, (0.03, 0.2, 0.6)),
    "mmd": (mmd, 2, (0.03, 0.2, 0.6)),
}


def powers_of(test, d, shifts, key):
    keys = jax.random.split(key, len(shifts))
    return [p_values(test, normal(d, shift=a), k, 30) for a, k in zip(shifts, keys, strict=True)]


def assert_rises(ps, least=0.9):
    found = [np.mean(p <= 0.05) for p in ps]
    assert found[0] < found[1] < found[2], found
    assert_power(ps[-1], least)


@pytest.mark.parametrize("name", RISES)
def test_so_does_that_of_every_test(name, key):
    assert_rises(powers_of(*RISES[name], key))


@pytest.mark.parametrize(
    ("test", "least"),
    [
        (lambda x, k: ksd(x, k, bandwidth="power"), 0.9),
        (lambda x, k: ksd(x, k, bandwidth="discrepancy"), 0.8),
        (lambda x, k: ksd(x, k, kernel="rbf", statistic="u"), 0.9),
        (lambda x, k: linear_ksd_test(x, scores=-x, key=k), 0.15),
        (lambda x, k: fssd_test(x, scores=-x, draws=DRAWS, key=k), 0.6),
        (lambda x, k: mmd_test(x, np.asarray(jax.random.normal(k, x.shape)), draws=DRAWS, key=k), 0.6),
    ],
    ids=["power", "discrepancy", "rbf-u", "linear", "fssd", "mmd"],
)
def test_a_shift_is_found(test, least, key):
    assert_power(p_values(test, normal(2, shift=0.4), key, 60), least)


def test_another_spread_is_found(key):
    assert_power(p_values(ksd, normal(5, spread=1.4), key, 60), 0.95)


class TestMutants:
    """Each must fail the check of level that the right one passes."""

    def test_zero_one_weights(self, key, monkeypatch):
        real = module.sign_forms

        def halved(block, rows, draws, k):
            kinds = (random_signs(k, draws, len(rows[0])) + 1) // 2
            forms = quadratic_forms(block, rows, kinds, np.array([0.0, 1.0]))
            return real(block, rows, draws, k)._replace(forms=forms)

        monkeypatch.setattr(module, "sign_forms", halved)
        with pytest.raises(AssertionError):
            assert_level(p_values(ksd, normal(2), key, 300))

    def test_a_v_statistic_read_as_u(self, key, monkeypatch):
        # The observed value keeps its diagonal, the bootstrap's lose theirs.
        real = module.sign_forms

        def mixed(*arguments):
            found = real(*arguments)
            return found._replace(total=found.total + found.trace)

        monkeypatch.setattr(module, "sign_forms", mixed)
        with pytest.raises(AssertionError):
            assert_level(p_values(lambda x, k: ksd(x, k, statistic="u"), normal(2), key, 300))

    def test_a_flipped_score(self, key):
        flipped = lambda x, k: ksd_test(x, scores=x, draws=DRAWS, key=k)  # noqa: E731
        with pytest.raises(AssertionError):
            assert_level(p_values(flipped, normal(2), key, 100))

    def test_the_other_tail(self, key):
        def other(x, k):
            found = linear(x, k)
            return found._replace(p_value=1 - found.p_value)

        with pytest.raises(AssertionError):
            assert_rises(powers_of(other, *RISES["linear-ksd"][1:], key))

    def test_locations_tested_on_the_rows_that_chose_them(self, key):
        from energax.evaluation import fssd

        def on_its_own(x, k):
            width, places = fssd._optimised("rbf", 1.5, x[:2], x, -x)
            value, eigenvalues, _ = fssd._moments(fssd.kernel_named("rbf", width), places, x, -x)
            chi = np.asarray(jax.random.normal(k, (DRAWS, len(eigenvalues))), np.float64) ** 2
            p = bootstrap_p_value(len(x) * value, (chi - 1) @ eigenvalues)
            return TestResult("fssd", value, p, "weighted χ²", "ok", len(x), {})

        with pytest.raises(AssertionError):
            assert_level(p_values(on_its_own, normal(2), key, 60))


def test_a_p_value_is_never_zero():
    assert bootstrap_p_value(10.0, np.zeros(99)) == 0.01
    assert bootstrap_p_value(0.0, np.zeros(99)) == 1.0
