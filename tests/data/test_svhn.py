import numpy as np
import pytest
from scipy.io import savemat

from energax.checks import InputError
from energax.data import svhn


def test_rows_come_first_and_ten_means_zero(places):
    folder = places[0] / "svhn"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8)
    for name in ("train", "test"):
        mat = {"X": np.moveaxis(images, 0, -1), "y": np.array([[1], [10], [9], [2]], np.uint8)}
        savemat(folder / f"{name}_32x32.mat", mat)
    data = svhn()
    assert (np.round(data.train * 255) == images).all()
    assert data.test_labels.tolist() == [1, 0, 9, 2]
    assert data.image_shape == (32, 32, 3)


def test_damage_is_one_sentence(places):
    folder = places[0] / "svhn"
    folder.mkdir()
    file = folder / "train_32x32.mat"
    file.write_bytes(b"not a mat file at all")
    with pytest.raises(
        InputError, match=r"^svhn: train_32x32\.mat must be the authors' file with X and y; got"
    ):
        svhn()
    savemat(file, {"X": np.zeros((32, 32, 3, 2))})
    with pytest.raises(InputError, match="got KeyError while reading"):
        svhn()
    savemat(file, {"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1))})
    with pytest.raises(InputError, match=r"bytes \(32, 32, 3, n\) with n labels; got float64"):
        svhn()
