"""An edge of a density is declared, or seen just beyond the rows; what merely falls to zero is none."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import Given, bind
from energax.edges import check_no_edge, has_edge
from energax.energies import (
    Gamma,
    Gaussian,
    Mixture,
    Posterior,
    Sum,
    Tempered,
    TruncatedGaussian,
    Uniform,
    WithGaussianBase,
    WithLogNormalizer,
    WithRadialBase,
)

GAMMA, NORMAL = Gamma([2.0, 2.0], [1.0, 1.0]), Gaussian(jnp.zeros(2), jnp.eye(2))
RNG = np.random.default_rng(0)


def seen(energy, x, condition=None):
    """Return what is said of the edge, nothing if there is none."""
    try:
        check_no_edge("here", "model", energy, x, condition, instead="another")
    except ex.InputError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("law", [GAMMA, TruncatedGaussian([0.0, 0.0], 1.0), Uniform([0.0, 0.0], [1.0, 1.0])])
def test_bounded_laws_say_so_and_so_does_what_is_made_of_them(law):
    made = (
        law,
        Tempered(law, 2.0),
        Sum((NORMAL, law)),
        Mixture((NORMAL, law)),
        WithGaussianBase(law),
        WithRadialBase(law),
        WithLogNormalizer(Tempered(law, 2.0), 0.0),
        Posterior(law, lambda x: x, 1.0),
        Given(law, jnp.zeros(1)),
        bind(ex.Score(law), jnp.zeros(1)),
        ex.evaluation.LogDensity(law.log_prob),
    )
    assert all(map(has_edge, made))
    assert "on all of ℝᵈ: where a density ends at an edge, Stein's identity fails; take another" in seen(
        law, None
    )


def test_others_do_not():
    for law in (NORMAL, Tempered(NORMAL, 2.0), Sum((NORMAL, NORMAL)), Mixture((NORMAL, NORMAL)), jnp.sum):
        assert not has_edge(law)
        assert seen(law, np.asarray(NORMAL.sample(jax.random.key(0), 20))) == ""


def inside(condition, energy):
    return lambda x: jnp.where(condition(x), energy(x), jnp.inf)


EXPONENTIAL = RNG.exponential(size=(200, 2))
ANGLE, RADIUS = RNG.uniform(0, 2 * np.pi, 200), np.sqrt(RNG.uniform(size=200))
DISK = np.stack([RADIUS * np.cos(ANGLE), RADIUS * np.sin(ANGLE)], 1) + 100


@pytest.mark.parametrize(
    ("energy", "x"),
    [
        (inside(lambda x: jnp.all(x > 0), jnp.sum), EXPONENTIAL),
        (inside(lambda x: jnp.sum((x - 100) ** 2) < 1, lambda x: 0 * jnp.sum(x)), DISK),
        (inside(lambda x: jnp.all(x < 0), lambda x: -jnp.sum(x)), -EXPONENTIAL.reshape(100, 4, 1)[:, :3]),
        (lambda x: jnp.sum(x) - 0.5 * jnp.sum(jnp.log(x)), RNG.gamma(1.5, size=(200, 2))),
        (lambda x: jnp.sum(x) - 2.0 * jnp.sum(jnp.log(x)), RNG.gamma(3, size=(200, 2))),
    ],
    ids=["half-line", "disk", "image", "gamma 1.5", "gamma 3"],
)
def test_an_edge_is_seen_just_beyond_the_rows(energy, x):
    assert "got an energy of" in seen(energy, x)


def test_a_model_that_is_not_a_number_has_none():
    assert seen(Gaussian(jnp.full(2, jnp.nan), jnp.eye(2)), NORMALS) == ""


def test_it_is_named_by_row_and_entry():
    energy = inside(lambda x: x[1] > 0, lambda x: 0.5 * jnp.sum(x**2))
    x = RNG.standard_normal((100, 2))
    x[:, 1] = np.linspace(0.01, 1.01, 100)
    assert "an energy of inf where entry 1 of row 0 moves from 0.01 to -0.09." in seen(energy, x)
    assert "got an energy of inf at row 0." in seen(energy, x - 0.1)


def test_a_condition_moves_the_edge():
    energy = lambda x, c: jnp.where(x[0] > c[0], x[0], jnp.inf)  # noqa: E731
    ends = RNG.uniform(0, 5, size=(200, 1))
    x = ends + RNG.exponential(size=(200, 1))
    assert "an energy of inf" in seen(energy, x, ends)
    assert seen(energy, x, ends - 10) == ""
    # A row is moved with the condition that is its own: one of another would be far from it.
    near = lambda x, c: jnp.where(jnp.abs(x[0] - c[0]) < 15, x[0], jnp.inf)  # noqa: E731
    centres = 20 * ends
    assert seen(near, centres + RNG.uniform(-1, 1, (200, 1)), centres) == ""


NORMALS = RNG.standard_normal((200, 2))
# Finite at the rows only: the highest entry is where float32 just holds exp(100 x), and x².
OVERFLOW = {
    "exponential": (lambda x: jnp.sum(jnp.exp(100 * x) - 100 * x), 0.87 * NORMALS / NORMALS.max(0)),
    "square": (lambda x: 0.5 * jnp.sum(x**2), 1.7e19 * NORMALS / np.abs(NORMALS).max(0)),
}


@pytest.mark.parametrize(
    ("energy", "x"),
    [
        (lambda x: jnp.sum(0.5 * jnp.log(x) ** 2 + jnp.log(x)), np.exp(NORMALS)),
        (lambda x: jnp.sum(x) - 5.0 * jnp.sum(jnp.log(x)), RNG.gamma(6, size=(200, 2))),
        OVERFLOW["exponential"],
        OVERFLOW["square"],
        (lambda x: 0.5 * jnp.sum(x**2), np.concatenate([NORMALS, np.ones((200, 1))], 1)),
        (ex.Score(lambda x: -x), NORMALS),
    ],
    ids=["log-normal", "gamma 6", "exponential", "square", "constant column", "score"],
)
def test_what_falls_to_zero_or_overflows_is_no_edge(energy, x):
    assert seen(energy, x) == ""


@pytest.mark.parametrize("name", OVERFLOW)
def test_they_do_overflow_just_beyond(name):
    # Else the test above would say nothing.
    energy, x = OVERFLOW[name]
    x = np.asarray(x, np.float32)
    assert np.isfinite(jax.vmap(energy)(x)).all()
    row = x[np.argmax(np.abs(x[:, 0]))]
    beyond = row + np.array([0.1 * np.sign(row[0]) * np.ptp(x[:, 0]), 0.0], np.float32)
    assert not np.isfinite(energy(jnp.asarray(beyond)))


def test_under_a_trace_only_what_is_said_counts():
    @eqx.filter_jit
    def traced(energy, x):
        check_no_edge("here", "model", energy, x, instead="another")
        return energy(x[0])

    class Half(eqx.Module):
        rate: jax.Array

        def __call__(self, x):
            return jnp.where(x[0] > 0, self.rate * x[0], jnp.inf)

    @eqx.filter_jit
    def start(energy):  # a dry run of shapes: the rows are there, the energy is not
        check_no_edge("here", "model", energy, EXPONENTIAL, instead="another")
        return energy(EXPONENTIAL[0])

    assert np.isfinite(start(Half(jnp.ones(()))))
    with pytest.raises(ex.InputError, match="got a Gamma"):
        traced(GAMMA, EXPONENTIAL)
