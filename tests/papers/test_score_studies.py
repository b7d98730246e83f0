"""The studies of score matching run whole, in small; asserted is what must hold even so."""

import json

import numpy as np
import pytest

from energax.papers import STUDIES, ncsn_toy_weights


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
