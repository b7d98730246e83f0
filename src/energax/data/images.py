"""A folder of image files as rows, in the files' own units 0 to 255."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from energax.checks import InputError, check, check_integer
from energax.data.dataset import Dataset, split

__all__ = ["image_folder", "open_image", "read_images"]

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


def open_image(owner: str, path: Path) -> Any:
    """Open one file as a grayscale (L) or colour (RGB) picture of 8 bits per channel.

    Transparency is dropped; palettes become colours; bilevel becomes 0 and 255.

    Raises
    ------
    InputError
        If the file is unreadable, or has more than 8 bits per channel.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            mode = file.mode
            picture = None
            if not mode.startswith(("I", "F")):
                picture = file.convert("L" if mode in ("1", "L", "LA", "La") else "RGB")
    # Decoders raise many kinds of error on a damaged file; all of them are one refusal.
    except Exception as error:
        raise InputError(
            f"{owner}: {path.name} must be a readable image; got {type(error).__name__} while reading."
        ) from None
    check(picture is not None, owner, path.name, "an image of 8 bits per channel", f"mode {mode}")
    return picture


def read_images(folder: str | Path, resize: int | tuple[int, int] | None = None) -> np.ndarray:
    """Read the images that lie in a folder, in the order of their names.

    Parameters
    ----------
    folder
        The folder; its subfolders, hidden files and files of other kinds are passed over.
    resize
        Side or (height, width) in pixels to resize every image to (bicubic); None keeps the
        files' size, which must then be one and the same.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, height, width, channels), values 0 to 255. One channel if all files
        are grayscale; if some are in colour the grayscale ones are repeated in three channels.

    Raises
    ------
    InputError
        If there is no image, a file is unreadable, or sizes differ; the file is named.
    """
    folder = Path(folder)
    check(folder.is_dir(), "read_images", "folder", "an existing folder", repr(str(folder)))
    size = None
    if resize is not None:
        pair = tuple(resize) if isinstance(resize, (tuple, list)) else (resize, resize)
        check(len(pair) == 2, "read_images", "resize", "a side or (height, width)", repr(resize))
        size = tuple(check_integer("read_images", "resize", side, at_least=1) for side in pair)
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    deeper = any(path.is_dir() for path in folder.iterdir())
    got = repr(str(folder)) + (", whose subfolders are not looked into" if deeper else "")
    check(files, "read_images", "folder", f"a folder with images ({', '.join(SUFFIXES)})", got)
    pictures = []
    for path in files:
        picture = open_image("read_images", path)
        if size is not None:
            from PIL import Image

            picture = picture.resize(size[::-1], Image.Resampling.BICUBIC)
        pixels = np.asarray(picture)
        if pictures and pixels.shape[:2] != pictures[0].shape[:2]:
            first = " × ".join(map(str, pictures[0].shape[:2]))
            here = " × ".join(map(str, pixels.shape[:2]))
            allowed = f"{first} pixels like {files[0].name} (in Python, `resize` brings all to one size)"
            check(False, "read_images", path.name, allowed, here)
        pictures.append(pixels if pixels.ndim == 3 else pixels[..., None])
    channels = max(picture.shape[-1] for picture in pictures)
    return np.stack([np.broadcast_to(p, (*p.shape[:2], channels)) for p in pictures]).astype(np.float32)


def image_folder(
    folder: str | Path,
    *,
    resize: int | tuple[int, int] | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    """Read a folder of images and keep a seeded random part of them back for testing.

    Parameters
    ----------
    folder, resize
        As in `read_images`.
    test_fraction, seed
        Share of images kept back, and the seed that chooses them.

    Returns
    -------
    Dataset
        Kind ``"image"``, values 0 to 255, named after the folder.

    Raises
    ------
    InputError
        As `read_images`, and for fewer than two images.
    """
    rows = read_images(folder, resize)
    name = Path(folder).resolve().name
    return split(name, rows, kind="image", test_fraction=test_fraction, seed=seed, owner="image_folder")
