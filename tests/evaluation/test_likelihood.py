"""Nats and bits of rows: the dequantised bound, exact probabilities of levels, conventions, mutants."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from energax.checks import InputError
from energax.data import Affine, Dequantise, Logit, Pipeline
from energax.energies import Gaussian
from energax.evaluation import GreyLevels, LogNormalizerEstimate, dequantised, summarise_likelihood
from energax.testing import assert_mean

MEAN, SCALE = np.array([0.4, -0.2, 1.5]), np.array([0.9, 0.35, 0.6])
LEVELS = GreyLevels(9, -1.0, 3.0)  # half a unit from one to the next
LOG2 = math.log(2)


def log_density(x):
    return scipy.stats.norm.logpdf(x, MEAN, SCALE).sum(1)


def levels_rows(n, seed):
    return LEVELS.low + LEVELS.spacing * np.random.default_rng(seed).integers(2, 6, (n, 3))


def exact(x):
    """Return log P(k) of independent normal pixels, and the expectation of log p in a cell."""
    low, high = ((x + a * LEVELS.spacing - MEAN) / SCALE for a in (-0.5, 0.5))
    within = LEVELS.spacing**2 / 12  # the variance of a place in its cell
    square = ((x - MEAN) ** 2 + within) / SCALE**2
    bound = np.sum(-0.5 * square - np.log(SCALE) - 0.5 * np.log(2 * np.pi), axis=1)
    return np.log(scipy.stats.norm.cdf(high) - scipy.stats.norm.cdf(low)).sum(1), bound


def test_the_dequantised_bound_and_the_probability_of_levels(key, seed):
    x = levels_rows(6, seed)
    log_p, bound = exact(x)
    repeated = np.repeat(x, 4000, axis=0)
    found = dequantised(log_density, repeated, LEVELS, draws=2, key=key)
    volume = 3 * math.log(LEVELS.spacing)
    assert_mean(found.bound.reshape(6, 4000).T, bound, "E log p in the cell")
    p = np.exp(found.log_mean.reshape(6, 4000).T + volume - log_p)
    assert_mean(p, 1.0, "the mean density of a cell over its probability")
    assert np.all(bound + volume < log_p)
    many = dequantised(log_density, x, LEVELS, draws=2000, key=key)
    assert np.all(np.abs(many.bound - bound) < 6 * many.standard_error)
    # Bits in levels are those of the discrete law; without the volume, or with its sign turned, they are not.
    wanted = -log_p.mean() / (3 * LOG2)
    right = summarise_likelihood(many.log_mean, 3, levels=LEVELS)
    name = "[0, 8] pixels, uniform dequantisation"
    assert right.bits[name].value == pytest.approx(wanted, abs=0.05)
    for spacing in (1.0, 1 / LEVELS.spacing):
        mutant = LEVELS._replace(high=LEVELS.low + spacing * 8)
        assert abs(summarise_likelihood(many.log_mean, 3, levels=mutant).bits[name].value - wanted) > 0.9


def test_the_preprocessings_volume_makes_probabilities_of_all_levels_one(key):
    # Bytes 0 … 16, to [0, 1], dequantised, to the real line: a Gaussian there has all its mass in the cells.
    pipeline = Pipeline([Affine.unit_interval(low=0, high=16), Dequantise(17), Logit(1e-4)])
    model, levels = Gaussian([0.7], [[4.0]]), GreyLevels(17, 0.0, 16.0)

    @jax.jit
    def in_model_units(x):
        return jax.vmap(lambda x: model.log_prob(pipeline.forward(x)))(x)

    volume = jax.jit(jax.vmap(pipeline.log_det))

    def in_data_units(x, sign=1):
        return in_model_units(x) + sign * volume(jnp.asarray(x))

    def total(log_density):
        rows = np.arange(17.0)[:, None]
        found = dequantised(log_density, rows, levels, draws=1000, key=key)
        return np.exp(found.log_mean + math.log(levels.spacing)).sum()

    assert total(in_data_units) == pytest.approx(1, abs=0.05)
    assert abs(total(in_model_units) - 1) > 0.3  # no log-determinant
    assert abs(total(lambda x: in_data_units(x, -1)) - 1) > 0.3  # its sign turned


def test_conventions_differ_by_the_log_of_the_levels_count():
    values = np.array([-3.0, -5.0, -4.5])
    for levels in (GreyLevels(256, 0, 255), GreyLevels(256, 0, 1), GreyLevels(17, 0, 16), LEVELS):
        unit, counts = summarise_likelihood(values, 3, levels=levels).bits.values()
        assert counts.value - unit.value == pytest.approx(math.log2(levels.count), rel=1e-12)
        assert counts.standard_error == unit.standard_error
    # Bytes as they come are their own levels: nothing but nats over D log 2.
    bytes_ = summarise_likelihood(values, 3, levels=GreyLevels(256, 0, 255)).bits
    plain = summarise_likelihood(values, 3).bits["the data's units"]
    assert bytes_["[0, 255] pixels, uniform dequantisation"] == plain
    assert plain.value == pytest.approx(-values.mean() / (3 * LOG2))


def test_means_errors_and_ends():
    values = np.random.default_rng(1).normal(size=2000)
    log_z = LogNormalizerEstimate(1.0, 1.5, 1.2, 0.1, 0, 0, (1.0, 1.0), (0.0, 0.0), True, "converged", {})
    found = summarise_likelihood(values, 2, log_z=log_z)
    mean, spread = values.mean(), values.std(ddof=1) / math.sqrt(2000)
    assert found.mean == pytest.approx((mean - 1.2, mean - 1.5, mean - 1.0, math.hypot(spread, 0.1)))
    assert found.log_mean.value == pytest.approx(np.log(np.mean(np.exp(values))) - 1.2)
    assert found.log_mean.value > found.mean.value
    # log E e^z = ½ for a normal one, of which e − 1 is the relative variance.
    assert abs(found.log_mean.value + 1.2 - 0.5) < 5 * math.sqrt((math.e - 1) / 2000)
    assert found.log_mean.standard_error == pytest.approx(
        math.hypot(math.sqrt((math.e - 1) / 2000), 0.1), rel=0.1
    )
    assert found.effective == pytest.approx(2000 / math.e, rel=0.2)
    bits = found.bits["the data's units"]
    assert (bits.least, bits.most) == pytest.approx(tuple(-v / (2 * LOG2) for v in (mean - 1.0, mean - 1.5)))


def test_levels_are_read_off_the_data():
    assert GreyLevels.of(np.array([[0.0, 16.0], [3.0, 4.0]])) == GreyLevels(17, 0.0, 16.0)
    assert GreyLevels.of(np.arange(256) / np.float32(255)) == GreyLevels(256, 0.0, 1.0)
    assert GreyLevels.of(np.array([0.0, 1.0])) == GreyLevels(2, 0.0, 1.0)
    assert GreyLevels.of(np.random.default_rng(0).normal(size=(40, 2))) is None
    assert GreyLevels.of(np.full(5, 3.0)) is None


@pytest.mark.parametrize(
    ("values", "words"), [(np.zeros(1), "two or more"), (np.array([0.0, -np.inf]), "1 of 2 rows")]
)
def test_what_has_no_summary_is_refused(values, words):
    with pytest.raises(InputError, match=words):
        summarise_likelihood(values, 3)
