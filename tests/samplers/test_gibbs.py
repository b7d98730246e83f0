"""Block Gibbs leaves the law of every state as it was, moves, and its mutants do not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import BernoulliRBM, DeepBoltzmannMachine, GaussianBernoulliRBM, Ising, IsingGraph
from energax.energies.units import draw_bits, draw_spins
from energax.samplers import BlockGibbs, run
from energax.testing import assert_mean
from tests.energies.states import bits, chi_squared, random_grid, random_parameters, spins

CHAINS = 40_000
SWEEPS = 3
KEY = jax.random.key(0)


@eqx.filter_jit
def draw(model, key, n):
    return model.sample(key, n)


def rows(events):
    """Events as rows of numbers, all layers beside one another."""
    return np.concatenate([np.asarray(a).reshape(len(a), -1) for a in jax.tree.leaves(events)], axis=1)


def check_sweeps(model, states, log_weights, key, start=None):
    """Fail unless sweeps keep the probabilities of all states, from exact draws, and move.

    Parameters
    ----------
    states
        All states as rows; `log_weights` their −E up to a constant.
    start
        Exact draws; the model's own if None.
    """
    start_key, run_key = jax.random.split(key)
    start = draw(model, start_key, CHAINS) if start is None else start
    end = run(BlockGibbs(SWEEPS), model, start, key=run_key).x
    before, after = rows(start), rows(end)
    log_weights = np.asarray(log_weights, np.float64)
    chi_squared(states, after, np.exp(log_weights - log_weights.max()))
    moved = (before != after).any(axis=1).mean()
    assert moved > 0.5, f"only {moved:.2g} of the chains moved"


def with_parameters(mutant, model):
    """A mutant with the parameters of the model it was made from."""
    return jax.tree.unflatten(jax.tree.structure(mutant), jax.tree.leaves(model))


# Bernoulli.

RBM = random_parameters(BernoulliRBM((2, 2), 3, key=KEY))


def visible_law(machine):
    return -np.asarray(jax.vmap(machine)(bits(4).reshape(-1, 2, 2)))


def test_a_sweep_of_bits_keeps_the_law_of_every_state(key):
    check_sweeps(RBM, bits(4), visible_law(RBM), key)
    hot = RBM.tempered(2.0)
    check_sweeps(hot, bits(4), visible_law(hot), key)


class HalfLogits(BernoulliRBM):
    """h drawn with σ(½·)."""

    def sample_hidden(self, x, key):
        return draw_bits(0.5 * self.hidden_logits(x), key)


class SameKey(BernoulliRBM):
    """One key for both layers: the two draws share their uniform numbers."""

    def sweep(self, x, key):
        return self.sample_visible(self.sample_hidden(x, key), key)


class HiddenMeans(BernoulliRBM):
    """x drawn from the mean of h, not from a draw: a mean-field step."""

    def sweep(self, x, key):
        return self.sample_visible(jax.nn.sigmoid(self.hidden_logits(x)), key)


class StaleHidden(BernoulliRBM):
    """x drawn from hidden units of another x, the all-zero one."""

    def sweep(self, x, key):
        return super().sweep(jnp.zeros_like(x), key)


class Frozen(BernoulliRBM):
    """Draws nothing: every law is invariant."""

    def sweep(self, x, key):
        return x


@pytest.mark.parametrize("mutant", [HalfLogits, SameKey, HiddenMeans, StaleHidden, Frozen])
def test_broken_sweeps_of_bits_are_caught(mutant, key):
    broken = with_parameters(mutant((2, 2), 3, key=KEY), RBM)
    with pytest.raises(AssertionError, match=r"moved" if mutant is Frozen else "χ²"):
        check_sweeps(broken, bits(4), visible_law(RBM), key, draw(RBM, key, CHAINS))


# Gaussian–Bernoulli.

GAUSSIAN = random_parameters(GaussianBernoulliRBM((2,), 3, key=KEY), scale=1.5)


def by_group(x):
    functions = jnp.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 0] ** 3], 1)
    return np.asarray(functions.reshape(64, -1, 6).mean(1))


def exact_moments(machine):
    """The same six means from the mixture of 2³ Gaussians, in double precision."""
    h = spins(3).astype(np.float64)
    v = 1.0 if machine.variance is None else float(machine.variance)
    B, b, c = (
        np.asarray(a, np.float64) for a in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    mean = v * (0.5 * h @ B.T + b)
    w = np.exp((mean**2).sum(1) / (2 * v) + h @ c)
    w /= w.sum()
    first, second = mean[:, 0], mean[:, 1]
    each = [first, second, first**2 + v, second**2 + v, first * second, first**3 + 3 * v * first]
    return np.array([w @ e for e in each])


def check_gaussian(machine, truth, key):
    start = draw(truth, key, 64 * 2048)
    end = run(BlockGibbs(), machine, start, key=key, steps=SWEEPS).x
    assert_mean(by_group(end), exact_moments(truth), "means under block Gibbs")
    assert float(jnp.mean((end - start) ** 2)) > 0.1


def test_a_sweep_of_reals_keeps_the_mixture(key):
    check_gaussian(GAUSSIAN, GAUSSIAN, key)
    hot = GAUSSIAN.tempered(2.0)
    assert_mean(by_group(draw(hot, key, 64 * 2048)), exact_moments(hot), "means of exact draws")
    check_gaussian(hot, hot, key)


class HalfSpinLogits(GaussianBernoulliRBM):
    """h drawn with σ(½Bᵀx + c)."""

    def sample_hidden(self, x, key):
        return draw_spins(0.5 * self.hidden_logits(x), key)


class WholeMean(GaussianBernoulliRBM):
    """x | h around Bh + b: the ½ is missing."""

    def visible_mean(self, h):
        return self.weights @ h + self.visible_bias


class NoNoise(GaussianBernoulliRBM):
    """x | h without its noise."""

    def sample_visible(self, h, key):
        return self.visible_mean(h)


@pytest.mark.parametrize("mutant", [HalfSpinLogits, WholeMean, NoNoise])
def test_broken_sweeps_of_reals_are_caught(mutant, key):
    with pytest.raises(AssertionError, match="means under block Gibbs"):
        check_gaussian(with_parameters(mutant((2,), 3, key=KEY), GAUSSIAN), GAUSSIAN, key)


# Ising.

GRID = random_grid(2, 3).tempered(2.5)
GRAPH = random_parameters(IsingGraph(np.zeros((5, 5)), np.zeros(5)), scale=0.3)


def spin_law(model):
    states = spins(model.local_field(jnp.ones(model.event_shape)).size)
    return states, -np.asarray(jax.vmap(model)(states.reshape(-1, *model.event_shape)))


@pytest.mark.parametrize("model", [GRID, GRAPH], ids=["grid", "graph"])
def test_a_sweep_of_spins_keeps_the_law_of_every_state(model, key):
    check_sweeps(model, *spin_law(model), key)


class HalfField(Ising):
    """σ(L) where σ(2L) should be: spins taken for bits."""

    def local_field(self, x):
        return 0.5 * super().local_field(x)


class BothColours(Ising):
    """All spins at once, each given the old others."""

    def sweep(self, x, key):
        return draw_spins(2 * self.local_field(x), key)


class StaleGraph(IsingGraph):
    """All spins at once, each given the old others."""

    def sweep(self, x, key):
        return draw_spins(2 * self.local_field(x), key)


class ForgetsTheField(IsingGraph):
    """No b in the local field."""

    def sweep(self, x, key):
        return eqx.tree_at(lambda m: m.field, IsingGraph(self.matrix), jnp.zeros(5)).sweep(x, key)


@pytest.mark.parametrize("mutant", [HalfField, BothColours, StaleGraph, ForgetsTheField])
def test_broken_sweeps_of_spins_are_caught(mutant, key):
    model = GRID if issubclass(mutant, Ising) else GRAPH
    made = mutant((2, 3)) if model is GRID else mutant(np.zeros((5, 5)))
    broken = with_parameters(made, model)
    with pytest.raises(AssertionError, match="χ²"):
        check_sweeps(broken, *spin_law(model), key, draw(model, key, CHAINS))


# Deep.

DEEP = random_parameters(DeepBoltzmannMachine((2, 1), (2, 3), key=KEY), scale=0.7).tempered(1.5)


def layer_law(machine):
    states = bits(7)
    layers = (states[:, :2].reshape(-1, 2, 1), states[:, 2:4], states[:, 4:])
    return states, -np.asarray(jax.vmap(machine)(layers))


def test_a_sweep_of_layers_keeps_the_law_of_every_state(key):
    check_sweeps(DEEP, *layer_law(DEEP), key)


class StaleEven(DeepBoltzmannMachine):
    """The odd layers given the even ones as they were before the sweep."""

    def sweep(self, x, key):
        even_key, odd_key = jax.random.split(key)
        s = self._layers(x)
        even, odd = self._half_update(s, 0, even_key), self._half_update(s, 1, odd_key)
        return self._event([a if l % 2 == 0 else b for l, (a, b) in enumerate(zip(even, odd, strict=True))])


class NoTopDown(DeepBoltzmannMachine):
    """Hidden layers driven from below alone."""

    def _input(self, s, l):
        return super()._input(s, l) if l in (0, 2) else self.biases[1] + s[0] @ self.weights[0]


class Doubled(DeepBoltzmannMachine):
    """Pretraining's doubled input, kept in the sweep."""

    def _input(self, s, l):
        return self._upwards(s[0], 1) if l == 1 else super()._input(s, l)


@pytest.mark.parametrize("mutant", [StaleEven, NoTopDown, Doubled])
def test_broken_sweeps_of_layers_are_caught(mutant, key):
    broken = with_parameters(mutant((2, 1), (2, 3), key=KEY), DEEP)
    with pytest.raises(AssertionError, match="χ²"):
        check_sweeps(broken, *layer_law(DEEP), key, draw(DEEP, key, CHAINS))


def test_hidden_layers_are_drawn_upwards_from_a_visible_one(key):
    x = jnp.broadcast_to(jnp.array([[0.9], [0.2]]), (64 * 128, 2, 1))
    state = run(BlockGibbs(), DEEP, x, key=key, steps=0).x
    np.testing.assert_array_equal(state[0], jnp.round(x))
    W1, W2 = DEEP.weights
    first = jax.nn.sigmoid(DEEP.biases[1] + 2 * W1[0])
    assert_mean(state[1].reshape(64, 128, -1).mean(1), first, "h¹ given x, doubled")
    second = jax.nn.sigmoid(DEEP.biases[2] + state[1] @ W2)
    assert_mean((state[2] - second).reshape(64, 128, -1).mean(1), 0, "h² given h¹")
    # Layers that are given are kept, as their nearest bits.
    whole = BlockGibbs().init(DEEP, (x[0], jnp.array([0.4, 0.6]), jnp.ones(3)), key)
    np.testing.assert_array_equal(whole[1], [0, 1])


# What a chain starts from, and what is refused.


def test_a_chain_starts_from_a_state(key):
    x = jnp.array([[0.2, 0.7], [-3.0, 0.51]])
    np.testing.assert_array_equal(BlockGibbs().init(RBM, x, key), [[0, 1], [0, 1]])
    np.testing.assert_array_equal(BlockGibbs().init(GAUSSIAN, x[0], key), x[0])
    np.testing.assert_array_equal(BlockGibbs().init(Ising((2, 2)), x, key), [[1, 1], [-1, 1]])
    np.testing.assert_array_equal(BlockGibbs().init(IsingGraph(np.zeros((2, 2))), x[1], key), [-1, 1])


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match=r"model must be one that knows its blocks: .*; got Gaussian\."):
        run(BlockGibbs(), ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), jnp.zeros((3, 2)), key=key, steps=1)
    with pytest.raises(ex.InputError, match="sweeps must be a whole number of at least 1"):
        BlockGibbs(0)
    with pytest.raises(ex.InputError, match=r"one event of shape \(2, 2\), 4 units; got shape \(5,\)"):
        run(BlockGibbs(), RBM, jnp.zeros((3, 5)), key=key, steps=1)
