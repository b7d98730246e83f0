"""`energax outliers` fits, scores, ranks, and judges itself where labels are there."""

import numpy as np
import pytest

from energax.cli import main

SETTINGS = ["--steps", "300"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A table with twenty rows that lie apart, each its own way, and a run that `outliers` made of it."""
    folder = tmp_path_factory.mktemp("outliers")
    generator = np.random.default_rng(0)
    x = generator.standard_normal((400, 3)) * [10, 2, 0.1] + [170, 70, -3]
    apart = generator.standard_normal((20, 3))
    x[:20] = [170, 70, -3] + 6 * apart / np.linalg.norm(apart, axis=1)[:, None] * [10, 2, 0.1]
    np.savez(folder / "table.npz", x=x.astype(np.float32), y=(np.arange(400) < 20).astype(int))
    words = ["outliers", folder / "table.npz", "--folder", folder / "run", *SETTINGS]
    assert main([str(word) for word in words]) == 0
    return folder


def test_strange_rows_are_found_and_ranked(labelled, energax):
    rows = np.loadtxt(labelled / "run" / "outliers.csv", delimiter=",", skiprows=1)
    assert (labelled / "run" / "outliers.csv").read_text().startswith("row,energy,rank\n")
    np.testing.assert_array_equal(rows[:, 0], np.arange(400))
    np.testing.assert_array_equal(np.argsort(np.argsort(-rows[:, 1])) + 1, rows[:, 2])
    assert (rows[:20, 2] <= 60).mean() > 0.8
    words = (labelled / "table.npz", "--run", labelled / "run", "--top", "3", "--out", labelled / "again.csv")
    status, out, err = energax("outliers", *words)
    assert status == 0, err
    again = np.loadtxt(labelled / "again.csv", delimiter=",", skiprows=1)
    np.testing.assert_allclose(again, rows, rtol=1e-5)
    # The area that is printed is that of the scores in the file.
    wins = (rows[:20, 1][:, None] > rows[20:, 1]).mean()
    assert f"AUROC {wins:.3f} ±" in out
    assert "20 outliers, 380 others" in out
    assert out.count("\n") == 1 + 3 + 2


@pytest.mark.parametrize("score", ["denoising", "score-norm", "typicality"])
def test_each_score_has_its_say(score, labelled, energax):
    target = labelled / f"{score}.csv"
    status, out, err = energax(
        "outliers", labelled / "table.npz", "--run", labelled / "run", "--score", score, "--out", target
    )
    assert status == 0, err
    rows = np.loadtxt(target, delimiter=",", skiprows=1)
    wins = (rows[:20, 1][:, None] > rows[20:, 1]).mean()
    assert f"AUROC {wins:.3f} ±" in out
    energies = np.loadtxt(labelled / "run" / "outliers.csv", delimiter=",", skiprows=1)[:, 1]
    assert np.corrcoef(rows[:, 1], energies)[0, 1] < 0.999


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--run", "run", "--steps", "3"), "--steps must be left out with --run, which is trained already"),
        (("--top", "-1"), "--top must be a whole number of at least 0"),
        (("--score", "depth"), "depth"),
        (("--run", "gone"), "gone"),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, labelled, energax):
    status, out, err = energax("outliers", labelled / "table.npz", *words)
    assert status == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_what_cannot_be_written_is_refused_before_the_training(labelled, energax, here):
    table = labelled / "table.npz"
    for words, said in [
        (("--out", "scores.txt"), "--out must be a .csv file; got scores.txt"),
        (
            ("--folder", labelled / "run"),
            "--folder must be a new or empty folder (or ask what is there with --run)",
        ),
    ]:
        status, out, err = energax("outliers", table, *words)
        assert (status, out) == (2, "")
        assert said in err
    assert not (here / "runs").exists()


def test_labels_must_mark_outliers(energax, here):
    np.savez("three.npz", x=np.random.default_rng(0).standard_normal((30, 2)), y=np.arange(30) % 3)
    status, _, err = energax("outliers", "three.npz")
    assert status == 2
    assert "the labels must be 0 for rows like the rest and 1 for outliers, both there" in err
    assert not (here / "runs").exists()
