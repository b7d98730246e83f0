import numpy as np
import pytest
from PIL import Image

from energax.checks import InputError
from energax.data import image_folder, read_images

GRAY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
COLOUR = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)


def save(folder, name, pixels, **more):
    Image.fromarray(pixels).save(folder / name, **more)


def test_gray_stays_one_channel_in_the_order_of_names(tmp_path):
    save(tmp_path, "b.png", GRAY)
    save(tmp_path, "a.png", 255 - GRAY)
    (tmp_path / "notes.txt").write_text("passed over")
    (tmp_path / ".hidden.png").write_bytes(b"passed over")
    (tmp_path / "sub.png").mkdir()
    rows = read_images(tmp_path)
    assert rows.dtype == np.float32
    assert (rows[..., 0] == np.stack([255 - GRAY, GRAY])).all()


def test_colour_keeps_its_values_and_gray_joins_it(tmp_path):
    save(tmp_path, "a.png", COLOUR)
    save(tmp_path, "b.png", GRAY)
    rows = read_images(tmp_path)
    assert (rows[0] == COLOUR).all()
    assert (rows[1] == GRAY[..., None]).all()


def test_other_modes(tmp_path):
    Image.fromarray(GRAY).convert("1", dither=Image.Dither.NONE).save(tmp_path / "a.png")
    assert set(np.unique(read_images(tmp_path))) == {0.0, 255.0}
    Image.new("P", (4, 3)).save(tmp_path / "b.png")
    assert read_images(tmp_path).shape == (2, 3, 4, 3)
    rgba = np.dstack([COLOUR, np.full((3, 4), 128, np.uint8)])
    save(tmp_path, "c.png", rgba)
    assert (read_images(tmp_path)[2] == COLOUR).all()


def test_resize(tmp_path):
    Image.new("L", (40, 30), 77).save(tmp_path / "a.png")
    Image.new("L", (8, 8), 77).save(tmp_path / "b.png")
    assert read_images(tmp_path, resize=(6, 5)).shape == (2, 6, 5, 1)
    rows = read_images(tmp_path, resize=7)
    assert rows.shape == (2, 7, 7, 1)
    assert (rows == 77).all()


def test_refusals_name_the_file(tmp_path):
    with pytest.raises(InputError, match=r"read_images: folder must be an existing folder; got '.*none'"):
        read_images(tmp_path / "none")
    with pytest.raises(InputError, match="read_images: folder must be a folder with images"):
        read_images(tmp_path)
    save(tmp_path, "a.png", GRAY)
    save(tmp_path, "b.png", GRAY.T)
    expected = r"read_images: b\.png must be 3 × 4 pixels like a\.png \(.*`resize`.*\); got 4 × 3\."
    with pytest.raises(InputError, match=expected):
        read_images(tmp_path)
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "b.png").write_bytes(content[:50])
    with pytest.raises(InputError, match=r"read_images: b\.png must be a readable image; got"):
        read_images(tmp_path)
    save(tmp_path, "b.png", GRAY.astype(np.uint16) * 100)
    with pytest.raises(InputError, match=r"b\.png must be an image of 8 bits per channel; got mode I;16"):
        read_images(tmp_path)
    with pytest.raises(InputError, match=r"resize must be a whole number of at least 1; got 0"):
        read_images(tmp_path, resize=0)


def test_a_folder_becomes_a_dataset(tmp_path):
    folder = tmp_path / "faces"
    folder.mkdir()
    save(folder, "0.png", GRAY)
    with pytest.raises(InputError, match="image_folder: data must be an array of at least 2 rows"):
        image_folder(folder)
    for i in range(1, 10):
        save(folder, f"{i}.png", GRAY + i)
    data = image_folder(folder, test_fraction=0.3)
    assert (data.name, data.kind, data.image_shape) == ("faces", "image", (3, 4, 1))
    assert (len(data.train), len(data.test)) == (7, 3)
