"""Deep machines are led to the best variational bound, whose gradient is biased at the declared order."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import energax as ex
from energax.energies import DeepBoltzmannMachine
from energax.objectives import Batch, Biased, Chains, DeepBoltzmannLikelihood
from energax.testing import StatisticalError, assert_mean

from ..energies.states import random_parameters
from .machines import gradient

KEY = jax.random.key(0)
DEEP = random_parameters(DeepBoltzmannMachine((4,), (3, 2), key=KEY), scale=0.9)
SHALLOW = random_parameters(DeepBoltzmannMachine((4,), (3,), key=KEY), scale=0.9)
ROWS = jnp.array([[1.0, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 1]])
GROUPS, SETTLE = 400, 10


def flat_gradient(f, model):
    return ravel_pytree(eqx.filter_grad(f)(model))[0]


def bound_gradient(model, x):
    """The gradient of −mean(H(μ) − E(x, μ) − log Z), all of it exact."""
    bound = lambda m: jax.vmap(lambda x: m.variational_bound(x, m.log_normalizer()))(x).mean()  # noqa: E731
    return -flat_gradient(bound, model)


def check_gradient(objective, model, key):
    """Fail unless, with chains that have settled, the mean gradient is that of the bound."""

    @jax.jit
    def group(k):
        first, later = jax.random.split(k)
        _, state = objective.init(model, Batch(ROWS), first, len(ROWS))
        renew = lambda s, k: (objective.refresh(model, None, s, Batch(ROWS[None]), k)[0], None)  # noqa: E731
        state, _ = jax.lax.scan(renew, state, jax.random.split(later, SETTLE))
        return gradient(objective, model, ROWS, k, state)

    gradients = jax.lax.map(group, jax.random.split(key, GROUPS))
    assert_mean(gradients, bound_gradient(model, ROWS), "the gradient of the bound", allowance=1e-6)


@pytest.mark.parametrize("model", [DEEP, SHALLOW], ids=["deep", "shallow"])
def test_it_follows_the_bound(model, key):
    objective = DeepBoltzmannLikelihood(steps=3, chains=32)
    assert isinstance(objective.target, Biased)
    check_gradient(objective, model, key)


class Uphill(DeepBoltzmannLikelihood):
    """E(chains) − E(data)."""

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return -value, metrics


class FlowsBack(DeepBoltzmannLikelihood):
    """A derivative through the means, whose entropy is not there to balance it."""

    def loss(self, model, nuisance, state, batch, key):
        means = jax.vmap(lambda x: model.mean_field(x, iterations=self.iterations))(batch.x)
        return jax.vmap(model)((batch.x, *means)).mean() - jax.vmap(model)(state.value).mean(), {}


class OnePassUp(DeepBoltzmannLikelihood):
    """The means after the pass upwards with doubled inputs, and no round."""

    def __init__(self, steps, chains):
        super().__init__(steps, chains)
        self.iterations = 0


class ForgetsItsChains(DeepBoltzmannLikelihood):
    """Chains start at the data in every step, and move once."""

    def refresh(self, model, nuisance, state, batches, key):
        rows = batches.x[-1][jnp.arange(self.chains) % batches.x.shape[1]]
        starts = jax.vmap(model.start)(rows, jax.random.split(key, self.chains))
        return Chains(jax.vmap(model.sweep)(starts, jax.random.split(key, self.chains))), {}


class HiddenMeansInChains(DeepBoltzmannLikelihood):
    """The negative phase at means of the hidden layers given the chains' visible ones."""

    def loss(self, model, nuisance, state, batch, key):
        frozen = jax.lax.stop_gradient(model)
        visible = state.value[0]
        means = jax.vmap(frozen.mean_field)(visible)
        return super().loss(model, nuisance, Chains((visible, *means)), batch, key)


@pytest.mark.parametrize("mutant", [Uphill, FlowsBack, OnePassUp, ForgetsItsChains, HiddenMeansInChains])
def test_mutants_are_rejected(mutant, key):
    with pytest.raises(StatisticalError):
        check_gradient(mutant(3, 32), DEEP, key)


def positive_biases(model, s):
    """The positive phase less its exact value, with weights s·W between hidden layers, in double."""
    with jax.enable_x64(True):
        double = jax.tree.map(lambda a: jnp.asarray(np.asarray(a), jnp.float64), model)
        scaled = tuple(w * (s if l else 1.0) for l, w in enumerate(double.weights))
        machine = eqx.tree_at(lambda m: m.weights, double, scaled)
        x = jnp.asarray(np.asarray(ROWS), jnp.float64)
        # Chains at one state that is not moved: its part of the gradient is known and taken off.
        chains = jax.tree.map(lambda a: a[None], machine.start(x[0], jax.random.key(0)))
        objective = DeepBoltzmannLikelihood(iterations=60)
        found = gradient(objective, machine, x, KEY, Chains(chains))
        negative = flat_gradient(lambda m: jax.vmap(m)(chains).mean(), machine)
        # ∇ of the free energy −log Σ_h exp(−E(x, h)) is the exact posterior mean of ∇E.
        free = lambda m: -jax.vmap(lambda x: m.log_prob_visible(x) + m.log_normalizer())(x).mean()  # noqa: E731
        _, parts = ravel_pytree(machine)
        return jax.tree.map(np.asarray, parts(found + negative - flat_gradient(free, machine)))


def test_the_posterior_is_biased_at_the_declared_order():
    small, half = positive_biases(DEEP, 0.002), positive_biases(DEEP, 0.001)
    size = lambda a: np.abs(np.asarray(a)).max()  # noqa: E731
    order = lambda where: np.log2(size(where(small)) / size(where(half)))  # noqa: E731
    assert abs(order(lambda m: m.weights[1]) - DeepBoltzmannLikelihood().target.order) < 0.05
    for where in (lambda m: m.weights[0], lambda m: m.biases[1], lambda m: m.biases[2]):
        assert abs(order(where) - 2) < 0.1
    slope = lambda a: np.asarray(jax.nn.sigmoid(a) * jax.nn.sigmoid(-a))  # noqa: E731
    below, above = slope(DEEP.biases[1] + ROWS @ DEEP.weights[0]).mean(0), slope(DEEP.biases[2])
    lost = 0.001 * below[:, None] * np.asarray(DEEP.weights[1]) * above
    np.testing.assert_allclose(half.weights[1], lost, atol=0.02 * np.abs(lost).max())
    # To be seen at weights of size one; none with one hidden layer.
    assert size(positive_biases(DEEP, 1.0).weights[1]) > 0.01
    np.testing.assert_allclose(ravel_pytree(positive_biases(SHALLOW, 1.0))[0], 0.0, atol=1e-12)


def test_chains_are_whole_events_that_go_on(key):
    objective = DeepBoltzmannLikelihood(steps=2, chains=16)
    _, state = objective.init(DEEP, Batch(ROWS), key, 4)
    assert [a.shape for a in state.value] == [(16, 4), (16, 3), (16, 2)]
    moved, report = objective.refresh(DEEP, None, state, Batch(ROWS[None]), key)
    ran = ex.samplers.run(ex.samplers.BlockGibbs(), DEEP, state.value, key=key, steps=2)
    for a, b in zip(moved.value, ran.x, strict=True):
        np.testing.assert_array_equal(a, b)
    assert float(report["chain_step"]) > 0


def test_fit_learns_what_independent_bits_cannot(key):
    patterns = jnp.array([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    which = jax.random.bernoulli(key, 0.5, (500,)).astype(int)
    flips = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.1, (500, 6))
    x = jnp.abs(patterns[which] - flips)
    start = DeepBoltzmannMachine.from_data(x, (4, 2), scale=0.1, key=key)
    objective = DeepBoltzmannLikelihood(steps=5, chains=128, iterations=10)
    fit = ex.fit(start, objective, x, key=key, steps=400, learning_rate=0.03, ema=0.95, progress=False)
    likelihood = jax.jit(lambda m: jax.vmap(m.log_prob_visible)(x[:200]).mean())
    # The start is the best law of independent bits; the rows' own is half a pattern with its flips.
    noise = 6 * (0.1 * np.log(0.1) + 0.9 * np.log(0.9))
    assert likelihood(fit.energy) > likelihood(start) + 0.5 * (np.log(0.5) + noise - likelihood(start))


def test_mistakes_are_named(key):
    objective = DeepBoltzmannLikelihood()
    rbm = ex.energies.BernoulliRBM((4,), 3, key=key)
    with pytest.raises(ex.InputError, match="model must be a DeepBoltzmannMachine; got BernoulliRBM"):
        objective.init(rbm, Batch(ROWS), key, 4)
    with pytest.raises(ex.InputError, match=r"x must be zeros and ones; .*Binarise.*0\.5"):
        objective.init(DEEP, Batch(ROWS / 2), key, 4)
    with pytest.raises(ex.InputError, match="chains must be a whole number of at least 1; got 0"):
        DeepBoltzmannLikelihood(chains=0)
