"""How good and how varied a model's samples are, and whether they are copies of training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from energax.checks import check, check_integer
from energax.cli.evaluate import HeldOut
from energax.cli.evaluate.judged import Features, features_for, samples_of
from energax.cli.trained import Trained
from energax.evaluation import (
    Memorisation,
    Quality,
    SampleQuality,
    inception_quality,
    memorisation,
    sample_quality,
)
from energax.evaluation.fidelity import require_fidelity
from energax.report.figures.judged import judged
from energax.report.findings import Finding, drawn
from energax.typing import Key

__all__ = ["Samples"]

FEWEST = 40  # below, no measure says anything
MOST = 10_000  # reference rows
SHOWN = 10


@dataclass(frozen=True)
class Samples:
    """Samples against held-out rows; the fields are flags of the command.

    Parameters
    ----------
    n
        How many are drawn.
    inception
        Whether to ask Inception, too, against training images as papers do.
    """

    n: int = 1000
    inception: bool = False

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return distances, tests and neighbours of samples, each beside training rows in their place."""
        check_integer(trained.command, "-n", self.n, at_least=FEWEST)
        dataset = trained.run.load_data()
        if self.inception:
            _check_inception(trained)
        features = features_for(trained, dataset)
        samples, rows = samples_of(trained, self.n, seed), held_out.rows[:MOST]
        keys = jax.random.split(jax.random.key(seed))
        found = _judged(features, samples, rows, keys[0])
        chosen = np.random.default_rng(seed).permutation(len(dataset.train))[: len(samples)]
        seen = _judged(features, dataset.train[chosen], rows, keys[1])
        z, new = trained.to_model(samples), trained.to_model(rows)
        copied = memorisation(z, dataset.train, new, count=SHOWN, transform=trained.to_model)
        right = "" if features.classifier is None else f", {features.classifier.accuracy:.1%} right"
        lines = [
            ("samples", f"{len(samples):,}, judged by {held_out.what}"),
            ("on", features.name + right),
            *_measures(found, seen),
            *_tests(found),
            *_copies(copied),
        ]
        published = _inception(trained, samples, dataset.train) if self.inception else {}
        lines += [(name, f"{q.estimate:.4g}, of Inception; {q.status}") for name, q in published.items()]
        images = None
        if trained.image is not None:
            near = dataset.train[copied.neighbours[:SHOWN]].reshape(-1, *trained.event)
            images = {"samples": trained.pixels(samples), "nearest training rows": trained.pixels(near)}
        picture = drawn(lambda ink: judged(images, copied.from_samples, copied.from_held_out, SHOWN, ink))
        sheets = (
            "Samples; the first ten of them, each before its ten nearest training rows. " if images else ""
        )
        caption = (
            f"{sheets}Distances to the nearest training row, of samples and of held-out rows: copies lie at "
            "the left end; what lies beyond the right end is counted in the last bar (MDSM figure C.1)."
        )
        facts = {
            "measures": _facts(found),
            "training rows": _facts(seen),
            "memorisation": _memory(copied),
            "inception": {name: q._asdict() for name, q in published.items()},
        }
        return Finding("samples", "Samples", lines, picture, caption, facts)


def _judged(features: Features, x: np.ndarray, rows: np.ndarray, key: Key) -> SampleQuality:
    told = None if features.classifier is None else features.classifier.probabilities(x)
    return sample_quality(features.of(x), features.of(rows), probabilities=told, of=features.name, key=key)


def _check_inception(trained: Trained) -> None:
    """Refuse before any sample is drawn."""
    allowed = "left out: rows are no images, which Inception looks at"
    check(trained.image is not None, trained.command, "--inception", allowed, f"{trained.kind} data")
    require_fidelity()


def _inception(trained: Trained, samples: np.ndarray, train: np.ndarray) -> dict[str, Quality]:
    """Return Inception's numbers of images in the data's range."""
    assert trained.image is not None
    both = (rows.reshape(len(rows), *trained.image) for rows in (samples, train))
    return inception_quality(*both, low=trained.low, high=trained.high)


def _measures(found: SampleQuality, seen: SampleQuality) -> list[tuple[str, str]]:
    lines = []
    for name, q in found.measures.items():
        error = "" if q.standard_error is None else f" ± {q.standard_error:.2g}"
        doubt = "" if q.status == "ok" else f"; {q.status}"
        theirs = f"training rows: {seen.measures[name].estimate:.4g}"
        lines.append((name, f"{q.estimate:.4g}{error} ({theirs}){doubt}"))
    return lines


def _tests(found: SampleQuality) -> list[tuple[str, str]]:
    told = found.tests["classifier test"]
    return [
        ("classifier test", f"{told.statistic:.1%} told apart, p = {told.p_value:.2g}"),
        ("MMD test", f"p = {found.tests['MMD test'].p_value:.2g}"),
    ]


def _copies(found: Memorisation) -> list[tuple[str, str]]:
    doubt = "" if found.status == "ok" else f"; {found.status}"
    near, far = float(np.median(found.from_samples)), float(np.median(found.from_held_out))
    pairs = f"a sample is nearer in {found.nearer:.0%} of pairs"
    how = f"median distance {near:.3g}, of held-out rows {far:.3g}; {pairs}"
    few = f"{found.copies} samples nearer than any held-out row; p = {found.p_value:.2g}{doubt}"
    return [("nearest training row", how), ("copies", few)]


def _facts(found: SampleQuality) -> dict[str, Any]:
    return {name: part._asdict() for name, part in {**found.measures, **found.tests}.items()}


def _memory(found: Memorisation) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("nearer", "copies", "p_value", "status")}
