"""Distances, scores and tests of samples against closed forms, theory and counting; each with a mutant."""

import jax
import numpy as np
import pytest
import scipy.linalg
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

import energax as ex
from energax.evaluation import (
    class_score,
    classifier_test,
    frechet_distance,
    kernel_distance,
    precision_and_recall,
    sample_quality,
)
from energax.evaluation.kernel_distance import unbiased
from energax.evaluation.precision_recall import covered
from energax.testing import StatisticalError, assert_mean

from .calibration import assert_level, assert_power, p_values


def moulded(generator, n, mean, covariance):
    """Return n rows whose own mean and covariance are these."""
    rows = generator.standard_normal((n, len(mean)))
    rows -= rows.mean(0)
    white = np.linalg.solve(np.linalg.cholesky(np.cov(rows.T)), rows.T)
    return (np.linalg.cholesky(covariance) @ white).T + mean


def covariance(generator, d):
    a = generator.standard_normal((d, d + 2))
    return a @ a.T / d


def bures(a, b):
    root = scipy.linalg.sqrtm(a)
    return float(np.trace(a + b - 2 * scipy.linalg.sqrtm(root @ b @ root)).real)


def test_frechet_is_the_closed_form_of_normal_laws():
    generator = np.random.default_rng(0)
    a, b = covariance(generator, 6), covariance(generator, 6)
    shift = generator.standard_normal(6)
    x, y = moulded(generator, 40, shift, a), moulded(generator, 55, 0 * shift, b)
    found = frechet_distance(x, y)
    assert found.settings["means"] == pytest.approx(shift @ shift, rel=1e-5)
    assert found.estimate == pytest.approx(shift @ shift + bures(a, b), rel=1e-5)
    # The mutant roots the factors apart, right only where covariances commute.
    roots = np.trace(scipy.linalg.sqrtm(a) @ scipy.linalg.sqrtm(b)).real
    mutant = shift @ shift + np.trace(a + b) - 2 * roots
    assert abs(mutant - found.estimate) > 0.01 * found.estimate
    # In the plane the root's trace is √(tr ab + 2√det ab).
    a, b = covariance(generator, 2), covariance(generator, 2)
    exact = np.trace(a + b) - 2 * np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    plane = [moulded(generator, 30, np.zeros(2), c) for c in (a, b)]
    assert frechet_distance(*plane).estimate == pytest.approx(exact, rel=1e-4)


def test_frechet_of_fewer_rows_than_dimensions_and_of_far_scales():
    generator = np.random.default_rng(1)
    x, y = generator.standard_normal((7, 12)), 1e3 + 2 * generator.standard_normal((9, 12))
    found = frechet_distance(x, y)
    shift = np.sum((np.float32(x).mean(0) - np.float32(y).astype(float).mean(0)) ** 2)
    product = np.cov(np.float32(x).T) @ np.cov(np.float32(y).astype(float).T)
    roots = np.sqrt(np.maximum(np.linalg.eigvals(product).real, 0)).sum()
    exact = shift + np.trace(np.cov(x.T)) + np.trace(np.cov(y.T)) - 2 * roots
    assert found.estimate - shift == pytest.approx(exact - shift, rel=1e-4)
    assert found.status.startswith("worthless")
    assert frechet_distance(x, x).estimate < 1e-12


def test_frechet_is_biased_as_said_and_says_so():
    generator, m, n = np.random.default_rng(2), 150, 260
    root = np.diag([3.0, 1.0, 1.0, 0.3])
    found = [
        frechet_distance(generator.standard_normal((m, 4)) @ root, generator.standard_normal((n, 4)) @ root)
        for _ in range(300)
    ]
    values, floors = (
        np.array([f.estimate for f in found]),
        np.array([f.settings["floor"] for f in found], float),
    )
    next_order = 4 / m  # the expansion's next terms are smaller by about d/n
    assert_mean(values, np.mean(floors), "bias", allowance=next_order * np.mean(floors))
    with pytest.raises(StatisticalError):  # a floor of the means alone
        assert_mean(values, 11.09 * (1 / m + 1 / n), "bias", allowance=next_order * np.mean(floors))
    rows = generator.standard_normal((80, 4))
    assert frechet_distance(rows, rows).status == "ok"
    assert (
        "biased upwards: 79 rows in 4 dimensions, where 80 are asked"
        in frechet_distance(rows[1:], rows).status
    )


def moments(mean, sd):
    return np.array([mean, mean**2 + sd**2, mean**3 + 3 * mean * sd**2])


def test_kernel_distance_is_unbiased_with_its_error(key):
    generator = np.random.default_rng(3)
    exact = np.array([3, 3, 1]) @ (moments(0.5, 1.2) - moments(0.0, 1.0)) ** 2
    draws = [
        (0.5 + 1.2 * generator.standard_normal((60, 1)), generator.standard_normal((44, 1)))
        for _ in range(400)
    ]
    found = [kernel_distance(*pair, blocks=4, key=key) for pair in draws]
    estimates = np.array([f.estimate for f in found])
    assert_mean(estimates, exact, "kernel distance")
    squares = np.array([f.standard_error for f in found]) ** 2
    deviations = (estimates - estimates.mean()) ** 2 * len(found) / (len(found) - 1)
    assert_mean(squares - deviations, 0.0, "squared error")
    assert_mean([unbiased(y[:22], y[22:]) for _, y in draws], 0.0, "of one law")

    def with_diagonal(a, b):
        k = lambda p, q: ((p @ q.T / p.shape[1] + 1) ** 3).mean()  # noqa: E731
        return k(a, a) + k(b, b) - 2 * k(a, b)

    with pytest.raises(StatisticalError):
        assert_mean([with_diagonal(y[:22], y[22:]) for _, y in draws], 0.0, "of one law")


def test_class_score_of_known_probabilities():
    sure = np.tile(np.eye(5), (20, 1))
    assert class_score(sure, parts=2).estimate == pytest.approx(5)
    assert class_score(np.full((40, 5), 0.2), parts=2).estimate == pytest.approx(1)
    assert class_score(sure[:, [0]].repeat(2, 1) * [1, 0] + [0, 1] * (1 - sure[:, [0]]), parts=1).estimate > 1
    doubtful = np.tile([[0.9, 0.1], [0.1, 0.9]], (30, 1))
    entropy = -(0.9 * np.log(0.9) + 0.1 * np.log(0.1))
    found = class_score(doubtful, parts=3)
    assert found.estimate == pytest.approx(2 * np.exp(-entropy), rel=1e-6)
    assert found.standard_error == pytest.approx(0, abs=1e-9)
    assert "too low: 20 rows in each of 3 parts, where 100 are asked" in found.status
    # The mutant averages the divergence over classes as well (a "mean" reduction).
    assert abs(np.exp((np.log(2) - entropy) / 2) - found.estimate) > 0.1


def test_precision_and_recall_of_one_law_reach_their_ceiling(key):
    # On a circle, a point between neighbours at arcs a and b, whose own other neighbours are at L and R, is
    # in no ball of k = 1 if a > L and b > R; the n + 1 arcs are exchangeable: that is 1/4 at every n.
    generator = np.random.default_rng(4)
    angles = generator.uniform(0, 2 * np.pi, (300, 2, 20))
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    found = [precision_and_recall(*pair, neighbours=1, key=key) for pair in circle]
    values = np.array([[q.estimate for q in pair] for pair in found])
    assert_mean(values, 0.75, "precision and recall of one law")
    with pytest.raises(StatisticalError):  # a ball to the nearest row, itself, holds nothing
        assert_mean([covered(x, y, 0).mean() for x, y in circle], 0.75, "precision")


def test_precision_and_recall_fall_where_they_must(key):
    generator = np.random.default_rng(4)
    two = np.where(np.arange(200)[:, None] < 120, -20, 20) + generator.standard_normal((200, 3))
    one = generator.standard_normal((200, 3)) - 20
    precision, recall = precision_and_recall(one, two, key=key)
    assert precision.estimate > 0.7
    assert 0.3 < recall.estimate <= 0.6  # the mode of 80 rows is lost, and no row of it is covered
    swapped = precision_and_recall(two, one, key=key)
    assert (swapped[0].estimate, swapped[1].estimate) == (recall.estimate, precision.estimate)
    assert precision_and_recall(two + 100, two, key=key)[0].estimate == 0


def test_balls_are_those_of_the_definition(key):
    x, y = np.random.default_rng(5).standard_normal((2, 50, 2)).astype(np.float32)
    apart = lambda a, b: np.linalg.norm(a[:, None] - b, axis=-1)  # noqa: E731
    inside = (apart(x, y) <= np.sort(apart(y, y), axis=1)[:, 2]).any(1)
    assert precision_and_recall(x, y, neighbours=2, key=key)[0].estimate == inside.mean()


def test_the_classifier_test_has_its_level_and_its_power(key):
    def pairs(shift):
        return lambda k: jax.random.normal(k, (2, 60, 2)) + np.array([0, shift]).reshape(2, 1, 1)

    ask = lambda pair, k: classifier_test(*pair, classifier=GaussianNB(), key=k)  # noqa: E731
    assert_level(p_values(ask, pairs(0.0), key, 160), conservative=True)
    assert_power(p_values(ask, pairs(1.0), key, 40), 0.9)
    # The mutant judges on the rows it learned from: nearest neighbours know them all by heart.
    x, y = pairs(0.0)(key)
    rows, names = np.concatenate([x, y]), np.repeat([1, 0], 60)
    assert KNeighborsClassifier(1).fit(rows, names).score(rows, names) == 1.0
    assert classifier_test(x, y, classifier=KNeighborsClassifier(1), key=key).statistic < 0.75


def test_what_each_classifier_sees(key):
    generator = np.random.default_rng(6)
    wide, narrow = 3 * generator.standard_normal((300, 2)), generator.standard_normal((300, 2))
    assert classifier_test(wide, narrow, classifier="neighbours", key=key).p_value < 1e-6
    assert classifier_test(wide, narrow, classifier="mlp", key=key).p_value < 1e-3
    assert classifier_test(wide, narrow, key=key).p_value > 1e-4  # equal means are all one to a line


def test_all_of_it_at_once_tells_good_samples_from_bad(key):
    generator = np.random.default_rng(7)
    reference, good = generator.standard_normal((2, 300, 3))
    bad = 1.5 + generator.standard_normal((300, 3))
    sure = np.eye(4)[generator.integers(0, 4, 300)]
    well, ill = (sample_quality(x, reference, probabilities=sure, of="x", key=key) for x in (good, bad))
    for name, better in {"Frechet distance": -1, "kernel distance": -1, "precision": 1, "recall": 1}.items():
        assert better * (well.measures[name].estimate - ill.measures[name].estimate) > 0.2
    assert well.measures["Frechet distance"].name == "Frechet distance of x"
    # The class score sees no reference.
    assert well.measures["class score"].estimate == ill.measures["class score"].estimate
    for name in ("MMD test", "classifier test"):
        assert well.tests[name].p_value > 1e-3
        assert ill.tests[name].p_value < 3e-3


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda k: frechet_distance(np.ones((1, 3)), np.ones((9, 3))),
            "x must be an array of at least 2 rows",
        ),
        (lambda k: frechet_distance(np.ones((9, 3)), np.ones((9, 2))), "reference must be of shape"),
        (lambda k: kernel_distance(np.ones((19, 3)), np.ones((99, 3)), key=k), "at least 20 rows"),
        (lambda k: class_score(np.ones((40, 3))), "probabilities must be at least 0 and of sum 1"),
        (lambda k: class_score(np.ones((9, 1))), "at least 20 rows"),
        (
            lambda k: precision_and_recall(np.ones((3, 2)), np.ones((9, 2)), key=k),
            "neighbours must be fewer than the 3 rows",
        ),
        (
            lambda k: classifier_test(np.ones((9, 2)), np.ones((9, 2)), classifier="forest", key=k),
            "classifier must be one of",
        ),
        (
            lambda k: classifier_test(np.ones((7, 2)), np.ones((9, 2)), key=k),
            "x must be an array of at least 8",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(key)
