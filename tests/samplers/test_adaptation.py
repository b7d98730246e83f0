"""Warm-up finds the step and the mass, from steps far too small and far too large, and freezes them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import energax as ex
from energax.energies import GeneralizedLogistic
from energax.samplers import HMC, MALA, NUTS, Langevin, ParallelTempering, adapt, adaptation, run, schedules

ALPHA, SCALE = np.array([0.6, 2.0, 1.0]), np.array([0.1, 1.0, 5.0])
SKEWED = GeneralizedLogistic(ALPHA, [1.0, 0.0, -3.0], SCALE)
CHAINS = 32


def variance(T):
    """At temperature T a logistic of shape α is the logit of a Beta(α/T, 1/T) variable."""
    return SCALE**2 * (scipy.special.polygamma(1, ALPHA / T) + scipy.special.polygamma(1, 1 / T))


def accepts(sampler, x, target, key):
    """Fail unless a run accepts as often as it should, to what dual averaging reaches in 200 steps."""
    seen = run(sampler, SKEWED, x, key=key, steps=60, warn=False).info["acceptance"].mean()
    assert abs(seen - target) < 0.1, f"accepts {seen:.3g}, not {target:g}"


# From steps that reject everything, and from steps that hardly move.
MADE = {
    "MALA": (0.574, [MALA(30.0), MALA(1e-6)]),
    "HMC": (0.651, [HMC(50.0, 8), HMC(1e-4, 8), HMC(0.1, 8, temperature=3.0)]),
    "NUTS": (0.8, [NUTS(50.0, max_doublings=5)]),
}


@pytest.mark.parametrize("name", MADE)
def test_the_target_is_reached_from_either_side(name, key):
    target, samplers = MADE[name]
    x = SKEWED.sample(key, CHAINS)
    for sampler in samplers:
        found = adapt(sampler, SKEWED, x, key=key)
        assert abs(found.acceptance - target) < 0.1
        accepts(found.sampler, found.x, target, jax.random.fold_in(key, 1))
        if name != "MALA":
            # Their spread is 2,500-fold. Medians over short chains lie low, by a quarter or so.
            wanted = variance(float(sampler.temperature(0)))
            np.testing.assert_allclose(np.log(found.sampler.inverse_mass / wanted), 0, atol=0.7)


def test_what_is_found_is_frozen(key):
    # The very sampler that test_metropolis.py holds to its law, made by hand.
    found = adapt(HMC(50.0, 8), SKEWED, SKEWED.sample(key, CHAINS), key=key).sampler
    by_hand = HMC(float(found.step_size(0)), 8, inverse_mass=np.asarray(found.inverse_mass))
    assert eqx.tree_equal(found, by_hand)


def test_without_adaptation_the_check_fails(key):
    x = SKEWED.sample(key, CHAINS)
    for sampler in (MALA(30.0), MALA(1e-6)):
        with pytest.raises(AssertionError, match="accepts"):
            accepts(sampler, x, 0.574, key)


def test_a_lost_chain_decides_nothing(key):
    x = SKEWED.sample(key, CHAINS)
    found = adapt(HMC(50.0, 8), SKEWED, x.at[0].set(jnp.nan), key=key)
    np.testing.assert_allclose(np.log(found.sampler.inverse_mass / variance(1.0)), 0, atol=0.7)
    assert abs(found.acceptance - 0.651) < 0.1
    assert jnp.isnan(found.x[0]).all(), "and is returned as it is"


def test_trees_and_conditions(key):
    def energy(x, c):
        return 50 * jnp.sum((x["a"] - c) ** 2) + 0.5 * x["b"] ** 2

    c = jnp.linspace(-3, 3, 16)[:, None] * jnp.ones(2)
    x = {"a": c, "b": jax.random.normal(key, (16,))}
    found = adapt(HMC(0.1, 8), energy, x, key=key, steps=200, condition=c)
    np.testing.assert_allclose(found.x["a"], c, atol=0.7)
    mass = found.sampler.inverse_mass
    np.testing.assert_allclose(np.log(mass["a"] / 0.01), 0, atol=1)
    np.testing.assert_allclose(np.log(mass["b"]), 0, atol=1)


def test_any_sampler_that_reports_its_acceptance_is_tuned(key):
    sampler = ParallelTempering(MALA(1.0), [1.0, 3.0])
    found = adapt(sampler, SKEWED, SKEWED.sample(key, CHAINS), key=key, target=0.5)
    assert abs(found.acceptance - 0.5) < 0.1
    assert found.sampler.sampler.step_size(0) < 0.2


def test_convolutions_are_driven_from_the_host(key, monkeypatch):
    def energy(x):
        return jnp.sum(x**2) + jnp.sum(jnp.convolve(x, jnp.array([1.0, -0.5]), mode="same") ** 2)

    x = jax.random.uniform(key, (2, 8))
    found = adapt(MALA(1e-3), energy, x, key=key, steps=100)
    monkeypatch.setattr(adaptation, "compiles_loop", lambda *_: True)
    compiled = adapt(MALA(1e-3), energy, x, key=key, steps=100)
    np.testing.assert_allclose(found.sampler.step_size(0), compiled.sampler.step_size(0), rtol=1e-3)


def test_mistakes_are_named(key):
    x = SKEWED.sample(key, 4)
    with pytest.raises(ex.InputError, match="sampler must be of constant step size and temperature"):
        adapt(MALA(schedules.linear(0.1, 0.2, 5)), SKEWED, x, key=key)
    with pytest.raises(ex.InputError, match="target must be given for a Langevin"):
        adapt(Langevin(0.1), SKEWED, x, key=key)
    with pytest.raises(ex.InputError, match="sampler must be one that reports its acceptance; got Langevin"):
        adapt(Langevin(0.1), SKEWED, x, key=key, target=0.5)
    with pytest.raises(ex.InputError, match="steps must be a whole number of at least 100; got 50"):
        adapt(MALA(0.1), SKEWED, x, key=key, steps=50)


def test_what_no_step_can_help_is_named(key):
    # Finite at the start, and nowhere else.
    spike = lambda x: jnp.sum(jnp.where(x == 1.0, 0.0, jnp.inf * (1 + x**2)))  # noqa: E731
    message = (
        r"adapt: sampler must be one that a step size brings to an acceptance of 0\.574 \(try more steps, "
        r"starts where the energy is finite, another first step\); got 0 after 100 steps\."
    )
    with pytest.raises(ex.InputError, match=message):
        adapt(MALA(0.1), spike, jnp.ones((3, 2)), key=key, steps=100)
