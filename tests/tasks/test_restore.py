"""Restoring from a linear look: exact for Gaussians, whatever the noise; operators are what they say."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

import energax as ex
from energax.checks import InputError
from energax.samplers import Langevin, Preconditioned, schedules
from energax.tasks import linear_operator, restore
from energax.tasks.operators import Blur, Downsample, dense, projections
from energax.testing import assert_mean

MEAN = np.array([0.5, 0.2, 0.7, 0.4])
ROOT = np.array([[1.0, 0, 0, 0], [0.8, 0.6, 0, 0], [0.1, 0.3, 0.5, 0], [0.0, -0.4, 0.2, 0.7]]) * 0.3
COVARIANCE = ROOT @ ROOT.T
LOOK = np.array([[1.0, -0.5, 0.0, 2.0], [0.3, 0.3, 0.3, 0.0]])
ENERGY = ex.energies.Gaussian(jnp.asarray(MEAN), jnp.asarray(COVARIANCE))


def posterior(y, s):
    """The Gaussian law of x given y: by the gain, which does not mind a small s."""
    gain = COVARIANCE @ LOOK.T @ np.linalg.inv(LOOK @ COVARIANCE @ LOOK.T + s**2 * np.eye(2))
    return MEAN + gain @ (y - LOOK @ MEAN), COVARIANCE - gain @ LOOK @ COVARIANCE


def check_restored(noise, key, **changed):
    y = np.array([1.1, 0.2])
    temperature = schedules.join(schedules.geometric(20.0, 1.0, 200), schedules.constant(1.0, 600))
    settings = {"sampler": Langevin(0.002, temperature), "noise": noise, "final_jump": False} | changed
    x = restore(ENERGY, np.tile(y, (8000, 1)), LOOK, key=key, **settings)
    mean, covariance = posterior(y, noise)
    spread = np.sqrt(np.diag(covariance))
    groups = x.reshape(80, 100, 4)
    # The step's bias is a hundredth in what is seen, and as much in the steepest direction unseen.
    assert_mean(groups.mean(1), mean, "mean given the look", allowance=0.04 * spread)
    assert_mean(groups.var(1, ddof=1), spread**2, "variance given it", allowance=0.06 * spread**2)


@pytest.mark.parametrize("noise", [0.3, 0.003])
def test_draws_have_the_law_of_what_was_lost_given_what_was_seen(noise, key):
    check_restored(noise, key)


def test_chains_start_where_their_starting_law_meets_the_look(key):
    """After no step to speak of: draws of N(c, τ²) given y, whatever the energy."""
    y, s, tau = np.array([1.1, 0.2]), 0.2, 0.7
    frozen = Langevin(1e-9, schedules.constant(1.0, 2))
    settings = {"sampler": frozen, "noise_max": tau, "center": 0.3, "final_jump": False}
    x = restore(ENERGY, np.tile(y, (20_000, 1)), LOOK, noise=s, key=key, **settings)
    gain = tau**2 * LOOK.T @ np.linalg.inv(tau**2 * LOOK @ LOOK.T + s**2 * np.eye(2))
    mean = 0.3 + gain @ (y - LOOK @ np.full(4, 0.3))
    groups = x.reshape(100, 200, 4)
    assert_mean(groups.mean(1), mean, "mean of the starts")
    spread = tau**2 * (np.eye(4) - gain @ LOOK)
    centred = groups - mean
    second = np.einsum("gni,gnj->gij", centred, centred) / 200
    assert_mean(second, spread, "their covariance", allowance=1e-4)


def test_without_the_dynamics_made_for_it_a_sharp_look_is_missed(key):
    # The mutant: plain Langevin at the same step, as a sampler that is no `Langevin` to the task.
    class Plain(Preconditioned):
        pass

    temperature = schedules.join(schedules.geometric(20.0, 1.0, 200), schedules.constant(1.0, 600))
    plain = Plain(Langevin(0.002, temperature), np.eye(4))
    with pytest.warns(UserWarning, match="chains left"), pytest.raises((AssertionError, InputError)):
        check_restored(0.003, key, sampler=plain)


def test_operators_are_what_they_say():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(6, 8, 2)).astype(np.float32)
    blurred = Blur(1.3, image.shape)(jnp.asarray(image))
    for c in range(2):
        truth = scipy.ndimage.gaussian_filter(image[..., c], 1.3, mode="reflect", radius=6)
        np.testing.assert_allclose(blurred[..., c], truth, atol=1e-5)
    small = Downsample(2, image.shape)(jnp.asarray(image.reshape(-1)))
    np.testing.assert_allclose(small[1, 2], image[2:4, 4:6].mean((0, 1)), atol=1e-6)
    looked = projections(5000, 12)
    # Random projections keep lengths: ‖Gx‖² has mean ‖x‖² and relative deviation √(2/m).
    x = rng.normal(size=12)
    assert abs(float(jnp.sum(looked(jnp.asarray(x)) ** 2)) / np.sum(x**2) - 1) < 5 * np.sqrt(2 / 5000)
    for operator in (Blur(1.3, image.shape), Downsample(2, image.shape)):
        matrix = dense(operator, jnp.zeros(image.shape))
        np.testing.assert_allclose(matrix @ image.reshape(-1), np.ravel(operator(image)), atol=1e-5)


def test_names_lead_to_operators(tmp_path):
    np.save(tmp_path / "look.npy", LOOK)
    look = linear_operator(str(tmp_path / "look.npy"), (4,), None)
    np.testing.assert_allclose(look(jnp.asarray(MEAN)), LOOK @ MEAN, rtol=1e-5)
    assert linear_operator("downsample:2", (64,), (8, 8, 1)).factor == 2
    assert linear_operator("project:3", (4,), None).matrix.shape == (3, 4)


@pytest.mark.parametrize(
    ("spelled", "allowed"),
    [
        ("sharpen", "blur:S"),
        ("blur:", "blur:S"),
        ("downsample:1.5", "blur:S"),
        ("downsample:3", "a divisor"),
        ("blur:1", "project:M or a matrix"),
        ("gone.npy", "cannot be read"),
    ],
)
def test_other_names_are_refused(spelled, allowed):
    image = None if spelled == "blur:1" else (8, 8, 1)
    with pytest.raises(InputError, match=allowed):
        linear_operator(spelled, (64,), image)


def test_what_does_not_fit_is_refused(key):
    with pytest.raises(InputError, match="a matrix of 4 columns; got 3"):
        restore(ENERGY, np.zeros((2, 2)), np.zeros((2, 3)), noise=0.1, key=key)
    with pytest.raises(InputError, match="noise must be"):
        restore(ENERGY, np.zeros((2, 2)), LOOK, noise=0.0, key=key)
    with pytest.raises(InputError, match="a vector field"):
        restore(ex.Score(lambda x: -x), np.zeros((2, 2)), LOOK, noise=0.1, key=key, event_shape=(4,))
