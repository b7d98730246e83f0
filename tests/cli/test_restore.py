"""`energax restore`: observations in, rows out, in the data's own units."""

import numpy as np


def test_what_is_seen_sharply_comes_back(energax, table_run, table_file, here):
    """A sharp look through an invertible matrix leaves no choice: the rows themselves come back."""
    rows = np.loadtxt(table_file, delimiter=",", skiprows=1)[:4]
    d = rows.shape[1]
    matrix = np.eye(d) + np.diag(np.full(d - 1, 0.5), 1)
    np.save("look.npy", matrix)
    np.save("seen.npy", rows @ matrix.T)
    words = ["--operator", "look.npy", "--noise", "0.0001"]
    status, out, err = energax("restore", table_run, "seen.npy", *words)
    assert status == 0, err
    # The last step is the prior's own jump, no longer held by the look: σ₀²∇E at most.
    scale = rows.std(0)
    assert np.abs((np.load("restored.npy") - rows) / scale).max() < 1.0
    np.save("rows.npy", rows)
    status, out, err = energax("restore", table_run, "rows.npy", *words, "--degrade", "--draws", "2")
    assert status == 0, err
    assert "means of 2 draws" in out
    observed = np.load("restored-observed.npy")
    np.testing.assert_allclose(observed, rows @ matrix.T, atol=1e-2)


def test_what_does_not_fit_is_refused(energax, table_run, table_file, here):
    status, _, err = energax("restore", table_run, table_file, "--operator", "blur:1")
    assert status == 2
    assert "rows that are no images" in err
    status, _, err = energax("restore", table_run, table_file, "--operator", "project:2")
    assert status == 2
    assert "must be of shape (n, 2), what project:2 gives" in err
