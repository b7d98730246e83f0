"""The studies of likelihood and of annealing: their own formulas on laws whose answers are known."""

import jax
import numpy as np
import pytest

from energax.energies import Gaussian
from energax.papers import mdsm_annealing as annealing
from energax.papers import mdsm_likelihood as likelihood
from energax.testing import assert_mean
from tests.papers.studied import studied

SIGMA_0 = 0.1
D = 8


def test_a_quadratic_energy_is_a_line_and_a_fast_annealing_lags():
    # E = ‖x − ½‖²/2σ₀²: mean T d/2, virial T d, and Langevin's own bias of one part in a hundred.
    energy = Gaussian(np.full(D, 0.5), SIGMA_0**2 * np.eye(D))
    eta, hottest = (0.2 * SIGMA_0) ** 2 / 2, 100.0
    bias = 1 / (1 - eta / (2 * SIGMA_0**2))
    x = 0.5 + np.sqrt(bias * hottest) * SIGMA_0 * np.random.default_rng(0).normal(size=(256, D))
    size = annealing.Size((), (), 4, 400, 256, {})
    results = {}
    for length in (4000, 50):
        t, found, _ = annealing.passages(
            energy, x.astype(np.float32), eta, hottest, length, size, jax.random.key(1)
        )
        results[length] = annealing.judged(t, found, D)
        held = found["held"]
        exact = bias * t * D / 2
        error = held.energy.std(1, ddof=1) / 16
        assert np.all(np.abs(held.energy.mean(1) - exact) < 5 * error)
        assert np.all(np.abs(held.virial.mean(1) - 2 * exact) < 10 * error)
    slow, fast = results[4000], results[50]
    assert slow["slope hot"][0] == pytest.approx(bias, abs=0.1)
    assert np.max(np.abs(slow["lag"])) < 0.1
    assert min(fast["virial held"]) > 0.9
    # Too fast by far: cold chains carry the energy of hotter ones, down and up.
    assert fast["lag"][-1] > 1
    assert "not quasi-static" in annealing.verdict({"fast": fast})
    assert "not quasi-static" not in annealing.verdict({"slow": slow | {"lag": [0.0] * 4}})


@pytest.mark.study
def test_the_annealing_study_runs_in_small(tmp_path):
    facts = studied("mdsm-annealing", tmp_path)
    assert len(facts["rows"]) == 3


def test_the_densities_with_noise_built_in_are_normalised_and_above_their_floor():
    rng = np.random.default_rng(2)
    train = rng.normal(size=(40, 2)) * [0.5, 1.0]
    # Of N(0, I) about each row, and of one Gaussian: the mass on a fine grid.
    axis = np.linspace(-8, 8, 161)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    for density in (likelihood.parzen, likelihood.gaussian):
        mass = np.exp(density(train, grid, 0.6)).sum() * (axis[1] - axis[0]) ** 2
        assert mass == pytest.approx(1, abs=1e-3)
        assert np.exp(density(train, grid, 0.5)).sum() * (axis[1] - axis[0]) ** 2 == pytest.approx(
            1, abs=1e-3
        )
    # One training row: the Parzen density is the noise itself, and at it the peak, the floor as rows are.
    one = likelihood.parzen(train[:1], train[:1], 0.1)
    assert one[0] / 2 == pytest.approx(-np.log(0.1 * np.sqrt(2 * np.pi)))
    noisy = train[:1] + 0.1 * rng.normal(size=(20_000, 2))
    entropy = np.log(0.1 * np.sqrt(2 * np.pi * np.e))
    assert_mean(-likelihood.parzen(train[:1], noisy, 0.1) / 2, entropy)


def test_the_verdict_names_what_cannot_be():
    def bits(value):
        return {way: {"value": value, "least": value - 0.1, "most": value + 0.1} for way in likelihood.WAYS}

    log_z = {"lower": 0.0, "upper": 9.0, "converged": False}
    densities = {n: bits(-1.0) for n in (likelihood.GAUSSIAN, likelihood.PARZEN)}
    floors = {likelihood.WAYS[0]: -2.0, likelihood.WAYS[1]: -1.27}
    told = likelihood.verdict(
        {"mnist": {"floors": floors, "densities": densities | {"energy": bits(-1.1) | {"log Z": log_z}}}}
    )
    assert "not converged, 9.0 nats" in told
    assert "above the floors" in told
    assert "it may be a log-density" in told
    told = likelihood.verdict(
        {"mnist": {"floors": floors, "densities": densities | {"energy": bits(-1.5) | {"log Z": log_z}}}}
    )
    assert "below the floor with noise σ₀: no such density" in told
    assert "neither is near" in told
    assert "it was none" not in told
    # An upper end of chains from data that a lower end, which is one, contradicts.
    longer = bits(-1.0) | {"log Z": {"lower": 9.5, "upper": 11.0, "converged": False}}
    both = densities | {"short": bits(-1.1) | {"log Z": log_z}, "long": longer}
    told = likelihood.verdict({"mnist": {"floors": floors, "densities": both}})
    assert (
        "the upper end of short, 9.0, is below the lower end of long, 9.5: started from data it was none"
        in told
    )


@pytest.mark.study
def test_the_likelihood_study_runs_in_small(tmp_path):
    facts = studied("mdsm-likelihood", tmp_path)
    assert [row[1] for row in facts["rows"]][:2] == ["one Gaussian", "Parzen"]
