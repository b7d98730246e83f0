"""The files that commands write: never the one that is read, and whole or not at all."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from energax.checks import InputError, check
from energax.files import write_whole

__all__ = ["save_array", "target_file", "target_folder", "write_csv"]


def target_folder(out: Path | None, run: Path) -> Path:
    """Return the folder to write into, made if need be."""
    folder = run if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"sample: --out must be a folder; got {folder}: {error.strerror}.") from None
    return folder


def target_file(out: Path | None, file: str, name: str, command: str, suffix: str = ".npy") -> Path:
    """Return the file to write: never the one that is read."""
    target = Path(file).parent / name if out is None else out
    check(target.suffix == suffix, command, "--out", f"a {suffix} file", str(target))
    check(target.parent.is_dir(), command, "--out", "in an existing folder", str(target))
    same = target.resolve() == Path(file).resolve()
    check(not same, command, "--out", "another file than the one that is read", str(target))
    return target


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    write_whole(path, lambda part: np.save(part, array))


def write_csv(path: Path, columns: tuple[str, ...], rows: np.ndarray) -> None:
    """Write rows of numbers under a heading, whole or not at all."""

    def write(part: Path) -> None:
        with part.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows([[f"{value:.7g}" for value in row] for row in rows])

    write_whole(path, write)
