"""Tables and arrays in files: ``.csv``, ``.parquet``, ``.npy`` and ``.npz``.

Nothing is repaired: a blank, a NaN or a word where a number should be is refused and named,
because a value made up here would be learned there.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from energax.checks import InputError, check
from energax.data.dataset import Dataset, float_rows, split

__all__ = ["SUFFIXES", "Table", "read_table", "table_file"]


class Table(NamedTuple):
    """What a file holds: float32 rows (n, *event), labels (n,) or None, column names or None."""

    rows: np.ndarray
    labels: np.ndarray | None = None
    columns: tuple[str, ...] | None = None


def _number(cell: str) -> float | None:
    """Return a cell's number, or None for words and blanks ("1_000" is Python, not a number)."""
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _check_names(owner: str, names: Sequence[str]) -> None:
    """Refuse a name that two columns have, since columns are found by name (Parquet's reader does so)."""
    twice = next((name for name in names if names.count(name) > 1), None)
    allowed = "a table of different names of columns"
    check(twice is None, "read_table", owner, allowed, f"{twice!r} twice")


def _parted_otherwise(first: Sequence[str]) -> str:
    """Return a hint where a first line looks as if something else than commas parted its columns."""
    found = next((mark for mark in ";\t|" if mark in first[0]), None) if len(first) == 1 else None
    return "" if found is None else f" (commas, not {found!r}, part the columns)"


def _read_csv(path: Path, finite: bool, apart: bool) -> Table:
    owner = path.name
    # utf-8-sig: spreadsheets like to put a byte-order mark before the first column's name.
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            lines = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"read_table: {owner} must be comma-separated UTF-8 text; got {error}.") from None
    while lines and not lines[-1][1]:  # blank lines at the end of the file are no rows
        lines.pop()
    columns, hint = None, _parted_otherwise(lines[0][1]) if lines else ""
    # A header is a first line without any number: one number in it, and it would be a guess.
    if lines and any(cell.strip() for cell in lines[0][1]):
        first = lines[0][1]
        if all(_number(cell) is None for cell in first):
            columns = tuple(cell.strip() or f"column {j}" for j, cell in enumerate(first, start=1))
            _check_names(owner, columns)
            lines = lines[1:]
    check(lines, "read_table", owner, "a table of at least 2 rows", "no row of numbers")
    width = len(columns) if columns is not None else len(lines[0][1])
    names = columns or tuple(f"column {j}" for j in range(1, width + 1))
    values = np.empty((len(lines), width))
    for i, (number, cells) in enumerate(lines):
        check(
            len(cells) == width,
            "read_table",
            owner,
            f"{width} columns wide",
            f"{len(cells)} on line {number}{hint}",
        )
        for j, cell in enumerate(cells):
            value = _number(cell)
            if value is None and cell.strip():
                check(False, owner, repr(names[j]), "a column of numbers", f"{cell!r} on line {number}{hint}")
            if value is None or (finite and not np.isfinite(value)):
                check(False, owner, repr(names[j]), "finite and never blank", f"{cell!r} on line {number}")
            values[i, j] = value
    how: dict[str, Any] = {"finite": finite, "apart": apart, "columns": columns}
    return Table(float_rows("read_table", owner, values, **how), None, columns)


def _read_parquet(path: Path, finite: bool, apart: bool) -> Table:
    owner = path.name
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InputError(
            f"read_table: {owner} must be read with pyarrow, which the extra energax[parquet] installs; "
            "got no pyarrow."
        ) from None
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(
            f"read_table: {owner} must be a readable parquet file; got {type(error).__name__} while reading."
        ) from None
    check(
        table.num_columns > 0 and table.num_rows > 0,
        "read_table",
        owner,
        "a table of at least 2 rows",
        f"{table.num_rows} rows and {table.num_columns} columns",
    )
    values = np.empty((table.num_rows, table.num_columns))
    for j, name in enumerate(table.column_names):
        column = table.column(j)
        of = column.type
        kinds = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
        if not any(kind(of) for kind in kinds):
            first = next((v for v in column if v.is_valid), None)
            bad = "no value" if first is None else repr(first.as_py())
            check(False, owner, repr(name), "a column of numbers", f"{bad} of type {of}")
        blank = np.asarray(column.is_null())
        if blank.any():
            check(False, owner, repr(name), "finite and never blank", f"a blank in row {int(blank.argmax())}")
        numbers = column.cast(pa.float64(), safe=False) if not pa.types.is_boolean(of) else column
        values[:, j] = np.asarray(numbers)
        bad = ~np.isfinite(values[:, j])
        if finite and bad.any():
            row = int(bad.argmax())
            check(False, owner, repr(name), "finite and never blank", f"{values[row, j]} in row {row}")
    columns = tuple(table.column_names)
    how: dict[str, Any] = {"finite": finite, "apart": apart, "columns": columns}
    return Table(float_rows("read_table", owner, values, **how), None, columns)


def _read_numpy(path: Path, finite: bool, apart: bool) -> Table:
    owner = path.name
    labels = None
    try:
        # allow_pickle=False: opening a stranger's array must not run a stranger's code.
        with path.open("rb") as file:
            content: Any = np.load(file, allow_pickle=False)
            if isinstance(content, np.lib.npyio.NpzFile):
                names = list(content)
                key = next((k for k in ("x", "X", "images") if k in names), None)
                if key is None and len(names) == 1:
                    key = names[0]
                allowed = "an archive with an array named x, X or images, or with a single array"
                check(key is not None, "read_table", owner, allowed, ", ".join(names) or "none")
                assert key is not None
                rows = content[key]
                label_key = next((k for k in ("y", "Y", "labels") if k in names and k != key), None)
                labels = None if label_key is None else content[label_key].reshape(-1)
                if key == "images" and rows.ndim == 3:  # grayscale without a channel axis
                    rows = rows[..., None]
            else:
                rows = content
    except InputError:
        raise
    except (OSError, ValueError, EOFError, SyntaxError, zipfile.BadZipFile, zlib.error) as error:
        pickled = isinstance(error, ValueError) and "allow_pickle" in str(error)
        got = "pickled Python objects" if pickled else f"{type(error).__name__} while reading"
        raise InputError(f"read_table: {owner} must be a file of plain NumPy arrays; got {got}.") from None
    rows = float_rows("read_table", owner, rows, finite=finite, apart=apart)
    if labels is not None:
        fits = labels.shape == (len(rows),)
        check(fits, "read_table", f"the labels of {owner}", f"{len(rows)} in number", len(labels))
    return Table(rows, labels)


_READERS = {".csv": _read_csv, ".parquet": _read_parquet, ".npy": _read_numpy, ".npz": _read_numpy}
SUFFIXES = tuple(_READERS)


def read_table(path: str | Path, *, finite: bool = True, apart: bool = False) -> Table:
    """Read the rows of one file.

    Parameters
    ----------
    path
        ``.csv``
            Commas, UTF-8, with or without a header: a first line without any number is one.
        ``.parquet``
            Columns of numbers; needs the extra ``energax[parquet]``.
        ``.npy``
            One array (n, *event), or (n,), which becomes (n, 1).
        ``.npz``
            The array named x, X or images, or the only one; y, Y or labels are kept as labels.
    finite
        Refuse NaN and infinite entries; False leaves them to the caller.
    apart
        Whether a column is refused whose rows float32 cannot tell apart: one that varies by little
        around a large number, as times and serial numbers do. Of rows to learn from it must be;
        of a few rows to be scored it need not.

    Returns
    -------
    Table
        float32 rows (n, *event), labels, column names.

    Raises
    ------
    InputError
        If the file is missing or damaged, holds Python objects, words, blanks or numbers that
        are not finite in float32, or is not rectangular: the column and line are named.
    """
    path = Path(path)
    check(path.is_file(), "read_table", "path", "an existing file", repr(str(path)))
    suffix = path.suffix.lower()
    check(
        suffix in _READERS, "read_table", "path", f"a file ending in {', '.join(_READERS)}", repr(path.name)
    )
    try:
        return _READERS[suffix](path, finite, apart)
    except OSError as error:
        raise InputError(
            f"read_table: {path.name} must be a readable file; got {type(error).__name__}."
        ) from None


def table_file(path: str | Path, *, test_fraction: float = 0.1, seed: int = 0) -> Dataset:
    """Read a file of rows and keep a seeded random part of them back for testing.

    Parameters
    ----------
    path
        As in `read_table`.
    test_fraction, seed
        Share of rows kept back, and the seed that chooses them.

    Returns
    -------
    Dataset
        Named after the file; kind ``"image"`` for rows (n, H, W, 1 or 3), otherwise ``"table"``.

    Raises
    ------
    InputError
        As `read_table`, and for fewer than two rows.
    """
    table = read_table(path, apart=True)
    return split(
        Path(path).stem,
        table.rows,
        labels=table.labels,
        columns=table.columns,
        test_fraction=test_fraction,
        seed=seed,
        owner=Path(path).name,
    )
