import numpy as np
import pytest
from PIL import Image

from energax.checks import InputError
from energax.data import celeba


@pytest.fixture
def faces(places):
    """Ten photographs whose red is the column and whose green is the row of each pixel."""
    folder = places[0] / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    pixels = np.zeros((218, 178, 3), np.uint8)
    pixels[..., 0] = np.arange(178)
    pixels[..., 1] = np.arange(218)[:, None]
    for i in range(10):
        pixels[..., 2] = 20 * i
        Image.fromarray(pixels).save(folder / f"{i:06d}.jpg", quality=100, subsampling=0)
    return folder


def test_the_crop_is_the_middle(faces):
    data = celeba(size=140)
    rows, columns = np.mgrid[:140, :140]
    assert np.abs(data.train[0, ..., 0] * 255 - (columns + 19)).max() <= 3  # JPEG's own error
    assert np.abs(data.train[0, ..., 1] * 255 - (rows + 39)).max() <= 3
    assert (len(data.train), len(data.test)) == (9, 1)


def test_the_authors_parts(faces):
    lines = [f"{i:06d}.jpg {part}" for i, part in enumerate([0, 0, 1, 2, 0, 0, 1, 2, 2, 0])]
    (faces.parent / "list_eval_partition.txt").write_text("\n".join(lines))
    data = celeba()
    assert data.event_shape == (32, 32, 3)
    blues = [round(float(face[..., 2].mean()) * 255 / 20) for face in data.test]
    assert blues == [3, 7, 8]
    assert len(data.train) == 5


@pytest.mark.parametrize(
    ("listing", "sentence"),
    [
        ("000000.jpg 3", "must be a list of file names with 0, 1 or 2; got line 1: '000000.jpg 3'"),
        ("000000.jpg 0", "must be a list of all photographs; got no line for .'000001.jpg'."),
        ("\n".join(f"{i:06d}.jpg 0" for i in range(10)), "must be a list with test photographs; got none"),
    ],
)
def test_a_wrong_list_is_refused(faces, listing, sentence):
    (faces.parent / "list_eval_partition.txt").write_text(listing)
    with pytest.raises(InputError, match=sentence):
        celeba()


def test_refusals(faces, monkeypatch, tmp_path):
    (faces / "000003.jpg").write_bytes(b"no photograph")
    with pytest.raises(InputError, match=r"^celeba: 000003\.jpg must be a readable image; got Unident"):
        celeba()
    Image.new("RGB", (10, 12)).save(faces / "000003.jpg")
    with pytest.raises(InputError, match=r"000003\.jpg must be 178 × 218 pixels; got 10 × 12"):
        celeba()
    monkeypatch.setenv("ENERGAX_DATA", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="celeba: img_align_celeba must be in the folder celeba of"):
        celeba()
    with pytest.raises(InputError, match="celeba: size must be a whole number of at least 1; got 0"):
        celeba(size=0)
