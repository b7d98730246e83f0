"""Improved contrastive divergence: its gradient against closed forms on a Gaussian."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import energax as ex
from energax.objectives import Batch, Chains, ImprovedContrastiveDivergence
from energax.samplers import BitGibbs, Langevin
from energax.samplers.pools import FromData, Persistent, Replay
from energax.testing import assert_mean
from energax.testing.objective import _Isotropic, _minimum

ETA, D = 0.2, 3  # below three dimensions the gradient of log distance has no variance
GROUPS, ROWS = 64, 1024


def variance(a):
    """After one Langevin step of E = ½a‖x‖² from N(0, I)."""
    return (1 - ETA * a) ** 2 + 2 * ETA


def gradients(objective, a, key):
    """Return GROUPS independent gradients in a, chains of one step starting at the data."""

    @eqx.filter_jit
    def one(k):
        data_key, move_key = jax.random.split(k)
        batch = Batch(jax.random.normal(data_key, (ROWS, D)))
        model = _Isotropic(jnp.asarray(a))
        _, state = objective.init(model, batch, k, ROWS)
        state, _ = objective.refresh(model, None, state, Batch(batch.x[None]), move_key)
        return jax.grad(lambda a: objective.loss(_Isotropic(a), None, state, batch, k)[0])(jnp.asarray(a))

    return jax.lax.map(one, jax.random.split(key, GROUPS))


def objective(**settings):
    return ImprovedContrastiveDivergence(Langevin(ETA), 1, FromData(), **settings)


class Cut(ImprovedContrastiveDivergence):
    """Nothing flows through the last step."""

    def _last(self, model, x, condition, keys):
        return jax.lax.stop_gradient(super()._last(model, x, condition, keys))


class ThroughTheEnergy(ImprovedContrastiveDivergence):
    """The energy that weighs the ends is differentiated, too."""

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        x = state.value.chains.ends.x
        return value + jnp.mean(jax.vmap(model)(x)), metrics


@pytest.mark.parametrize("kappa", [1.0, -1.0])
def test_the_energy_term_flows_through_the_last_step(kappa, key):
    # ½d(1 − v) of the contrast, and κ·½d·a·v′(a) of E_{sg a}(x(a)).
    a = 0.6
    slope = jax.grad(variance)(a)
    wanted = D / 2 * (1 - variance(a)) + kappa * D / 2 * a * slope
    assert_mean(gradients(objective(kl_weight=kappa, entropy_weight=0.0), a, key), wanted)
    for mutant in (Cut, ThroughTheEnergy):
        broken = mutant(Langevin(ETA), 1, FromData(), kl_weight=kappa, entropy_weight=0.0)
        with pytest.raises(AssertionError):
            assert_mean(gradients(broken, a, key), wanted)


def test_the_entropys_gradient_wants_the_weight_d(key):
    # −dH/da = −½d·v′/v; neighbours at a distance of n^{−1/d} blur it by some per cent.
    a = 0.6
    entropy = -D / 2 * jax.grad(variance)(a) / variance(a)
    energy = D / 2 * (1 - variance(a)) + D / 2 * a * jax.grad(variance)(a)
    assert_mean(gradients(objective(), a, key), energy + entropy, allowance=0.1 * abs(entropy))
    printed = gradients(objective(entropy_weight=0.3), a, key)
    with pytest.raises(AssertionError):  # the reference code's weight
        assert_mean(printed, energy + entropy, allowance=0.1 * abs(entropy))


def test_kappa_minus_one_is_the_gradient_of_contrastive_divergence(key):
    # J(a) = KL(N(0, I) ‖ p_a) − KL(N(0, vI) ‖ p_a), of which CD drops what flows through v.
    def divergence(v, a):
        return D / 2 * (a * v - jnp.log(a * v) - 1)

    a = 0.6
    wanted = jax.grad(lambda a: divergence(1.0, a) - divergence(variance(a), a))(a)
    allowance = 0.1 * abs(D / 2 * jax.grad(variance)(a) / variance(a))
    assert_mean(gradients(objective(kl_weight=-1.0), a, key), wanted, allowance=allowance)
    with pytest.raises(AssertionError):
        assert_mean(gradients(objective(kl_weight=0.0), a, key), wanted, allowance=allowance)
    with pytest.raises(AssertionError):  # the paper's sign
        assert_mean(gradients(objective(), a, key), wanted, allowance=allowance)


def vanishes_at_first_order(at, eta):
    """Whether a bias falls by about a half with the step, not by less than a quarter, nor as η² does."""
    whole, half = at(eta), at(eta / 2)
    return whole / 4 < half < 3 * whole / 4


@pytest.mark.study
def test_chains_that_go_on_have_a_bias_of_first_order_in_the_step(key):
    # By κ = 1 and w = d, the defaults, whose entropy of nearest neighbours is blurred; what is blurred is
    # itself of the order of the step.
    gaussian = ex.energies.Gaussian(jnp.zeros(4), jnp.eye(4))

    def bias(eta):
        improved = ImprovedContrastiveDivergence(Langevin(eta), 3, Persistent(128))
        assert (improved.target.why, improved.target.order) == ("the step size of Langevin", 1.0)
        a, error = _minimum(improved, _Isotropic, 1.0, gaussian, key, 6)
        assert error < 0.01
        return a - 1

    assert vanishes_at_first_order(bias, ETA)


def test_from_the_data_what_kappa_weighs_is_a_bias_that_stays():
    # The slopes that the tests above hold the gradient to, of one step from the data.
    def bias(eta, kappa):
        def slope(a):
            v = (1 - eta * a) ** 2 + 2 * eta
            return 1 - v - 2 * eta * (1 - eta * a) * kappa * (a - 1 / v)

        return scipy.optimize.brentq(slope, 1.0, 2.0) - 1

    assert objective().target.order == 0.0
    assert bias(0.01, 1.0) == pytest.approx(0.25, abs=0.01)
    assert not vanishes_at_first_order(lambda eta: bias(eta, 1.0), 0.02)
    assert objective(kl_weight=0.0).target.order == 1.0
    assert vanishes_at_first_order(lambda eta: bias(eta, 0.0), 0.02)
    assert ImprovedContrastiveDivergence(Langevin(ETA)).target.why.startswith("the share of chains")


def test_the_loss_redoes_the_step_that_was_taken(key):
    energy = ex.energies.MLP((3,), width=8, depth=2, key=jax.random.key(1))
    x = jax.random.normal(key, (6, 3))
    improved = ImprovedContrastiveDivergence(Langevin(0.05), 4, Replay(size=32))
    _, state = improved.init(energy, Batch(x), key, 6)
    assert isinstance(state, Chains)
    state, report = improved.refresh(energy, None, state, Batch(x[None]), key)
    redo = state.value
    again = improved._last(energy, redo.before, None, redo.keys)
    np.testing.assert_allclose(again, redo.chains.ends.x, rtol=1e-6)
    assert {"chain_age", "chain_step", "score_norm"} <= set(report)
    assert np.isfinite(improved.loss(energy, None, state, Batch(x), key)[0])


def test_fit_learns_a_mixture(key):
    truth = ex.energies.GaussianMixture([0.3, 0.7], [[-1.5, 0.0], [1.5, 0.5]], 0.3 * jnp.eye(2))
    x = truth.sample(key, 2000)
    start = ex.energies.GaussianMixture([0.5, 0.5], [[-0.5, 0.0], [0.5, 0.0]], jnp.eye(2))
    learn = ImprovedContrastiveDivergence(Langevin(0.02), 10, Replay(512, 0.01))
    fit = ex.fit(start, learn, x, key=key, steps=400, learning_rate=0.03, ema=0.98, progress=False)
    held_out = truth.sample(jax.random.fold_in(key, 1), 4000)

    def likelihood(model):
        return float(jax.vmap(model.log_prob)(held_out).mean())

    assert likelihood(truth) - likelihood(start) > 0.5
    assert likelihood(truth) - likelihood(fit.energy) < 0.05


def test_only_langevins_last_step_can_be_redone():
    with pytest.raises(ex.InputError, match="sampler must be a Langevin sampler; got BitGibbs"):
        ImprovedContrastiveDivergence(BitGibbs())
