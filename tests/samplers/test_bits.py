"""Gibbs sampling of bits keeps their law, and reaches it."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.samplers import BitGibbs, run
from energax.testing import assert_mean


class Bits(eqx.Module):
    W: jax.Array

    def __call__(self, x, condition=None):
        return -0.5 * x @ self.W @ x


BITS = Bits(jnp.array([[1.0, 1.5, -0.8], [1.5, -0.6, 0.4], [-0.8, 0.4, 0.2]]))
STATES = np.array(list(itertools.product([0.0, 1.0], repeat=3)), np.float32)


def law(x):
    return (np.asarray(x)[:, None] == STATES).all(-1).reshape(64, -1, 8).mean(1)


def test_bits_keep_their_law(key):
    p = jax.nn.softmax(-jax.vmap(BITS)(STATES))
    start = STATES[jax.random.categorical(key, jnp.log(p), shape=(64 * 512,))]
    assert_mean(law(run(BitGibbs(7), BITS, start, key=key).x), p, "probabilities of all states")
    # … and reach it from one corner.
    corner = jnp.zeros((64 * 512, 3))
    assert_mean(law(run(BitGibbs(), BITS, corner, key=key, steps=60).x), p, "from a corner", allowance=1e-3)


def test_a_flip_with_the_sign_turned_is_caught(key):
    p = jax.nn.softmax(-jax.vmap(BITS)(STATES))
    start = STATES[jax.random.categorical(key, jnp.log(p), shape=(64 * 512,))]
    upside_down = lambda x: -BITS(x)  # noqa: E731
    with pytest.raises(AssertionError):
        assert_mean(law(run(BitGibbs(7), upside_down, start, key=key).x), p, "probabilities")


@pytest.mark.parametrize(
    "machine",
    [
        lambda key: ex.energies.Ising((2, 3)),
        lambda key: ex.energies.IsingGraph(np.zeros((6, 6))),
        lambda key: ex.energies.GaussianBernoulliRBM((6,), 2, key=key),
    ],
)
def test_spins_and_reals_are_not_made_bits(machine, key):
    model = machine(key)
    x = jnp.ones((1, *model.event_shape))
    with pytest.raises(ex.InputError, match="BitGibbs: model must be an energy over bits"):
        run(BitGibbs(), model, x, key=key, steps=2)


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match="steps must be a whole number of at least 1"):
        BitGibbs(0)
