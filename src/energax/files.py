"""Files that are replaced only by whole new ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["write_whole"]


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file and give it the name `path` once it is whole.

    Parameters
    ----------
    path
        The file; its folder must exist. It gets the permissions of any new file.
    write
        Called with the temporary path, which has the same suffix.

    Raises
    ------
    OSError
        If it cannot be written: then an old file stands as it was, and no other is left.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
