"""The one sentence with which Energax refuses bad input.

Every mistake of a user, in Python or on the command line, becomes an `InputError` whose
text names the argument, says what is allowed and what came. The command line prints that
text alone and exits with a non-zero status; nothing else in the library formats errors.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from typing import Any

__all__ = [
    "InputError",
    "check",
    "check_array",
    "check_choice",
    "check_condition",
    "check_continuous",
    "check_event_shape",
    "check_finite_rows",
    "check_integer",
    "check_number",
    "check_seed",
    "check_spread",
    "first_few",
    "two_valued",
]

FEW = 5  # places that a sentence names
GLANCE = 1000  # rows that are looked at before all are
TELLING = 3  # rows from which on a column of two values tells bits: two rows have no more, whatever the law
LARGEST_SEED = 2**32 - 1


class InputError(ValueError):
    """A mistake in what the user passed: one sentence, no traceback on the command line."""


def check(condition: Any, owner: str, argument: str, allowed: str, got: object) -> None:
    """Raise `InputError` unless `condition` holds.

    The sentence is "<owner>: <argument> must be <allowed>; got <got>."
    """
    if not condition:
        raise InputError(f"{owner}: {argument} must be {allowed}; got {got}.")


def check_number(
    owner: str,
    argument: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
) -> float:
    """Return `value` as a float if it is a finite number within the stated bounds."""
    bounds = [
        f"above {above:g}" if above is not None else "",
        f"at least {at_least:g}" if at_least is not None else "",
        f"at most {at_most:g}" if at_most is not None else "",
    ]
    allowed = " ".join(["a finite number", " and ".join(b for b in bounds if b)]).strip()
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        check(False, owner, argument, allowed, repr(value))
        raise AssertionError from None
    ok = math.isfinite(number)
    ok = ok and (above is None or number > above)
    ok = ok and (at_least is None or number >= at_least)
    ok = ok and (at_most is None or number <= at_most)
    check(ok, owner, argument, allowed, repr(value))
    return number


def check_integer(owner: str, argument: str, value: object, *, at_least: int) -> int:
    """Return `value` if it is a whole number of at least `at_least` (booleans are refused)."""
    number = _whole(value)
    ok = number is not None and number >= at_least
    check(ok, owner, argument, f"a whole number of at least {at_least}", repr(value))
    assert number is not None
    return number


def check_event_shape(owner: str, value: object) -> tuple[int, ...]:
    """Return the shape of one event as a tuple of whole numbers; () is the shape of a number."""
    shape = [_whole(side) or 0 for side in value] if isinstance(value, tuple | list) else [0]
    check(all(side > 0 for side in shape), owner, "event_shape", "a tuple of positive integers", repr(value))
    return tuple(shape)


def check_seed(owner: str, argument: str, value: object) -> int:
    """Return `value` if it is a whole number of 32 bits.

    Of a larger one `jax.random.key` takes the lower 32 bits, so that two seeds would make the same
    draws, and beyond 63 bits it fails.
    """
    seed = check_integer(owner, argument, value, at_least=0)
    check(seed <= LARGEST_SEED, owner, argument, f"a whole number of at most {LARGEST_SEED}", seed)
    return seed


def check_choice(owner: str, argument: str, value: object, choices: Iterable[str]) -> str:
    """Return `value` if it is one of `choices`; otherwise name them all and the nearest."""
    names = list(choices)
    if isinstance(value, str) and value in names:
        return value
    near = difflib.get_close_matches(str(value).lower(), [n.lower() for n in names], n=1)
    nearest = next((n for n in names if near and n.lower() == near[0]), None)
    hint = f" (did you mean {nearest!r}?)" if nearest else ""
    check(False, owner, argument, "one of " + ", ".join(map(repr, names)), f"{value!r}{hint}")
    raise AssertionError


def check_array(
    owner: str,
    argument: str,
    value: Any,
    *,
    event_shape: tuple[int, ...] | None = None,
    at_least_rows: int = 1,
    finite: bool = True,
) -> Any:
    """Return `value` as a float32 NumPy array of rows, refusing what no model could use.

    Parameters
    ----------
    value
        Anything `numpy.asarray` takes; shape (n, *event_shape).
    event_shape
        Shape of one row, if it is known.
    at_least_rows
        The fewest rows accepted.
    finite
        Refuse NaN and infinite entries; False leaves them to the caller.

    Raises
    ------
    InputError
        If the entries are not numbers, a row has the wrong shape, there are too few rows, or
        an entry is NaN or infinite (the first such row is named).
    """
    import numpy as np

    try:
        array = np.asarray(value)
    except ValueError:
        array = np.asarray(None)
    numeric = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
    check(numeric, owner, argument, "an array of real numbers", f"entries of type {array.dtype}")
    check(array.ndim >= 1, owner, argument, "an array with one row per observation", "a single number")
    if event_shape is not None:
        wanted = "(n, " + ", ".join(map(str, event_shape)) + ")" if event_shape else "(n,)"
        check(
            array.shape[1:] == tuple(event_shape),
            owner,
            argument,
            f"of shape {wanted}",
            f"shape {array.shape}",
        )
    enough = array.shape[0] >= at_least_rows
    wanted = f"an array of at least {at_least_rows} row{'s' if at_least_rows != 1 else ''}"
    check(enough, owner, argument, wanted, f"shape {array.shape}")
    check(array.size > 0, owner, argument, "an array with entries", f"shape {array.shape}")
    came, array = array.reshape(len(array), -1), array.astype(np.float32)
    finite_ = np.isfinite(array.reshape(came.shape))
    if finite and not finite_.all():
        row = int(np.argmin(finite_.all(axis=1)))
        bad = came[row, int(np.argmin(finite_[row]))]
        beyond = ", which is beyond float32" if np.isfinite(bad) else ""
        check(False, owner, argument, "finite everywhere", f"{bad} in row {row}{beyond}")
    return array


def check_condition(owner: str, condition: Any, rows: int) -> Any:
    """Return a condition's leaves as NumPy arrays, one entry per row, refusing what no model could use.

    Whole numbers, such as classes, stay what they are; real ones become float32.

    Parameters
    ----------
    condition
        A pytree of arrays with leading axis `rows`, or None.
    rows
        How many events there are.

    Raises
    ------
    InputError
        If an entry is not a finite number, or there is not one for each row.
    """
    import jax
    import numpy as np

    def one(leaf: Any) -> Any:
        array = np.asarray(leaf)
        numeric = array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
        check(numeric, owner, "condition", "arrays of numbers", f"entries of type {array.dtype}")
        got = array.shape[0] if array.ndim else "a single number"
        check(got == rows, owner, "condition", f"one for each of {rows} rows", got)
        return array if array.dtype.kind in "biu" else check_array(owner, "condition", array)

    return jax.tree.map(one, condition)


def check_finite_rows(owner: str, argument: str, rows: Any, allowed: str = "finite at every row") -> None:
    """Refuse rows, shape (n, …), with entries that are not finite, and name the first few."""
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
    check(bad.size == 0, owner, argument, allowed, f"{bad.size} rows that are not ({first_few(bad)})")


def check_continuous(owner: str, argument: str, rows: Any, instead: str) -> None:
    """Refuse rows, shape (n, d), of bits, standardised or not: they have no density, and no score.

    One column of more than two values lets a table pass: which of the others to leave out is the user's.
    """
    import numpy as np

    if two_valued(rows):
        varied = int((rows.min(0) < rows.max(0)).argmax())
        some = ", ".join(f"{v:g}" for v in np.unique(rows[:, varied])[:3])
        got = f"no column of more than two values, entries {some}"
        check(False, owner, argument, f"continuous; for binary data take {instead}", got)


def check_spread(owner: str, argument: str, rows: Any, instead: str) -> None:
    """Refuse rows, shape (n, d), with constant columns, and name the first few.

    They have no density. On the plane where they lie nothing keeps an energy from falling without end, or a
    critic from growing: of f(x) = K(x_i − c) only the slope K is seen where x_i = c.
    """
    import numpy as np

    flat = np.flatnonzero(rows.min(0) == rows.max(0))
    allowed = f"free of constant columns, which have no density: {instead}"
    got = f"{flat.size} of {rows.shape[1]} columns constant ({first_few(flat)})"
    check(flat.size == 0, owner, argument, allowed, got)


def _whole(value: Any) -> int | None:
    """Return a whole number as an int, None of anything else (booleans are no numbers)."""
    import operator

    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def two_valued(rows: Any) -> bool:
    """Whether no column has more than two values; of fewer than three rows, whether all entries have none."""
    import numpy as np

    if len(rows) < TELLING:
        return len(np.unique(rows)) <= 2
    # Most data have a third value among the first rows.
    return all(bool(((r == r.min(0)) | (r == r.max(0))).all()) for r in (rows[:GLANCE], rows))


def first_few(places: Any) -> str:
    """Return the first few of these numbers as words."""
    return ", ".join(map(str, places[:FEW])) + (", …" if len(places) > FEW else "")
