"""Columns go by their names where both sides have them: a table's order is not what a run learned."""

import numpy as np
import pytest

import energax as ex
from energax.cli.columns import Layout
from energax.data import read_table

ORDER = [2, 0, 1]  # where the moved file has its columns from


@pytest.fixture
def rows(table_file):
    return read_table(table_file).rows[:20]


@pytest.fixture
def moved(here, rows):
    """The table's rows with the columns elsewhere, once with their names and once without."""
    for name, header in {"moved.csv": "score,height,weight", "unnamed.csv": ""}.items():
        np.savetxt(here / name, rows[:, ORDER], "%.9g", ",", header=header, comments="")
    (here / "unnamed.csv").write_text((here / "unnamed.csv").read_text().lstrip())
    np.save(here / "rows.npy", rows)
    return "moved.csv"


def test_a_layout_goes_both_ways():
    x = np.arange(6).reshape(2, 3)
    layout = Layout((2, 3), np.array(ORDER))
    assert layout.arrange(x).tolist() == [[2, 0, 1], [5, 3, 4]]
    assert (layout.back(layout.arrange(x)) == x).all()
    assert Layout((2, 3)).arrange(x) is x


def test_rows_are_scored_by_the_names_of_their_columns(energax, table_run, moved):
    status, out, err = energax("score", table_run, moved)
    assert status == 0, err
    assert out == energax("score", table_run, "rows.npy")[1]
    assert out != energax("score", table_run, "unnamed.csv")[1]  # by place: this test can see the order


def test_what_is_written_stands_as_in_the_file(energax, table_run, moved, rows, here):
    np.save(here / "mask.npy", np.array([True, False, False]))  # of the moved file's columns: score
    np.save(here / "mask-own.npy", np.array([False, False, True]))
    for command, words in {
        "denoise": ((), ()),
        "inpaint": (("--mask", "mask.npy"), ("--mask", "mask-own.npy")),
    }.items():
        for file, given in zip((moved, "rows.npy"), words, strict=True):
            assert energax(command, table_run, file, *given, "--out", f"{file}.out.npy")[0] == 0
        found, plain = (np.load(here / f"{file}.out.npy") for file in (moved, "rows.npy"))
        np.testing.assert_array_equal(found, plain[:, ORDER])
    np.testing.assert_array_equal(found[:, 0], rows[:, 2])


def test_restored_rows_stand_as_in_the_file(energax, table_run, moved, here):
    for file in (moved, "rows.npy"):
        words = ("--operator", "project:3", "--degrade", "--out", f"{file}.out.npy")
        assert energax("restore", table_run, file, *words)[0] == 0
    found, plain = (np.load(here / f"{file}.out.npy") for file in (moved, "rows.npy"))
    np.testing.assert_array_equal(found, plain[:, ORDER])


def test_two_samples_are_compared_by_names(energax, moved, table_file, here):
    words = ("test", table_file, "--draws", "20", "--reference")
    status, out, err = energax(*words, moved)
    assert status == 0, err
    assert out == energax(*words, "rows.npy")[1]
    assert out != energax(*words, "unnamed.csv")[1]


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("height,weight,age", "(height, weight, score); got no score and age besides."),
        ("height,weight,score,age", "(height, weight, score); got age besides."),
        ("height,weight", "(height, weight, score); got no score."),
    ],
)
def test_other_names_are_refused(energax, table_run, table_file, here, header, said):
    width = header.count(",") + 1
    np.savetxt(here / "other.csv", np.eye(5)[:, :width], delimiter=",", header=header, comments="")
    for words in (
        ("score", table_run, "other.csv"),
        ("outliers", "other.csv", "--run", table_run, "--out", "found.csv"),
        ("test", table_file, "--reference", "other.csv"),
        ("test", table_file, "--scores", "other.csv"),
    ):
        status, out, err = energax(*words)
        assert status == 2
        of = table_file.name if words[0] == "test" else table_run
        assert f"{words[0]}: the columns of other.csv must be those of {of} (" in err
        assert err.endswith(said + "\n")
        assert out == ""
        assert err.count("\n") == 1


def test_runs_of_another_order_do_not_mix(energax, table_run, table_file, here):
    model, preprocessing, about = ex.load(table_run / "model.safetensors")
    about["data"]["columns"] = about["data"]["columns"][::-1]
    (here / "turned").mkdir()
    (here / "turned" / "config.json").write_text((table_run / "config.json").read_text())
    ex.save(here / "turned" / "model.safetensors", model, preprocessing=preprocessing, about=about)
    status, _, err = energax("compare", table_file, table_run, "turned", "--steps", "1")
    assert status == 2
    assert "their columns in one order; got turned, which reads people.csv otherwise" in err
    status, _, err = energax("compose", table_run, "turned", "--out", "both")
    assert status == 2
    assert "in their order; got turned of score, weight, height" in err
