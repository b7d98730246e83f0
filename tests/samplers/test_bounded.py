"""Reflected Langevin dynamics keep to the box, Gibbs sampling to the bits, and both to the law."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.samplers import BitGibbs, Langevin, ReflectedLangevin, run
from energax.testing import assert_mean

BOX = ex.energies.TruncatedGaussian([0.9, 0.2], [0.5, 0.7], 0.0, 1.0)
GAMMA = ex.energies.Gamma([3.0, 2.0], [1.0, 2.0])


def test_the_box_is_kept_and_its_law(key):
    start = BOX.sample(key, 64 * 256)
    wanted = jnp.mean(BOX.sample(jax.random.fold_in(key, 1), 2_000_000), 0)
    sampler = ReflectedLangevin(Langevin(1e-3), 0.0, 1.0)
    x = run(sampler, BOX, start, key=key, steps=400).x
    assert float(x.min()) >= 0
    assert float(x.max()) <= 1
    assert_mean(x.reshape(64, 256, 2).mean(1), wanted, "mean in the box", allowance=0.003)


def test_without_reflection_the_law_is_lost(key):
    start = BOX.sample(key, 64 * 256)
    x = run(Langevin(1e-3), BOX, start, key=key, steps=400).x
    wanted = jnp.mean(BOX.sample(jax.random.fold_in(key, 1), 2_000_000), 0)
    with pytest.raises(AssertionError):
        assert_mean(x.reshape(64, 256, 2).mean(1), wanted, "mean of the free chain", allowance=0.003)


def test_a_half_line(key):
    start = GAMMA.sample(key, 64 * 256)
    x = run(ReflectedLangevin(Langevin(2e-3)), GAMMA, start, key=key, steps=300).x
    assert float(x.min()) >= 0
    assert_mean(x.reshape(64, 256, 2).mean(1), GAMMA.shape / GAMMA.rate, "mean", allowance=0.03)


def test_folding_by_hand():
    fold = ReflectedLangevin(Langevin(1.0), 0.0, 1.0)._reflect
    np.testing.assert_allclose(
        fold(jnp.array([-0.2, 0.3, 1.3, 2.4, -1.6])), [0.2, 0.3, 0.7, 0.4, 0.4], atol=1e-6
    )
    half = ReflectedLangevin(Langevin(1.0), 1.0)._reflect
    np.testing.assert_allclose(half(jnp.array([0.5, 3.0, -7.0])), [1.5, 3.0, 9.0])


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


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match="high must be a finite number above 0"):
        ReflectedLangevin(Langevin(0.1), 0.0, -1.0)
    with pytest.raises(ex.InputError, match="steps must be a whole number of at least 1"):
        BitGibbs(0)
