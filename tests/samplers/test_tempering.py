"""Parallel tempering keeps the law of every level, of any sampler and any family, and finds far modes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import (
    BernoulliRBM,
    DeepBoltzmannMachine,
    Gaussian,
    GaussianBernoulliRBM,
    GaussianMixture,
    GeneralizedLogistic,
    VisibleLayer,
)
from energax.samplers import (
    HMC,
    MALA,
    BitGibbs,
    BlockGibbs,
    Langevin,
    ParallelTempering,
    Preconditioned,
    Reflected,
    Sampler,
    VisibleGibbs,
    diagnostics,
    run,
    schedules,
)
from energax.tasks import anneal
from energax.testing import StatisticalError, assert_mean
from tests.energies.states import bits, chi_squared, random_grid, random_parameters, spins

from . import tempering_mutants as mutants

CHAINS = 64 * 300
T = TEMPERATURES = np.array([1.0, 1.7, 3.0], np.float32)

# At temperature T a logistic of shape α is the logit of a Beta(α/T, 1/T) variable: exact draws, and
# exact moments of b = σ(z).
ALPHA = jnp.array([0.6, 2.0])
SKEWED = GeneralizedLogistic(ALPHA, [0.5, -0.3], [1.0, 0.7])


def tempered_draws(key, n, temperatures):
    one, two = jax.random.split(key)
    shape = (n, len(temperatures), 2)
    z = jax.random.loggamma(one, ALPHA / temperatures[:, None], shape)
    return SKEWED.location + SKEWED.scale * (z - jax.random.loggamma(two, 1 / temperatures[:, None], shape))


def holds_every_level(sampler, key, own=1.0):
    """Fail unless all levels keep their laws, at T times the sampler's own, independent, and swap."""
    T = own * TEMPERATURES
    start = tempered_draws(key, CHAINS, T)
    ran = run(sampler, SKEWED, start, key=jax.random.fold_in(key, 1), steps=12)
    b = jax.nn.sigmoid((ran.x - SKEWED.location) / SKEWED.scale)
    mean = ALPHA / (ALPHA + 1)
    square = mean * (ALPHA / T[:, None] + 1) / ((ALPHA + 1) / T[:, None] + 1)
    group = lambda a: np.asarray(a.reshape(64, -1, *a.shape[1:]).mean(1))  # noqa: E731
    assert_mean(group(b), jnp.broadcast_to(mean, (3, 2)), "means of every level")
    assert_mean(group(b**2), square, "squares of every level")
    assert_mean(group(b[:, :2] * b[:, 1:]), jnp.broadcast_to(mean**2, (2, 2)), "products of neighbours")
    assert 0.2 < ran.info["swap_acceptance"].mean() < 0.95
    assert (ran.x != start).any((1, 2)).mean() > 0.9


@pytest.mark.parametrize(
    "make",
    [
        lambda: mutants.AllLevels(HMC(0.8, 2), T, step_factors=np.sqrt(T)),
        lambda: mutants.AllLevels(MALA(0.6), T, step_factors=T, steps_between_swaps=3),
    ],
)
def test_every_level_keeps_its_law(make, key):
    holds_every_level(make(), key)


def test_every_level_keeps_its_law_at_the_samplers_own_temperature(key):
    holds_every_level(mutants.AllLevels(HMC(0.6, 2, 2.5), T, step_factors=np.sqrt(T)), key, 2.5)


def test_swaps_that_forget_the_samplers_own_temperature_are_caught(key):
    with pytest.raises(StatisticalError):
        holds_every_level(mutants.AtTemperatureOne(HMC(0.6, 2, 2.5), T, step_factors=np.sqrt(T)), key, 2.5)


def test_the_temperature_of_a_swap_is_that_of_the_step_before_it():
    rising = schedules.Schedule([1.0, 2.0, 3.0, 4.0])
    for inner in (HMC(0.1, temperature=rising), Langevin(0.1, rising), Reflected(Langevin(0.1, rising))):
        tempering = ParallelTempering(inner, [1.0, 2.0], steps_between_swaps=2)
        assert [float(tempering.law_temperature(i)) for i in range(2)] == [2.0, 4.0]
    assert float(Preconditioned(Langevin(0.1, rising), np.eye(2)).law_temperature(1)) == 2.0
    assert ParallelTempering(BitGibbs(), [1.0, 2.0]).law_temperature(0) == 1.0


@pytest.mark.parametrize(
    "make",
    [
        lambda: mutants.WrongSign(HMC(0.8, 2), T),
        lambda: mutants.AlwaysSwaps(HMC(0.8, 2), T),
        lambda: mutants.HalfTheRatio(HMC(0.8, 2), T),
        lambda: mutants.AllLevels(mutants.StaleAfterSwap(0.8, 2), T),
    ],
)
def test_the_check_rejects_each_mutant(make, key):
    with pytest.raises(StatisticalError):
        holds_every_level(make(), key)


def coupled(x):
    """An energy of three bits that is no sum over them."""
    W = jnp.array([[1.0, 1.5, -0.8], [1.5, -0.6, 0.4], [-0.8, 0.4, 0.2]])
    return -0.5 * x @ W @ x


RBM = random_parameters(BernoulliRBM((3,), 2, key=jax.random.key(0)), scale=2.0)
DBM = random_parameters(DeepBoltzmannMachine((2,), (2, 1), key=jax.random.key(0)), scale=1.2)


class Counted(NamedTuple):
    """A model whose states can be counted: its sampler, all states as rows, and an event of a row."""

    model: Any
    sampler: Any
    states: np.ndarray
    event: Any = lambda row: row
    energy: Any = None  # of an event at temperature 1, where it is not the model


def layers(row):
    return row[:2], row[2:4], row[4:]


# The hidden units see temperature, too: the law of x at T is not p(x)^{1/T}.
MODELS = {
    "BitGibbs": Counted(coupled, BitGibbs(), bits(3)),
    "BlockGibbs": Counted(RBM, BlockGibbs(), bits(3)),
    "spins": Counted(random_grid(1, 3), BlockGibbs(), spins(3), lambda row: row.reshape(1, 3)),
    "hidden layers": Counted(VisibleLayer(DBM), VisibleGibbs(), bits(5), layers, DBM),
}


def holds_every_state(make, name, key):
    """Fail unless every level, and every pair of neighbours, has each of its states as often as it must."""
    model, sampler, states, event, energy = MODELS[name]
    energy = energy or model
    whole = hasattr(energy, "tempered")
    at = (lambda t: energy.tempered(t)) if whole else (lambda t: lambda x: energy(x) / t)
    energies = [jax.vmap(lambda row, t=t: at(t)(event(row)))(states) for t in T]
    laws = np.stack([jax.nn.softmax(-e) for e in energies]).astype(np.float64)
    drawn = [
        states[jax.random.categorical(jax.random.fold_in(key, k), jnp.log(laws[k]), shape=(CHAINS,))]
        for k in range(3)
    ]
    start = jax.vmap(jax.vmap(event))(np.stack(drawn, 1))
    ran = run(make(sampler, T), model, start, key=key, steps=9)
    x = np.concatenate([np.reshape(leaf, (CHAINS, 3, -1)) for leaf in jax.tree.leaves(ran.x)], 2)
    for k in range(3):
        chi_squared(*common(states, x[:, k], laws[k]))
    n = len(states)
    pairs = np.concatenate([np.repeat(states, n, 0), np.tile(states, (n, 1))], 1)
    for k in range(2):
        product = np.outer(laws[k], laws[k + 1]).ravel()
        chi_squared(*common(pairs, np.concatenate([x[:, k], x[:, k + 1]], 1), product))
    assert (x != np.stack(drawn, 1)).any((1, 2)).mean() > 0.5
    assert 0.2 < ran.info["swap_acceptance"].mean() < 0.99


def common(states, counted, law):
    """Return the states that are no rarer than the χ² allows, the draws of them, and their law."""
    often = law * CHAINS > 6
    assert law[often].sum() > 0.8
    place = {tuple(row): i for i, row in enumerate(states.tolist())}
    index = np.array([place[tuple(row)] for row in counted.tolist()])
    return states[often], states[index[often[index]]], law[often]


@pytest.mark.parametrize("name", MODELS)
def test_every_level_keeps_the_law_of_every_state(name, key):
    holds_every_state(mutants.AllLevels, name, key)


@pytest.mark.parametrize(
    ("mutant", "name"),
    [
        (mutants.WrongSign, "BitGibbs"),
        (mutants.FreeEnergyOverT, "BlockGibbs"),
        (mutants.LeavesLayersBehind, "hidden layers"),
    ],
)
def test_the_count_rejects_each_mutant(mutant, name, key):
    with pytest.raises(AssertionError, match="χ²"):
        holds_every_state(mutant, name, key)


def test_every_level_of_a_machine_of_reals_keeps_its_law(key):
    # A mixture over the hidden spins at each temperature, of which the moments are sums.
    machine = random_parameters(GaussianBernoulliRBM((2,), 2, key=jax.random.key(0)), scale=1.5)
    levels = [machine.tempered(t) for t in T]
    start = np.stack([m.sample(jax.random.fold_in(key, k), CHAINS) for k, m in enumerate(levels)], 1)
    ran = run(mutants.AllLevels(BlockGibbs(), T), machine, start, key=key, steps=9)
    group = lambda a: np.asarray(a).reshape(64, -1, *a.shape[1:]).mean(1)  # noqa: E731
    for k, level in enumerate(levels):
        weights = jax.nn.softmax(level._log_weights())
        means = jax.vmap(level.visible_mean)(jnp.asarray(spins(2)))
        assert_mean(group(ran.x[:, k]), weights @ means, f"means of level {k}")
        squares = weights @ (means**2 + level.variance)
        assert_mean(group(ran.x[:, k] ** 2), squares, f"squares of level {k}")
    assert 0.2 < ran.info["swap_acceptance"].mean() < 0.95


def test_far_modes_are_found_with_their_weights(key):
    energy = GaussianMixture([0.3, 0.7], [[-4.0, 0.0], [4.0, 1.0]], 0.4 * jnp.eye(2))
    start = jnp.tile(jnp.array([-4.0, 0.0]), (64 * 16, 1))
    hmc = HMC(0.5, 3)
    ladder = np.geomspace(1, 40, 4)
    tempering = ParallelTempering(hmc, ladder, step_factors=np.sqrt(ladder))
    ran = run(tempering, energy, start, key=key, steps=400)
    share = np.asarray(ran.x[:, 0] > 0).reshape(64, 16).mean(1)
    assert_mean(share, 0.7, "share of the far mode")
    assert (run(hmc, energy, start, key=key, steps=400).x[:, 0] < 0).all()


def test_two_levels_swap_at_every_step(key):
    x = SKEWED.sample(key, 200)
    ran = run(ParallelTempering(Langevin(1e-4), [1.0, 1.0001]), SKEWED, x, key=key, steps=3)
    np.testing.assert_allclose(ran.info["swap_acceptance"], 1.0, atol=1e-2)


# Of two normal coordinates E at T is exponential with mean T, and a pair changes places with probability
# E min(1, e^Δ) = 2 P(E_cold > E_hot) = 2 T_cold/(T_cold + T_hot).
ROUND = Gaussian([0.0, 0.0], np.eye(2))
GAP = np.array([1.0, 1.5, 60.0, 80.0], np.float32)


class Afresh(Sampler):
    """Draws of `ROUND` at the temperature of the level."""

    horizon = 50

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        return jnp.sqrt(model.temperature) * jax.random.normal(key, (2,)), {}


def tells_pairs_apart(make, key):
    """Fail unless each pair of a ladder with a gap is said to change places as often as it does."""
    # Of five rounds the middle pair has two.
    ran = run(make(Afresh(), GAP), ROUND, jnp.zeros((64 * 40, 4, 2)), key=key, steps=5)
    groups = [
        diagnostics.swap_acceptance(ran._replace(info={name: ran.info[name][one] for name in ran.info}))
        for one in np.arange(64 * 40).reshape(64, 40)
    ]
    assert_mean(np.stack(groups), 2 * GAP[:-1] / (GAP[:-1] + GAP[1:]), "swaps of each pair")


def test_each_pairs_swaps_are_told(key):
    tells_pairs_apart(mutants.AllLevels, key)


@pytest.mark.parametrize("mutant", [mutants.TellsTheMean, mutants.CountsNoTurns, mutants.HotterPair])
def test_swaps_of_other_pairs_are_caught(mutant, key):
    with pytest.raises(StatisticalError):
        tells_pairs_apart(mutant, key)


def test_a_pair_that_blocks_is_named(key):
    replicas, x = ParallelTempering(Afresh(), [1.0, 1.5, 4000.0]), jnp.zeros((256, 2))
    said = "replicas at temperatures 1.5 and 4000 changed places in 0(.00[0-9]+)? of the tries"
    with pytest.warns(UserWarning, match=f"^run: {said}"):
        ran = run(replicas, ROUND, x, key=key)
    passes, blocks = diagnostics.swap_acceptance(ran)
    assert passes > 0.5
    assert blocks < 0.01
    with pytest.warns(UserWarning, match=f"^anneal: {said}"):
        anneal(ROUND, 256, key=key, sampler=replicas, start=x)


def test_a_pair_whose_turn_it_never_was_has_no_share(key):
    ran = run(ParallelTempering(Langevin(0.1), T), SKEWED, SKEWED.sample(key, 4), key=key, steps=1)
    first, second = diagnostics.swap_acceptance(ran)
    assert first > 0
    assert np.isnan(second)


def test_an_event_may_be_a_tree(key):
    energy = lambda x: SKEWED(jnp.stack([x["a"], x["b"][0]]))  # noqa: E731
    x = SKEWED.sample(key, 5)
    sampler = ParallelTempering(Langevin(0.1), [1.0, 3.0])
    flat = run(sampler, SKEWED, x, key=key, steps=4)
    tree = run(sampler, energy, {"a": x[:, 0], "b": x[:, 1:]}, key=key, steps=4)
    np.testing.assert_allclose(tree.x["a"], flat.x[:, 0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(tree.info["swap_acceptance"], flat.info["swap_acceptance"], rtol=1e-4)


def test_claims_are_those_of_the_sampler():
    inner = Langevin(0.1, schedules.constant(1.0, 30))
    tempering = ParallelTempering(inner, [1.0, 2.0], steps_between_swaps=4)
    assert tempering.horizon == 7
    assert tempering.bias_order == 1.0
    assert tempering.scaled(3.0).sampler.step_size(0) == pytest.approx(0.3)
    assert ParallelTempering(HMC(0.1), [1.0, 2.0]).bias_order is None


def test_mistakes_are_named(key):
    for wrong in ([1.0], [2.0, 3.0], [1.0, 3.0, 2.0]):
        with pytest.raises(
            ex.InputError, match="temperatures must be at least two rising numbers, the first 1"
        ):
            ParallelTempering(HMC(0.1), wrong)
    with pytest.raises(ex.InputError, match="step_factors must be 2 positive numbers"):
        ParallelTempering(HMC(0.1), [1.0, 2.0], step_factors=[1.0])
    field = ex.Score(lambda x: -x)
    with pytest.raises(ex.InputError, match="ParallelTempering: model must be an energy"):
        run(ParallelTempering(Langevin(0.1), [1.0, 2.0]), field, jnp.zeros((2, 2)), key=key, steps=1)


def test_what_cannot_be_put_at_anothers_place_is_refused(key):
    # Of replicas x is that of the coldest: put at all levels it would be there everywhere at once.
    one, other = (ParallelTempering(inner, [1.0, 2.0]) for inner in (HMC(0.1), Langevin(0.1)))
    for inner in (one, other, Reflected(other)):
        said = rf"sampler must be one whose chain can be put where another is .*; got {type(inner).__name__}"
        with pytest.raises(ex.InputError, match=said):
            run(ParallelTempering(inner, [1.0, 2.0]), SKEWED, jnp.zeros((2, 2)), key=key, steps=1)
