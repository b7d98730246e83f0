"""Mean-field contrastive divergence: what it is the gradient of, and how biased."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import energax as ex
from energax.energies import BernoulliRBM, all_bits
from energax.objectives import (
    Batch,
    Biased,
    ExactMaximumLikelihood,
    MeanFieldContrastiveDivergence,
)

from ..energies.states import random_parameters
from .machines import bernoulli, contrastive_gradient, gradient

RBM = random_parameters(BernoulliRBM((4,), 3, key=jax.random.key(0)), scale=1.2)
ROWS = all_bits(4)[jnp.array([1, 3, 3, 7, 12, 14, 15, 15])]


def mean_field_rule(model, x, steps):
    """The rule of the paper as it is printed: x⁰τ⁰ᵀ − xᵏτᵏᵀ and its like, downhill."""
    W, b, c = model.weights, model.visible_bias, model.hidden_bias
    sigmoid = lambda a: 1 / (1 + jnp.exp(-a))  # noqa: E731
    v, tau = x, sigmoid(c + x @ W)
    start = v, tau
    for _ in range(steps):
        v = sigmoid(b + tau @ W.T)
        tau = sigmoid(c + v @ W)
    n = len(x)
    parts = (v.T @ tau - start[0].T @ start[1]) / n, (v - start[0]).mean(0), (tau - start[1]).mean(0)
    return jnp.concatenate([a.ravel() for a in parts])


def check_rule(objective, key):
    """Fail unless the gradient is the paper's rule."""
    np.testing.assert_allclose(
        gradient(objective, RBM, ROWS, key), mean_field_rule(RBM, ROWS, objective.steps), atol=1e-5
    )


@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_is_the_papers_rule(steps, key):
    check_rule(MeanFieldContrastiveDivergence(steps), key)


class FlowsBack(MeanFieldContrastiveDivergence):
    """A derivative through xᵏ: that of the difference itself."""

    def loss(self, model, nuisance, state, batch, key):
        means, entropies = jax.vmap(lambda x: self._settle(model, x))(batch.x)
        energies = jax.vmap(model)(batch.x) - jax.vmap(model)(means)
        return jnp.mean(energies + entropies), {}


class Rounded(MeanFieldContrastiveDivergence):
    """xᵏ rounded to bits."""

    def _settle(self, model, x):
        x, entropy = super()._settle(model, x)
        return jnp.round(x), entropy


class StaleHidden(MeanFieldContrastiveDivergence):
    """E(xᵏ, τᵏ⁻¹) where E(xᵏ, τᵏ) should be."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x):
            means, _ = jax.lax.stop_gradient(self._settle(model, x))
            tau = jax.lax.stop_gradient(jax.nn.sigmoid(model.hidden_logits(x)))
            return model.joint(x, tau) - model.joint(means, tau)

        return jnp.mean(jax.vmap(one)(batch.x)), {}


@pytest.mark.parametrize("mutant", [FlowsBack, Rounded, StaleHidden])
def test_mutants_are_rejected(mutant, key):
    with pytest.raises(AssertionError):
        check_rule(mutant(1), key)


def test_the_loss_is_what_sweeps_lower_the_free_energy_by(key):
    # F(v, τ) = Σ_s Q(s) (E(s) + log Q(s)) over all 2⁷ states of a law Q of independent bits.
    both = all_bits(7)
    energies = jax.vmap(lambda s: RBM.joint(s[:4], s[4:]))(both)

    def free_energy(v, tau):
        logits = jax.scipy.special.logit(jnp.concatenate([v, tau]))
        q = jax.vmap(lambda s: bernoulli(logits, s))(both)
        return jnp.sum(q * energies) + jnp.sum(jax.scipy.special.xlogy(q, q))

    def after(x, steps):
        for _ in range(steps):
            x = jax.nn.sigmoid(RBM.visible_logits(jax.nn.sigmoid(RBM.hidden_logits(x))))
        return free_energy(x, jax.nn.sigmoid(RBM.hidden_logits(x)))

    falls = []
    for steps in (1, 2, 5):
        wanted = np.mean([after(x, 0) - after(x, steps) for x in ROWS])
        value, _ = MeanFieldContrastiveDivergence(steps).loss(RBM, None, None, Batch(ROWS), key)
        np.testing.assert_allclose(value, wanted, rtol=1e-4)
        falls.append(wanted)
    assert 0 < falls[0] < falls[1] < falls[2]
    assert after(ROWS[0], 5) > -RBM.log_normalizer()


def biases(s):
    """Each gradient less the enumerated likelihood's, with weights s·W, in double precision."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), RBM)
        model = eqx.tree_at(lambda m: m.weights, double, s * double.weights)
        x = jnp.asarray(np.asarray(ROWS), jnp.float64)
        key = jax.random.key(0)
        exact = gradient(ExactMaximumLikelihood(), model, x, key)
        _, parts = ravel_pytree(model)
        found = {
            "mean field": gradient(MeanFieldContrastiveDivergence(1), model, x, key),
            "mean field, 10 sweeps": gradient(MeanFieldContrastiveDivergence(10), model, x, key),
            "CD-1": contrastive_gradient(model, x, 1),
            "CD-10": contrastive_gradient(model, x, 10),
        }
        return {name: jax.tree.map(np.asarray, parts(g - exact)) for name, g in found.items()}


def test_the_bias_is_there_and_vanishes_at_the_declared_order():
    target = MeanFieldContrastiveDivergence().target
    assert isinstance(target, Biased)
    large, small, half = biases(1.0), biases(0.002), biases(0.001)
    size = lambda a: float(np.abs(ravel_pytree(a)[0]).max())  # noqa: E731
    order = lambda name, part: np.log2(  # noqa: E731
        size(getattr(small[name], part)) / size(getattr(half[name], part))
    )
    # At weights of size one all are to be seen (the gradient is of size 0.7); more sweeps of draws
    # cure it, of means they do not.
    assert min(size(large[name]) for name in ("mean field", "mean field, 10 sweeps", "CD-1")) > 0.02
    assert size(large["CD-10"]) < 1e-3 * size(large["mean field, 10 sweeps"])
    slope = lambda a: 1 / (2 + np.exp(a) + np.exp(-a))  # noqa: E731
    b, c = slope(np.asarray(RBM.visible_bias)), slope(np.asarray(RBM.hidden_bias))
    lost = -0.001 * b[:, None] * np.asarray(RBM.weights) * c
    for name in ("mean field", "mean field, 10 sweeps"):
        assert abs(order(name, "weights") - target.order) < 0.05
        assert abs(order(name, "visible_bias") - 2) < 0.1
        assert abs(order(name, "hidden_bias") - 2) < 0.1
        np.testing.assert_allclose(half[name].weights, lost, atol=0.05 * np.abs(lost).max())
    for part in ("weights", "visible_bias"):
        assert abs(order("CD-1", part) - 2) < 0.1
    assert abs(order("CD-1", "hidden_bias") - 3) < 0.2


def test_fit_learns_what_independent_bits_cannot(key):
    # Rows of two patterns and their noise. The start is the best law of independent bits.
    patterns = jnp.array([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    which = jax.random.bernoulli(key, 0.5, (500,)).astype(int)
    flips = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.05, (500, 6))
    x = jnp.abs(patterns[which] - flips)
    start = BernoulliRBM.from_data(x, 4, scale=0.1, key=key)
    objective = MeanFieldContrastiveDivergence(2)
    fit = ex.fit(start, objective, x, key=key, steps=400, learning_rate=0.02, ema=0.9, progress=False)
    likelihood = lambda m: -float(ExactMaximumLikelihood().loss(m, None, None, Batch(x), key)[0])  # noqa: E731
    assert likelihood(fit.energy) > likelihood(start) + 0.5
    assert all(row["loss"] >= 0 for row in fit.history)


def test_mistakes_are_named(key):
    objective = MeanFieldContrastiveDivergence()
    with pytest.raises(ex.InputError, match=r"model must be a BernoulliRBM, or one.*; got Gaussian\."):
        objective.init(ex.energies.Gaussian(jnp.zeros(4), jnp.eye(4)), Batch(ROWS), key, 4)
    with pytest.raises(ex.InputError, match=r"x must be zeros and ones; .*GaussianBernoulliRBM.*0.5"):
        objective.init(RBM, Batch(ROWS / 2), key, 4)
    with pytest.raises(ex.InputError, match="steps must be a whole number of at least 1; got 0"):
        MeanFieldContrastiveDivergence(0)
