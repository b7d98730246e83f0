"""ESS and split R̂ of chains whose truth is known; ArviZ reads the same numbers from what is exported."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

import energax as ex
from energax.samplers import HMC, Langevin, diagnostics, observers, run
from energax.testing import assert_mean

ENERGY = ex.energies.Gaussian(jnp.zeros(2), jnp.diag(jnp.array([1.0, 0.25])))


def autoregressive(rho, chains, n, seed):
    """x_t = ρ x_{t−1} + √(1−ρ²) z_t in equilibrium: its ESS is n (1 − ρ)/(1 + ρ)."""
    z = np.random.default_rng(seed).normal(size=(chains, n))
    z[:, 1:] *= np.sqrt(1 - rho**2)
    return scipy.signal.lfilter([1.0], [1.0, -rho], z, axis=1).astype(np.float32)


@pytest.mark.parametrize("rho", [0.0, 0.8, -0.4])
def test_ess_of_an_autoregression(rho, seed):
    # The estimate cuts the sum of correlations off: a bias of a few per cent at most.
    seeds = range(64 * seed, 64 * seed + 64)
    x = np.stack([autoregressive(rho, 4, 1000, s) for s in seeds], axis=-1)
    wanted = 4000 * (1 - rho) / (1 + rho)
    assert_mean(diagnostics.ess(x) / wanted, 1.0, "ESS against its truth", allowance=0.05)


def test_rhat_is_one_in_equilibrium_and_not_elsewhere(seed):
    x = autoregressive(0.3, 4, 500, seed)
    drift = x + np.linspace(0, 3, 500)
    apart = x + np.array([0.0, 0.0, 0.0, 3.0])[:, None]
    wider = x * np.array([1.0, 1.0, 1.0, 4.0])[:, None]
    assert 0.99 < diagnostics.split_rhat(x) < 1.03
    for wrong in (drift, apart, wider, drift[:1]):
        assert diagnostics.split_rhat(wrong) > 1.1


def test_what_never_moves_is_worth_nothing():
    x = np.broadcast_to(np.arange(3.0, dtype=np.float32)[:, None], (3, 50))
    assert diagnostics.ess(x) == 0
    assert not diagnostics.split_rhat(x) < 1.1


@pytest.fixture(scope="module")
def ran():
    key = jax.random.key(0)
    watched = {"x": observers.position, "energy": observers.energy}
    return run(HMC(0.2, 2), ENERGY, ENERGY.sample(key, 3), key=key, steps=200, observers=watched, every=1)


def test_draws_have_chains_first(ran):
    x = diagnostics.draws(ran, "x", discard=1)
    assert x.shape == (3, 200, 2)
    np.testing.assert_array_equal(x[:, -1], ran.x)
    assert diagnostics.ess(x).shape == (2,)
    # The narrow coordinate turns twice as far on each path.
    assert diagnostics.ess(x)[1] > 1.5 * diagnostics.ess(x)[0]


def test_arviz_reads_the_same_numbers(ran):
    data = diagnostics.to_inference_data(ran, discard=1)
    import arviz

    x = diagnostics.draws(ran, "x", discard=1)
    np.testing.assert_array_equal(data.posterior["x"].values, x)
    # ArviZ does not make the last pair of correlations in its sum monotone; BlackJAX does.
    np.testing.assert_allclose(arviz.ess(data)["x"].values, diagnostics.ess(x), rtol=1e-2)
    np.testing.assert_allclose(arviz.rhat(data)["x"].values, diagnostics.split_rhat(x), rtol=1e-4)
    energy = diagnostics.draws(ran, "energy", discard=1)
    np.testing.assert_array_equal(data.posterior["energy"].values, energy)
    np.testing.assert_allclose(data.attrs["acceptance"], diagnostics.acceptance(ran))


def test_arviz_has_each_pairs_report(ran):
    pairs = np.array([[0.2, 0.1], [0.4, 0.3]])
    both = ran._replace(info={"acceptance": np.array([0.5, 0.7]), "swaps": pairs})
    attributes = diagnostics.to_inference_data(both).attrs
    np.testing.assert_allclose(attributes["acceptance"], 0.6)
    np.testing.assert_allclose(attributes["swaps"], [0.3, 0.2])


def test_trees_become_variables():
    tree = {"a": np.zeros((2, 10)), "b": {"c": np.ones((2, 10, 3))}}
    data = diagnostics.to_inference_data(tree, discard=4)
    assert {name: v.shape for name, v in data.posterior.items()} == {"x.a": (2, 6), "x.b.c": (2, 6, 3)}
    tree["b"]["c"] = np.random.default_rng(0).normal(size=(2, 10, 1, 3))
    shapes = {"a": (), "b": {"c": (1, 3)}}
    assert jax.tree.map(np.shape, diagnostics.ess(tree)) == shapes
    assert jax.tree.map(np.shape, diagnostics.split_rhat(tree)) == shapes


def test_a_step_that_rejects_everything_is_named(ran, key):
    assert diagnostics.check_acceptance(ran) == diagnostics.acceptance(ran) > 0.5
    with pytest.warns(UserWarning, match="run: 0 of the proposals were accepted"):
        stuck = run(HMC(30.0, 2), ENERGY, ENERGY.sample(key, 8), key=key, steps=10)
    message = (
        r"run: step_size must be small enough .* \(try a tenth of it: .*--epsilon.* samplers.adapt, .*\); "
        r"got a mean acceptance of 0, and 8 of 8 chains that never moved\."
    )
    with pytest.raises(ex.InputError, match=message):
        diagnostics.check_acceptance(stuck)


def test_mistakes_are_named(ran, key, monkeypatch):
    with pytest.raises(
        ex.InputError, match=r"draws must be of shape .* at least 4 draws; got shape \(3, 2\)"
    ):
        diagnostics.ess(np.zeros((3, 2)))
    with pytest.raises(ex.InputError, match="name must be one of 'x', 'energy'; got 'y'"):
        diagnostics.draws(ran, "y")
    unwatched = run(Langevin(0.1), ENERGY, ENERGY.sample(key, 2), key=key, steps=2)
    with pytest.raises(ex.InputError, match="ran must be a run whose sampler reports acceptance"):
        diagnostics.acceptance(unwatched)
    with pytest.raises(ex.InputError, match=r"ran must be a run of samplers\.ParallelTempering"):
        diagnostics.swap_acceptance(unwatched)
    with pytest.raises(ex.InputError, match="source must be a run with observers"):
        diagnostics.to_inference_data(unwatched)
    monkeypatch.setitem(sys.modules, "arviz", None)
    with pytest.raises(ex.InputError, match=r"pip install 'energax\[arviz\]'"):
        diagnostics.to_inference_data(ran)
