"""MALA, HMC and NUTS: exact at any step, Langevin's units, one energy at every temperature."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blackjax.mcmc import hmc

import energax as ex
from energax.energies import Gaussian, GaussianMixture
from energax.samplers import (
    HMC,
    MALA,
    NUTS,
    Langevin,
    annealed_hmc,
    annealed_langevin,
    annealed_mala,
    run,
    schedules,
)
from energax.samplers.metropolis import log_density
from energax.testing import assert_mean, check_sampler

from . import metropolis_mutants as mutants

CHAINS = 64 * 1000
ENERGY = GaussianMixture([0.4, 0.6], [[-1.0, 0.0], [1.0, 0.5]], jnp.array([[0.5, 0.1], [0.1, 0.3]]))
X = jnp.array([0.3, -0.2])


class Doubled(eqx.Module):
    """A sampler of E at temperature 2, run on 2E: its law is exp(−E)."""

    sampler: ex.samplers.Sampler

    def __getattr__(self, name):
        return getattr(self.sampler, name)

    def init(self, model, x, key):
        return self.sampler.init(lambda x: 2 * model(x), x, key)

    def step(self, model, state, key, i):
        return self.sampler.step(lambda x: 2 * model(x), state, key, i)


# Steps at which a third or so of MALA's proposals are refused: an exact law is no feat at small ones.
MADE = {
    "MALA": (lambda h: MALA(h), 0.9, 40),
    "HMC": (lambda h: HMC(h, 3, inverse_mass=[0.5, 1.5]), 0.9, 15),
    "NUTS": (lambda h: NUTS(h, inverse_mass=[0.5, 1.5], max_doublings=3), 0.9, 8),
    "MALA at temperature 2": (lambda h: Doubled(MALA(h / 2, 2.0)), 0.9, 40),
    "HMC at temperature 2": (lambda h: Doubled(HMC(h / 2**0.5, 3, 2.0)), 0.9, 15),
}


@pytest.mark.parametrize("name", MADE)
def test_the_law_is_kept_exactly(name, key):
    make, step_size, steps = MADE[name]
    check_sampler(make, key=key, step_size=step_size, steps=steps, chains=CHAINS)


@pytest.mark.parametrize(
    "make",
    [
        mutants.DroppedRatio,
        mutants.Frozen,
        lambda h: Doubled(mutants.ForgottenTemperature(h / 2**0.5, 3, 2.0)),
    ],
)
def test_the_check_rejects_each_mutant(make, key):
    with pytest.raises(AssertionError):
        check_sampler(make, key=key, step_size=0.9, steps=15, chains=CHAINS)


def test_proposals_are_langevins_steps(key):
    # At a step so small that all are accepted; z is what BlackJAX draws from the first half of the key.
    T, eta = 2.5, 1e-5
    epsilon = (2 * eta) ** 0.5
    s = ex.score(ENERGY, X)
    z = jax.random.normal(jax.random.split(key)[0], (2,))
    wanted = eta * s + jnp.sqrt(2 * eta * T) * z
    for sampler in (MALA(eta, T), HMC(epsilon, 1, T)):
        state, info = sampler.step(ENERGY, sampler.init(ENERGY, X, key), key, jnp.asarray(0))
        assert info["acceptance"] > 1 - 1e-4
        # To the rounding of X; the drift is a hundred times larger.
        np.testing.assert_allclose(sampler.position(state) - X, wanted, atol=2e-7)


def is_a_fresh_start_at_every_temperature(sampler, key):
    """Whether each step is the one that BlackJAX would take from a state made at its temperature."""

    @eqx.filter_jit
    def both(chains, keys, i):
        def one(chain, k):
            log_p = log_density(ENERGY, sampler.temperature(i))
            fresh = sampler.transition(log_p, hmc.init(chain.x, log_p), k, i)[0]
            return fresh.position, sampler.step(ENERGY, chain, k, i)[0]

        return jax.vmap(one)(chains, keys)

    x = ENERGY.sample(key, 64)
    keys = jax.random.split(key, 64)
    chains = jax.vmap(lambda x: sampler.init(ENERGY, x, key))(x)
    for i in range(sampler.horizon):
        before = chains.x
        wanted, chains = both(chains, jax.vmap(jax.random.fold_in, (0, None))(keys, i), jnp.asarray(i))
        np.testing.assert_allclose(chains.x, wanted, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(chains.energy, jax.vmap(ENERGY)(chains.x), rtol=1e-4, atol=1e-5)
        scores = jax.vmap(lambda x: ex.score(ENERGY, x))(chains.x)
        np.testing.assert_allclose(chains.score, scores, rtol=1e-3, atol=1e-4)
        stayed = np.asarray(before == chains.x).all(1)
        assert 0 < stayed.mean() < 1, "what was refused shows that the cache is kept, too"


UPS_AND_DOWNS = schedules.Schedule([1.0, 20.0, 0.05, 3.0, 0.1, 8.0, 0.02, 1.0])


@pytest.mark.parametrize(
    ("sampler", "stale"),
    [
        (HMC(0.9, 2, UPS_AND_DOWNS), mutants.StaleHMC(0.9, 2, UPS_AND_DOWNS)),
        (MALA(0.7, UPS_AND_DOWNS), mutants.StaleMALA(0.7, UPS_AND_DOWNS)),
        (NUTS(1.1, None, 2, UPS_AND_DOWNS), mutants.StaleNUTS(1.1, None, 2, UPS_AND_DOWNS)),
    ],
    ids=["HMC", "MALA", "NUTS"],
)
def test_a_change_of_temperature_is_a_fresh_start_and_a_stale_cache_is_caught(sampler, stale, key):
    is_a_fresh_start_at_every_temperature(sampler, key)
    with pytest.raises(AssertionError):
        is_a_fresh_start_at_every_temperature(stale, key)


def test_a_mass_is_a_change_of_units(key):
    v = jnp.array([4.0, 0.25])
    inner = lambda y: ENERGY(jnp.sqrt(v) * y)  # noqa: E731
    for massive, plain in [(HMC(0.4, 5, inverse_mass=v), HMC(0.4, 5)), (NUTS(0.4, v), NUTS(0.4))]:
        x = massive.step(ENERGY, massive.init(ENERGY, X, key), key, jnp.asarray(0))[0].x
        y = plain.step(inner, plain.init(inner, X / jnp.sqrt(v), key), key, jnp.asarray(0))[0].x
        np.testing.assert_allclose(x, jnp.sqrt(v) * y, rtol=1e-4)
        assert not np.allclose(x, X)


def test_an_event_may_be_a_tree(key):
    energy = lambda x: ENERGY(jnp.stack([x["a"], x["b"][0]]))  # noqa: E731
    tree = {"a": X[0], "b": X[1:]}
    mass = {"a": jnp.array(2.0), "b": jnp.array([0.5])}
    for flat, treed in [(MALA(0.1), MALA(0.1)), (HMC(0.3, 2, 1.0, [2.0, 0.5]), HMC(0.3, 2, 1.0, mass))]:
        x = flat.step(ENERGY, flat.init(ENERGY, X, key), key, jnp.asarray(0))[0].x
        y = treed.step(energy, treed.init(energy, tree, key), key, jnp.asarray(0))[0].x
        np.testing.assert_allclose(x, [y["a"], y["b"][0]], rtol=1e-5)


def test_what_is_reported(key):
    energy = Gaussian(jnp.zeros(2), jnp.eye(2))
    x = energy.sample(key, 50)
    info = run(NUTS(0.2), energy, x, key=key, steps=5).info
    assert info["acceptance"].shape == (50,)
    assert info["acceptance"].mean() > 0.9
    # A half turn, π, takes 16 steps of 0.2; the doubling that completes it may overshoot to 32.
    assert 8 < info["leapfrog_steps"].mean() < 32
    assert info["divergences"].sum() == 0
    assert run(NUTS(1e3), energy, x, key=key, steps=5, warn=False).info["divergences"].mean() == 1
    with pytest.warns(UserWarning, match="run: 0 of the proposals were accepted.*samplers.adapt"):
        refused = run(HMC(1e3, 2), energy, x, key=key, steps=5).info
    assert refused["acceptance"].max() == 0
    # As Langevin's: the slope where a step came from, here the start for ever.
    np.testing.assert_allclose(refused["score_norm"], np.sqrt((x**2).mean(1)), rtol=1e-5)
    first = [run(s, energy, x, key=key, steps=1).info["score_norm"] for s in (Langevin(0.1), MALA(0.1, 3.0))]
    np.testing.assert_allclose(first[1], first[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "gradients"),
    # A path of a quarter turn forgets fastest; MALA has as many gradients, four times the steps.
    [(lambda T: HMC(0.22, 4, T), 4), (lambda T: MALA(0.15, T), 1)],
    ids=["HMC", "MALA"],
)
def test_annealing_finds_the_weights_of_the_modes(make, gradients, key):
    # From a hot start far away to T = 1, where the law is exact: nothing is extrapolated.
    energy = GaussianMixture([0.25, 0.75], [[-1.0, 0.0], [1.0, 0.5]], 0.3 * jnp.eye(2))
    hot, warm = (
        schedules.constant(20.0, 40 // gradients),
        schedules.geometric(20.0, 1.0, 80 // gradients),
    )
    sampler = make(schedules.join(hot, warm, schedules.constant(1.0, 240 // gradients)))
    assert sampler.horizon == 360 // gradients
    start = 5 + 5 * jax.random.normal(key, (CHAINS, 2))
    x = run(sampler, energy, start, key=key).x
    exact = energy.sample(jax.random.fold_in(key, 1), 2_000_000)

    def moments(x):
        return jnp.stack([x[:, 0], x[:, 1], x[:, 0] ** 2, x[:, 1] ** 2, x[:, 0] > 0], 1)

    assert_mean(moments(x).reshape(64, -1, 5).mean(1), moments(exact).mean(0), "annealed means")


def test_the_annealings_are_mdsms():
    langevin, mala, annealed = annealed_langevin(), annealed_mala(), annealed_hmc()
    np.testing.assert_array_equal(mala.step_size.values, langevin.step_size.values)
    np.testing.assert_array_equal(mala.temperature.values[:-1], langevin.temperature.values[:-1])
    np.testing.assert_allclose(mala.temperature.values[-1], 1 / 200)
    assert mala.horizon == 2700
    assert annealed.horizon * annealed.leapfrog_steps == 2700
    np.testing.assert_allclose(annealed.step_size(0), 0.02, rtol=1e-6)
    np.testing.assert_allclose(annealed.temperature.values[0], 100)
    np.testing.assert_allclose(annealed.noise(0.1).values[0], 1.0)
    assert mala.bias_order is None


def test_a_sampler_scaled_takes_larger_steps():
    for sampler in (MALA(0.1, 2.0), HMC(0.1, temperature=2.0), NUTS(0.1, temperature=2.0)):
        assert sampler.scaled(3.0).step_size(0) == pytest.approx(0.3)
        assert sampler.scaled(3.0).temperature(0) == 2.0


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match="HMC: temperature must be a finite number above 0; got 0"):
        HMC(0.1, temperature=0.0)
    with pytest.raises(ex.InputError, match="MALA: least temperature must be a finite number above 0"):
        MALA(0.1, schedules.linear(1.0, 0.0, 5))
    with pytest.raises(ex.InputError, match="NUTS: inverse_mass must be positive; got a least value of 0"):
        NUTS(0.1, [1.0, 0.0])
    with pytest.raises(
        ex.InputError, match=r"HMC: inverse_mass must be of the event's shape \(2,\); got \(3,\)"
    ):
        run(HMC(0.1, inverse_mass=jnp.ones(3)), ENERGY, X[None], key=key, steps=1)
    field = ex.Score(lambda x: -x)
    with pytest.raises(ex.InputError, match=r"MALA: model must be an energy \(a vector field has no value"):
        run(MALA(0.1), field, X[None], key=key, steps=1)
