"""Objectives that compare a state with its neighbours lead to the law; what they are, by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import (
    Batch,
    CompositeLikelihood,
    MinimumKLContraction,
    MinimumProbabilityFlow,
    NoiseContrastiveEstimation,
    RatioMatching,
    ScoreMatching,
)
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants
from tests.objectives.tables import COUNTS, ENERGIES, ROWS, STATES, Table, led_to

LAW = COUNTS / COUNTS.sum()
OBJECTIVES = [
    MinimumProbabilityFlow(),
    MinimumProbabilityFlow(all_flip=True),
    CompositeLikelihood(),
    CompositeLikelihood(2),
    CompositeLikelihood(3),
    MinimumKLContraction.conditioning(),
    RatioMatching(),
]


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda o: type(o).__name__)
def test_descent_ends_in_the_law_of_bits(objective):
    energies, _ = led_to(objective, start=0.7)
    np.testing.assert_allclose(energies, ENERGIES, atol=5e-3)


@pytest.mark.parametrize("objective", [MinimumProbabilityFlow(all_flip=True), CompositeLikelihood(2)])
def test_and_of_spins(objective):
    energies, _ = led_to(objective, 2 * ROWS - 1, spins=True, start=0.7)
    np.testing.assert_allclose(energies, ENERGIES, atol=5e-3)


@pytest.mark.parametrize("mutant", [mutants.WholeDifference(), mutants.FlipOfSpinsOnBits()])
def test_a_mutant_ends_elsewhere(mutant):
    energies, _ = led_to(mutant, start=0.7)
    assert np.abs(energies - ENERGIES).max() > 0.1


def test_the_flow_is_its_sum_over_pairs_and_the_papers_formula_for_ising(key):
    J = jax.random.normal(key, (5, 5))
    J = J + J.T
    x = jax.random.bernoulli(key, 0.5, (40, 5)).astype(jnp.float32)

    def flow(J):
        return MinimumProbabilityFlow().loss(lambda x: x @ J @ x, None, jnp.ones(()), Batch(x), key)[0]

    exponents = (2 * x - 1) * (x @ J) - 0.5 * jnp.diag(J)
    np.testing.assert_allclose(flow(J), jnp.mean(jnp.exp(exponents).sum(1)), rtol=1e-4)
    slope, step = jax.grad(flow)(J), 1e-2
    for i, j in [(0, 0), (1, 3), (4, 2)]:
        nudge = jnp.zeros((5, 5)).at[i, j].set(step)
        np.testing.assert_allclose((flow(J + nudge) - flow(J - nudge)) / (2 * step), slope[i, j], rtol=0.02)


def test_the_flow_rests_at_the_couplings_of_spins(key):
    # The gradient at the truth, summed over all states with their probabilities.
    couplings = 0.5 * jax.random.normal(key, (4, 4))
    couplings = couplings + couplings.T
    spins = jnp.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    energy = lambda J, x: -0.5 * x @ J @ x - x @ jnp.arange(4.0) / 5  # noqa: E731
    law = jax.nn.softmax(-jax.vmap(lambda x: energy(couplings, x))(spins))

    def flow(J, x):
        return MinimumProbabilityFlow().loss(
            lambda y: energy(J, y), None, jnp.zeros(()), Batch(x[None]), key
        )[0]

    slopes = jax.vmap(lambda x: jax.grad(flow)(couplings, x))(spins)
    np.testing.assert_allclose(jnp.tensordot(law, slopes, 1), 0.0, atol=1e-5)
    assert np.abs(slopes.mean(0)).max() > 0.05


def test_gaussian_moves_lead_to_the_density(key):
    check_objective(MinimumProbabilityFlow("gaussian", 0.5), key=key)


def test_small_gaussian_moves_are_score_matching(key):
    wrong = ex.energies.GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.3]], jnp.eye(2))
    x, epsilon = skewed_mixture().sample(key, 64 * 32768), 0.1

    @jax.jit
    def both(rows, k):
        value = MinimumProbabilityFlow("gaussian", epsilon).loss(wrong, None, None, Batch(rows), k)[0]
        exact = ScoreMatching().loss(wrong, None, None, Batch(rows), k)[0]
        return (value - 1) / (0.25 * epsilon**2) - exact

    keys = jax.random.split(key, 64)
    values = [both(rows, k) for rows, k in zip(x.reshape(64, 32768, 2), keys, strict=True)]
    assert_mean(jnp.stack(values), 0.0, "difference", allowance=epsilon**2)


def test_a_block_of_all_coordinates_is_the_likelihood():
    wrong = ENERGIES + jnp.sin(jnp.arange(8.0))
    value = CompositeLikelihood(3).loss(Table(wrong), None, jnp.ones(()), Batch(ROWS), None)[0]
    log_z = jax.nn.logsumexp(-wrong)
    np.testing.assert_allclose(value, LAW @ np.asarray(wrong) + log_z, rtol=1e-5)


def divergence(p, q):
    return np.sum(p * np.log(p / q))


def test_forgetting_a_bit_contracts_kl_by_the_pseudo_likelihoods_gap():
    # J(θ) − J(truth) = Σ_i KL(p ‖ q) − KL(Φ_i p ‖ Φ_i q), Φ_i the sum over bit i.
    wrong = ENERGIES + 0.8 * jnp.sin(jnp.arange(8.0))
    q = np.asarray(jax.nn.softmax(-wrong), np.float64)
    gap = 0.0
    for axis in range(3):
        p_rest, q_rest = (law.reshape(2, 2, 2).sum(axis) for law in (LAW, q))
        gap += divergence(LAW, q) - divergence(p_rest, q_rest)
    loss = MinimumKLContraction.conditioning().loss
    value, least = (loss(Table(e), None, jnp.ones(()), Batch(ROWS), None)[0] for e in (wrong, ENERGIES))
    np.testing.assert_allclose(value - least, gap, rtol=1e-4)
    assert gap > 0.1


def test_a_small_blur_contracts_kl_by_score_matching():
    # On a grid: [KL(p ‖ q) − KL(p_t ‖ q_t)]/t against ½∫p (s_p − s_q)², to first order in t.
    x = np.linspace(-12, 12, 6001)
    gap_of = {}
    p = 0.3 * np.exp(-((x + 1) ** 2)) / np.sqrt(np.pi) + 0.7 * np.exp(-((x - 1.5) ** 2) / 2) / np.sqrt(
        2 * np.pi
    )
    q = np.exp(-((x - 0.3) ** 2) / (2 * 2.5)) / np.sqrt(2 * np.pi * 2.5)
    h = x[1] - x[0]

    def blurred(f, t):
        frequencies = 2 * np.pi * np.fft.fftfreq(x.size, h)
        return np.maximum(np.fft.ifft(np.fft.fft(f) * np.exp(-0.5 * t * frequencies**2)).real, 1e-300)

    def kl(f, g):
        inside = (f > 1e-14) & (g > 1e-14)
        return h * np.sum(f[inside] * np.log(f[inside] / g[inside]))

    for t in (0.01, 0.005):
        gap_of[t] = (kl(p, q) - kl(blurred(p, t), blurred(q, t))) / t
    limit = 2 * gap_of[0.005] - gap_of[0.01]
    s_p, s_q = np.gradient(np.log(p), x), np.gradient(np.log(q), x)
    fisher = 0.5 * h * np.sum(p * (s_p - s_q) ** 2)
    np.testing.assert_allclose(limit, fisher, rtol=2e-3)
    # And score matching is D_F up to what the model does not change: compare two models.
    other = lambda y: jnp.sum((y - 1.0) ** 2) / 2  # noqa: E731
    first = lambda y: jnp.sum((y - 0.3) ** 2) / 5  # noqa: E731
    draws = ex.energies.GaussianMixture([0.3, 0.7], [[-1.0], [1.5]], [[[0.5]], [[1.0]]]).sample(
        jax.random.key(0), 64 * 4000
    )
    loss = jax.jit(jax.vmap(lambda m: _difference(first, other, m)))
    s_other = -(x - 1.0)
    wanted = fisher - 0.5 * h * np.sum(p * (s_p - s_other) ** 2)
    assert_mean(loss(draws.reshape(64, 4000, 1)), wanted, "difference of two contractions")


def _difference(first, other, rows):
    blur = MinimumKLContraction.blur()
    return (
        blur.loss(first, None, None, Batch(rows), None)[0]
        - blur.loss(other, None, None, Batch(rows), None)[0]
    )


def test_lumping_is_noise_contrastive_estimation(key):
    x = skewed_mixture().sample(key, 256)
    lumped, direct = (
        MinimumKLContraction.lumping(noise_ratio=2.0),
        NoiseContrastiveEstimation(noise_ratio=2.0),
    )
    nuisance, noise = lumped.init(skewed_mixture(), Batch(x), key, 256)
    values = [o.loss(skewed_mixture(), nuisance, noise, Batch(x), key)[0] for o in (lumped, direct)]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: CompositeLikelihood(13), "block must be at most 12, for 2\\^block energies; got 13"),
        (
            lambda: CompositeLikelihood(4).init(None, Batch(ROWS), None, 8),
            "block must be at most the 3 coordinates",
        ),
        (
            lambda: MinimumProbabilityFlow().init(None, Batch(ROWS + 0.3), None, 8),
            "x must be zeros and ones, or spins",
        ),
        (lambda: MinimumProbabilityFlow("gaussian").init(None, Batch(ROWS), None, 8), "x must be continuous"),
        (
            lambda: MinimumProbabilityFlow("gaussian", all_flip=True),
            "all_flip must be False for Gaussian moves",
        ),
        (
            lambda: MinimumKLContraction(RatioMatching()),
            "contraction must be made by MinimumKLContraction.blur",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        make()


def test_states_are_listed_in_the_tables_order():
    assert [float(Table(jnp.arange(8.0))(s)) for s in STATES] == list(range(8))
