"""Saying how far the work has come: whole lines of text, and of a long run about ten of them."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress", "tenths"]

Progress = Callable[[str], None]


def tenths(what: str, progress: Progress) -> Callable[[int, int], None]:
    """Return a reporter of steps that speaks about ten times."""
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            progress(f"{what}: step {done:,} of {total:,}")

    return report
