"""Noise made from the data leads to the density, and to score matching as it becomes small."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import hessian_vector_product, probe, score
from energax.objectives import (
    Batch,
    ConditionalNoiseContrastiveEstimation,
    ScoreMatching,
    ShiftedNoiseContrastiveEstimation,
)
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants
from tests.objectives.tables import ENERGIES, ROWS, led_to

WRONG = ex.energies.GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.3]], jnp.eye(2))
TWICE_LOG_TWO = 2 * np.log(2.0)


def test_conditional_noise_leads_to_the_density(key):
    check_objective(ConditionalNoiseContrastiveEstimation(0.7, noise_points=2), key=key)


def test_shifted_data_lead_to_the_density(key):
    check_objective(ShiftedNoiseContrastiveEstimation(0.7), key=key)


@pytest.mark.parametrize("mutant", [mutants.SwappedPair, mutants.OneSidedShift])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(0.7), key=key)


def test_flips_of_bits_lead_to_their_law():
    # Every row a thousand times: the pairs come in nearly their true proportions.
    objective = ConditionalNoiseContrastiveEstimation(0.4, noise_points=4, kernel="flips")
    energies, _ = led_to(objective, jnp.tile(ROWS, (4000, 1)), start=0.7)
    np.testing.assert_allclose(energies, ENERGIES, atol=0.05)


@pytest.mark.parametrize("distribution", ["gaussian", "rademacher", "sphere"])
def test_small_shifts_are_sliced_score_matching(distribution, key):
    x, shift = skewed_mixture().sample(key, 512), 0.05
    value = ShiftedNoiseContrastiveEstimation(shift, distribution).loss(WRONG, None, None, Batch(x), key)[0]
    u = jax.vmap(lambda x, k: probe(distribution, x, k))(x, jax.random.split(key, 512))
    along = jax.vmap(lambda x, u: score(WRONG, x) @ u)(x, u)
    bent = jax.vmap(lambda x, u: u @ hessian_vector_product(WRONG, x, u))(x, u)
    sliced = jnp.mean(0.5 * along**2 - bent)
    np.testing.assert_allclose((value - TWICE_LOG_TWO) / shift**2, 0.5 * sliced, rtol=0.03, atol=3e-3)
    # The tutorial's quarter and plus are both far from it.
    for printed in (0.25 * sliced, 0.5 * jnp.mean(0.5 * along**2 + bent)):
        assert abs((value - TWICE_LOG_TWO) / shift**2 - printed) > 0.1


def test_small_conditional_noise_is_score_matching(key):
    x, epsilon = skewed_mixture().sample(key, 64 * 4096), 0.1
    objective = ConditionalNoiseContrastiveEstimation(epsilon, noise_points=10)

    @jax.jit
    @jax.vmap
    def both(rows, k):
        value = objective.loss(WRONG, None, None, Batch(rows), k)[0]
        exact = ScoreMatching().loss(WRONG, None, None, Batch(rows), k)[0]
        return (value - TWICE_LOG_TWO) / (0.5 * epsilon**2) - exact

    # Rows are shared, so that only the noise differs; what is left is of order ε².
    assert_mean(
        both(x.reshape(64, 4096, 2), jax.random.split(key, 64)), 0.0, "difference", allowance=epsilon**2
    )


def test_epsilon_is_looked_for(key):
    truth = skewed_mixture()
    x = 3.0 * truth.sample(key, 2000)
    objective = ConditionalNoiseContrastiveEstimation()
    scaled = ex.energies.GaussianMixture(
        [0.3, 0.7], 3 * truth.means, 9 * truth.scale_trils @ truth.scale_trils.mT
    )
    _, epsilon = objective.init(scaled, Batch(x), key, 128)
    value, report = objective.loss(scaled, None, epsilon, Batch(x), key)
    assert report["epsilon"] == epsilon
    assert 0.5 < float(value) / TWICE_LOG_TWO < 0.9
    # It is in the data's unit.
    _, unit = objective.init(truth, Batch(x / 3), key, 128)
    np.testing.assert_allclose(epsilon, 3 * unit, rtol=1e-3)
    # An energy that knows nothing would send it to infinity.
    _, bounded = objective.init(lambda x: jnp.zeros(()), Batch(x), key, 128)
    np.testing.assert_allclose(bounded, 2 * x.std(0).mean(), rtol=1e-3)
    # Told apart with no model at all: it shrinks.
    ring = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    thin = lambda x: 1e3 * (jnp.linalg.norm(x) - 1) ** 2  # noqa: E731
    _, shrunk = objective.init(thin, Batch(ring), key, 128)
    assert shrunk < 0.5 * ring.std(0).mean()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: ConditionalNoiseContrastiveEstimation(0.0),
            "epsilon must be a finite number above 0; got 0.0",
        ),
        (
            lambda: ConditionalNoiseContrastiveEstimation(0.6, kernel="flips"),
            "epsilon must be .* at most 0.5",
        ),
        (
            lambda: ConditionalNoiseContrastiveEstimation(noise_points=0),
            "noise_points must be a whole number",
        ),
        (lambda: ShiftedNoiseContrastiveEstimation(-1.0), "shift must be a finite number above 0; got -1.0"),
        (
            lambda: ConditionalNoiseContrastiveEstimation().init(None, Batch(ROWS), None, 8),
            "x must be continuous; for binary data take kernel='flips'",
        ),
        (
            lambda: ConditionalNoiseContrastiveEstimation(kernel="flips").init(
                None, Batch(ROWS + 0.5), None, 8
            ),
            "x must be zeros and ones",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        make()
