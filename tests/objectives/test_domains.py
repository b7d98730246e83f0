"""Score matching on half-spaces and boxes, and ratio matching of bits, lead to the truth there."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import (
    Batch,
    BoxScoreMatching,
    NonNegativeScoreMatching,
    RatioMatching,
    ScoreMatching,
)
from energax.testing import assert_mean, check_objective

GAMMA = ex.energies.Gamma([3.0, 1.5], [1.0, 2.0])
BOX = ex.energies.TruncatedGaussian([0.9, 0.2], [0.5, 0.7], 0.0, 1.0)


class Bits(ex.energies.Energy):
    """E(x) = −xᵀWx/2 − b·x on {0, 1}ᵈ, sampled by listing all of it."""

    W: jax.Array
    b: jax.Array
    event_shape: tuple = eqx.field(static=True)

    def __init__(self, W, b):
        self.W, self.b = jnp.asarray(W), jnp.asarray(b)
        self.event_shape = self.b.shape

    def __call__(self, x, condition=None):
        return -0.5 * x @ self.W @ x - self.b @ x

    def sample(self, key, n):
        states = jnp.array(list(itertools.product([0.0, 1.0], repeat=self.b.size)))
        return states[jax.random.categorical(key, -jax.vmap(self)(states), shape=(n,))]


BITS = Bits([[0.0, 1.2, -0.7], [1.2, 0.0, 0.4], [-0.7, 0.4, 0.0]], [0.3, -0.5, 0.8])


def test_non_negative_data(key):
    check_objective(NonNegativeScoreMatching(), key=key, data=GAMMA)


def test_a_box(key):
    check_objective(BoxScoreMatching(0.0, 1.0), key=key, data=BOX)


def test_bits(key):
    check_objective(RatioMatching(), key=key, data=BITS)


def test_the_oracles_sample_what_they_say(key):
    # E[∇E·h + …] aside: moments of the gamma, and the normalisers by quadrature.
    x = GAMMA.sample(key, 64 * 500).reshape(64, 500, 2)
    assert_mean(x.mean(1), GAMMA.shape / GAMMA.rate, "mean of a gamma")
    assert_mean(jnp.square(x - GAMMA.shape / GAMMA.rate).mean(1), GAMMA.shape / GAMMA.rate**2, "its variance")
    for oracle, high in ((GAMMA, 40.0), (BOX, 1.0)):
        grid = (jnp.arange(1500) + 0.5) / 1500 * high
        points = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 2)
        mass = jnp.sum(jnp.exp(-jax.vmap(oracle)(points))) * (high / 1500) ** 2
        np.testing.assert_allclose(jnp.log(mass), oracle.log_normalizer(), atol=2e-3)
    y = BOX.sample(key, 64 * 500)
    grid = (jnp.arange(1000) + 0.5) / 1000
    density = jnp.exp(-0.5 * ((grid - 0.9) / 0.5) ** 2)
    assert_mean(y[:, 0].reshape(64, -1).mean(1), jnp.sum(grid * density) / density.sum(), "mean in the box")


class Unasking(ScoreMatching):
    """Takes every model, also one whose density ends at an edge."""

    def init(self, model, data, key, rows):
        return None, None


@pytest.mark.parametrize(
    ("objective", "data"),
    [(Unasking(), GAMMA), (Unasking(), BOX), (BoxScoreMatching(-0.5, 1.5), BOX)],
    ids=["gamma", "box", "wider-box"],
)
def test_forgetting_the_edge_is_caught(objective, data, key):
    # Without the right weight the boundary term stays: the plain objective is the mutant. It refuses such a
    # model, and this is why.
    with pytest.raises(AssertionError):
        check_objective(objective, key=key, data=data)


class Pseudo(RatioMatching):
    """σ(E(x̄) − E(x))²: the ratio upside down."""

    def loss(self, model, nuisance, state, batch, key):
        return RatioMatching.loss(self, lambda x, c=None: -model(x), nuisance, state, batch, key)


class NoSlope(NonNegativeScoreMatching):
    """Forgets h′ s."""

    def loss(self, model, nuisance, state, batch, key):
        value, _ = NonNegativeScoreMatching.loss(self, model, nuisance, state, batch, key)
        s = jax.vmap(lambda x: ex.score(model, x))(batch.x)
        return value - jnp.mean(jnp.sum(2 * batch.x * s, 1)), {}


@pytest.mark.parametrize(("mutant", "data"), [(Pseudo(), BITS), (NoSlope(), GAMMA)], ids=["ratio", "slope"])
def test_the_checker_rejects_each_mutant(mutant, data, key):
    with pytest.raises(AssertionError):
        check_objective(mutant, key=key, data=data)


def test_many_bits_in_chunks_are_the_same(key):
    d = 80  # beyond one chunk of flips
    b = jax.random.normal(key, (d,))
    energy = Bits(jnp.zeros((d, d)), b)
    x = jax.random.bernoulli(key, 0.5, (4, d)).astype(jnp.float32)
    value = RatioMatching().loss(energy, None, None, Batch(x), key)[0]
    # Independent bits: E(x) − E(x̄) = −b where x = 1, +b where 0.
    np.testing.assert_allclose(
        value, jnp.mean(jnp.sum(jax.nn.sigmoid(jnp.where(x == 1, -b, b)) ** 2, 1)), rtol=1e-5
    )


def test_data_elsewhere_are_refused_with_a_way_out(key):
    energy = ex.energies.MLP((2,), width=4, depth=1, key=key)
    x = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    with pytest.raises(ex.InputError, match=r"within \[0, inf\]; for data beyond take ScoreMatching"):
        ex.fit(energy, NonNegativeScoreMatching(), x, key=key, steps=1)
    with pytest.raises(ex.InputError, match=r"within \[0, 1\]; for data beyond take a wider box"):
        ex.fit(energy, BoxScoreMatching(), x, key=key, steps=1)
    with pytest.raises(ex.InputError, match="zeros and ones; for other data take ScoreMatching"):
        ex.fit(energy, RatioMatching(), x, key=key, steps=1)
    with pytest.raises(ex.InputError, match="high must be a finite number above 1"):
        BoxScoreMatching(1.0, 0.5)
