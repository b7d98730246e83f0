"""A progress bar on standard error, shown on a terminal unless asked otherwise."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

__all__ = ["ProgressBar"]


class ProgressBar:
    """Steps done, the rate, the time left and a number that matters.

    Parameters
    ----------
    show
        True, False, or None to show it only if standard error is a terminal.
    done, total
        Where it starts and ends.
    label
        What is under way.
    """

    def __init__(self, show: bool | None, done: int, total: int, label: str = "training"):
        self._show = sys.stderr.isatty() if show is None else show
        self._start = (done, total, label)
        self._progress: Any = None

    def __enter__(self) -> ProgressBar:
        if self._show:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), redirect_stdout=False)
            done, total, label = self._start
            self._task = self._progress.add_task(label, completed=done, total=total, note="compiling …")
            self._progress.start()
        return self

    def update(self, done: int, loss: float | None = None) -> None:
        """Move the bar; the loss, if given, stands at its end."""
        if self._progress is not None:
            note = "" if loss is None else f"loss {loss:.4g}"
            self._progress.update(self._task, completed=done, note=note)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
