"""Reflected dynamics keep to the box and to its law: exactly, if they did without walls."""

import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import Score, score
from energax.samplers import HMC, MALA, NUTS, Climb, Langevin, ParallelTempering, Reflected, adapt, run
from energax.samplers.metropolis import Chain
from energax.samplers.reflected import fold
from energax.testing import assert_mean

GROUPS, CHAINS = 64, 64 * 256
BOX = ex.energies.TruncatedGaussian([0.9, 0.2], [0.5, 0.7], 0.0, 1.0)
GAMMA = ex.energies.Gamma([3.0, 2.0], [1.0, 2.0])
EXPONENTIAL = ex.energies.Gamma([1.0, 1.0], [1.0, 2.0])


def by_group(x):
    return np.asarray(jnp.concatenate([x, x**2], 1), np.float64).reshape(GROUPS, -1, 4).mean(1)


def of_box():
    # Moments by quadrature on the interval, one coordinate after another.
    t = (np.arange(200_000) + 0.5) / 200_000
    p = np.exp(-0.5 * ((t - np.array([[0.9], [0.2]])) / np.array([[0.5], [0.7]])) ** 2)
    p /= p.sum(1, keepdims=True)
    return np.concatenate([p @ t, p @ t**2])


def of_gamma(law):
    a, b = (np.asarray(v, np.float64) for v in (law.shape, law.rate))
    return np.concatenate([a / b, a * (a + 1) / b**2])


def moments(sampler, law, key, steps):
    x = run(sampler, law, law.sample(key, CHAINS), key=key, steps=steps).x
    assert float(x.min()) >= 0
    return by_group(x)


EXACT = [(MALA(0.15), 30), (HMC(0.3, 5), 6), (NUTS(0.4, max_doublings=4), 4)]


@pytest.mark.parametrize(("sampler", "steps"), EXACT, ids=["mala", "hmc", "nuts"])
def test_corrected_steps_stay_exact_in_a_box_and_on_a_half_line(sampler, steps, key):
    inside = Reflected(sampler, 0.0, 1.0)
    assert_mean(moments(inside, BOX, key, steps), of_box(), "moments in the box")
    assert inside.bias_order is None
    assert_mean(moments(Reflected(sampler), GAMMA, key, steps), of_gamma(GAMMA), "moments on the half-line")


def test_the_law_is_reached_from_a_corner(key):
    x = run(Reflected(HMC(0.3, 5), 0.0, 1.0), BOX, jnp.full((CHAINS, 2), 0.01), key=key, steps=40).x
    assert_mean(by_group(x), of_box(), "moments from a corner")


def test_langevin_in_a_box_and_on_a_half_line(key):
    inside = moments(Reflected(Langevin(1e-3), 0.0, 1.0), BOX, key, 400)
    assert_mean(inside, of_box(), "moments in the box", allowance=0.004)
    beyond = moments(Reflected(Langevin(1e-3)), EXPONENTIAL, key, 300)
    assert_mean(beyond, of_gamma(EXPONENTIAL), "moments on the half-line", allowance=0.01)


def test_a_score_without_bound_at_the_edge_throws_langevin_and_not_mala(key):
    # The law's second coordinate is Gamma(2, 2), of mean 1; few chains are thrown far, so they are cut at 20.
    x = run(Reflected(Langevin(2e-3)), GAMMA, GAMMA.sample(key, CHAINS), key=key, steps=300).x
    assert float(jnp.minimum(x[:, 1], 20.0).mean()) > 1.1
    y = run(Reflected(MALA(2e-3)), GAMMA, GAMMA.sample(key, CHAINS), key=key, steps=300).x
    assert_mean(by_group(y), of_gamma(GAMMA), "moments with steps corrected")


def test_a_vector_field_moves_as_its_energy_does(key):
    field = Score(lambda x: score(BOX, x))
    start = BOX.sample(key, 64)
    for walls in ((0.0, 1.0), (0.0,)):
        sampler = Reflected(Langevin(1e-2), *walls)
        one, other = (run(sampler, model, start, key=key, steps=50).x for model in (BOX, field))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_step_size_is_found_behind_the_walls(key):
    walled = Reflected(HMC(1e-3, 5), 0.0, 1.0)
    found = adapt(walled.sampler, walled.unfolded(BOX), BOX.sample(key, 512), key=key, steps=200)
    assert 0.5 < found.acceptance < 0.8
    x = run(Reflected(found.sampler, 0.0, 1.0), BOX, BOX.sample(key, CHAINS), key=key, steps=10).x
    assert_mean(by_group(x), of_box(), "moments with the step found")


def test_what_is_wrong_with_the_dynamics_is_told_behind_walls_and_up_the_scales():
    replicas = ParallelTempering(Langevin(0.1), [1.0, 1e8])
    for info in (
        {"swaps": np.zeros((2, 1)), "swap_tries": np.ones((2, 1))},
        {"swaps": np.ones((2, 1)), "swap_tries": np.ones((2, 1)), "acceptance": np.zeros(2)},
    ):
        assert len(replicas.troubles(info)) == 1  # which `run` warns of
        for around in (Reflected(replicas, 0.0, 1.0), Climb(replicas, 2, 5)):
            assert around.troubles(info) == replicas.troubles(info)


class Free(Reflected):
    """Knows no walls on its way, and folds where it ends."""

    def unfolded(self, model):
        return model


class Unturned(Reflected):
    """Folds the state after each step, but leaves the score as it was on the other sheet."""

    def step(self, model, state, key, i):
        chain, info = super().step(model, state, key, i)
        return Chain(self.folded(chain.x), chain.energy, chain.score), info


@pytest.mark.parametrize("mutant", [Free, Unturned])
def test_a_broken_reflection_is_caught(mutant, key):
    with pytest.raises(AssertionError):
        assert_mean(moments(mutant(MALA(0.15), 0.0, 1.0), BOX, key, 30), of_box(), "moments of a mutant")


def test_folding_by_hand():
    np.testing.assert_allclose(
        fold(jnp.array([-0.2, 0.3, 1.3, 2.4, -1.6]), 0.0, 1.0), [0.2, 0.3, 0.7, 0.4, 0.4], atol=1e-6
    )
    np.testing.assert_allclose(fold(jnp.array([0.5, 3.0, -7.0]), 1.0, jnp.inf), [1.5, 3.0, 9.0])


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match="high must be a finite number above 0"):
        Reflected(Langevin(0.1), 0.0, -1.0)
    with pytest.raises(ex.InputError, match="sampler must be dynamics"):
        Reflected(0.1)
