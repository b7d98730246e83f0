"""Coupled draws: each alone has its own law, together they agree as often as can be."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import BernoulliRBM, all_bits
from energax.samplers import BlockGibbs, CoupledGibbs, coupling, maximal_bits, run, shared_bits
from energax.testing import assert_mean

from ..energies.states import chi_squared, random_parameters
from ..objectives.machines import bernoulli, transitions

DRAWS = 128 * 1000
PAIRS = 30_000
FAR = jnp.array([0.8, -1.0, 0.3]), jnp.array([-0.4, 0.5, 1.0])
NEAR = jnp.array([0.8, -1.0, 0.3]), jnp.array([0.84, -1.03, 0.27])  # TV of a hundredth
STATES = all_bits(3)


def law(logits):
    return np.asarray(jax.vmap(lambda v: bernoulli(logits, v))(STATES), np.float64)


def check_remainder(drawn, wanted):
    """χ² of draws whose law is a part of another, zero at some states."""
    there = wanted > 0
    chi_squared(np.asarray(STATES)[there], drawn, wanted[there])


def check_maximal(couple, pair, key):
    """Fail unless both draws have their laws, and those that differ the two remainders."""
    p, q = law(pair[0]), law(pair[1])
    x, y = jax.jit(jax.vmap(lambda k: couple(*pair, k)))(jax.random.split(key, DRAWS))
    chi_squared(STATES, x, p)
    chi_squared(STATES, y, q)
    differ = np.asarray((x != y).any(1))
    assert_mean(differ.reshape(128, -1).mean(1), np.abs(p - q).sum() / 2, "how often they differ")
    check_remainder(np.asarray(x)[differ], np.maximum(p - q, 0))
    check_remainder(np.asarray(y)[differ], np.maximum(q - p, 0))


@pytest.mark.parametrize("pair", [FAR, NEAR], ids=["far", "near"])
def test_a_maximal_coupling_has_both_laws_and_agrees_as_often_as_can_be(pair, key):
    check_maximal(maximal_bits, pair, key)


def always_the_same(p, q, key):
    """y = x whatever q says."""
    x, _ = shared_bits(p, q, key)
    return x, x


def whole_law_for_the_remainder(p, q, key):
    """y anew from all of q where x is not kept."""
    accept_key, x_key, y_key = jax.random.split(key, 3)
    x, y = shared_bits(p, p, x_key)[0], shared_bits(q, q, y_key)[0]
    ratio = jnp.sum(coupling._log_prob(q, x) - coupling._log_prob(p, x))
    return x, jnp.where(jnp.log(jax.random.uniform(accept_key)) <= ratio, x, y)


@pytest.mark.parametrize("mutant", [always_the_same, whole_law_for_the_remainder, shared_bits])
def test_other_couplings_are_rejected(mutant, key):
    with pytest.raises(AssertionError):
        check_maximal(mutant, FAR, key)


def test_a_cap_on_tries_is_rejected(key, monkeypatch):
    # The reference code keeps its tenth draw whatever it is; here the first.
    propose = coupling._propose
    monkeypatch.setattr(coupling, "_propose", lambda *args: (propose(*args)[0], jnp.array(True)))
    with pytest.raises(AssertionError, match="χ²"):
        check_maximal(lambda p, q, k: maximal_bits(p, q, k), FAR, key)


def test_a_remainder_is_accepted_at_a_rate_that_does_not_fall_with_it(key):
    # TV/Σδ, where a proposal from q would be accepted at the rate TV.
    for pair in (FAR, NEAR):
        p, q = (np.asarray(jax.nn.sigmoid(a), np.float64) for a in pair)
        rate = np.abs(law(pair[0]) - law(pair[1])).sum() / 2 / np.abs(p - q).sum()
        delta = coupling._log_differences(*pair)
        np.testing.assert_allclose(jnp.exp(delta), np.abs(p - q), rtol=1e-4)

        def accepted(k, pair=pair, delta=delta):
            a, b, c = jax.random.split(k, 3)
            i = jax.random.categorical(a, delta)
            return coupling._propose(*pair, delta, i, jax.random.uniform(b, (3,)), jax.random.uniform(c))[1]

        good = jax.jit(jax.vmap(accepted))(jax.random.split(key, DRAWS))
        assert_mean(good.reshape(128, -1).mean(1), rate, "acceptance")
        assert rate > 1 / 3


def test_shared_bits_differ_as_little_as_each_must(key):
    p, q = (np.asarray(jax.nn.sigmoid(a)) for a in FAR)
    x, y = jax.vmap(lambda k: shared_bits(*FAR, k))(jax.random.split(key, DRAWS))
    chi_squared(STATES, x, law(FAR[0]))
    chi_squared(STATES, y, law(FAR[1]))
    assert_mean((x != y).reshape(128, -1, 3).mean(1), np.abs(p - q), "how often each bit differs")


def test_extremes_are_no_trouble(key):
    # Log odds of ±200 and ones that differ in the last digit: no NaN, and the loop ends.
    p = jnp.array([200.0, -200.0, 0.1, -90.0])
    keys, draw = jax.random.split(key, 1000), jax.jit(jax.vmap(maximal_bits, (None, None, 0)))
    for q in (-p, p, p.at[2].set(jnp.nextafter(jnp.float32(0.1), jnp.float32(1)))):
        x, y = draw(p, q, keys)
        assert set(np.unique(x)) <= {0.0, 1.0}
        np.testing.assert_array_equal(x[:, :2], jnp.broadcast_to(p[:2] > 0, (1000, 2)))
        np.testing.assert_array_equal(y[:, :2], jnp.broadcast_to(q[:2] > 0, (1000, 2)))
    x, y = draw(p.at[0].set(jnp.nan), p, keys)  # a broken model must not hang its program
    np.testing.assert_array_equal(x, y)


# The pair of chains.

RBM = random_parameters(BernoulliRBM((2, 2), 3, key=jax.random.key(0)), scale=0.7)
X, Y = jnp.ones((2, 2)), jnp.array([[0.0, 1.0], [0.0, 0.0]])


def check_pair(sampler, key):
    """Fail unless each chain, from a fixed pair, has the law of block Gibbs after two steps."""
    start = jax.tree.map(lambda a: jnp.broadcast_to(a, (PAIRS, 2, 2)), (X, Y))
    x, y = run(sampler, RBM, start, key=key, steps=2).x
    K = np.asarray(transitions(RBM), np.float64)
    states = all_bits(4)
    for first, ends in ((X, x), (Y, y)):
        row = int(first.ravel() @ 2.0 ** np.arange(4)[::-1])
        chi_squared(states, ends.reshape(-1, 4), (K @ K)[row])
    return x, y


def test_each_chain_of_a_pair_is_block_gibbs(key):
    x, y = check_pair(CoupledGibbs(), key)
    together = np.asarray((x == y).all((1, 2)))
    alone = run(BlockGibbs(), RBM, y, key=jax.random.fold_in(key, 1), steps=1).x
    assert together.mean() > 0.6 > 0.4 > np.asarray((x == alone).all((1, 2))).mean()


class Attracted(CoupledGibbs):
    """Meets sooner, by letting y follow x now and then."""

    def step(self, model, state, key, i):
        (x, y), info = super().step(model, state, key, i)
        return (x, jnp.where(jax.random.bernoulli(key, 0.25), x, y)), info


class SameHidden(CoupledGibbs):
    """One hidden layer, that of x, for both."""

    def step(self, model, state, key, i):
        return super().step(model, (state[0], state[0]), key, i)


@pytest.mark.parametrize("mutant", [Attracted, SameHidden])
def test_pairs_that_are_not_two_chains_are_rejected(mutant, key):
    with pytest.raises(AssertionError, match="χ²"):
        check_pair(mutant(), key)


def test_chains_stay_together(key):
    start = jnp.broadcast_to(X, (500, 2, 2)), jnp.broadcast_to(Y, (500, 2, 2))
    same = lambda model, pair, i: jnp.all(pair[0] == pair[1])  # noqa: E731
    seen = run(CoupledGibbs(), RBM, start, key=key, steps=40, observers={"same": same}, every=1)
    same = seen.observed["same"]
    assert not same[0].any()
    assert same[-1].all()
    assert all((later >= now).all() for now, later in itertools.pairwise(same))
    np.testing.assert_allclose(seen.info["met"], same[1:].mean(0), rtol=1e-5)


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match=r"model must be a BernoulliRBM, or one.*; got Gaussian\."):
        CoupledGibbs().init(ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), (X, Y), key)
    with pytest.raises(ex.InputError, match=r"x must be a pair \(x, y\); got "):
        CoupledGibbs().init(RBM, X, key)
