"""Restored spins: Bayes' rule, the mode and the marginals by enumeration, and descent that ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Ising, IsingGraph
from energax.tasks import cut, flip_posterior, ground_state, restore_flips
from energax.tasks.flips import _Marginals, turn
from energax.testing import assert_mean
from tests.energies.states import random_grid, spins

FLIP = 0.2


def states(shape):
    return spins(int(np.prod(shape))).reshape(-1, *shape)


@jax.jit
def energies(model, rows):
    return jax.vmap(model)(rows)


def ferromagnet(shape, seed):
    """Couplings of very different strengths, none negative, and a field of either sign."""
    H, W = shape
    rng = np.random.default_rng(seed)
    return Ising(
        shape,
        horizontal=rng.exponential(size=(H, W - 1)),
        vertical=0.5 * rng.exponential(size=(H - 1, W)),
        field=1.5 * rng.standard_normal(shape) + 0.2,
    )


def noisy(shape, seed, n=1):
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, *shape)).astype(np.float32)


# The posterior.


def check_bayes(posterior):
    """Fail unless a function (ising, x, f) is Bayes' rule on all states."""
    ising, x, y = random_grid(3, 3), noisy((3, 3), 0)[0], states((3, 3))
    prior = -np.asarray(energies(ising, y), np.float64)
    for f in (0.02, 0.3, 0.8):
        agree = (y == x).reshape(len(y), -1).sum(1)
        log_joint = prior + agree * np.log(1 - f) + (9 - agree) * np.log(f)
        got = -np.asarray(energies(posterior(ising, x, f), y), np.float64)
        difference = got - log_joint
        np.testing.assert_allclose(difference - difference.mean(), 0, atol=2e-5)


def test_the_posterior_is_bayes_rule():
    check_bayes(flip_posterior)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda m, x, f: flip_posterior(flip_posterior(m, x, f), x, f),  # without the ½
        lambda m, x, f: flip_posterior(m, -x, f),
        lambda m, x, f: flip_posterior(m.tempered(2.0), x, f),
        lambda m, x, f: m,
    ],
)
def test_another_posterior_is_caught(mutant):
    with pytest.raises(AssertionError):
        check_bayes(mutant)


# The mode.


def check_mode(mode, shapes=((3, 4), (1, 12), (12, 1), (6, 2))):
    """Fail unless the mode is the enumerated one on a hundred asymmetric grids."""
    for shape in shapes:
        y = states(shape)
        for seed in range(25):
            ising = ferromagnet(shape, seed)
            all_of_them = np.asarray(energies(ising, y))
            first, second = np.sort(all_of_them)[:2]
            found = mode(ising)
            if second - first > 1e-4:
                np.testing.assert_array_equal(found, y[all_of_them.argmin()])
            assert float(ising(jnp.asarray(found))) <= first + 1e-4


def test_the_cut_is_the_mode():
    check_mode(lambda ising: ground_state(ising)[0])


@pytest.mark.parametrize(
    "mutant",
    [
        lambda m: ground_state(Ising(m.event_shape, horizontal=m.horizontal, field=m.field))[0],
        lambda m: -ground_state(m)[0],
        lambda m: ground_state(Ising(m.event_shape, horizontal=m.horizontal, vertical=m.vertical))[0],
        # ½J in place of J: the mistake of counting every edge once from each end.
        lambda m: ground_state(
            Ising(m.event_shape, horizontal=m.horizontal / 2, vertical=m.vertical / 2, field=m.field)
        )[0],
    ],
)
def test_another_mode_is_caught(mutant):
    with pytest.raises(AssertionError):
        check_mode(mutant, shapes=((3, 4),))


def test_a_flow_that_is_not_the_largest_is_caught(monkeypatch):
    largest = cut.maximum_flow

    def none(network, source, sink):
        result = largest(network, source, sink)
        result.flow.data[:] = 0
        return result

    monkeypatch.setattr(cut, "maximum_flow", none)
    with pytest.raises(AssertionError):
        check_mode(lambda ising: ground_state(ising)[0], shapes=((3, 4),))


def test_the_gap_is_an_honest_bound_however_coarse_the_flow(monkeypatch):
    y = states((3, 4))
    missed = 0
    for largest in (2, 5, 2**30 - 1):
        monkeypatch.setattr(cut, "LARGEST", largest)
        for seed in range(20):
            ising = ferromagnet((3, 4), seed)
            found, gap = ground_state(ising)
            above = float(ising(jnp.asarray(found))) - float(energies(ising, y).min())
            assert above <= gap + 1e-5
            missed += above > 1e-3
            if largest > 5:
                assert gap < 1e-6
    assert missed > 5  # so that the bound was needed


def test_the_cut_of_a_picture_beats_every_other_answer_under_its_own_energy(key):
    ising = Ising((40, 30), horizontal=0.7, vertical=0.5, field=-0.05)
    x = noisy((40, 30), 1, n=2)
    found = {method: restore_flips(ising, x, FLIP, method, key=key) for method in ("gibbs", "icm", "cut")}
    for other in ("gibbs", "icm"):
        assert (found["cut"].energy < found[other].energy - 1).all()
    for row, y, energy in zip(x, found["cut"].spins, found["cut"].energy, strict=True):
        assert float(flip_posterior(ising, row, FLIP)(y)) == pytest.approx(energy, rel=1e-6)
        np.testing.assert_array_equal(y, ground_state(flip_posterior(ising, row, FLIP))[0])


# Descent.


def check_descent(step):
    """Fail unless half-sweeps never raise the energy and end where no single turn lowers it."""
    for ising in (random_grid(5, 6), ferromagnet((5, 6), 1), Ising((5, 6), horizontal=1.0, vertical=1.0)):
        posterior = flip_posterior(ising, noisy((5, 6), 2)[0], FLIP)
        one = jax.jit(step, static_argnums=2)
        y = jnp.asarray(noisy((5, 6), 3)[0])
        before = float(posterior(y))
        for half in range(60):
            y = one(posterior, y, half % 2)
            now = float(posterior(y))
            assert now <= before + 1e-5
            before = now
        # Every single turn changes the energy by 2 y_i L_i: none may lower it.
        turned = np.asarray(y) * np.where(np.eye(30), -1, 1).reshape(30, 5, 6)
        assert float(energies(posterior, turned).min()) >= now - 1e-5


def test_conditional_modes_descend_to_a_local_mode():
    check_descent(turn)


@pytest.mark.parametrize(
    "mutant",
    [
        lambda m, y, colour: jnp.sign(m.local_field(y)),  # both colours at once
        lambda m, y, colour: -turn(m, -y, colour),  # towards the field that the opposite state would feel
        lambda m, y, colour: y,
    ],
)
def test_other_descents_are_caught(mutant):
    with pytest.raises(AssertionError):
        check_descent(mutant)


def test_icm_ends_where_half_sweeps_end():
    ising, x = random_grid(4, 5), noisy((4, 5), 4, n=3)
    found = restore_flips(ising, x, FLIP, "icm")
    for row, y, energy in zip(x, found.spins, found.energy, strict=True):
        posterior = flip_posterior(ising, row, FLIP)
        other = jnp.asarray(row)
        for half in range(40):
            other = turn(posterior, other, half % 2)
        np.testing.assert_array_equal(y, other)
        assert energy <= float(posterior(jnp.asarray(row))) + 1e-5


# Marginals.

SMALL = random_grid(3, 3)
SEEN = noisy((3, 3), 5)[0]


def check_marginals(rows):
    """Fail unless independent estimates have the mean p(y_i = 1 | x)."""
    y = states((3, 3))
    weights = jax.nn.softmax(-energies(flip_posterior(SMALL, SEEN, FLIP), y))
    exact = np.einsum("s,shw->hw", np.asarray(weights, np.float64), y > 0)
    # What 100 sweeps from x may not have forgotten of it is below rounding on nine spins.
    assert_mean(rows, exact, "p(y_i = 1 | x)")


def test_gibbs_means_are_the_marginals(key):
    rows = np.broadcast_to(SEEN, (400, 3, 3))
    found = restore_flips(SMALL, rows, FLIP, key=key)
    check_marginals(found.probability)
    np.testing.assert_array_equal(found.spins, np.where(found.probability > 0.5, 1, -1))
    alone = restore_flips(SMALL, rows[:1], FLIP, key=key)
    np.testing.assert_allclose(alone.probability, found.probability[:1], rtol=1e-6)


class Unburnt(_Marginals):
    """Divides by all sweeps, burn-in and all."""

    def position(self, state):
        return state.on / self.total


class Forgetful(_Marginals):
    """Sweeps of the prior."""

    def step(self, model, state, key, i):
        moved, info = super().step(model, type(state)(state.spins, 0 * state.observed, state.on), key, i)
        return type(state)(moved.spins, state.observed, moved.on), info


@pytest.mark.parametrize("mutant", [Unburnt, Forgetful])
def test_broken_marginals_are_caught(mutant, key):
    strength = jnp.asarray(0.5 * np.log((1 - FLIP) / FLIP), jnp.float32)
    rows = np.broadcast_to(SEEN, (400, 3, 3))
    found = ex.samplers.run(mutant(strength, 100, 500), SMALL, rows, key=key).x
    with pytest.raises(AssertionError):
        check_marginals(found)


def test_the_share_of_right_pixels_is_what_the_marginals_say_and_no_method_has_more(key):
    # Clean rows drawn from the model, flipped as it is told: p is then calibrated, and its sign best.
    ising = Ising((4, 5), horizontal=0.35, vertical=0.25, field=0.1)
    draw_key, flip_key, *run_keys = jax.random.split(key, 4)
    clean = np.asarray(ising.sample(draw_key, 2000))
    x = np.where(jax.random.bernoulli(flip_key, FLIP, clean.shape), -clean, clean)
    first, second = (restore_flips(ising, x, FLIP, key=k, sweeps=200, burn_in=50) for k in run_keys)
    # Another run's estimates: those whose signs are taken are biased towards what was taken.
    expected = np.where(first.spins > 0, second.probability, 1 - second.probability)
    assert_mean(_right(first.spins, clean) - expected.mean((1, 2)), 0.0, "right pixels beyond those expected")
    for other in ("icm", "cut"):
        more = _right(first.spins, clean) - _right(restore_flips(ising, x, FLIP, other).spins, clean)
        assert more.mean() > 0  # by seven standard errors


def _right(restored, clean):
    return (restored == clean).mean((1, 2))


# Bad input.


@pytest.mark.parametrize(
    ("ising", "x", "flip", "options", "said"),
    [
        (Ising((2, 2)), np.ones((1, 2, 3)), 0.1, {}, r"observed must be of shape \(n, 2, 2\)"),
        (Ising((2, 2)), np.zeros((1, 2, 2)), 0.1, {}, "observed must be −1 and 1 everywhere; got 0"),
        (Ising((2, 2)), np.ones((1, 2, 2)), 0.0, {}, "flip must be a finite number above 0; got 0"),
        (Ising((2, 2)), np.ones((1, 2, 2)), 1.0, {}, "flip must be strictly between 0 and 1; got 1"),
        (Ising((2, 2)), np.ones((1, 2, 2)), 0.1, {"method": "cuts"}, r"did you mean 'cut'\?"),
        (Ising((2, 2)), np.ones((1, 2, 2)), 0.1, {}, "key must be given for the method 'gibbs'"),
        (
            IsingGraph(np.zeros((4, 4))),
            np.ones((1, 2, 2)),
            0.1,
            {},
            "ising must be an Ising grid; got IsingG",
        ),
        (
            Ising((2, 2), vertical=-0.3),
            np.ones((1, 2, 2)),
            0.1,
            {"method": "cut"},
            r"restore_flips: method must be 'gibbs' or 'icm' where a coupling is negative.*; got .*of -0.3\.",
        ),
    ],
)
def test_mistakes_are_named(ising, x, flip, options, said):
    with pytest.raises(ex.InputError, match=said):
        restore_flips(ising, x, flip, **options)


def test_a_cut_refuses_a_negative_coupling_itself():
    with pytest.raises(ex.InputError, match=r"couplings are all at least 0.*; got a coupling of -1"):
        ground_state(Ising((2, 2), horizontal=[[0.5], [-1.0]]))
