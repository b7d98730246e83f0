"""What the tests of data share: a clean place for files, real files if there are any."""

import os
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def real_data(monkeypatch):
    """Folder with the published files: $ENERGAX_DATA, else where CI keeps it beside the project."""
    beside = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("ENERGAX_DATA") or beside)
    if not all((folder / name).is_dir() for name in ("mnist", "fashion-mnist", "notmnist", "adbench")):
        pytest.skip("the published files are not here: set ENERGAX_DATA")
    monkeypatch.setenv("ENERGAX_DATA", str(folder))
    return folder


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Empty folders for $ENERGAX_DATA and $ENERGAX_CACHE."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    cache.mkdir()
    monkeypatch.setenv("ENERGAX_DATA", str(data))
    monkeypatch.setenv("ENERGAX_CACHE", str(cache))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return data, cache


@pytest.fixture
def far_from():
    """Answer whether independent values miss an expected mean by more than 4.9 standard errors.

    Two-sided false-alarm rate 1e-6 by the central limit theorem.
    """

    def answer(values, expected):
        values = np.asarray(values, np.float64)
        error = values.std(ddof=1) / np.sqrt(len(values))
        return abs(values.mean() - expected) > 4.9 * error

    return answer


@pytest.fixture
def idx_bytes():
    """Spell an array of bytes in IDX, by the format's definition."""

    def spell(array):
        array = np.asarray(array, np.uint8)
        sizes = b"".join(int(n).to_bytes(4, "big") for n in array.shape)
        return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()

    return spell
