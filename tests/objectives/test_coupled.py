"""Unbiased contrastive divergence is unbiased, where CD-1 is not; cutting pairs off shows."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import energax as ex
from energax.energies import BernoulliRBM
from energax.objectives import (
    Batch,
    Biased,
    ContrastiveDivergence,
    Density,
    ExactMaximumLikelihood,
    MeanFieldContrastiveDivergence,
    UnbiasedContrastiveDivergence,
)
from energax.samplers import BlockGibbs, CoupledGibbs
from energax.testing import StatisticalError, assert_mean

from .machines import contrastive_gradient, gradient

# Two patterns, 1100 and 0011, seldom left; the rows are all of the rarer: far from equilibrium.
RBM = eqx.tree_at(
    lambda m: (m.weights, m.visible_bias, m.hidden_bias),
    BernoulliRBM((4,), 3, key=jax.random.key(0)),
    (
        jnp.array([[1.8, -1.2, 0.4], [1.5, -1.6, -0.3], [-1.7, 1.3, 0.2], [-1.3, 1.0, 0.5]]),
        jnp.array([-0.2, 0.1, 0.4, 0.1]),
        jnp.array([-0.2, 0.2, -0.1]),
    ),
)
ROWS = jnp.tile(jnp.array([1.0, 1.0, 0.0, 0.0]), (32, 1)).at[:8, 1].set(0.0)
REFRESHES = 600


def estimates(objective, key, model=RBM):
    """Independent gradients of the loss, its values, and what was reported, each after one refresh."""

    @jax.jit
    def one(k):
        _, state = objective.init(model, Batch(ROWS), k, len(ROWS))
        state, report = objective.refresh(model, None, state, Batch(ROWS[None]), k)
        value = objective.loss(model, None, state, Batch(ROWS), k)[0]
        return gradient(objective, model, ROWS, k, state), value, report

    return jax.lax.map(one, jax.random.split(key, REFRESHES))


def check_unbiased(objective, key):
    """Fail unless the mean gradient is the likelihood's, and the mean value that of the energy gap."""
    gradients, values, report = estimates(objective, key)
    assert_mean(gradients, gradient(ExactMaximumLikelihood(), RBM, ROWS, key), objective.target)
    x = ex.energies.all_bits(4)
    energies = jax.vmap(RBM)(x)
    mean = jax.nn.softmax(-energies) @ energies
    assert_mean(values, jax.vmap(RBM)(ROWS).mean() - mean, "the energy gap")
    return gradients, report


@pytest.mark.parametrize(
    "objective",
    [UnbiasedContrastiveDivergence(), UnbiasedContrastiveDivergence(least=3, chains=20)],
    ids=["as published", "later"],
)
def test_it_is_unbiased_from_chains_far_from_equilibrium(objective, key):
    assert isinstance(objective.target, Density)
    _, report = check_unbiased(objective, key)
    assert float(report["meeting_time"].mean()) > 2.1  # the sums are there
    assert float(report["longest_meeting_time"].max()) > 10


class CutOff(UnbiasedContrastiveDivergence):
    """Stops after three steps, and says nothing."""

    def __init__(self):
        super().__init__(most=3)

    @property
    def target(self):
        return Density()


class NoLag(UnbiasedContrastiveDivergence):
    """ξ is not ahead of η: the terms compare equal times."""

    def refresh(self, model, nuisance, state, batches, key):
        return as_of(model, *super().refresh(_Steps(model, 0), nuisance, state, batches, key))


class TwoAhead(UnbiasedContrastiveDivergence):
    """ξ is two steps ahead."""

    def refresh(self, model, nuisance, state, batches, key):
        return as_of(model, *super().refresh(_Steps(model, 2), nuisance, state, batches, key))


class _Steps(BernoulliRBM):
    """A machine whose own sweep, the step by which ξ gets ahead, is none or two."""

    count: int = eqx.field(static=True)

    def __init__(self, machine, count):
        self.weights, self.visible_bias, self.hidden_bias = (
            machine.weights,
            machine.visible_bias,
            machine.hidden_bias,
        )
        self.event_shape, self.count = machine.event_shape, count

    def sweep(self, x, key):
        for k in jax.random.split(key, self.count):
            x = super().sweep(x, k)
        return x


def as_of(model, state, report):
    """The estimates with their gradient as one of that model."""
    leaves = jax.tree.unflatten(jax.tree.structure(model), jax.tree.leaves(state.gradient))
    return eqx.tree_at(lambda s: s.gradient, state, leaves), report


class Negated(UnbiasedContrastiveDivergence):
    """+⟨θ, G⟩."""

    def loss(self, model, nuisance, state, batch, key):
        flipped = eqx.tree_at(lambda s: s.gradient, state, jax.tree.map(jnp.negative, state.gradient))
        return super().loss(model, nuisance, flipped, batch, key)


@pytest.mark.parametrize("mutant", [CutOff, NoLag, TwoAhead, Negated])
def test_mutants_are_rejected(mutant, key):
    assert isinstance(mutant().target, Density)
    with pytest.raises(StatisticalError):
        check_unbiased(mutant(), key)


def test_the_table_of_biases(key):
    # Largest error of a mean gradient against the enumerated one, of size 0.6. The expectations of
    # CD are enumerated, too; that of unbiased CD is a mean with its standard error.
    exact = gradient(ExactMaximumLikelihood(), RBM, ROWS, key)
    unbiased, _, _ = estimates(UnbiasedContrastiveDivergence(), key)
    error = float(jnp.abs(unbiased.mean(0) - exact).max())
    noise = float(unbiased.std(0).max()) / REFRESHES**0.5
    bias = {
        "CD-1": float(jnp.abs(contrastive_gradient(RBM, ROWS, 1) - exact).max()),
        "CD-5": float(jnp.abs(contrastive_gradient(RBM, ROWS, 5) - exact).max()),
        "mean field": float(
            jnp.abs(gradient(MeanFieldContrastiveDivergence(), RBM, ROWS, key) - exact).max()
        ),
    }
    assert bias["CD-1"] > 0.25
    assert bias["mean field"] > 0.3
    assert 0.02 < bias["CD-5"] < 0.06
    assert error < 5 * noise < bias["CD-1"] / 5
    chains = estimates(ContrastiveDivergence(BlockGibbs(), 1), key)[0]
    assert_mean(chains, contrastive_gradient(RBM, ROWS, 1), "CD-1")


@pytest.mark.parametrize("most", [1, 3])
def test_pairs_cut_off_have_the_bias_of_as_many_steps_of_cd(most, key):
    # The mean of the sum cut off telescopes to E[h(ξ)] after as many steps.
    objective = UnbiasedContrastiveDivergence(most=most)
    assert isinstance(objective.target, Biased)
    assert objective.target.order == float("inf")
    gradients, _, report = estimates(objective, key)
    assert_mean(gradients, contrastive_gradient(RBM, ROWS, most), f"CD-{most}")
    assert 0.1 < float(report["met"].mean()) < 0.98
    assert float(report["longest_meeting_time"].max()) == most + 1


def test_a_step_whose_pairs_do_not_meet_is_given_up_and_named(key):
    objective = UnbiasedContrastiveDivergence(patience=1)
    assert isinstance(objective.target, Density)
    with pytest.raises(ex.DivergenceError, match=r"chains-do-not-meet: \d+ pairs .* after 1 sweeps") as stop:
        ex.fit(RBM, objective, ROWS, key=key, steps=5, batch_size=32, progress=False)
    assert stop.value.step == 0
    np.testing.assert_array_equal(stop.value.fit.last.weights, RBM.weights)  # nothing was applied


def test_the_last_pair_decides(key):
    @jax.jit
    def once(k):
        _, report = UnbiasedContrastiveDivergence().refresh(RBM, None, None, Batch(ROWS[None]), k)
        impatient = UnbiasedContrastiveDivergence(patience=6)
        return report, *impatient.refresh(RBM, None, None, Batch(ROWS[None]), k)

    given_up = []
    for i in range(20):
        whole, short, said = once(jax.random.fold_in(key, i))
        late = float(whole["longest_meeting_time"]) > 6
        assert (float(said["unmet"]) > 0) == late == bool(np.isnan(short.energy))
        assert all(bool(np.isnan(g).all()) == late for g in jax.tree.leaves(short.gradient))
        assert float(said["longest_meeting_time"]) == (7 if late else float(whole["longest_meeting_time"]))
        given_up.append(late)
    assert 0 < sum(given_up) < 20


def test_meeting_times_of_independent_bits_are_known(key):
    # Without weights both of a pair move to one law: they meet in the first common step, or before
    # it if ξ stays where it was, with probability p(x).
    model = eqx.tree_at(lambda m: m.weights, RBM, jnp.zeros((4, 3)))
    p = jnp.exp(jax.vmap(model.log_prob)(ROWS)).mean()
    report = estimates(UnbiasedContrastiveDivergence(), key, model)[2]
    assert_mean(report["meeting_time"], 2 - p, "mean meeting time")


def test_the_sum_is_of_the_chains_that_ran(key):
    # One pair, its chains run by hand: h(ξ_k) + Σ h(ξ_t) − h(η_{t−1}), h the gradient of the energy.
    least, row = 2, ROWS[:1]
    objective = UnbiasedContrastiveDivergence(least=least)
    h = lambda x: gradient_of_energy(RBM, x)  # noqa: E731
    refresh = jax.jit(lambda k: objective.refresh(RBM, None, None, Batch(row[None]), k))
    step = jax.jit(lambda pair, k, t: CoupledGibbs().step(RBM, pair, k, t)[0])
    keys = jax.random.split(key, 300)
    times = np.asarray(jax.lax.map(lambda k: refresh(k)[1]["meeting_time"], keys))
    late = np.argsort(times)[-5:]
    assert times[late].min() > 4
    for trial in (*range(10), *late):
        k = keys[trial]
        of_chain = jax.random.fold_in(k, 0)
        pair, t, total = (RBM.sweep(row[0], jax.random.fold_in(of_chain, 1)), row[0]), 1, 0.0
        met = 1 if bool((pair[0] == pair[1]).all()) else None
        while met is None or t < least:
            t += 1
            pair = step(pair, jax.random.fold_in(of_chain, t), t)
            if t == least:
                total = h(pair[0])
            elif t > least:
                total = total + h(pair[0]) - h(pair[1])
            if met is None and bool((pair[0] == pair[1]).all()):
                met = t
        state, report = refresh(k)
        found = ravel_pytree(state.gradient)[0]
        np.testing.assert_allclose(found, total, atol=1e-5)
        assert float(report["meeting_time"]) == float(report["longest_meeting_time"]) == met


@jax.jit
def gradient_of_energy(model, x):
    return ravel_pytree(eqx.filter_grad(lambda m: m(x))(model))[0]


def test_fit_comes_near_the_best_likelihood(key):
    patterns = jnp.array([[1.0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]])
    which = jax.random.bernoulli(key, 0.5, (500,)).astype(int)
    flips = jax.random.bernoulli(jax.random.fold_in(key, 1), 0.15, (500, 6))
    x = jnp.abs(patterns[which] - flips)
    start = BernoulliRBM.from_data(x, 3, scale=0.5, key=key)

    def fitted(objective):
        fit = ex.fit(start, objective, x, key=key, steps=200, learning_rate=0.03, ema=0.95, progress=False)
        value, _ = ExactMaximumLikelihood().loss(fit.energy, None, None, Batch(x), key)
        return -float(value), fit.history[-1]

    best, _ = fitted(ExactMaximumLikelihood())
    found, last = fitted(UnbiasedContrastiveDivergence())
    before = -float(ExactMaximumLikelihood().loss(start, None, None, Batch(x), key)[0])
    assert best - before > 0.4
    assert best - found < 0.1 * (best - before)
    assert {"meeting_time", "longest_meeting_time", "energy_gap"} <= set(last)


def test_mistakes_are_named(key):
    objective = UnbiasedContrastiveDivergence()
    with pytest.raises(ex.InputError, match=r"model must be a BernoulliRBM: a coupling.*; got MLP\."):
        objective.init(ex.energies.MLP((4,), width=4, depth=1, key=key), Batch(ROWS), key, 4)
    with pytest.raises(ex.InputError, match=r"x must be zeros and ones; .*GaussianBernoulliRBM.*0\.5"):
        objective.init(RBM, Batch(ROWS / 2), key, 4)
    with pytest.raises(ex.InputError, match="most must be a whole number of at least 5; got 4"):
        UnbiasedContrastiveDivergence(least=5, most=4)
    with pytest.raises(ex.InputError, match="patience must be a whole number of at least 5; got 4"):
        UnbiasedContrastiveDivergence(least=5, patience=4)
