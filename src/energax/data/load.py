"""One door to all data: a known name, a file, a folder, or an array."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from energax.checks import InputError, check, check_choice
from energax.data.alphadigits import alphadigits
from energax.data.celeba import celeba
from energax.data.cifar import cifar10
from energax.data.dataset import Dataset, split
from energax.data.digits import digits
from energax.data.idx import fashion_mnist, mnist, notmnist, read_idx
from energax.data.images import image_folder
from energax.data.sources import data_folder
from energax.data.stacked import stacked_digits, stacked_mnist
from energax.data.svhn import svhn
from energax.data.tables import SUFFIXES, table_file
from energax.data.toy import TOYS, toy

__all__ = ["NAMES", "load"]

NAMES: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "mnist": mnist,
    "fashion-mnist": fashion_mnist,
    "notmnist": notmnist,
    "cifar10": cifar10,
    "svhn": svhn,
    "celeba": celeba,
    "alphadigits": alphadigits,
    "stacked-digits": stacked_digits,
    "stacked-mnist": stacked_mnist,
}
IDX_ENDINGS = ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")


def _adbench(name: str, seed: int) -> Dataset:
    """Read one of ADBench's tables, whose labels are 1 for outliers."""
    folder = data_folder()
    files = [] if folder is None else sorted((folder / "adbench").glob("*.npz"))
    check(files, "load", "source", "an ADBench table in the folder adbench of $ENERGAX_DATA", repr(name))
    known = {f"adbench/{file.stem}": file for file in files}
    return table_file(known[check_choice("load", "source", name, known)], seed=seed)


def _file(path: Path, seed: int) -> Dataset:
    if path.is_dir():
        return image_folder(path, seed=seed)
    if path.name.endswith(IDX_ENDINGS):
        rows = read_idx(path)
        kind = "image" if rows.ndim == 3 else None  # as in MNIST: pictures without a channel axis
        return split(path.name, rows[..., None] if kind else rows, kind=kind, seed=seed)
    endings = ", ".join((*SUFFIXES, *IDX_ENDINGS))
    fits = path.suffix.lower() in SUFFIXES
    check(fits, "load", "source", f"a folder of images or a file ending in {endings}", repr(path.name))
    return table_file(path, seed=seed)


def load(source: Any, seed: int = 0) -> Dataset:
    """Load data from wherever it is.

    Parameters
    ----------
    source
        One of: the name of a known data set (digits, mnist, fashion-mnist, notmnist, cifar10, svhn, celeba,
        alphadigits, stacked-digits, stacked-mnist), of a toy density (eight-gaussians, two-moons, pinwheel,
        checkerboard, rings, swiss-roll, two-spirals) or of an ADBench table in ``$ENERGAX_DATA``
        ("adbench/38_thyroid"); the path of a ``.csv``, ``.parquet``, ``.npy``, ``.npz`` or IDX file; a folder
        of images; an array with one row per observation. A name wins over a file of that name: write
        "./digits" for the file.
    seed
        Chooses a toy's draws, and the 90/10 split of files and arrays. Data sets published
        with a split keep theirs.

    Returns
    -------
    Dataset
        Rows in the source's own units, except that the known image sets come in [0, 1].

    Raises
    ------
    InputError
        If the source is neither a name nor a path (the nearest name is suggested), or what
        lies there cannot be used.
    """
    if not isinstance(source, (str, os.PathLike)):
        return split("array", source, seed=seed)
    if isinstance(source, str):
        if source in NAMES:
            return NAMES[source]()
        if source in TOYS:
            return toy(source, seed=seed)
    path = Path(source).expanduser()
    try:
        there = path.exists()
    except (OSError, ValueError):  # a name no file system can hold
        there = False
    if there:
        try:
            return _file(path, seed)
        except OSError as error:
            raise InputError(
                f"load: {path.name} must be a readable file or folder; got {type(error).__name__}."
            ) from None
    if isinstance(source, str) and source.startswith("adbench/"):
        return _adbench(source, seed)
    meant_as_path = not isinstance(source, str) or os.sep in source or "." in source
    check(
        not meant_as_path, "load", "source", "an existing file or folder, or a known name", repr(str(source))
    )
    check_choice("load", "source", source, [*NAMES, *TOYS, "adbench/NAME", "the path of a file or folder"])
    raise AssertionError
