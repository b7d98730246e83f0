import numpy as np
import pytest
from scipy.io import savemat

from energax.checks import InputError
from energax.data import alphadigits

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 2, (36, 3, 20, 16)).astype(np.uint8)


def in_order(data):
    """Return all images of a class, as bytes, in any order."""
    rows = np.concatenate([data.train, data.test]).reshape(-1, 320)
    labels = np.concatenate([data.train_labels, data.test_labels])
    return {k: sorted(row.astype(np.uint8).tobytes() for row in rows[labels == k]) for k in range(36)}


@pytest.fixture
def folder(places):
    made = places[0] / "binaryalphadigs"
    made.mkdir()
    return made


def test_both_forms_of_the_file_are_the_same_images(folder):
    wanted = {k: sorted(image.tobytes() for image in IMAGES[k].reshape(3, 320)) for k in range(36)}
    cells = np.empty((36, 3), object)
    for k in range(36):
        for i in range(3):
            cells[k, i] = IMAGES[k, i]
    savemat(folder / "binaryalphadigs.mat", {"dat": cells})
    data = alphadigits()
    assert (data.image_shape, len(data.train), len(data.test)) == ((20, 16, 1), 97, 11)
    assert in_order(data) == wanted
    table = IMAGES.reshape(108, 20, 16).swapaxes(1, 2).reshape(108, 320)
    savemat(folder / "binaryalphadigs.mat", {"fea": table, "gnd": np.repeat(np.arange(1, 37), 3)[:, None]})
    assert in_order(alphadigits()) == wanted


def test_damage_is_one_sentence(folder):
    file = folder / "binaryalphadigs.mat"
    file.write_bytes(b"not a mat file at all")
    with pytest.raises(
        InputError, match=r"^alphadigits: binaryalphadigs\.mat must be the authors' file with dat"
    ):
        alphadigits()
    savemat(file, {"fea": np.full((5, 320), 7), "gnd": np.ones((5, 1))})
    with pytest.raises(
        InputError, match=r"zeros and ones \(n, 20, 16\) with n labels; got int64 \(5, 20, 16\)"
    ):
        alphadigits()
    savemat(file, {"fea": np.ones((5, 320)), "gnd": np.full((5, 1), 40)})
    with pytest.raises(InputError, match="1 to 36; got 40 to 40"):
        alphadigits()


def test_the_real_images_stand_upright(real_data):
    data = alphadigits()
    assert (len(data.train) + len(data.test), data.train.shape[1:]) == (1404, (20, 16, 1))
    # An L has its stroke on the left and its foot at the bottom.
    mean = data.train[data.train_labels == 10 + ord("L") - ord("A")].mean(0)[..., 0]
    assert mean[:, :8].mean() > 1.5 * mean[:, 8:].mean()
    assert mean[14:].mean() > mean[:6].mean()
