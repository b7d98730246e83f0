import gzip

import numpy as np
import pytest

from energax.checks import InputError
from energax.data import fashion_mnist, mnist, notmnist, read_idx


def test_bytes_written_by_hand(tmp_path):
    file = tmp_path / "two-by-three"
    file.write_bytes(bytes.fromhex("00000802 00000002 00000003 00 01 02 fd fe ff"))
    assert read_idx(file).tolist() == [[0, 1, 2], [253, 254, 255]]
    assert read_idx(file).dtype == np.uint8


@pytest.mark.parametrize(
    ("code", "entries", "values"),
    [
        ("09", "ff7f", [-1, 127]),
        ("0b", "ffff0102", [-1, 258]),
        ("0c", "ffffffff00000102", [-1, 258]),
        ("0d", "3f800000c0000000", [1.0, -2.0]),
        ("0e", "3ff0000000000000c000000000000000", [1.0, -2.0]),
    ],
)
def test_every_type_is_big_endian(tmp_path, code, entries, values):
    file = tmp_path / "two"
    file.write_bytes(bytes.fromhex(f"0000{code}01 00000002 {entries}"))
    found = read_idx(file)
    assert found.tolist() == values
    assert found.dtype.isnative


def test_gzip(tmp_path, idx_bytes):
    array = np.arange(24).reshape(2, 3, 4)
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(idx_bytes(array)))
    assert (read_idx(file) == array).all()


GOOD = bytes.fromhex("00000801 00000003 010203")


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "the first bytes of an empty file"),
        (b"\x89PNG....", "the first bytes 89504e47"),
        (b"\0\0\x07\x01" + GOOD[4:], "the first bytes 00000701"),
        (b"\0\0\x08\0", "0 axes"),
        (GOOD[:6], "1 axes and 2 bytes of their sizes"),
        (GOOD[:-1], "2 of 3 bytes of entries"),
        (GOOD + b"\0", "more than 3 bytes of entries"),
        (b"\0\0\x08\x03" + b"\xff" * 12, "a header for .* bytes in a file that cannot hold them"),
    ],
)
def test_damage_is_one_sentence(tmp_path, content, got):
    file = tmp_path / "bad"
    file.write_bytes(content)
    with pytest.raises(InputError, match=f"^read_idx: bad must be a complete IDX file; got {got}"):
        read_idx(file)


# No time of day in its name: every process that collects this test must give it the same one.
@pytest.mark.parametrize("content", [GOOD, gzip.compress(GOOD, mtime=0)[:-9], b""])
def test_damaged_gzip_is_one_sentence(tmp_path, content):
    file = tmp_path / "bad.gz"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"^read_idx: bad\.gz must be a complete IDX file; got .*\.$"):
        read_idx(file)


def test_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="none must be a complete IDX file; got FileNotFoundError"):
        read_idx(tmp_path / "none")


def test_scale_and_shape_of_a_small_mnist(places, idx_bytes):
    folder = places[0] / "mnist"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(images))  # unpacked is fine
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes([7, 8, 9])))
    data = mnist()
    assert data.event_shape == data.image_shape == (28, 28, 1)
    assert (np.round(data.train[..., 0] * 255) == images).all()
    assert data.test_labels.tolist() == [7, 8, 9]
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx_bytes([7])))
    with pytest.raises(InputError, match=r"mnist: t10k must be 28 × 28 images .* \(3, 28, 28\) and \(1,\)"):
        mnist()


def test_notmnist_with_only_its_test_files_is_split_and_says_so(places, idx_bytes):
    with pytest.raises(
        InputError, match=r"notmnist: t10k-images-idx3-ubyte\.gz must be in the folder notmnist"
    ):
        notmnist()
    folder = places[0] / "notmnist"
    folder.mkdir()
    images = np.arange(10)[:, None, None] * np.ones((28, 28))
    (folder / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10)))
    data = notmnist()
    assert data.name == "notmnist-t10k"
    assert (len(data.train), len(data.test)) == (9, 1)
    assert (np.round(data.train[:, 0, 0, 0] * 255) == data.train_labels).all()


def test_the_published_files(real_data):
    data = mnist()
    assert (data.train.shape, data.test.shape) == ((60_000, 28, 28, 1), (10_000, 28, 28, 1))
    assert data.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(data.train.mean() - 0.1307) < 5e-5  # the mean every tutorial normalises by
    assert (fashion_mnist().train_labels.reshape(-1)[:3]).tolist() == [9, 0, 0]
    assert (np.bincount(fashion_mnist().test_labels) == 1000).all()
    assert notmnist().event_shape == (28, 28, 1)
