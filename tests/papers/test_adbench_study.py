"""The study of outlier scores counts what it says."""

import numpy as np
import pytest

from energax.papers import adbench as study

from .studied import studied


def test_ranks_and_verdict_are_counted():
    areas = np.array([[0.9, 0.8, 0.5, 0.7, 0.6, 0.4], [0.5, 0.9, 0.9, 0.7, 0.6, 0.4]])
    ranks = study.mean_ranks(areas)
    np.testing.assert_allclose(ranks, [3.0, 1.75, 3.25, 3.0, 4.0, 6.0])
    told = study.verdict(areas, ranks, ["adbench/none"])
    assert "smooth energy 1.75 (mean area 0.850)" in told
    assert "the best on 2 of them" in told
    assert told.endswith("Not there: adbench/none.")


def test_the_bundled_table_is_one_of_outliers():
    x, marked = study.table(study.BUNDLED)
    assert marked.sum() == 21
    assert (~marked).sum() == 357
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-5)


@pytest.mark.study
def test_the_study_of_tables_with_outliers(tmp_path):
    facts = studied("adbench", tmp_path)
    assert all(0.5 < np.mean(facts["areas"][study.BUNDLED][d]) <= 1 for d in (study.GAUSSIAN, study.FOREST))
