"""CelebA faces from the authors' aligned photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from energax.checks import check, check_integer
from energax.data.dataset import Dataset, split
from energax.data.images import open_image
from energax.data.sources import find

__all__ = ["celeba"]

WIDTH, HEIGHT, CROP = 178, 218, 140


def _partition(path: Path) -> dict[str, str]:
    """Read the authors' list: file name, then 0 (train), 1 (validation) or 2 (test)."""
    parts = {}
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        if line.strip():
            words = line.split()
            fits = len(words) == 2 and words[1] in "012"
            check(
                fits, "celeba", path.name, "a list of file names with 0, 1 or 2", f"line {number}: {line!r}"
            )
            parts[words[0]] = words[1]
    return parts


def celeba(size: int = 32) -> Dataset:
    """Load CelebA's aligned faces, cropped to the face and made small.

    The middle 140 × 140 pixels of each 178 × 218 photograph are resized (bicubic). The files
    lie in the subfolder ``celeba``: the folder ``img_align_celeba`` and, beside it, the
    authors' ``list_eval_partition.txt``. They are not downloaded.

    Parameters
    ----------
    size
        Side of the result in pixels.

    Returns
    -------
    Dataset
        float32 images (size, size, 3) in [0, 1]. With the authors' list, its training and test
        parts (its validation part is left out); without it, 90/10 by a fixed permutation.

    Raises
    ------
    InputError
        If the folder is not there, or a file is unreadable, of another size or not listed.

    References
    ----------
    Liu, Luo, Wang and Tang, Deep learning face attributes in the wild, ICCV 2015.
    """
    from PIL import Image

    size = check_integer("celeba", "size", size, at_least=1)
    where = "in the folder celeba of $ENERGAX_DATA or of the cache"
    folder = find("celeba", "img_align_celeba")
    check(folder is not None, "celeba", "img_align_celeba", where, "no such folder there")
    assert folder is not None
    files = sorted(folder.glob("*.jpg"))
    check(len(files) >= 2, "celeba", "img_align_celeba", "a folder of at least 2 photographs", len(files))
    left, top = (WIDTH - CROP) // 2, (HEIGHT - CROP) // 2
    images = np.empty((len(files), size, size, 3), np.uint8)
    for row, path in enumerate(files):
        picture = open_image("celeba", path).convert("RGB")
        got = " × ".join(map(str, picture.size))
        check(picture.size == (WIDTH, HEIGHT), "celeba", path.name, f"{WIDTH} × {HEIGHT} pixels", got)
        face = picture.crop((left, top, left + CROP, top + CROP))
        images[row] = np.asarray(face.resize((size, size), Image.Resampling.BICUBIC))
    scaled = images.astype(np.float32) / np.float32(255)
    listing = folder.parent / "list_eval_partition.txt"
    if not listing.is_file():
        return split("celeba", scaled, kind="image", owner="celeba")
    parts = _partition(listing)
    missing = [path.name for path in files if path.name not in parts]
    check(not missing, "celeba", listing.name, "a list of all photographs", f"no line for {missing[:1]}")
    part = np.array([parts[path.name] for path in files])
    for code, what in (("0", "training"), ("2", "test")):
        check((part == code).any(), "celeba", listing.name, f"a list with {what} photographs", "none")
    return Dataset("celeba", "image", scaled[part == "0"], scaled[part == "2"])
