r"""MDSM figures 2 and E.2–E.4: samples beside training images, with numbers that the figures do not give.

Samples of the multiscale energy are judged against training images, as the field does, on the features of a
classifier of the same data (`evaluation.sample_quality`; none of these numbers is Inception's), beside

    held-out rows      what a perfect model would get
    Gaussian           draws of a normal law with the training images' mean and covariance, within [0, 1]
    before the jump    the same chains, without the last denoising jump

so that a number can be read: a distance by itself says nothing. Of each as many rows are judged, no more than
are held out, since the Frechet distance is biased by their number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from energax.evaluation import Classifier, SampleQuality, classifier_of, sample_quality
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.tasks.generate import jump

__all__ = ["run", "verdict"]

HELD_OUT, GAUSSIAN, BEFORE, SAMPLES = "held-out rows", "Gaussian", "before the jump", "samples"
REFERENCE = 10_000  # training images that samples are judged by
ACROSS = 8


class Size(NamedTuple):
    """How large the study is: data set → preset of its network, samples, changes to the preset."""

    data: dict[str, str | None]
    samples: int
    changes: dict[str, Any]


SIZES = {
    "smoke": Size({"digits": None}, 64, TINY),
    "cpu": Size({"digits": None}, 1300, {}),
    "paper": Size(
        {"mnist": "mnist-res12", "fashion-mnist": "mnist-res12", "cifar10": "cifar10-res18"}, 10_000, {}
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Draw samples of each data set's energy, and judge them beside what is better and what is worse."""
    size = SIZES[scale]
    rows, found, sheets, accuracy = [], {}, {}, {}
    for name, network in size.data.items():
        model = trained(name, size.changes, network=network, progress=progress)
        judge = classifier_of(model.dataset)
        accuracy[name] = judge.accuracy
        cases = drawn(model, size.samples)
        found[name] = {case: judged(judge, x, model) for case, x in cases.items()}
        sheets[name] = {"training": model.dataset.train[: ACROSS**2], **cases}, model.dataset.image_shape
        for case, quality in found[name].items():
            rows.append((name, case, len(cases[case]), *_numbers(quality)))
        progress(f"{name}: Frechet distance {found[name][SAMPLES].measures['Frechet distance'].estimate:.3g}")
    columns = (
        "data",
        "rows",
        "n",
        "Frechet distance",
        "kernel distance",
        "class score",
        "precision",
        "recall",
        "told apart",
    )
    facts = {"classifier": accuracy, "statuses": {n: _statuses(f) for n, f in found.items()}}
    return Outcome(columns, rows, verdict(found), _draw(sheets), facts)


def drawn(model: Studied, n: int) -> dict[str, np.ndarray]:
    """Return the rows that are judged, n of each or as many as are held out, in the data's units."""
    n = min(n, len(model.dataset.test))
    chains = model.anneal(n, jax.random.key(1), jumps=False).x
    ended = jump(model.energy, chains, jnp.asarray(model.way.sigma_0, jnp.float32), None)
    train = model.dataset.train.reshape(len(model.dataset.train), -1).astype(np.float64)
    normal = np.random.default_rng(0).multivariate_normal(train.mean(0), np.cov(train.T), n, method="eigh")
    cases = {
        HELD_OUT: model.dataset.test[:n],
        GAUSSIAN: np.clip(normal, train.min(), train.max()).reshape(n, *model.dataset.event_shape),
        BEFORE: model.to_data(np.asarray(chains)),
        SAMPLES: model.to_data(np.asarray(ended)),
    }
    return {case: x[np.isfinite(x.reshape(len(x), -1)).all(axis=1)] for case, x in cases.items()}


def judged(judge: Classifier, x: np.ndarray, model: Studied) -> SampleQuality:
    """Judge rows by training images on the classifier's features."""
    reference = judge.features(model.dataset.train[:REFERENCE])
    told = judge.probabilities(x)
    return sample_quality(
        judge.features(x), reference, probabilities=told, of=judge.name, key=jax.random.key(2)
    )


def verdict(found: Mapping[str, Mapping[str, SampleQuality]]) -> str:
    """Say how far samples are, on the way from a Gaussian to the data itself."""
    lines = []
    for name, cases in found.items():
        far = {case: q.measures["Frechet distance"].estimate for case, q in cases.items()}
        line = cases[SAMPLES].tests["classifier test"].statistic
        nearer = "nearer" if far[SAMPLES] < far[BEFORE] else "farther"
        order = "between" if far[HELD_OUT] < far[SAMPLES] < far[GAUSSIAN] else "not between"
        precision, recall = (cases[SAMPLES].measures[m].estimate for m in ("precision", "recall"))
        lines.append(
            f"{name}: samples at Frechet distance {far[SAMPLES]:.3g} are {order} held-out rows "
            f"({far[HELD_OUT]:.3g}) and a Gaussian ({far[GAUSSIAN]:.3g}); the jump brings them {nearer} "
            f"(from {far[BEFORE]:.3g}); precision {precision:.2f}, recall {recall:.2f}; {line:.0%} are told "
            "from training rows by a line."
        )
    return "\n".join(lines)


def _numbers(quality: SampleQuality) -> tuple[Any, ...]:
    measures = quality.measures
    frechet, precision, recall = (measures[n].estimate for n in ("Frechet distance", "precision", "recall"))
    between = (measures[name] for name in ("kernel distance", "class score"))
    kernel, score = (f"{q.estimate:.3g} ± {q.standard_error:.2g}" for q in between)
    return frechet, kernel, score, precision, recall, quality.tests["classifier test"].statistic


def _statuses(cases: Mapping[str, SampleQuality]) -> dict[str, dict[str, str]]:
    return {case: {n: m.status for n, m in q.measures.items()} for case, q in cases.items()}


def _draw(sheets: Mapping[str, tuple[Mapping[str, np.ndarray], tuple[int, int, int]]]) -> Any:
    columns = max(len(cases) for cases, _ in sheets.values())
    figure = canvas(3 * columns, 3.3 * len(sheets))
    axes = figure.subplots(len(sheets), columns, squeeze=False)
    for row, (name, (cases, shape)) in enumerate(sheets.items()):
        for column, (case, x) in enumerate(cases.items()):
            images = np.clip(x[: ACROSS**2], 0, 1).reshape(-1, *shape)
            lost = ((0, ACROSS**2 - len(images)), (1, 1), (1, 1), (0, 0))
            images = np.pad(images, lost, constant_values=0.35)
            h, w, c = images.shape[1:]
            sheet = images.reshape(ACROSS, ACROSS, h, w, c).transpose(0, 2, 1, 3, 4)
            sheet = np.repeat(sheet.reshape(ACROSS * h, ACROSS * w, c), 1 if c == 3 else 3, axis=-1)
            axes[row, column].imshow(sheet)
            axes[row, column].set_title(f"{name}: {case}", fontsize=10)
            axes[row, column].set_axis_off()
    return figure
