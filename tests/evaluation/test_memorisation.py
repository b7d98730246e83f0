"""Copies are found, all or a few; rows like those held out are not, at the level that is said."""

import numpy as np
import pytest
import scipy.stats

import energax as ex
from energax.evaluation import memorisation

from .calibration import assert_level


def rows(generator, n, scale=1.0):
    return (scale * generator.standard_normal((n, 4))).astype(np.float32)


def test_rows_of_the_same_law_are_not_taken_for_copies():
    generator = np.random.default_rng(0)
    p, mutant = [], []
    for _ in range(300):
        samples, train, held_out = (rows(generator, n) for n in (40, 90, 50))
        found = memorisation(samples, train, held_out, count=1)
        p.append(found.p_value)
        # The mutant holds new rows against a third of the training rows, to which all are farther.
        farther = memorisation(held_out, train[:30], samples, count=1).from_samples
        mutant.append(scipy.stats.mannwhitneyu(found.from_samples, farther, alternative="less").pvalue)
    assert_level(np.array(p), conservative=True)
    with pytest.raises(AssertionError):
        assert_level(np.array(mutant), conservative=True)


def test_copies_are_found_all_or_a_few():
    generator = np.random.default_rng(1)
    train, held_out = rows(generator, 300), rows(generator, 200)
    every = memorisation(train[:100] + np.float32(1e-3), train, held_out)
    assert every.p_value < 1e-12
    assert every.nearer > 0.99
    np.testing.assert_array_equal(every.neighbours[:, 0], np.arange(100))
    few = np.concatenate([train[:12], rows(generator, 88, scale=3.0)])
    found = memorisation(few, train, held_out)
    assert found.nearer < 0.5  # on the whole too far
    assert found.copies >= 12
    assert found.p_value < 1e-4


def test_neighbours_are_those_of_the_definition_and_repeats_are_told_of():
    generator = np.random.default_rng(2)
    samples, train, held_out = rows(generator, 20), rows(generator, 60), rows(generator, 30)
    found = memorisation(samples, train, held_out, count=3, transform=lambda r: 2 * r)
    apart = np.linalg.norm(samples[:, None] - 2 * train, axis=-1)
    np.testing.assert_array_equal(found.neighbours, np.argsort(apart, axis=1)[:, :3])
    np.testing.assert_allclose(found.from_samples, apart.min(1), rtol=1e-5)
    wins = (found.from_samples[:, None] < found.from_held_out).mean()
    assert found.nearer == pytest.approx(wins)
    repeated = memorisation(samples, train, np.concatenate([held_out, train[:10]]))
    assert repeated.status == "25% of the held-out rows are training rows"


def test_too_few_rows_are_refused():
    generator = np.random.default_rng(3)
    few, many = rows(generator, 19), rows(generator, 20)
    with pytest.raises(ex.InputError, match="samples must be an array of at least 20 rows"):
        memorisation(few, many, many)
    with pytest.raises(ex.InputError, match="held_out must be an array of at least 20 rows"):
        memorisation(many, many, few)
