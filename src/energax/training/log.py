"""Metrics as one JSON object per line; TensorBoard beside it if asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from energax.checks import InputError

__all__ = ["MetricsLog", "read_metrics"]


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Return the records of a log; a last line cut short by a crash is left out."""
    records = []
    for line in Path(path).read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class MetricsLog:
    """Appends records to a file, flushed line by line.

    Parameters
    ----------
    path
        A `.jsonl` file, or None to keep records in memory alone.
    after
        When resuming: records of later steps are cut away, so that the log never tells a
        step twice.
    rollbacks
        When resuming: rollbacks after this many are cut away, too; they will come again.
    tensorboard
        Also write scalars for TensorBoard beside the file (the extra `energax[tensorboard]`).
    """

    def __init__(
        self, path: Path | str | None, *, after: int = 0, rollbacks: int = 0, tensorboard: bool = False
    ):
        self.records: list[dict[str, Any]] = []
        self._path = None if path is None else Path(path)
        self._file = None
        self._writer = None
        self._tensorboard = tensorboard
        if self._path is not None and self._path.exists():
            self.records = [r for r in read_metrics(self._path) if r.get("rollback", 0) <= rollbacks]
        self.rewind(after)

    def rewind(self, step: int) -> None:
        """Cut away the metrics of later steps; what is said of rollbacks stays."""
        self.records = [r for r in self.records if r["step"] <= step or "rollback" in r]
        path = self._path
        if path is None:
            return
        self.close()
        temporary = path.with_suffix(".part")
        try:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in self.records))
            temporary.replace(path)
            self._file = path.open("a")
        except OSError as error:
            raise InputError(f"fit: cannot write metrics to {path}: {error.strerror}.") from error
        if self._tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ImportError:
                raise InputError(
                    "fit: tensorboard=True needs the extra: pip install 'energax[tensorboard]'."
                ) from None
            self._writer = SummaryWriter(str(path.parent / "tensorboard"), purge_step=step)

    def write(self, step: int, metrics: Mapping[str, np.ndarray | float]) -> None:
        """Append one record of metrics; arrays become lists."""
        values = {name: np.asarray(value, np.float64).tolist() for name, value in metrics.items()}
        self.note({"step": step, **values})
        if self._writer is not None:
            for name, value in values.items():
                if isinstance(value, float):
                    self._writer.add_scalar(name, value, step)

    def note(self, record: dict[str, Any]) -> None:
        """Append a record of plain JSON values; it has a `step`."""
        self.records.append(record)
        if self._file is not None:
            try:
                self._file.write(json.dumps(record) + "\n")
                self._file.flush()
            except OSError as error:
                raise InputError(
                    f"fit: cannot write metrics to {self._file.name}: {error.strerror}."
                ) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
        if self._writer is not None:
            self._writer.close()
