"""The study of appendix B runs whole on the digits, in small, and its judge knows digits from noise."""

import json

import numpy as np
import pytest

import energax as ex
from energax.papers import STUDIES
from energax.papers.judge import Judge


def test_the_judge_tells_digits_from_noise():
    digits = ex.data.digits()
    judge = Judge.of(digits)
    assert np.mean(judge.classifier.predict(digits.test) == digits.test_labels) > 0.95
    real = judge.verdict(digits.test[:100])
    noise = judge.verdict(np.random.default_rng(0).uniform(size=(100, 64)))
    assert real["recognised"] > 0.8
    assert noise["recognised"] == 0
    assert 2.0 < real["entropy"] <= np.log(10)


@pytest.mark.study
def test_the_study_runs_and_judges(tmp_path):
    # In small: what is measured is not asserted here.
    told = []
    figure = STUDIES["mdsm-single-noise"].run(tmp_path, "smoke", told.append)
    assert figure.stat().st_size > 10_000
    results = json.loads((tmp_path / "result.json").read_text())
    assert list(results["cases"]) == ["test data", "σ = 0.3", "σ = 0.6", "σ = 1.0", "all levels"]
    assert len(told) == 4
    for name in list(results["cases"])[1:]:
        assert np.isfinite(results["cases"][name]["final_loss"])
    assert "Recognised" in (tmp_path / "table.md").read_text()
