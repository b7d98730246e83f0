"""The studies of training by the learned Stein discrepancy: what they judge by is right."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.data import toy
from energax.derivatives import score
from energax.energies import Critic, Gaussian, GaussianMixture, LinearICA, WithGaussianBase
from energax.objectives import Batch, LearnedSteinDiscrepancy
from energax.objectives.base import Player
from energax.papers import lsd_ica, lsd_images, lsd_middle_man, plane
from energax.testing import assert_mean

from .studied import studied

SQUARE = plane.Square(4.5, 90)


@pytest.mark.parametrize("name", plane.LAWS)
def test_the_laws_are_those_that_the_toys_are_drawn_from(name):
    points = SQUARE.points.astype(np.float64)
    raw = plane.LAWS[name](points)
    assert np.exp(raw + SQUARE.log_cell).sum() == pytest.approx(1.0, abs=2e-3)
    x = toy(name, 5_000, seed=3).train.astype(np.float64)
    p = np.exp(plane.log_density(name, SQUARE) + SQUARE.log_cell)
    # The mean of a function that knows every place of the plane apart, and the entropy.
    for wave in ([1.3, 0.4], [-2.2, 3.1]):
        assert_mean(np.sin(x @ wave + 0.5), float(p @ np.sin(points @ wave + 0.5)))
    inside = p > 0
    assert_mean(plane.LAWS[name](x), float(p[inside] @ raw[inside]))


def test_wrong_weights_are_all_that_is_wrong():
    shares = np.array([3, 1, 2, 1, 1, 1, 2, 1]) / 12
    angle = np.arange(8) * np.pi / 4
    centres = 2 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    energy = GaussianMixture(shares, centres, np.broadcast_to(0.04 * np.eye(2), (8, 2, 2)))
    log_p = plane.log_density("eight-gaussians", SQUARE)
    kl, log_q = plane.divergence(log_p, energy, SQUARE)
    exact = float(np.mean(np.log(1 / 8 / shares)))
    assert kl == pytest.approx(exact, rel=1e-3)
    assert plane.weights_divergence("eight-gaussians", log_p, log_q, SQUARE) == pytest.approx(exact, rel=1e-3)
    assert float(plane.quadrature(SQUARE)(energy)) == pytest.approx(float(energy.log_normalizer()), abs=1e-3)


def test_draws_have_the_law_of_the_cells():
    log_p = plane.log_density("two-moons", SQUARE)
    x = lsd_middle_man.draws(log_p, SQUARE, 20_000, np.random.default_rng(0))
    p = np.exp(log_p + SQUARE.log_cell)
    for wave in ([1.3, 0.4], [-2.2, 3.1]):
        assert_mean(np.sin(x @ wave), float(p @ np.sin(SQUARE.points @ wave)))


def test_a_critics_steps_count_as_iterations():
    assert lsd_ica.updates(10_000, 0) == 10_000
    assert lsd_ica.updates(10_000, 1) == 5_000
    assert lsd_ica.updates(10_000, 5) == 1_650  # in twenty-five equal parts
    assert lsd_ica.paper_gap("LSD", 40) == pytest.approx(-1.71)
    assert np.isnan(lsd_ica.paper_gap("SM", 50))


@pytest.mark.parametrize("source", ["logistic", "laplace"])
def test_slopes_taken_row_by_row_miss_a_kink_that_turns(source):
    # mean s·f at sources turned by φ, and its slope in φ: by differences, and by the derivative of each row.
    x = LinearICA(np.eye(2), source).sample(jax.random.key(0), 100_000)
    f = jnp.stack([jnp.tanh(x[:, 1]), -jnp.tanh(x[:, 0])], axis=1)

    def mean(angle):
        c, s = jnp.cos(angle), jnp.sin(angle)
        model = LinearICA(jnp.array([[c, -s], [s, c]]), source)
        return jnp.mean(jnp.sum(jax.vmap(lambda row: score(model, row))(x) * f, axis=1))

    by_rows = float(jax.grad(mean)(0.3))
    by_differences = float(mean(0.35) - mean(0.25)) / 0.1
    missed = abs(by_rows - by_differences)
    assert missed > 0.3 if source == "laplace" else missed < 3e-3


def test_copies_of_one_image_have_no_diversity():
    rng = np.random.default_rng(0)
    train, held_out, fresh = rng.random((200, 16)), rng.random((60, 16)), rng.random((60, 16))
    good = lsd_images.judged(fresh, held_out, train)
    copies = lsd_images.judged(np.broadcast_to(train[:1], (60, 16)), held_out, train)
    assert good["diversity"] == pytest.approx(1.0, abs=0.05)
    assert good["distance"] == pytest.approx(1.0, abs=0.05)
    assert copies["diversity"] == copies["distance"] == 0.0
    assert copies["energy distance"] > 10 * abs(good["energy distance"])


def test_an_energy_is_held_by_its_square_at_the_data_and_not_by_its_bases():
    net = Gaussian(np.zeros(3), np.eye(3) / 2)
    batch, key = Batch(jnp.array([[1.0, 0.0, -1.0], [2.0, 1.0, 0.0]])), jax.random.key(0)
    model, critic = WithGaussianBase(net, 1.0, 2.0), Player(Critic((3,), width=4, key=key), None)

    def loss(how):
        return float(how().loss(model, None, critic, batch, key)[0])

    # E is x·x here, 2 and 5.
    added = loss(lsd_images.HeldDiscrepancy) - loss(LearnedSteinDiscrepancy)
    assert added == pytest.approx(1e-3 * (4 + 25) / 2, rel=1e-3)


@pytest.mark.study
@pytest.mark.parametrize("name", ["lsd-toy", "lsd-middle-man", "lsd-ica", "lsd-images"])
def test_the_studies_run_whole(name, tmp_path):
    facts = studied(name, tmp_path)
    if name == "lsd-toy":
        ((_, values),) = facts["divergence"].items()
        start, *ways = values.values()
        assert all(np.mean(way) < start[0] for way in ways)
    if name == "lsd-ica":
        ((_, found),) = facts["results"].items()
        assert np.mean(found["truth"]["test"]) - 0.3 < np.mean(found["LSD"]["test"])
    if name == "lsd-images":
        assert all(len(parts["numbers"]) == 11 for parts in facts["found"].values())
