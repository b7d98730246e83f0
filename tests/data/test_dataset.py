import dataclasses

import numpy as np
import pytest

from energax.checks import InputError
from energax.data import Dataset
from energax.data.dataset import float_rows, guess_kind, split

ROWS = np.arange(12.0).reshape(6, 2)


def test_fields_are_normalised_and_frozen():
    data = Dataset("d", "table", ROWS, ROWS[:2], columns=["a", "b"])
    assert data.train.dtype == np.float32
    assert data.event_shape == (2,)
    assert data.columns == ("a", "b")
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.name = "other"


def test_an_image_knows_its_shape():
    assert Dataset("d", "image", np.zeros((2, 3, 4, 1)), np.zeros((1, 3, 4, 1))).image_shape == (3, 4, 1)
    flat = Dataset("d", "image", np.zeros((2, 12)), np.zeros((1, 12)), image_shape=[3, 4, 1])
    assert flat.image_shape == (3, 4, 1)
    assert flat.event_shape == (12,)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "tabel"}, r"Dataset: kind must be one of .* \(did you mean 'table'\?\)"),
        ({"test": np.zeros((2, 3))}, r"Dataset: test must be rows of shape \(2,\); got \(3,\)"),
        ({"test": np.full((2, 2), np.nan)}, "Dataset: test must be finite everywhere; got nan in row 0"),
        ({"train_labels": [1]}, r"Dataset: train_labels must be of shape \(6,\); got shape \(1,\)"),
        ({"columns": ("a",)}, "Dataset: columns must be one name per column"),
        ({"kind": "image"}, r"Dataset: image_shape must be .* with 2 entries; got \(2,\)"),
        ({"image_shape": (1, 2, 1)}, "Dataset: image_shape must be None for this kind"),
    ],
)
def test_contradictions_are_refused(changes, sentence):
    fields = {"name": "d", "kind": "table", "train": ROWS, "test": ROWS[:2]} | changes
    with pytest.raises(InputError, match=sentence):
        Dataset(**fields)


def test_split_partitions_rows_with_their_labels():
    rows = np.arange(100.0)[:, None]
    data = split("d", rows, labels=np.arange(100), seed=3)
    assert data.train.shape == (90, 1)
    assert data.test.shape == (10, 1)
    assert sorted(np.concatenate([data.train, data.test])[:, 0]) == list(range(100))
    assert (data.train[:, 0] == data.train_labels).all()
    assert (data.test[:, 0] == data.test_labels).all()


def test_split_depends_on_the_seed_alone():
    rows = np.arange(100.0)[:, None]
    assert (split("d", rows, seed=1).test == split("d", rows, seed=1).test).all()
    assert (split("d", rows, seed=1).test != split("d", rows, seed=2).test).any()


@pytest.mark.parametrize(
    ("n", "fraction", "kept_back"), [(2, 0.1, 1), (2, 0.99, 1), (10, 0.25, 2), (9, 0.5, 4)]
)
def test_split_keeps_a_row_on_each_side(n, fraction, kept_back):
    assert len(split("d", np.zeros((n, 1)), test_fraction=fraction).test) == kept_back


@pytest.mark.parametrize(
    ("rows", "more", "sentence"),
    [
        ([[1.0]], {}, r"load: data must be an array of at least 2 rows; got shape \(1, 1\)"),
        (ROWS, {"test_fraction": 1.0}, "load: test_fraction must be below 1"),
        (ROWS, {"test_fraction": 0.0}, "load: test_fraction must be a finite number above 0"),
        (ROWS, {"seed": -1}, "load: seed must be a whole number of at least 0"),
        (ROWS, {"labels": [1, 2]}, r"load: labels must be of shape \(6,\)"),
    ],
)
def test_split_refuses(rows, more, sentence):
    with pytest.raises(InputError, match=sentence):
        split("d", rows, **more)


def test_numbers_too_large_for_float32_are_refused_by_row():
    with pytest.raises(InputError, match=r"everywhere; got 1e\+300 in row 1, which is beyond float32"):
        float_rows("load", "data", [[1.0], [1e300]])


def test_guessed_kinds():
    assert guess_kind(np.zeros((2, 4, 4, 3))) == "image"
    assert guess_kind(np.zeros((2, 4, 4, 2))) == "table"
    assert guess_kind(np.zeros((2, 5))) == "table"
