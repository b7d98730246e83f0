"""What a trained energy says of other data: told from held-out rows, by each score, or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from energax.checks import check
from energax.cli.evaluate import HeldOut
from energax.cli.trained import Trained
from energax.data import load
from energax.data.load import NAMES
from energax.evaluation import Detection, detections
from energax.evaluation.outliers import rank_correlation
from energax.report.figures.outliers import outliers
from energax.report.findings import Finding, drawn

__all__ = ["Outliers"]

MOST = 2000  # rows of each kind
SEEN = "training"


@dataclass(frozen=True)
class Outliers:
    """Other data against held-out rows; the field is the flag of the command.

    Parameters
    ----------
    data
        Names of known data sets, or files.
    """

    data: Sequence[str]

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return how well each score tells other data, and training rows, from held-out ones."""
        command = trained.command
        energy = trained.way.energy(trained.energy)
        check(energy is not None, command, "RUN", "a run of an energy", "a vector field, which has none")
        train = trained.run.load_data().train
        rng = np.random.default_rng(seed)
        inliers = _some(held_out.rows, rng)
        rows = {SEEN: _some(train, rng)} | {name: _some(_rows(trained, name), rng) for name in self.data}
        sigma = trained.way.sigma_0 or 0.0
        found = detections(
            energy,
            trained.to_model(inliers),
            {name: trained.to_model(x) for name, x in rows.items()},
            sigma=sigma,
            reference=trained.to_model(rows[SEEN]),
            key=jax.random.key(seed),
        )
        lines = [("rows", f"{held_out.what}; of other data at most {MOST:,}")]
        for name in rows:
            lines += [(f"{name}: {score}", _words(of[name])) for score, of in found.found.items()]
        if "denoising" in found.scores:
            spread = inliers.reshape(len(inliers), -1).var(1)
            rank = rank_correlation(spread, found.scores["denoising"]["inliers"])
            text = f"{rank:+.2f}, rank correlation over held-out rows; near 1 the error is contrast"
            lines.append(("denoising error and a row's variance", text))
        energies = {"held out" if k == "inliers" else k: v for k, v in found.scores["energy"].items()}
        facts = {score: {name: d._asdict() for name, d in of.items()} for score, of in found.found.items()}
        noise = f" after noise σ₀ = {sigma:g} is added, on which the energy was trained" if sigma else ""
        caption = (
            f"Energies of rows{noise} (MDSM figure F.1A): those of training and of held-out rows should "
            "overlap, and other data should lie higher; where they lie lower, the model finds them likelier "
            "than what it learned from. What lies beyond the ends is counted in the last bars."
        )
        return Finding(
            "outliers", "Outliers", lines, drawn(lambda ink: outliers(energies, ink)), caption, facts
        )


def _rows(trained: Trained, name: str) -> np.ndarray:
    """Return the rows of other data, as events of the run's."""
    if name not in NAMES:
        check(
            Path(name).exists(), trained.command, "--outliers", f"a file, or one of {', '.join(NAMES)}", name
        )
        return trained.read(name)[0]
    return trained.events(load(name).test, name)[0]


def _some(rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= MOST else rows[np.sort(rng.permutation(len(rows))[:MOST])]


def _words(found: Detection) -> str:
    return (
        f"AUROC {found.auroc:.3f} ± {found.auroc_error:.3f}, AUPRC {found.auprc:.3f}, FPR95 {found.fpr95:.3f}"
    )
