"""CIFAR-10 in the three forms in which it is kept, none of which may run code.

The binary form is a sequence of records of 3,073 bytes: the label, then the red, green and
blue planes of 32 × 32 bytes. The Python form is a pickle of the same bytes. A pickle is a
program; the reader here lends it four inert stand-ins in place of NumPy and nothing else, so
that a stranger's file can describe an array and can do nothing.
"""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np

from energax.checks import InputError, check
from energax.data.dataset import Dataset
from energax.data.sources import fetch, folders

__all__ = ["cifar10", "read_binary_batch", "read_pickled_batch"]

RECORD = 1 + 3 * 32 * 32
TRAIN, TEST = tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",)
Batch = tuple[np.ndarray, np.ndarray]


def _batch(owner: str, planes: np.ndarray, labels: np.ndarray) -> Batch:
    """Turn planes (n, 3072) into images (n, 32, 32, 3), checking the labels."""
    known = labels.shape == (len(planes),) and len(planes) > 0 and labels.min() >= 0 and labels.max() <= 9
    check(known, "cifar10", f"the labels of {owner}", "one of 0 to 9 per image", f"{labels.shape} labels")
    return planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), labels.astype(np.int64)


def read_binary_batch(name: str, content: bytes) -> Batch:
    """Read one ``.bin`` batch.

    Parameters
    ----------
    name
        The file's name, for the refusing sentence.
    content
        The file's bytes.

    Returns
    -------
    tuple of numpy.ndarray
        uint8 images (n, 32, 32, 3) and int64 labels (n,).

    Raises
    ------
    InputError
        If the length is no multiple of a record, or a label is not 0 to 9.
    """
    whole = len(content) > 0 and len(content) % RECORD == 0
    check(whole, "cifar10", name, f"whole records of {RECORD} bytes", f"{len(content)} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, RECORD)
    return _batch(name, records[:, 1:], records[:, 0])


class _Inert:
    """What a pickle gets in place of a NumPy object: it keeps what it is given."""

    def __init__(self, *given: object) -> None:
        self.given = given
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state


class _Array(_Inert):
    pass


class _Dtype(_Inert):
    pass


class _Encode(_Inert):
    # Pickles written by Python 3 for Python 2 spell bytes as a call of an encoder.
    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if encoding != "latin1":
            raise pickle.UnpicklingError("an encoding other than latin1")
        return text.encode("latin1")


class _ArraysOnly(pickle.Unpickler):
    """Unpickles numbers, text, bytes, lists, dicts and descriptions of arrays; nothing else."""

    STAND_INS = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Inert,
        ("numpy", "dtype"): _Dtype,
        ("_codecs", "encode"): _Encode,
    }

    def find_class(self, module: str, name: str) -> type:
        """Return the stand-in for a NumPy name and refuse every other name."""
        if (module, name) not in self.STAND_INS:
            raise pickle.UnpicklingError(f"a pickle that asks for {module}.{name}")
        return self.STAND_INS[module, name]


def _planes(array: object) -> np.ndarray:
    """Make the array of bytes (n, 3072) that a pickle described."""
    if not isinstance(array, _Array) or len(array.state) != 5:
        raise pickle.UnpicklingError("a batch whose data is no array")
    _, shape, dtype, fortran, raw = array.state
    byte = isinstance(dtype, _Dtype) and dtype.given[:1] in (("u1",), (b"u1",))
    flat = isinstance(shape, tuple) and len(shape) == 2 and shape[1] == RECORD - 1 and not fortran
    if not (byte and flat and isinstance(raw, bytes) and len(raw) == shape[0] * shape[1]):
        raise pickle.UnpicklingError("a batch whose data is no array of bytes (n, 3072)")
    return np.frombuffer(raw, np.uint8).reshape(shape)


def read_pickled_batch(name: str, content: bytes) -> Batch:
    """Read one batch of the Python form without running anything it holds.

    Parameters
    ----------
    name
        The file's name, for the refusing sentence.
    content
        The file's bytes: a pickle of a dictionary with ``data``, bytes (n, 3072), and
        ``labels``.

    Returns
    -------
    tuple of numpy.ndarray
        uint8 images (n, 32, 32, 3) and int64 labels (n,).

    Raises
    ------
    InputError
        If the pickle asks for anything but arrays of bytes, or is damaged.
    """
    try:
        batch = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        fields = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
        planes, labels = _planes(fields["data"]), np.array([int(label) for label in fields["labels"]])
    except pickle.UnpicklingError as error:
        reason = str(error)
    # A hostile stream may raise anything in a machine it drives; all of it is one refusal.
    except Exception as error:
        reason = f"{type(error).__name__} while reading"
    else:
        return _batch(name, planes, labels)
    raise InputError(f"cifar10: {name} must be an original CIFAR-10 batch; got {reason}.")


def _batches(read: Callable[[str, bytes], Batch], content: Callable[[str], bytes], suffix: str) -> Dataset:
    parts = []
    for names in (TRAIN, TEST):
        batches = [read(name + suffix, content(name + suffix)) for name in names]
        parts.append([np.concatenate(column) for column in zip(*batches, strict=True)])
    (train, train_labels), (test, test_labels) = parts
    return _dataset("cifar10", train, test, train_labels, test_labels)


def _dataset(
    name: str, train: np.ndarray, test: np.ndarray, train_labels: np.ndarray, test_labels: np.ndarray
) -> Dataset:
    def scaled(images: np.ndarray) -> np.ndarray:
        return images.astype(np.float32) / np.float32(255)

    return Dataset(name, "image", scaled(train), scaled(test), train_labels, test_labels)


def _from_archive(path: Path) -> Dataset:
    """Read the batches inside the authors' archive, unpacking nothing to disk."""

    def refuse(got: str) -> NoReturn:
        raise InputError(f"cifar10: {path.name} must be the authors' archive of binary batches; got {got}.")

    try:
        with tarfile.open(path) as archive:

            def content(name: str) -> bytes:
                try:
                    member = archive.extractfile(f"cifar-10-batches-bin/{name}")
                except KeyError:
                    member = None
                if member is None:
                    refuse(f"no {name} in it")
                return member.read()

            return _batches(read_binary_batch, content, ".bin")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        refuse(f"{type(error).__name__} while reading")


def _from_npz(path: Path) -> Dataset:
    names = ("x_train", "x_test", "y_train", "y_test")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file]
            check(not missing, "cifar10", path.name, f"an archive of {', '.join(names)}", ", ".join(file))
            train, test, train_labels, test_labels = (file[name] for name in names)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"cifar10: {path.name} must be an archive of arrays; got {type(error).__name__} while reading."
        ) from None
    for images in (train, test):
        right = images.dtype == np.uint8 and images.shape[1:] == (32, 32, 3)
        got = f"{images.dtype} {images.shape}"
        check(right, "cifar10", path.name, "images of bytes (n, 32, 32, 3)", got)
    return _dataset(path.stem, train, test, train_labels.reshape(-1), test_labels.reshape(-1))


def cifar10() -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test photographs.

    Looked for in the subfolder ``cifar10``, in this order: the binary batches, the Python
    batches (each beside the others or in the folder the authors' archive unpacks to), the
    authors' binary archive, an ``.npz`` with ``x_train``, ``y_train``, ``x_test``, ``y_test``;
    then the archive is downloaded.

    Returns
    -------
    Dataset
        float32 images (32, 32, 3) in [0, 1]; labels 0 to 9 in the authors' order. An ``.npz``
        gives the rows it holds and its own name to the data set, so that a subset is not
        mistaken for the whole.

    Raises
    ------
    InputError
        If the files are not there and cannot be downloaded, are damaged, or hold a pickle that
        asks for more than arrays.

    References
    ----------
    Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    for folder in folders("cifar10"):
        for batches in (folder, folder / "cifar-10-batches-bin"):
            if (batches / "data_batch_1.bin").is_file():
                return _batches(read_binary_batch, lambda name, at=batches: _content(at / name), ".bin")
        for batches in (folder, folder / "cifar-10-batches-py"):
            if (batches / "data_batch_1").is_file():
                return _batches(read_pickled_batch, lambda name, at=batches: _content(at / name), "")
        if (folder / "cifar-10-binary.tar.gz").is_file():
            break  # `fetch` finds it, and verifies a cached one
        for file in sorted(folder.glob("*.npz")):
            return _from_npz(file)
    return _from_archive(fetch("cifar10", "cifar-10-binary.tar.gz"))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cifar10: {path.name} must be a readable file; got {type(error).__name__}."
        ) from None
