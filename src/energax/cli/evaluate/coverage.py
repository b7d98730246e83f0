"""How many of its data's classes a model's samples are of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.checks import check, check_integer
from energax.cli.evaluate import HeldOut
from energax.cli.evaluate.judged import STACKED, classifier_for, samples_of
from energax.cli.trained import Trained
from energax.data import Dataset
from energax.evaluation import Coverage, classified, mode_coverage
from energax.report.figures.coverage import coverage
from energax.report.findings import Finding, drawn

__all__ = ["ModeCoverage"]

FEWEST = 40


@dataclass(frozen=True)
class ModeCoverage:
    """Classes of samples; the field is a flag of the command.

    Parameters
    ----------
    n
        How many samples are drawn.
    """

    n: int = 1000

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return the modes found and KL to the data's classes, beside what exact samples would show."""
        check_integer(trained.command, "-n", self.n, at_least=FEWEST)
        dataset = trained.run.load_data()
        allowed = "a run on data with class labels, whose classes can be counted"
        there = dataset.train_labels is not None
        check(there, trained.command, "RUN", allowed, f"one on {dataset.name}, which has none")
        classifier = classifier_for(dataset)
        samples = samples_of(trained, self.n, seed)
        modes, total = classified(classifier, samples)
        law = _law(dataset, total)
        found = mode_coverage(modes, total, law=law)
        rows = held_out.rows[: len(samples)]
        seen = mode_coverage(classified(classifier, rows)[0], total, law=law)
        lines = [
            ("samples", f"{found.n:,}, put in {total:,} classes by a classifier of {classifier.data}"),
            ("classifier", f"{classifier.accuracy:.1%} right on its test"),
            ("classes found", _found(found)),
            ("KL to the classes' shares", _kl(found)),
            (f"{seen.n:,} held-out rows in their place", f"{_found(seen)}; KL {_kl(seen)}"),
        ]
        if found.status != "ok":
            lines.append(("note", found.status))
        shares = {"samples": found.counts / found.n, "held out": seen.counts / seen.n}
        names = classifier.classes.tolist() if total == len(classifier.classes) else None
        many = ", from the fullest to the emptiest; dashed, the share of each if all were alike"
        caption = f"Shares of the classes that a classifier puts rows in{'' if names else many}."
        picture = drawn(lambda ink: coverage(shares, law, names, ink))
        facts = {"samples": found._asdict(), "held out": seen._asdict(), "accuracy": classifier.accuracy}
        return Finding("coverage", "Coverage", lines, picture, caption, facts)


def _law(dataset: Dataset, total: int) -> np.ndarray:
    """Return the shares that exact samples would have: the training rows'; of stacks, all alike."""
    if dataset.name.startswith(STACKED):
        return np.full(total, 1 / total)
    return np.unique(np.asarray(dataset.train_labels), return_counts=True)[1] / len(dataset.train)


def _found(c: Coverage) -> str:
    return f"{c.found:,} of {c.total:,} (exact samples: {c.expected:.2f} ± {c.deviation:.2f})"


def _kl(c: Coverage) -> str:
    return f"{c.kl:.4g} nats (exact samples: {c.floor:.4g})"
