"""The studies of score matching run whole, in small; asserted is what must hold even so."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.energies import GaussianMixture
from energax.papers import (
    STUDIES,
    dsm_control_variate,
    ncsn_toy_weights,
    score_low_density,
    score_matching_cost,
)


def studied(name, out):
    """Run a study in small; return its facts, its files being there and agreeing."""
    told = []
    figure = STUDIES[name].run(out, "smoke", told.append)
    assert told
    assert figure.stat().st_size > 10_000
    facts = json.loads((out / "result.json").read_text())
    assert all(len(row) == len(facts["columns"]) for row in facts["rows"])
    assert facts["verdict"] in (out / "table.md").read_text()
    return facts


@pytest.mark.study
def test_plain_langevin_misses_the_weights_even_with_the_exact_score(tmp_path):
    facts = studied("ncsn-toy-weights", tmp_path)
    cases = facts["cases"]
    assert list(cases) == list(ncsn_toy_weights.CASES)
    plain, annealed = cases["exact, plain"], cases["exact, annealed"]
    assert plain["share"] == pytest.approx(facts["basin_share"], abs=5 * plain["standard_error"])
    assert annealed["share"] == pytest.approx(facts["true_share"], abs=5 * annealed["standard_error"] + 0.02)
    assert plain["share"] + 5 * plain["standard_error"] < facts["true_share"]
    # Nothing else is wrong with the exact dynamics: the modes have the width they should.
    widths = {row[0]: row[4:6] for row in facts["rows"]}
    for case in ("exact, plain", "exact, annealed"):
        measured, expected = widths[case]
        assert measured == pytest.approx(expected, rel=0.3)
        assert cases[case]["near"] > 0.98
    assert "misses the weights with the exact score" in facts["verdict"]


def test_the_share_of_the_basins_is_that_of_uniform_points():
    u = np.random.default_rng(0).uniform(-8, 8, (1_000_000, 2))
    density = [np.log(w) - 0.5 * np.sum((u - m) ** 2, axis=1) for w, m in ((0.8, 5), (0.2, -5))]
    assert ncsn_toy_weights._basin_share() == pytest.approx(np.mean(density[0] > density[1]), abs=0.0025)


@pytest.mark.study
def test_the_control_variate_keeps_the_mean_and_trades_variance(tmp_path):
    facts = studied("dsm-control-variate", tmp_path)
    assert facts["sigmas"] == [0.001, 0.03, 3.0]
    assert list(facts["variances"]) == list(dsm_control_variate.MODELS)
    for name, found in facts["variances"].items():
        # N |mean difference|² / tr Cov is 1 on average, and at most χ² with one degree of freedom.
        assert max(f["disagreement"] for f in found) < 15
        slopes = facts["exponents"][name]
        assert slopes["loss_without"] == pytest.approx(-4, abs=0.3)
        assert slopes["gradient_without"] == pytest.approx(-2, abs=0.3)
        assert slopes["loss_with"] == pytest.approx(0, abs=0.3)
        assert slopes["gradient_with"] == pytest.approx(0, abs=0.3)
    at_truth = [f["gradient_with"] / f["gradient_without"] for f in facts["variances"]["the truth"]]
    assert at_truth[0] < 0.01
    assert at_truth[-1] > 2
    assert np.shape(facts["errors"]) == (3, 1, 2)


def test_the_loss_without_has_the_variance_of_a_chi_square_at_small_sigma():
    sigma = 1e-3
    mixture = dsm_control_variate._mixture()
    x = mixture.sample(jax.random.key(1), 1_000)
    found = dsm_control_variate._moments(
        *dsm_control_variate._objectives(sigma), mixture.smoothed(sigma), x, jax.random.key(2)
    )
    assert float(found["loss_without"]) == pytest.approx(2 / (2 * sigma**4), rel=0.3)


def test_a_score_is_judged_by_region_of_the_data(tmp_path):
    facts = studied("score-low-density", tmp_path)
    assert list(facts["cases"]) == ["plain", "noise σ = 3"]
    assert facts["regions"] == {"high": 300, "medium": 300, "low": 300}
    for region in facts["regions"]:
        plain = facts["cases"]["plain"][region]
        assert plain["error"] == plain["error_to_data"]  # its target is the data's own score
        assert np.all(np.isfinite(facts["cases"]["noise σ = 3"][region]["error"]))


def test_regions_hold_the_share_of_data_they_say_and_the_truth_has_no_error():
    mixture = GaussianMixture([0.8, 0.2], [[5.0, 5.0], [-5.0, -5.0]], jnp.stack([jnp.eye(2)] * 2))
    regions = score_low_density._regions(mixture, mixture.sample(jax.random.key(0), 5_000), 300)
    # Half of the data of a Gaussian in the plane lie within √(2 log 2), in the mode with weight
    # 0.8 somewhat more; 99 % lie within about 3: the region of the largest densities.
    distance = {
        name: np.linalg.norm(np.asarray(x)[:, None] - np.asarray(mixture.means), axis=-1).min(axis=1)
        for name, x in regions.items()
    }
    assert distance["high"].max() < np.sqrt(2 * np.log(2)) + 0.3
    assert distance["medium"].max() < 3.3
    assert distance["low"].min() > 2.5
    for target in (mixture, mixture.smoothed(3.0)):
        for x in regions.values():
            exact = score_low_density._errors(target, target, mixture, x)
            assert exact["error"] == 0
            assert exact["right_way"] == 1
    biased = score_low_density._errors(mixture.smoothed(3.0), mixture.smoothed(3.0), mixture, regions["high"])
    assert biased["error_to_data"] == pytest.approx(1 - 1 / (1 + 9), abs=0.02)


@pytest.mark.study
def test_the_cost_study_counts_what_it_says(tmp_path):
    facts = studied("score-matching-cost", tmp_path)
    d, width = facts["dimensions"], facts["width"]
    assert list(facts["seconds"]) == list(score_matching_cost.METHODS)
    for name in score_matching_cost.METHODS:
        assert len(facts["seconds"][name]) == len(facts["temporary_mebibytes"][name]) == len(d)
        assert min(facts["seconds"][name]) > 0
    assert len(facts["rows"]) == len(d) + 4
    # XLA's own count, which no other job on the machine disturbs.
    most = {name: found[-1] for name, found in facts["operations"].items()}
    assert most["exact, forward"] > most["sliced"] > most["denoising"]
    counted = facts["counted_slopes"]
    assert counted["exact, chunked"] == pytest.approx(counted["denoising"] + 1)
    assert counted["exact, forward"] == pytest.approx(1)
    assert width == 8
