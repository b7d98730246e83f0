"""What a data set is: rows to learn from, rows kept back, and how one event looks.

Every loader of this package ends in a `Dataset`; nothing above it needs to know where the
rows came from. Rows are the first axis; one row is one *event*, the thing an energy is
evaluated at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from energax.checks import check, check_array, check_choice, check_integer, check_number

__all__ = ["Dataset", "float_rows", "guess_kind", "split"]

KINDS = ("image", "table", "points")
COARSE = 0.01  # of a column's spread: more than this float32 may not round off
CONSTANT = 2.0**-46  # of a column's size: what varies by less varies by the rounding of float64


def float_rows(
    owner: str,
    argument: str,
    value: Any,
    at_least_rows: int = 1,
    *,
    finite: bool = True,
    apart: bool = False,
    columns: Sequence[str] | None = None,
) -> np.ndarray:
    """Return `value` as float32 rows, refusing what float32 cannot hold.

    Parameters
    ----------
    owner, argument
        What the refusing sentence names.
    value
        Array-like of shape (n, *event), or (n,) for n single numbers, which become (n, 1).
    at_least_rows
        The fewest rows accepted.
    finite
        Whether NaN and infinite entries are refused.
    apart
        Whether a column is refused whose rows float32 cannot tell apart.
    columns
        Names of the columns, for the sentence that refuses one.

    Returns
    -------
    numpy.ndarray
        float32, shape (n, *event).

    Raises
    ------
    InputError
        If entries are not finite real numbers (also after rounding to float32), there are too few
        rows, or (with `apart`) a column varies by too little for its size.
    """
    given = value
    ready = isinstance(value, np.ndarray) and value.dtype == np.float32 and value.ndim >= 2
    if not (ready and value.shape[0] >= at_least_rows and value.size and np.isfinite(value).all()):
        # A number beyond float32 becomes infinite here and is then refused by its row.
        with np.errstate(over="ignore"):
            value = check_array(owner, argument, value, at_least_rows=at_least_rows, finite=finite)
        if apart:
            _check_apart(owner, argument, np.asarray(given), columns)
    return value.reshape(-1, 1) if value.ndim == 1 else value


def _check_apart(owner: str, argument: str, rows: np.ndarray, columns: Sequence[str] | None) -> None:
    """Refuse a column that varies by little more than the grain of float32 at its size.

    Around c numbers are |c|/2²³ apart: times of 1.7e9 seconds, two minutes. A column that is constant
    loses nothing, be it constant only to the rounding of what computed it.
    """
    exact = {"f": 4, "i": 2, "u": 2}.get(rows.dtype.kind, 1)  # bytes of what float32 holds whole
    if rows.dtype.itemsize <= exact or rows.dtype.kind not in "iuf":
        return
    flat = rows.reshape(len(rows), -1)
    low, high = flat.min(axis=0).astype(np.float64), flat.max(axis=0).astype(np.float64)
    spread, size = high - low, np.maximum(np.abs(low), np.abs(high))
    grain = np.spacing(size.astype(np.float32)).astype(np.float64)
    # Rounding errs by half a grain at most; only where that may be too much is it measured.
    for j in np.flatnonzero((spread > CONSTANT * size) & (COARSE * spread < grain / 2)).tolist():
        column = flat[:, j].astype(np.float64)
        if np.abs(column - column.astype(np.float32)).max() > COARSE * spread[j]:
            name = f"column {j + 1}" if columns is None else repr(columns[j])
            varies = f"varies by {spread[j]:.3g} around {(low[j] + high[j]) / 2:.7g}"
            allowed = "of columns that float32 can hold (subtract the mean of one that it cannot)"
            check(False, owner, argument, allowed, f"{name}, which {varies}")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows for training and rows kept back for judging.

    Attributes
    ----------
    name
        What reports call the data.
    kind
        ``"image"``, ``"table"`` or ``"points"`` (two-dimensional toy densities).
    train, test
        float32 arrays, shapes (n, *event) and (m, *event) with one common event shape.
    train_labels, test_labels
        One class label per row, or None. No energy sees them unless it is asked to.
    columns
        Names of a table's columns, or None.
    image_shape
        (height, width, channels) of an image event. Filled in when the event has three axes;
        a flat image event must state it.

    Raises
    ------
    InputError
        If a field contradicts another, or an entry is not a finite number.
    """

    name: str
    kind: str
    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray | None = None
    test_labels: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    image_shape: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__  # the only way to normalise a field of a frozen dataclass
        check_choice("Dataset", "kind", self.kind, KINDS)
        for field, apart in (("train", True), ("test", False)):  # a few rows may be near each other
            put(self, field, float_rows("Dataset", field, getattr(self, field), apart=apart))
        event = self.train.shape[1:]
        check(self.test.shape[1:] == event, "Dataset", "test", f"rows of shape {event}", self.test.shape[1:])
        for field, rows in (("train_labels", self.train), ("test_labels", self.test)):
            labels = getattr(self, field)
            if labels is not None:
                labels = np.asarray(labels)
                put(self, field, labels)
                fits = labels.shape == (len(rows),)
                check(fits, "Dataset", field, f"of shape ({len(rows)},)", f"shape {labels.shape}")
        if self.columns is not None:
            put(self, "columns", tuple(self.columns))
            fits = event == (len(self.columns),)
            check(fits, "Dataset", "columns", "one name per column", f"{len(self.columns)} names for {event}")
        if self.kind == "image":
            shape = self.image_shape if self.image_shape is not None else event
            fits = len(shape) == 3 and math.prod(shape) == math.prod(event)
            wanted = f"(height, width, channels) with {math.prod(event)} entries"
            check(fits, "Dataset", "image_shape", wanted, tuple(shape))
            put(self, "image_shape", tuple(int(side) for side in shape))
        else:
            check(self.image_shape is None, "Dataset", "image_shape", "None for this kind", self.image_shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one row."""
        return self.train.shape[1:]


def guess_kind(rows: np.ndarray) -> str:
    """Return ``"image"`` for rows (n, H, W, C) with 1 or 3 channels, otherwise ``"table"``."""
    return "image" if rows.ndim == 4 and rows.shape[-1] in (1, 3) else "table"


def split(
    name: str,
    rows: Any,
    *,
    labels: Any = None,
    kind: str | None = None,
    columns: tuple[str, ...] | None = None,
    test_fraction: float = 0.1,
    seed: int = 0,
    owner: str = "load",
) -> Dataset:
    """Split rows that come without a split, by a seeded permutation.

    Parameters
    ----------
    name
        Name of the data set.
    rows
        Array-like of shape (n, *event), n ≥ 2.
    labels
        One per row, or None.
    kind
        Kind of the data set; guessed from the shape by `guess_kind` if None.
    columns
        Names of a table's columns, or None.
    test_fraction
        Share of rows kept back, in (0, 1): round(test_fraction · n) rows, at least one and at
        most n − 1.
    seed
        Seed of the permutation.
    owner
        What a refusing sentence names.

    Returns
    -------
    Dataset
        The same seed gives the same split.

    Raises
    ------
    InputError
        If there are fewer than two rows, an entry is not a finite number, or float32 cannot tell the
        rows of a column apart.
    """
    rows = float_rows(owner, "data", rows, at_least_rows=2, apart=True, columns=columns)
    fraction = check_number(owner, "test_fraction", test_fraction, above=0)
    check(fraction < 1, owner, "test_fraction", "below 1", fraction)
    seed = check_integer(owner, "seed", seed, at_least=0)
    if labels is not None:
        labels = np.asarray(labels)
        fits = labels.shape == (len(rows),)
        check(fits, owner, "labels", f"of shape ({len(rows)},)", f"shape {labels.shape}")
    order = np.random.default_rng(seed).permutation(len(rows))
    kept_back = min(max(1, round(fraction * len(rows))), len(rows) - 1)
    test, train = order[:kept_back], order[kept_back:]
    return Dataset(
        name=name,
        kind=guess_kind(rows) if kind is None else kind,
        train=rows[train],
        test=rows[test],
        train_labels=None if labels is None else labels[train],
        test_labels=None if labels is None else labels[test],
        columns=columns,
    )
