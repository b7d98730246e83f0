"""The papers' studies, one file per reproduced table or figure, by name.

This table imports nothing heavy; a study's own module is imported when it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["STUDIES", "Study"]


@dataclass(frozen=True)
class Study:
    """A table or figure of a paper that one command reproduces.

    Parameters
    ----------
    name
        What `energax reproduce` calls it.
    title
        What it shows.
    source
        Paper and place.
    cost
        How long it takes, and on what, full and quick.
    module
        The module of this package whose `run(out, quick, progress)` does it.
    """

    name: str
    title: str
    source: str
    cost: str
    module: str

    def run(self, out: Path, quick: bool = False, progress: Callable[[str], None] = print) -> Path:
        """Run the study into the folder `out` and return the file to look at first.

        Parameters
        ----------
        out
            An existing, empty folder.
        quick
            A small version on the bundled digits, in minutes.
        progress
            Called with a line of text as parts are done.
        """
        return importlib.import_module(f"energax.papers.{self.module}").run(out, quick, progress)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in [
        Study(
            name="mdsm-single-noise",
            title="Samples of energies trained at one noise level (0.3, 0.6, 1.0) against all levels",
            source="Li, Chen & Sommer (2019), appendix B, figure B.1",
            cost="as long as four trainings of MNIST; --quick as four of the digits, some minutes",
            module="mdsm_single_noise",
        )
    ]
}
