import numpy as np
import pytest
from scipy import stats

from energax.checks import InputError
from energax.data import toy
from energax.data.toy import TOYS

N = 20_000


def square_norm(x):
    return (x**2).sum(axis=1)


# What the docstrings state: density, function of the points, its exact mean.
MEANS = [
    ("eight-gaussians", lambda x: x[:, 0], 0.0),
    ("eight-gaussians", lambda x: x[:, 0] ** 2, 2.04),
    ("eight-gaussians", lambda x: x[:, 1] ** 2, 2.04),
    ("eight-gaussians", lambda x: x[:, 0] * x[:, 1], 0.0),
    ("two-moons", lambda x: x[:, 0], 0.5),
    ("two-moons", lambda x: x[:, 1], 0.25),
    ("two-moons", lambda x: (x[:, 0] - 0.5) ** 2, 0.76),
    ("two-moons", lambda x: (x[:, 1] - 0.25) ** 2, (1.25 - 2 / np.pi) / 2 - 1 / 16 + 0.01),
    ("pinwheel", lambda x: x[:, 0], 0.0),
    ("pinwheel", lambda x: x[:, 1], 0.0),
    ("pinwheel", square_norm, 4 * 1.0925),
    ("checkerboard", square_norm, 2 * 4 / 3),
    ("rings", lambda x: x[:, 0], 0.0),
    ("rings", square_norm, 14 / 3 + 0.01),
    ("swiss-roll", square_norm, 13 / 3 + 0.02),
    ("two-spirals", lambda x: x[:, 1], 0.0),
    ("two-spirals", square_norm, np.pi**2 / 2 + 0.02),
]


@pytest.mark.parametrize(("name", "function", "mean"), MEANS)
def test_means_are_exact(name, function, mean, far_from):
    points = TOYS[name](N, np.random.default_rng(1)).astype(np.float64)
    assert not far_from(function(points), mean)
    # The mutant: a cloud too wide, sheared and off centre is told apart.
    assert far_from(function(points @ [[1.1, 0.2], [0.0, 1.1]] + 0.1), mean)


def pvalue(name, points):
    """KS p-value of the statistic that the docstring gives a law."""
    radius = np.linalg.norm(points, axis=1)
    if name == "eight-gaussians":
        # Neighbours are 7.6 standard deviations apart: the nearest mean is the drawn one but
        # for 2·10⁻⁴ of the points, far below what N points resolve.
        angle = np.arange(8) * np.pi / 4
        means = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        nearest = ((points[:, None] - means) ** 2).sum(axis=-1).min(axis=1)
        return stats.kstest(nearest / 0.04, stats.chi2(2).cdf).pvalue
    if name == "rings":
        return stats.kstest((radius - np.round(radius).clip(1, 3)) / 0.1, stats.norm.cdf).pvalue
    if name == "checkerboard":
        return stats.kstest((points % 1.0).ravel(), stats.uniform.cdf).pvalue
    raise AssertionError


@pytest.mark.parametrize("name", ["eight-gaussians", "rings", "checkerboard"])
def test_laws_around_the_skeleton(name):
    points = TOYS[name](N, np.random.default_rng(2)).astype(np.float64)
    assert pvalue(name, points) > 1e-6
    assert pvalue(name, points * 1.03) < 1e-6  # the mutant


def test_mixtures_are_even():
    rng = np.random.default_rng(3)
    gaussians = TOYS["eight-gaussians"](N, rng)
    sector = np.round(np.arctan2(gaussians[:, 1], gaussians[:, 0]) / (np.pi / 4)).astype(int) % 8
    assert stats.chisquare(np.bincount(sector, minlength=8)).pvalue > 1e-6
    ring = np.round(np.linalg.norm(TOYS["rings"](N, rng), axis=1)).astype(int).clip(1, 3)
    assert stats.chisquare(np.bincount(ring)[1:]).pvalue > 1e-6


def test_checkerboard_stays_on_its_black_squares():
    points = TOYS["checkerboard"](N, np.random.default_rng(4))
    square = np.floor(points).astype(int)
    assert ((square >= -2) & (square < 2)).all()
    assert (square.sum(axis=1) % 2 == 0).all()
    counts = np.unique(square, axis=0, return_counts=True)[1]
    assert len(counts) == 8
    assert stats.chisquare(counts).pvalue > 1e-6


def test_noise_about_the_curves_is_as_stated():
    rng = np.random.default_rng(5)
    roll = TOYS["swiss-roll"](2_000, rng)
    r = np.linspace(1, 3, 2_000)
    curve = np.stack([r * np.cos(1.5 * np.pi * r), r * np.sin(1.5 * np.pi * r)], axis=1)
    distance = np.sqrt(((roll[:, None] - curve) ** 2).sum(-1).min(axis=1))
    assert distance.max() < 0.1 * 5.5
    spirals = TOYS["two-spirals"](2_000, rng)
    r = np.linspace(0, np.pi, 2_000)
    arm = np.stack([r * np.cos(3 * r), r * np.sin(3 * r)], axis=1)
    both = np.concatenate([arm, -arm])
    distance = np.sqrt(((spirals[:, None] - both) ** 2).sum(-1).min(axis=1))
    assert distance.max() < 0.1 * 5.5


@pytest.mark.parametrize("name", TOYS)
def test_toy_is_a_dataset_with_two_streams(name):
    data = toy(name, n=500, seed=7)
    assert (data.kind, data.event_shape, data.train.dtype) == ("points", (2,), np.float32)
    assert (len(data.train), len(data.test)) == (500, 50)
    assert not (data.train[:50] == data.test).all(axis=1).any()
    assert (toy(name, n=500, seed=7).train == data.train).all()
    assert (toy(name, n=500, seed=8).train != data.train).any()


def test_toy_refuses():
    with pytest.raises(InputError, match=r"toy: name must be one of .* \(did you mean 'two-moons'\?\)"):
        toy("two-moon")
    with pytest.raises(InputError, match="toy: n must be a whole number of at least 1; got 0"):
        toy("rings", n=0)
    with pytest.raises(InputError, match="toy: seed must be a whole number of at least 0; got -1"):
        toy("rings", seed=-1)
