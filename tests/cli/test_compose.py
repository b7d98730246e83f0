"""`energax compose`: a run of the energies of others, to be used like any."""

import numpy as np

from .conftest import TINY


def energies(energax, run, file):
    status, out, err = energax("score", run, file)
    assert status == 0, err
    return np.array([float(line) for line in out.split()])


def test_energies_are_added_and_the_result_is_a_run(energax, table_run, table_file, here):
    words = ["--out", "sum", "--weights", "2,0.5", "--temperature", "4"]
    status, out, err = energax("compose", table_run, table_run, *words)
    assert status == 0, err
    one, whole = (energies(energax, run, table_file) for run in (table_run, "sum"))
    # The pipeline's volume is that of the rows, not of the model: it is the same in both, a constant here.
    np.testing.assert_allclose(np.diff(whole), np.diff(one) * 2.5 / 4, rtol=2e-3, atol=2e-3)
    status, out, _ = energax("info", "sum")
    assert status == 0
    assert "at temperature 4" in out
    assert energax("sample", "sum", "-n", "3")[0] == 0
    assert np.isfinite(np.load("sum/samples.npz")["samples"]).all()
    status, _, err = energax("train", "--resume", "sum")
    assert status == 2
    assert "nothing to train" in err


def test_what_cannot_be_composed_is_refused(energax, table_run, table_file, here):
    status, _, err = energax("compose", table_run, "--out", "x", "--weights", "1,b")
    assert status == 2
    assert "--weights must be numbers" in err
    words = ["--steps", "2", "--preprocess", "", "--out", "raw"]
    assert energax("train", table_file, *words, *TINY)[0] == 0
    status, _, err = energax("compose", table_run, "raw", "--out", "x")
    assert status == 2
    assert "energies add in the same units" in err
    status, _, err = energax("compose", table_run, "--out", table_run)
    assert status == 2
    assert "compose: --out must be a new or empty folder" in err
