"""The velocity of the data under the model's dynamics: score matching without a second derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch, Density, MinimumVelocityLearning, ScoreMatching
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants


class Short(MinimumVelocityLearning):
    """With a step so short that its bias is below what the checker sees."""

    @property
    def target(self):
        return Density()


@pytest.mark.parametrize("drift", ["half", "stopped"])
def test_short_steps_lead_to_the_density(drift, key):
    check_objective(Short(5e-4, drift), key=key)


@pytest.mark.parametrize("mutant", [mutants.HalfDriftStopped, mutants.WholeDriftDifferentiated])
def test_the_checker_rejects_the_drift_of_one_form_with_the_gradient_of_the_other(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(5e-4), key=key)


class Bent(eqx.Module):
    """E(x) = ½x² + θ₀ tanh x + θ₁ x⁴/12, summed over coordinates."""

    theta: jax.Array

    def __call__(self, x):
        return jnp.sum(0.5 * x**2 + self.theta[0] * jnp.tanh(x) + self.theta[1] * x**4 / 12)


@pytest.mark.parametrize("drift", ["half", "stopped"])
def test_its_gradient_is_score_matchings_as_the_step_goes_to_zero(drift, key):
    x = skewed_mixture().sample(key, 64 * 8192).reshape(64, 8192, 2)
    theta = jnp.array([0.4, 0.2])

    @jax.jit
    @jax.vmap
    def difference(rows, k):
        def slope(objective):
            return jax.grad(lambda t: objective.loss(Bent(t), None, None, Batch(rows), k)[0])(theta)

        return slope(MinimumVelocityLearning(1e-3, drift)) - slope(ScoreMatching())

    assert_mean(difference(x, jax.random.split(key, 64)), 0.0, "difference of gradients", allowance=5e-3)


def test_the_value_of_the_half_form_is_score_matchings(key):
    x, model = skewed_mixture().sample(key, 64 * 8192).reshape(64, 8192, 2), Bent(jnp.array([0.4, 0.2]))

    @jax.jit
    @jax.vmap
    def difference(rows, k):
        half = MinimumVelocityLearning(1e-3).loss(model, None, None, Batch(rows), k)[0]
        return half - ScoreMatching().loss(model, None, None, Batch(rows), k)[0]

    assert_mean(difference(x, jax.random.split(key, 64)), 0.0, "difference", allowance=5e-3)


@pytest.mark.parametrize(("drift", "rate"), [("half", 3 / 8), ("stopped", 1 / 2)])
def test_the_bias_is_the_declared_one_at_first_order(drift, rate, key):
    # p = N(0, 1), E = ½ax²: the slope in a with the mean over x and z written as moments, by
    # antithetic quadrature nodes of Gauss and Hermite for both (exact for these polynomials).
    nodes, weights = np.polynomial.hermite_e.hermegauss(8)
    weights = jnp.asarray(weights / weights.sum())

    def root(step):
        objective = MinimumVelocityLearning(step, drift)

        def value(a):
            def one(x, z):
                s = jnp.array([-a * x])
                there = jnp.array([x]) + objective.pull(s) + jnp.sqrt(2 * step) * z
                return -0.5 * a * (there[0] ** 2 - x**2) / step

            return (
                weights
                @ jax.vmap(lambda x: jax.vmap(lambda z: one(x, z))(jnp.asarray(nodes)))(jnp.asarray(nodes))
                @ weights
            )

        a = jnp.ones(())
        for _ in range(30):
            a = a - 0.5 * jax.grad(value)(a)
        return float(a)

    assert MinimumVelocityLearning(0.1, drift).target.order == 1
    for step in (0.05, 0.1):
        np.testing.assert_allclose((root(step) - 1) / step, rate, rtol=0.25)
    errors = [abs(root(step) - 1) for step in (0.1, 0.05)]
    np.testing.assert_allclose(errors[0] / errors[1], 2.0, rtol=0.15)


def test_without_the_control_variate_the_variance_grows_as_one_over_the_step(key):
    x, model = skewed_mixture().sample(key, 64), Bent(jnp.array([0.4, 0.2]))

    def variance(step, control):
        loss = MinimumVelocityLearning(step, control_variate=control).loss
        draw = jax.jit(jax.vmap(lambda k: loss(model, None, None, Batch(x), k)[0]))
        return float(draw(jax.random.split(key, 2000)).var())

    plain, controlled = ([variance(step, c) for step in (1e-2, 1e-3)] for c in (False, True))
    np.testing.assert_allclose(plain[1] / plain[0], 10.0, rtol=0.2)
    np.testing.assert_allclose(controlled[1] / controlled[0], 1.0, rtol=0.3)
    assert controlled[1] < plain[1] / 100


def test_bits_are_refused():
    with pytest.raises(ex.InputError, match="for binary data take MinimumProbabilityFlow"):
        MinimumVelocityLearning().init(None, Batch(jnp.eye(3)), None, 3)
