"""What a long study has finished, kept in a file, so that it goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from energax.checks import check

__all__ = ["Kept"]


class Kept:
    """What is finished, in a file of a line each; a line cut short by a kill is left out and done again.

    Parameters
    ----------
    study
        What it is called.
    path
        The file; None to keep nothing.
    settings
        What the lines were measured with: a file of other settings is refused.
    """

    def __init__(self, study: str, path: Path | None, settings: Mapping[str, Any]):
        self.path = path
        self.found: dict[str, Any] = {}
        head = json.loads(json.dumps(settings))
        if self.path is None:
            return
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        whole = lines[:-1]  # what follows the last line's end was cut short
        if whole:
            same = json.loads(whole[0]) == head
            check(same, study, "--out", "a folder without replicates of other settings", str(self.path))
            self.found = dict(json.loads(line) for line in whole[1:])
        text = "".join(f"{line}\n" for line in whole or [json.dumps(head)])
        self.path.write_text(text, encoding="utf-8")

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what is kept by that name, or measure and keep it."""
        if name not in self.found:
            self.found[name] = json.loads(json.dumps(measure()))
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([name, self.found[name]]) + "\n")
        return self.found[name]
