"""Objectives refuse models by whose kinks their slope would be wrong, and no others."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import Score, score_and_trace
from energax.objectives import (
    Batch,
    BoxScoreMatching,
    DenoisingScoreMatching,
    MinimumVelocityLearning,
    MultiscaleDenoisingScoreMatching,
    NoiseConditionalScoreMatching,
    ScoreMatching,
)

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 3)).astype(np.float32)


def over(activation, slope=1.5):
    """Return the energy ½‖x‖² + Σ activation(Wx)."""
    return lambda y: 0.5 * y @ y + slope * jnp.sum(activation(W @ y))


def leaky(y):
    return jnp.where(y > 0, y, 0.1 * y)


def written_out_elu(y):
    return jnp.where(y > 0, y, jnp.exp(jnp.where(y > 0, 0.0, y)) - 1)


def refused(objective, model, key, x=X):
    try:
        objective.init(model, Batch(x), key, 4)
    except ex.InputError as error:
        return "model must be without kinks" in str(error)
    return False


# Which derivative of x ↦ activation(x) jumps.
FIRST = {"relu": jax.nn.relu, "abs": jnp.abs, "leaky": leaky, "selu": jax.nn.selu}
SECOND = {"elu": jax.nn.elu, "written out": written_out_elu}
SMOOTH = {"silu": jax.nn.silu, "softplus": jax.nn.softplus, "root": lambda y: jnp.sqrt(1 + y**2)}


@pytest.mark.parametrize("name", [*FIRST, "elu", "written out", *SMOOTH])
def test_each_objective_refuses_what_it_cannot_descend_by(name, key):
    energy = over({**FIRST, **SECOND, **SMOOTH}[name])
    assert refused(ScoreMatching(), energy, key) == (name not in SMOOTH)
    by_score = DenoisingScoreMatching(0.3), MinimumVelocityLearning(), MultiscaleDenoisingScoreMatching()
    for objective in by_score:
        assert refused(objective, energy, key) == (name in FIRST)


def test_sharp_is_not_kinked(key):
    far = ex.energies.GaussianMixture([0.5, 0.5], [[-3.0, 0, 0], [3.0, 1, 1]], 0.01 * jnp.eye(3))
    assert not refused(ScoreMatching(), far, key)
    kinked = lambda y: jnp.abs(y[0] - 0.4) + 5 * y @ y  # noqa: E731
    assert refused(ScoreMatching(), kinked, key)


def test_fields_and_noise_conditional_models(key):
    kinked, smooth = (Score(lambda y, f=f: -y + f(W @ y)) for f in (jax.nn.relu, jax.nn.silu))
    assert refused(ScoreMatching(), kinked, key)
    assert not refused(ScoreMatching(), Score(lambda y: -y + jax.nn.elu(W @ y)), key)
    assert not refused(ScoreMatching(), smooth, key)
    assert not refused(DenoisingScoreMatching(0.3), kinked, key)

    class Levels:
        def at(self, sigma):
            return over(jax.nn.relu)

    assert refused(NoiseConditionalScoreMatching(), Levels(), key)
    assert refused(BoxScoreMatching(-9.0, 9.0), over(jax.nn.elu), key)


T = jnp.linspace(-8.0, 8.0, 40_001)
NORMAL = jnp.exp(-0.5 * T**2) / jnp.sum(jnp.exp(-0.5 * T**2))


@pytest.mark.parametrize(("name", "right"), [("elu", False), ("relu", False), ("silu", True)])
def test_why(name, right):
    """By quadrature on N(0, 1): the slope of exact score matching in the place b of a kink."""

    activation = getattr(jax.nn, name)

    def loss(b):
        energy = lambda t: 0.5 * t**2 + 1.5 * activation(t - b)  # noqa: E731

        def one(t):
            s, trace = score_and_trace(lambda y: energy(y[0]), t[None], method="chunked")
            return 0.5 * s[0] ** 2 + trace

        return jnp.sum(NORMAL * jax.vmap(one)(T))

    by_autodiff, by_difference = jax.grad(loss)(0.3), (loss(0.31) - loss(0.29)) / 0.02
    assert (abs(by_autodiff - by_difference) < 1e-3) == right
    assert right or abs(by_autodiff - by_difference) > 0.3
