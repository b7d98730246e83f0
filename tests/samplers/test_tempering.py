"""Parallel tempering keeps the law of every level, of any sampler and any family, and finds far modes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import BernoulliRBM, GaussianMixture, GeneralizedLogistic
from energax.samplers import HMC, MALA, BitGibbs, BlockGibbs, Langevin, ParallelTempering, run, schedules
from energax.testing import StatisticalError, assert_mean
from tests.energies.states import bits, chi_squared, random_parameters

from . import tempering_mutants as mutants

CHAINS = 64 * 300
T = np.array([1.0, 1.7, 3.0], np.float32)

# At temperature T a logistic of shape α is the logit of a Beta(α/T, 1/T) variable: exact draws, and
# exact moments of b = σ(z).
ALPHA = jnp.array([0.6, 2.0])
SKEWED = GeneralizedLogistic(ALPHA, [0.5, -0.3], [1.0, 0.7])


def tempered_draws(key, n):
    one, two = jax.random.split(key)
    shape = (n, len(T), 2)
    z = jax.random.loggamma(one, ALPHA / T[:, None], shape)
    return SKEWED.location + SKEWED.scale * (z - jax.random.loggamma(two, 1 / T[:, None], shape))


def holds_every_level(sampler, key):
    """Fail unless all levels keep their laws, and keep them independent, and swap."""
    start = tempered_draws(key, CHAINS)
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
# The hidden units see temperature, too: the law of x at T is not p(x)^{1/T}.
MODELS = {"BitGibbs": (coupled, BitGibbs()), "BlockGibbs": (RBM, BlockGibbs())}
STATES = bits(3)


def holds_every_state(make, name, key):
    """Fail unless every level, and every pair of neighbours, has each of its states as often as it must."""
    model, sampler = MODELS[name]
    at = (lambda t: model.tempered(t)) if hasattr(model, "tempered") else (lambda t: lambda x: model(x) / t)
    laws = np.stack([jax.nn.softmax(-jax.vmap(at(t))(STATES)) for t in T]).astype(np.float64)
    start = [
        STATES[jax.random.categorical(jax.random.fold_in(key, k), jnp.log(laws[k]), shape=(CHAINS,))]
        for k in range(3)
    ]
    ran = run(make(sampler, T), model, np.stack(start, 1), key=key, steps=9)
    x = np.asarray(ran.x)
    for k in range(3):
        chi_squared(STATES, x[:, k], laws[k])
    pairs = np.concatenate([np.repeat(STATES, 8, 0), np.tile(STATES, (8, 1))], 1)
    for k in range(2):
        product = np.outer(laws[k], laws[k + 1]).ravel()
        # What is rarer than the χ² allows is counted together.
        index = (np.concatenate([x[:, k], x[:, k + 1]], 1) @ 2 ** np.arange(5, -1, -1)).astype(int)
        common = product * CHAINS > 6
        assert common.sum() > 20
        hit = common[index]
        chi_squared(pairs[common], pairs[index[hit]], product[common])
    assert (x != np.stack(start, 1)).any((1, 2)).mean() > 0.5
    assert 0.2 < ran.info["swap_acceptance"].mean() < 0.99


@pytest.mark.parametrize("name", MODELS)
def test_every_level_keeps_the_law_of_every_state(name, key):
    holds_every_state(mutants.AllLevels, name, key)


@pytest.mark.parametrize(
    ("mutant", "name"), [(mutants.WrongSign, "BitGibbs"), (mutants.FreeEnergyOverT, "BlockGibbs")]
)
def test_the_count_rejects_each_mutant(mutant, name, key):
    with pytest.raises(AssertionError, match="χ²"):
        holds_every_state(mutant, name, key)


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
