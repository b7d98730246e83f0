"""Modes of exact draws are counted as theory says; a lost mode and a wrong direction of KL are seen."""

import itertools

import numpy as np
import pytest

import energax as ex
from energax.evaluation import mode_coverage
from energax.testing import StatisticalError, assert_mean


def test_exact_draws_of_a_thousand_modes_are_as_theory_says():
    generator = np.random.default_rng(0)
    found = [mode_coverage(generator.integers(0, 1000, 8000), 1000) for _ in range(300)]
    assert found[0].expected == pytest.approx(1000 * (1 - np.exp(-8)), abs=2e-3)
    assert found[0].floor == pytest.approx(999 / 16000, rel=0.03)
    assert_mean([c.found for c in found], found[0].expected, "modes")
    assert_mean([c.kl for c in found], found[0].floor, "KL")
    with pytest.raises(StatisticalError):  # the leading order alone is not the floor
        assert_mean([c.kl for c in found], 999 / 16000, "KL")

    def reversed_kl(c):  # the other direction, its infinities zeroed as some code does
        p = c.counts[c.counts > 0] / c.n
        return np.sum(np.log(1 / (1000 * p))) / 1000

    with pytest.raises(StatisticalError):
        assert_mean([reversed_kl(c) for c in found], found[0].floor, "KL")


def test_few_draws_are_enumerated():
    q, n = np.array([0.5, 0.3, 0.2]), 3
    draws = list(itertools.product(range(3), repeat=n))
    weights = np.array([np.prod(q[list(draw)]) for draw in draws])
    found = [mode_coverage(draw, 3, law=q) for draw in draws]
    modes, kl = np.array([c.found for c in found]), np.array([c.kl for c in found])
    assert found[0].expected == pytest.approx(weights @ modes)
    assert found[0].deviation == pytest.approx(np.sqrt(weights @ modes**2 - (weights @ modes) ** 2))
    assert found[0].floor == pytest.approx(weights @ kl)
    assert "few: 3 samples for 3 modes, where 15 are asked" in found[0].status


def test_a_lost_mode_shows():
    generator = np.random.default_rng(1)
    found = mode_coverage(generator.integers(0, 9, 5000), 10)
    assert (found.found, found.status) == (9, "ok")
    assert found.expected - found.found > 0.999
    assert found.kl == pytest.approx(np.log(10 / 9), abs=0.01)
    assert found.kl > 50 * found.floor


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: mode_coverage([0, 10], 10), "modes must be whole numbers from 0 to 9; got 0 to 10"),
        (lambda: mode_coverage([0, 0.5], 10), "modes must be whole numbers"),
        (lambda: mode_coverage([0, 1], 1), "total must be a whole number of at least 2"),
        (lambda: mode_coverage([0, 1], 2, law=[1.0, 0.0]), "law must be 2 probabilities above 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        call()
