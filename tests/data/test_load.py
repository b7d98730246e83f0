from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from energax.checks import InputError
from energax.data import load
from energax.data.toy import TOYS


def test_names(places):
    assert load("digits").name == "digits"
    for name in TOYS:
        assert load(name, seed=1).name == name
    assert (load("rings", seed=1).train != load("rings", seed=2).train).any()


def test_arrays():
    rows = np.arange(40.0).reshape(20, 2)
    for array in (rows, rows.tolist(), jnp.asarray(rows)):
        data = load(array, seed=3)
        assert (data.name, data.kind, len(data.train), len(data.test)) == ("array", "table", 18, 2)
    assert load(np.zeros((5, 4, 4, 1))).kind == "image"
    with pytest.raises(InputError, match="load: data must be finite everywhere; got nan in row 2"):
        load([[0.0], [1.0], [float("nan")]])
    with pytest.raises(InputError, match="load: data must be an array of real numbers"):
        load(None)


def test_files_and_folders(tmp_path, idx_bytes, monkeypatch):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n3,4\n")
    assert load(tmp_path / "t.csv").columns == ("a", "b")
    assert load(str(tmp_path / "t.csv")).name == "t"
    (tmp_path / "p-idx3-ubyte").write_bytes(idx_bytes(np.zeros((4, 5, 6))))
    assert load(tmp_path / "p-idx3-ubyte").image_shape == (5, 6, 1)
    (tmp_path / "v.idx").write_bytes(idx_bytes(np.zeros((4, 5))))
    assert load(tmp_path / "v.idx").kind == "table"
    (tmp_path / "digits").mkdir()
    for i in range(3):
        Image.new("L", (4, 4), i).save(tmp_path / "digits" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    assert load("./digits").image_shape == (4, 4, 1)
    assert load(Path("digits")).image_shape == (4, 4, 1)
    assert load("digits").image_shape == (8, 8, 1)  # a name wins over a path


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("mnits", r"load: source must be one of 'digits', .*; got 'mnits' \(did you mean 'mnist'\?\)\.$"),
        ("MNIST", r"\(did you mean 'mnist'\?\)\.$"),
        ("none.csv", r"load: source must be an existing file or folder, or a known name; got 'none\.csv'\.$"),
        (Path("none"), "load: source must be an existing file or folder"),
        ("a\0b", "load: source must be one of"),
        ("x" * 5000, "load: source must be one of"),
        ("adbench/none", r"load: source must be an ADBench table in the folder adbench of \$ENERGAX_DATA"),
    ],
)
def test_unknown_sources(source, sentence, places):
    with pytest.raises(InputError, match=sentence):
        load(source)


def test_unusable_files(tmp_path):
    (tmp_path / "t.txt").touch()
    with pytest.raises(
        InputError, match=r"load: source must be a folder of images or a file ending in \.csv"
    ):
        load(tmp_path / "t.txt")


def test_adbench(places):
    folder = places[0] / "adbench"
    folder.mkdir()
    np.savez(folder / "38_thyroid.npz", X=np.zeros((20, 6)), y=np.zeros(20, int))
    data = load("adbench/38_thyroid")
    assert (data.name, data.kind, data.event_shape) == ("38_thyroid", "table", (6,))
    with pytest.raises(InputError, match=r"did you mean 'adbench/38_thyroid'\?"):
        load("adbench/38_tyroid")


def test_published_names(real_data):
    thyroid = load("adbench/38_thyroid")
    assert thyroid.event_shape == (6,)
    assert len(thyroid.train) + len(thyroid.test) == 3772
    assert thyroid.train_labels.sum() + thyroid.test_labels.sum() == 93  # ADBench's count of outliers
    assert load("notmnist").kind == "image"
