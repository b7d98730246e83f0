"""Stein discrepancies as losses: the kernel's and the critic's both lead to the density."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import score
from energax.kernels import IMQ
from energax.objectives import (
    Batch,
    KernelSteinDiscrepancy,
    LearnedSteinDiscrepancy,
    MinimumVelocityLearning,
    ScoreMatching,
    SlicedScoreMatching,
)
from energax.stein import stein_pairs
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants

KEY = jax.random.key(0)
COVARIANCE = jnp.array([[1.5, 0.4], [0.4, 0.8]])


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_the_kernel_discrepancy_leads_to_the_density(kernel, key):
    check_objective(KernelSteinDiscrepancy(kernel, 1.2), key=key)


@pytest.mark.parametrize("mutant", [mutants.WithItsDiagonal, mutants.StolenSlope])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant("imq", 1.2), key=key)


def test_its_mean_is_the_discrepancy_of_independent_pairs(key):
    model, data = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), skewed_mixture()
    x = data.sample(key, 64 * 128).reshape(64, 128, 2)
    objective = KernelSteinDiscrepancy("imq", 0.9)
    values = jax.vmap(lambda x: objective.loss(model, None, None, Batch(x), key)[0])(x)
    a, b = (data.sample(k, 400_000) for k in jax.random.split(jax.random.fold_in(key, 1)))
    exact = stein_pairs(IMQ(0.9), a, -a, b, -b).mean()
    assert_mean(values, exact, "mean over pairs", allowance=2e-3)


def test_the_bandwidth_comes_from_the_data(key):
    x = 3.0 * jax.random.normal(key, (500, 2))
    _, bandwidth = KernelSteinDiscrepancy().init(skewed_mixture(), Batch(x), key, 64)
    distances = jnp.linalg.norm(x[:, None] - x[None], axis=-1)[jnp.triu_indices(500, 1)]
    np.testing.assert_allclose(bandwidth, jnp.median(distances), rtol=1e-4)


def settled(objective, model, data, key, refreshes):
    """Return the critic after many refreshes against one frozen model."""
    _, state = objective.init(model, Batch(data.sample(key, 512)), key, 256)

    def step(state, k):
        x = data.sample(k, 256 * objective.batches).reshape(objective.batches, 256, -1)
        return objective.refresh(model, None, state, Batch(x), k)[0], None

    return jax.jit(lambda s: jax.lax.scan(step, s, jax.random.split(key, refreshes))[0])(state)


def test_the_critic_becomes_the_difference_of_scores_over_two_lambda(key):
    # Between Gaussians the best critic is affine: a linear one can reach it.
    data = ex.energies.Gaussian(jnp.array([0.5, -0.3]), COVARIANCE)
    model = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
    linear = eqx.nn.Linear(2, 2, key=key)
    objective = LearnedSteinDiscrepancy(linear, 0.7, critic_learning_rate=3e-3, probes=0, warmup=0)
    state = settled(objective, model, data, key, 800)
    x = data.sample(jax.random.fold_in(key, 1), 4000)
    difference = jax.vmap(lambda x: score(model, x) - score(data, x))(x)
    found = jax.vmap(objective.learned_critic(state))(x)
    np.testing.assert_allclose(found, difference / 1.4, atol=0.12)
    # There the discrepancy is E‖s_θ − s_p‖²/2λ.
    fresh = data.sample(jax.random.fold_in(key, 2), 100_000)
    again = Batch(jnp.broadcast_to(fresh, (objective.batches, *fresh.shape)))
    _, report = objective.refresh(model, None, state, again, key)
    difference = jax.vmap(lambda x: score(model, x) - score(data, x))(fresh)
    fisher = jnp.mean(jnp.sum(difference**2, 1))
    np.testing.assert_allclose(report["stein_discrepancy"], fisher / 1.4, rtol=0.05)


@pytest.mark.parametrize("decays", [{"critic_beta1": 0.0, "critic_beta2": 0.0}, {}])
def test_the_critics_decays_are_adams(decays, key):
    """Without averages every step is the gradient's sign times the rate; with them the second is not."""
    model, x = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), jax.random.normal(key, (2, 64, 2)) + 1
    settings = {"critic_steps": 1, "warmup": 0, "width": 8, "critic_learning_rate": 0.01}
    objective = LearnedSteinDiscrepancy(**settings, **decays)
    state, moves = objective.init(model, Batch(x[0]), key, 64)[1], []
    for rows in (x, -x):
        after, _ = objective.refresh(model, None, state, Batch(rows), key)
        moves.append(np.abs(after.net.layers[2].weight - state.net.layers[2].weight))
        state = after
    np.testing.assert_allclose(moves[0], 0.01, rtol=1e-2)
    plain = np.allclose(moves[1], 0.01, rtol=1e-2)
    assert plain == bool(decays)


def test_a_network_finds_the_direction_too(key):
    data, model = skewed_mixture(), ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
    objective = LearnedSteinDiscrepancy(width=64, warmup=0, probes=1)
    state = settled(objective, model, data, key, 400)
    x = data.sample(jax.random.fold_in(key, 1), 4000)
    wanted = jax.vmap(lambda x: score(model, x) - score(data, x))(x)
    found = jax.vmap(objective.learned_critic(state))(x)
    cosine = jnp.sum(found * wanted) / jnp.linalg.norm(found) / jnp.linalg.norm(wanted)
    assert cosine > 0.9


def test_at_the_best_critic_the_gradient_is_that_of_the_fisher_divergence(key):
    data = ex.energies.Gaussian(jnp.array([0.5, -0.3]), COVARIANCE)
    x = data.sample(key, 20_000)

    class Best(eqx.Module):
        model: ex.energies.Gaussian

        def __call__(self, x):
            return (score(self.model, x) - score(data, x)) / 1.4

    model = ex.energies.Gaussian(jnp.array([0.1, 0.2]), jnp.eye(2))
    objective = LearnedSteinDiscrepancy(Best(model), 0.7)
    state = ex.objectives.Player(eqx.filter(Best(model), eqx.is_inexact_array), None)
    slope = eqx.filter_grad(lambda m: objective.loss(m, None, state, Batch(x), key)[0])(model)

    def fisher(m):
        return 0.5 * jnp.mean(jax.vmap(lambda x: jnp.sum((score(m, x) - score(data, x)) ** 2))(x))

    exact = eqx.filter_grad(fisher)(model)
    np.testing.assert_allclose(slope.mean, exact.mean / 1.4, rtol=1e-4)
    np.testing.assert_allclose(slope.scale_tril, exact.scale_tril / 1.4, rtol=1e-4, atol=1e-6)


def learned(made, key, **settings):
    """Return the Gaussian that a fit from far away ends in, with an affine critic."""
    data = ex.energies.Gaussian(jnp.array([0.8, -0.5]), COVARIANCE)
    x = data.sample(key, 20_000)
    objective = made(eqx.nn.Linear(2, 2, key=key), 0.5, critic_learning_rate=5e-3, **settings)
    start = ex.energies.Gaussian(jnp.zeros(2), 2.0 * jnp.eye(2))
    how = {"steps": 1200, "batch_size": 256, "learning_rate": 0.01, "ema": 0.99, "progress": False}
    return x, ex.fit(start, objective, x, key=key, **how).energy


def test_training_by_a_critic_leads_to_the_density(key):
    x, found = learned(LearnedSteinDiscrepancy, key)
    np.testing.assert_allclose(found.mean, x.mean(0), atol=0.08)
    np.testing.assert_allclose(found.scale_tril @ found.scale_tril.T, jnp.cov(x.T), atol=0.12)


@pytest.mark.parametrize("mutant", [mutants.FrozenCritic, mutants.FlippedCritic])
def test_a_broken_critic_does_not(mutant, key):
    try:
        x, found = learned(mutant, key, warmup=0)
    except ex.DivergenceError:
        return
    off = jnp.abs(found.scale_tril @ found.scale_tril.T - jnp.cov(x.T)).max()
    assert not off < 0.3


GAMMA = ex.energies.Gamma([2.0, 2.0], [1.0, 1.0])


class Half(eqx.Module):
    """A half-normal law that says nothing of its edge, at x = 0 or at a condition."""

    rate: jax.Array

    def __call__(self, x, condition=None):
        edge = 0.0 if condition is None else condition[0]
        return jnp.where(jnp.all(x > edge), self.rate * jnp.sum(x**2), jnp.inf)


BY_PARTS = [
    KernelSteinDiscrepancy(),
    LearnedSteinDiscrepancy(warmup=0),
    ScoreMatching(),
    ScoreMatching(curvature_penalty=0.1),
    SlicedScoreMatching(),
    MinimumVelocityLearning(),
]


@pytest.mark.parametrize("objective", BY_PARTS, ids=lambda o: type(o).__name__)
def test_a_law_with_an_edge_is_refused(objective, key):
    x = GAMMA.sample(key, 200)
    sentence = (
        f"{type(objective).__name__}: model must be on all of ℝᵈ: where a density ends at an edge, Stein's "
        "identity fails; take NonNegativeScoreMatching or BoxScoreMatching; got "
    )
    for model in (GAMMA, GAMMA / 2.0):
        with pytest.raises(ex.InputError, match=f"{sentence}a {type(model).__name__}"):
            ex.fit(model, objective, x, key=key, steps=1, progress=False)
    half = Half(jnp.ones(()))
    for batch in (Batch(x), Batch(x + 2.0, jnp.full((200, 1), 2.0))):
        with pytest.raises(ex.InputError, match=f"{sentence}an energy of inf where entry"):
            objective.init(half, batch, key, 64)
    objective.init(half, Batch(x + 2.0, jnp.full((200, 1), -2.0)), key, 64)
    # A dry run of shapes has no rows to look beyond.
    jax.eval_shape(lambda rows: objective.init(half, Batch(rows), key, 64)[1], x)


def test_without_the_refusal_score_matching_finds_no_rate_at_an_edge(key):
    # E = βx on x > 0 has the loss ½β², whatever the data: the flux through x = 0 is missing.
    x = ex.energies.Gamma([1.0, 1.0], [2.0, 0.5]).sample(key, 20)

    def loss(rate):
        objective = ScoreMatching("chunked")
        return objective.loss(lambda x: jnp.sum(rate * x), None, None, Batch(x), key)[0]

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(jnp.array([2.0, 0.5])), [2.0, 0.5], rtol=1e-5)


def test_an_objective_that_takes_an_edge_is_caught(key):
    class Taking(ScoreMatching):
        def init(self, model, data, key, rows):
            return None, None

    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        test_a_law_with_an_edge_is_refused(Taking(), key)


def test_events_of_several_arrays_are_judged_by_what_the_model_says(key):
    x = {"a": GAMMA.sample(key, 50), "b": GAMMA.sample(key, 50)}

    class Both(eqx.Module):
        has_edge: bool = False

        def __call__(self, x, condition=None):
            return 0.5 * (jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 2))

    ScoreMatching().init(Both(), Batch(x), key, 10)
    with pytest.raises(ex.InputError, match=r"ScoreMatching: model must be on all of ℝᵈ.*; got a Both"):
        ScoreMatching().init(Both(True), Batch(x), key, 10)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LearnedSteinDiscrepancy(penalty=0.0), "penalty must be a finite number above 0; got 0.0"),
        (lambda: LearnedSteinDiscrepancy(critic=3), "critic must be a network x ↦ f"),
        (
            lambda: LearnedSteinDiscrepancy(eqx.nn.Linear(2, 3, key=KEY)).init(
                skewed_mixture(), Batch(jnp.eye(2) * 0.3 + jnp.arange(2.0)), KEY, 2
            ),
            r"critic must be of an event's shape, \(2,\); got shape \(3,\)",
        ),
        (
            lambda: KernelSteinDiscrepancy(bandwidth=-1.0),
            "bandwidth must be a finite number above 0; got -1.0",
        ),
        (
            lambda: KernelSteinDiscrepancy().init(skewed_mixture(), Batch(jnp.eye(2)), KEY, 2),
            "x must be continuous; for binary data take RatioMatching",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        make()
