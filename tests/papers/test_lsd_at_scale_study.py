"""The study of critics on images counts what it says."""

import numpy as np
import pytest

from energax.papers import lsd_at_scale as study

from .studied import studied


def test_the_verdict_is_counted():
    found = {"a": {"t": [1.0, 3.0], "unit": [5.0, 5.0]}, "b": {"t": [4.0, 4.0], "unit": [1.0, 2.0]}}
    told = study.verdict(found)
    assert "the largest discrepancy at unit size is 'a' (5), then 'b' (1.5)" in told
    assert "the surest (t) is 'b' (4), then 'a' (2)" in told


def test_logits_are_of_averaged_dequantised_pixels():
    x = study.logits(study.SIZES["smoke"])
    assert x.shape == (300, 8, 8, 1)
    unit = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert 0.01 <= unit.min() < 0.0140
    assert unit.max() <= 0.99


@pytest.mark.study
def test_the_study_of_critics_on_images(tmp_path):
    facts = studied("lsd-at-scale", tmp_path)
    assert len(facts["found"]) == len(study.CONSTRAINTS) * len(study.ARCHITECTURES)
