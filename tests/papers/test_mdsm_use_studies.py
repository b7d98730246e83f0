"""The studies of MDSM's outliers and completions: their judges, and one run in small of each."""

import numpy as np
import pytest

from energax.evaluation import Detection
from energax.papers import mdsm_inpainting, mdsm_outliers

from .studied import studied


def test_the_best_linear_guess_is_the_gaussians_conditional_mean():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(3, 3))
    rows = (rng.normal(size=(20_000, 3)) @ root.T).astype(np.float32)
    known = np.array([True, False, True])
    x = rows[:5] * 0.3
    covariance = np.cov(rows.T)
    gain = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, ~known)])
    wanted = rows.mean(0)[~known] + (x[:, known] - rows.mean(0)[known]) @ gain
    found = mdsm_inpainting.best_linear(rows, x, known)
    np.testing.assert_allclose(found[:, ~known], wanted, atol=2e-3)
    np.testing.assert_array_equal(found[:, known], x[:, known].astype(float))


def test_right_draws_have_the_ratio_that_is_said():
    rng = np.random.default_rng(0)
    known = np.zeros(50, bool)
    truth, found = rng.normal(size=(400, 50)), rng.normal(size=(4, 400, 50))
    ratio = mdsm_inpainting.rms(found.mean(0), truth, known) / mdsm_inpainting.rms(found, truth, known)
    assert abs(ratio - np.sqrt((1 + 1 / 4) / 2)) < 0.01
    narrow = 0.5 * found  # the mutant: draws that do not spread as the truth does
    assert mdsm_inpainting.rms(narrow.mean(0), truth, known) / mdsm_inpainting.rms(narrow, truth, known) > 0.9


def test_the_verdict_on_outliers_says_what_is_lower():
    def told(auroc):
        return Detection(auroc, 0.01, 0.5, 0.5, 100, 100)

    areas = {
        "energy": (0.5, 0.2),
        "denoising": (0.5, 0.6),
        "score-norm": (0.5, 0.4),
        "typicality": (0.5, 0.9),
    }
    scores = {
        score: {mdsm_outliers.TRAINING: told(own), "svhn": told(other)}
        for score, (own, other) in areas.items()
    }
    scores[mdsm_outliers.CONTRAST] = {mdsm_outliers.TRAINING: told(0.5), "svhn": told(0.1)}
    text = mdsm_outliers.verdict({"cifar10": scores}, {"cifar10": 0.9}, [])
    assert "the energy is lower on svhn" in text
    assert "training and held-out rows overlap" in text
    assert "best worst case is typicality (0.90; energy 0.20)" in text


@pytest.mark.study
@pytest.mark.parametrize("name", ["mdsm-outliers", "mdsm-inpainting"])
def test_the_studies_run_in_small(name, tmp_path):
    studied(name, tmp_path)
