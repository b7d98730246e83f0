"""The studies of MDSM's own questions run whole in small; what they rest on holds at any size."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.derivatives import Score
from energax.objectives.posterior import parzen_score
from energax.papers import STUDIES, mdsm_ablations_bench, mdsm_ablations_cases, mdsm_against_ncsn
from energax.papers import mdsm_importance_scores as fields
from energax.papers import mdsm_importance_weights as weights
from energax.papers.judge import energy_distance
from energax.papers.repeats import difference


def _run(name, tmp_path):
    told = []
    figure = STUDIES[name].run(tmp_path, "smoke", told.append)
    assert figure.stat().st_size > 10_000
    assert told
    results = json.loads((tmp_path / "result.json").read_text())
    assert results["verdict"] in (tmp_path / "table.md").read_text()
    return results


@pytest.mark.parametrize("d", [2, 16])
def test_exact_weights_lead_to_the_parzen_score_and_the_approximation_does_not(d):
    population = weights.mixture(weights.SHEETS, d, jax.random.key(d))
    data = population.sample(jax.random.key(1), 60)
    x = data[:20] + fields.SIGMA_0 * jax.random.normal(jax.random.key(2), (20, d))
    parzen = parzen_score(x, data, fields.SIGMA_0)
    exact = fields.weighted_score(x, data)
    np.testing.assert_allclose(exact, parzen, rtol=0, atol=2e-3 * float(jnp.abs(parzen).max()))
    off = weights._relative(np.asarray(fields.ladder_score(x, data)), np.asarray(parzen))
    assert off > (0.1 if d == 2 else 0.01)


def test_a_minibatch_of_all_rows_is_no_mistake_and_a_smaller_one_is():
    population = weights.mixture(weights.FULL, 2, jax.random.key(0))
    data = population.sample(jax.random.key(1), 60)
    x = data[:20] + fields.SIGMA_0 * jax.random.normal(jax.random.key(2), (20, 2))
    parzen = parzen_score(x, data, fields.SIGMA_0)
    whole, first = fields.minibatch_scores(x, data, jnp.arange(60)[None])
    np.testing.assert_allclose(whole, parzen, atol=1e-3)
    np.testing.assert_allclose(first, parzen, atol=1e-3)
    part, one = fields.minibatch_scores(x, data, jnp.arange(60).reshape(4, 15))
    assert weights._relative(np.asarray(part), np.asarray(parzen)) > 0.1
    assert weights._relative(np.asarray(one), np.asarray(parzen)) > 0.1


@pytest.mark.study
def test_the_study_of_importance_weights(tmp_path):
    cases = _run("mdsm-importance-weights", tmp_path)["cases"]
    assert list(cases) == ["sheets, d = 2", "sheets, d = 16", "full, d = 2", "full, d = 16"]
    for case in cases.values():
        assert case["w exact"][0] == 0
        assert case["w = 1"][0] > 0.01
        assert 0 < case["effective"] <= 1
    # The bias of the approximation is large in two dimensions, the ratio far from one.
    assert cases["sheets, d = 2"]["w = 1, infinite data"][1] > 0.1
    assert cases["sheets, d = 2"]["near one"] < 0.5
    # With few data in many dimensions the Parzen score is not the population's.
    assert cases["full, d = 16"]["w exact"][1] > 1


@pytest.mark.study
def test_the_ablations(tmp_path):
    found = _run("mdsm-ablations", tmp_path)
    cases = found["cases"]
    short = map(mdsm_ablations_cases.inside, mdsm_ablations_cases.SHORT)
    assert set(cases) == {*mdsm_ablations_cases.TRAININGS, *mdsm_ablations_cases.SAMPLINGS, *short}
    for case in mdsm_ablations_cases.TRAININGS:
        assert all(0 < r["denoise"] < 1.5 and not r["diverged"] for r in cases[case])
    # An untrained sampler's samples are far from the digits that training digits are near.
    assert cases["baseline"][0]["distance"] > 10 * found["training digits"]["distance"]
    # Steps near the limit of stability, 2σ₀, lose chains that the paper's steps keep.
    assert cases["ε = 1.5 σ₀"][0]["lost"] > cases["baseline"][0]["lost"]
    assert all("here" in c or "Outside" in c for c in found["claims"].values())


def test_all_shapes_of_the_anneal_are_equally_long_and_end_alike():
    tables = {
        shape: np.asarray(mdsm_ablations_bench.temperatures(shape, 1.0, (5, 20, 5)).values)
        for shape in ("paper", "linear", "at once", "constant", "warm")
    }
    assert {len(t) for t in tables.values()} == {30}
    for shape, table in tables.items():
        assert table[0] == pytest.approx(1 if shape == "constant" else 100)
        assert table[-1] == (1 if shape == "warm" else 0)


@pytest.mark.study
def test_mdsm_against_ncsn(tmp_path):
    cases = _run("mdsm-against-ncsn", tmp_path)["cases"]
    assert len(cases) == 7
    for case, found in cases.items():
        for r in found:
            energy = case.startswith("energy")
            # An energy's Jacobian is a Hessian; a free field's is not symmetric by chance.
            assert (max(r["asymmetries"]) < 1e-3) == energy
            assert np.isfinite(r["distance"])


def test_asymmetry_is_zero_for_a_gradient_and_one_for_a_rotation_with_as_much_shear():
    x, sigma = jnp.zeros((3, 2)), jnp.asarray(0.1)
    shear = Score(lambda y: jnp.asarray([y[1], 0.0]))
    stretch = Score(lambda y: jnp.asarray([2 * y[1], 2 * y[0]]))
    np.testing.assert_allclose(mdsm_against_ncsn.asymmetry(shear, x, sigma), 1)
    np.testing.assert_allclose(mdsm_against_ncsn.asymmetry(stretch, x, sigma), 0)


def test_the_energy_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    x, y = 0.5 + 0.1 * rng.normal(size=(2, 400, 8))
    assert abs(energy_distance(x, y)) < 0.005
    assert energy_distance(x + 0.1, y) > 0.05


def test_a_difference_is_clear_only_beyond_students_quantile():
    assert difference([1.0, 1.1, 0.9], [0.0, 0.0, 0.0]).clear
    assert not difference([1.0, 0.1, -0.9], [0.0, 0.0, 0.0]).clear
    assert not difference([1.0], [0.0]).clear
