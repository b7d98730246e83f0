"""What a study is: a table or figure of a paper that one command reproduces."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCALES", "Study"]

SCALES = ("smoke", "cpu", "paper")


@dataclass(frozen=True)
class Study:
    """A table or figure of a paper that one command reproduces.

    Parameters
    ----------
    name
        What `energax reproduce` calls it.
    title
        What it asks.
    source
        Paper and place.
    cost
        What it does at scale "cpu", how long that took on two cores, and what "paper" is.
    module
        The module of this package whose `run(scale, progress)` answers with an `Outcome`.
    kept
        The file in its folder where a study keeps what it has finished, to go on from: then it is
        `run(scale, progress, file)`. None for a study that does not.
    """

    name: str
    title: str
    source: str
    cost: str
    module: str
    kept: str | None = None

    def run(self, out: Path, scale: str = "cpu", progress: Callable[[str], None] = print) -> Path:
        """Run the study into the folder `out` and return the picture to look at first.

        Beside figure.png stand table.md, with the verdict, and result.json.

        Parameters
        ----------
        out
            An existing folder: empty, or one with the file that the study keeps.
        scale
            "smoke", under a minute, shows only that it works; "cpu" is what two cores answer in
            minutes; "paper" has the paper's own settings.
        progress
            Called with a line of text as parts are done.
        """
        module = importlib.import_module(f"energax.papers.{self.module}")
        outcome = module.run(scale, progress, *([out / self.kept] if self.kept else []))
        return importlib.import_module("energax.papers.outcome").write(outcome, out)
