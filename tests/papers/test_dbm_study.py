"""The study of a deep machine runs whole, in small; what it measures is what it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.energies import BernoulliRBM, DeepBoltzmannMachine
from energax.papers import dbm_mnist
from energax.training import greedy

from .studied import studied

KEY = jax.random.key(0)


@pytest.mark.study
def test_the_study_of_a_deep_machine(tmp_path):
    facts = studied("dbm-mnist", tmp_path)
    small = facts["small"]
    assert tuple(small) == dbm_mnist.SIZES["smoke"].cases
    for found in small.values():
        assert -30 < found["log p"][0] < -15
        assert found["bound"][0] <= found["log p"][0] + 1e-3
    assert set(facts["large"]) == {"held out", *small}
    # Few enough units for log Z to be exact: the bound then lies below what independent bits could reach.
    for found in facts["bounds"].values():
        assert found["least"] == pytest.approx(found["most"], abs=1e-3)
        assert -40 < found["most"] < -15
    assert "bound on log p of held-out digits" in facts["verdict"]


def test_what_is_measured_is_exact_and_the_bound_is_below():
    model = DeepBoltzmannMachine((4,), (3, 2), scale=2.0, key=KEY)
    x = jax.random.bernoulli(KEY, 0.5, (7, 4)).astype(jnp.float32)
    held_out, seen, bound = dbm_mnist._measured(model, x, x[:3])
    each = jnp.stack([model.log_prob_visible(row) for row in x])
    np.testing.assert_allclose([held_out, seen], [each.mean(), each[:3].mean()], rtol=1e-5)
    assert float(bound) < float(held_out) - 1e-3


def test_the_bound_of_a_large_machine_is_that_of_a_small_one_but_for_log_z():
    x = jax.random.bernoulli(KEY, 0.5, (7, 4)).astype(jnp.float32)
    deep = DeepBoltzmannMachine((4,), (3, 2), scale=2.0, key=KEY)
    _, _, bound = dbm_mnist._measured(deep, x, x[:3])
    found = dbm_mnist._unnormalised(deep, x) - deep.log_normalizer()
    assert float(found) == pytest.approx(float(bound), abs=1e-4)
    rbm = BernoulliRBM((4,), 3, scale=2.0, key=KEY)
    exact = float(jnp.mean(jax.vmap(rbm.log_prob)(x)))
    found = dbm_mnist._unnormalised(rbm, x) - rbm.log_normalizer()
    assert float(found) == pytest.approx(exact, abs=1e-4)


def test_what_is_kept_of_x_is_a_cross_entropy():
    rbm = BernoulliRBM((4,), 2, scale=1.0, key=KEY)
    x = jnp.array([1.0, 0.0, 1.0, 1.0])
    means = jax.nn.sigmoid(rbm.hidden_logits(x))
    p = jax.nn.sigmoid(rbm.visible_logits(means))
    expected = -jnp.sum(x * jnp.log(p) + (1 - x) * jnp.log(1 - p))
    assert float(dbm_mnist._lost(rbm, x)) == pytest.approx(float(expected), rel=1e-5)
    deep = DeepBoltzmannMachine.from_rbms([rbm])
    assert float(dbm_mnist._lost(deep, x)) == pytest.approx(float(expected), rel=1e-5)


def test_a_stack_learns_what_independent_bits_cannot():
    patterns = jnp.array([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    x = patterns[jax.random.bernoulli(KEY, 0.5, (500,)).astype(int)]
    model = greedy(x, (3, 2), steps=200, rate=0.05, key=KEY)
    assert [b.size for b in model.biases] == [6, 3, 2]
    held_out, _, _ = dbm_mnist._measured(model, x[:50], x[:1])
    assert float(held_out) > 6 * np.log(0.5) / 2
