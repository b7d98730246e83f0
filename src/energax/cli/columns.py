"""Columns go by their names wherever both sides have them, and by their places elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from energax.checks import check
from energax.data.tables import Table

__all__ = ["Layout", "in_order"]

NAMED = 6  # of the names that a sentence lists


class Layout(NamedTuple):
    """How a file holds the rows that were read of it.

    Parameters
    ----------
    shape
        The shape in which they came.
    order
        Where in the file each column stands that is wanted, or None where all are in place.
    """

    shape: tuple[int, ...]
    order: np.ndarray | None = None

    def arrange(self, x: np.ndarray) -> np.ndarray:
        """Return what has the file's columns last with them in the wanted order."""
        return x if self.order is None else x[..., self.order]

    def back(self, x: np.ndarray) -> np.ndarray:
        """Return what has the wanted columns last with them in the file's order."""
        return x if self.order is None else x[..., np.argsort(self.order)]


def in_order(table: Table, names: Sequence[str] | None, *, command: str, file: str, of: str) -> Layout:
    """Return how a table holds columns of these names.

    Parameters
    ----------
    table
        What was read.
    names
        The columns in the wanted order, or None where they have no names.
    command, file, of
        Who asks, what was read, and whose names are wanted: for the refusing sentence.

    Raises
    ------
    InputError
        If both have names, and not the same ones.
    """
    came = table.rows.shape
    if names is None or table.columns is None or tuple(names) == table.columns:
        return Layout(came)
    missing = [name for name in names if name not in table.columns]
    new = [name for name in table.columns if name not in names]
    got = " and ".join(
        [f"no {_listed(missing)}" for _ in missing[:1]] + [f"{_listed(new)} besides" for _ in new[:1]]
    )
    check(not (missing or new), command, f"the columns of {file}", f"those of {of} ({_listed(names)})", got)
    return Layout(came, np.array([table.columns.index(name) for name in names]))


def _listed(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
