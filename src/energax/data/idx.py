"""The IDX format of MNIST, and the three image sets published in it.

An IDX file is two zero bytes, one byte for the type of its entries, one byte for the number k
of axes, k big-endian 32-bit sizes, and the entries in row-major order, big-endian.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NoReturn

import numpy as np

from energax.checks import InputError, check
from energax.data.dataset import Dataset, split
from energax.data.sources import fetch, find

__all__ = ["fashion_mnist", "mnist", "notmnist", "read_idx"]

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
# Deflate cannot shrink anything more than this; a header that claims more is lying.
DEFLATE_LIMIT = 1032


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, compressed by gzip or not.

    Parameters
    ----------
    path
        The file; a name ending in ``.gz`` is decompressed.

    Returns
    -------
    numpy.ndarray
        Entries in the machine's byte order, in the shape stated by the file.

    Raises
    ------
    InputError
        If the file cannot be read, is not IDX, or holds fewer or more entries than it states.

    References
    ----------
    LeCun, Cortes and Burges, The MNIST database of handwritten digits (file formats).
    """
    path = Path(path)
    compressed = path.suffix == ".gz"

    def refuse(got: str) -> NoReturn:
        raise InputError(f"read_idx: {path.name} must be a complete IDX file; got {got}.")

    try:
        ceiling = path.stat().st_size * (DEFLATE_LIMIT if compressed else 1)
        with gzip.open(path) if compressed else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in DTYPES:
                refuse(f"the first bytes {magic.hex() or 'of an empty file'}")
            dtype, axes = np.dtype(DTYPES[magic[2]]), magic[3]
            sizes = file.read(4 * axes)
            if axes == 0 or len(sizes) < 4 * axes:
                refuse(f"{axes} axes and {len(sizes)} bytes of their sizes")
            shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
            expected = math.prod(shape) * dtype.itemsize
            if expected > ceiling:  # before asking for that much memory
                refuse(f"a header for {expected} bytes in a file that cannot hold them")
            body = file.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        refuse(f"{type(error).__name__} while reading")
    if len(body) != expected:
        refuse(f"{'more than' if len(body) > expected else f'{len(body)} of'} {expected} bytes of entries")
    return np.frombuffer(body, dtype).reshape(shape).astype(dtype.newbyteorder("="))


def _part(dataset: str, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28, 1) in [0, 1] and labels (n,) of one published part."""
    found = []
    for what in ("images-idx3", "labels-idx1"):
        stem = f"{part}-{what}-ubyte"
        found.append(read_idx(fetch(dataset, f"{stem}.gz", stem)))
    images, labels = found
    right = images.dtype == np.uint8 and images.shape[1:] == (28, 28) and labels.shape == images.shape[:1]
    got = f"shapes {images.shape} and {labels.shape}"
    check(right, dataset, part, "28 × 28 images of bytes with one label each", got)
    return images[..., None].astype(np.float32) / np.float32(255), labels.astype(np.int64)


def _published_split(dataset: str) -> Dataset:
    (train, train_labels), (test, test_labels) = _part(dataset, "train"), _part(dataset, "t10k")
    return Dataset(dataset, "image", train, test, train_labels, test_labels)


def mnist() -> Dataset:
    """Load MNIST: 60,000 training and 10,000 test digits.

    Returns
    -------
    Dataset
        float32 images (28, 28, 1) in [0, 1], ink is 1; labels are the digits.

    Raises
    ------
    InputError
        If a file is not there and cannot be downloaded, or is damaged.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document
    recognition, Proceedings of the IEEE, 1998.
    """
    return _published_split("mnist")


def fashion_mnist() -> Dataset:
    """Load Fashion-MNIST: 60,000 training and 10,000 test pictures of clothes.

    Returns
    -------
    Dataset
        float32 images (28, 28, 1) in [0, 1]; labels 0 to 9 in the authors' order.

    Raises
    ------
    InputError
        If a file is not there and cannot be downloaded, or is damaged.

    References
    ----------
    Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017.
    """
    return _published_split("fashion-mnist")


def notmnist() -> Dataset:
    """Load notMNIST, letters A to J in many typefaces, from IDX files put there by hand.

    Returns
    -------
    Dataset
        float32 images (28, 28, 1) in [0, 1]; labels 0 to 9 for A to J. Where only the
        ``t10k`` files are there, these are split 90/10 by a fixed permutation and the data
        set is called ``"notmnist-t10k"``.

    Raises
    ------
    InputError
        If the files are not there (they are not downloaded) or are damaged.

    References
    ----------
    Bulatov, notMNIST dataset, 2011.
    """
    stem = "train-images-idx3-ubyte"
    if find("notmnist", f"{stem}.gz", stem) is not None:
        return _published_split("notmnist")
    images, labels = _part("notmnist", "t10k")
    return split("notmnist-t10k", images, labels=labels, owner="notmnist")
