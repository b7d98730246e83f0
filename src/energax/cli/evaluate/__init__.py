"""`energax evaluate`: what is to be said of a trained model, one module for each thing.

    likelihood    how likely it finds rows it has not seen
    samples       how good and how diverse its samples are, and whether it has memorised
    coverage      how many of the classes its samples are of
    outliers      what its energy says of other data

Each is a frozen dataclass of its flags whose `find` answers with a `report.findings.Finding`: printed here,
kept in the run's folder, shown by the report.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from energax.checks import InputError, check, check_seed
from energax.cli.show import print_table
from energax.cli.trained import Trained
from energax.report.findings import Finding, keep

__all__ = ["HeldOut", "Part", "evaluate"]


class HeldOut:
    """Rows that the model has not seen.

    Parameters
    ----------
    trained
        The run.
    file
        Where they are; None for those that its data kept back.
    """

    def __init__(self, trained: Trained, file: str | None):
        self.rows: np.ndarray
        if file is None:
            self.rows = trained.run.load_data().test
            self.what = f"{len(self.rows):,} held out"
        else:
            self.rows = trained.read(file)[0]
            self.what = f"{len(self.rows):,} of {Path(file).name}"


class Part(Protocol):
    """One thing to be said of a model."""

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return what was found, or raise `InputError` where this model has no answer."""
        ...


def evaluate(run: Path, file: str | None, parts: Sequence[Part], *, asked: bool, seed: int) -> int:
    """Print what was found of a model, part by part, and keep it; see the help of `energax evaluate`.

    Parameters
    ----------
    run, file
        The run's folder; rows to judge it by, or None for its held-out ones.
    parts
        What to say.
    asked
        Whether the user named the parts; otherwise those that do not fit the model are left out.
    seed
        Decides everything random.
    """
    check_seed("evaluate", "--seed", seed)
    trained = Trained(run, "evaluate")
    held_out = HeldOut(trained, file)
    found = 0
    for part in parts:
        try:
            finding = part.find(trained, held_out, seed)
        except InputError as error:
            if asked:
                raise
            print(f"left out: {error}", file=sys.stderr)
            continue
        found += 1
        shown = keep(finding, trained.run.evaluation)
        print_table((finding.title, ""), list(finding.lines))
        print(f"kept for the report: {shown}\n")
    check(found > 0, "evaluate", "RUN", "a model of which something can be said", "none of the parts fits it")
    return 0
