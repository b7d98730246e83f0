r"""MDSM table 1: Inception score, FID and bits per dimension of a CIFAR-10 energy, beside the paper's rows.

One command trains the paper's network (Res18 with the quadratic head), draws its 50,000 samples, asks
torch-fidelity for the score and the FID against the training images, and log Z for the bits per dimension of
test images: reverse annealing from data, as in the paper, with a forward one for the other end
(`energax.papers.mdsm_likelihood` says what the number can be). The paper's convention is [0, 255] pixels,
eight bits above that of [0, 1].

What cannot be run where it is asked for is not replaced by something smaller under the same name: the cell
says what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.checks import InputError
from energax.data import Dataset, load
from energax.evaluation import inception_quality
from energax.papers.mdsm_likelihood import WAYS, Annealed, Bench
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas

__all__ = ["needs", "run", "verdict"]

PRINTED = "MDSM, as printed"
# Inception score, FID, bits per dimension: Li, Chen & Sommer (2019), table 1.
PAPER: dict[str, tuple[float | None, float | None, float | None]] = {
    "iResNet": (None, 65.01, 3.45),
    "PixelCNN": (4.60, 65.93, 3.14),
    "PixelIQN": (5.29, 49.46, None),
    "Residual Flow": (None, 46.37, 3.28),
    "Glow": (None, 46.90, 3.35),
    "EBM (ensemble)": (6.78, 38.2, None),
    "SNGAN": (8.22, 21.7, None),
    "NCSN": (8.91, 25.32, None),
    PRINTED: (8.31, 31.7, 7.04),
}
NAMES = ("Inception score", "FID", "bits per dimension")
CHUNK = 500  # chains at a time: a ResNet's memory
PIXELS = 8.0  # log₂ 256, between the conventions


class Size(NamedTuple):
    """How large the study is: the data and how many training images it must have, the network, samples."""

    data: str
    images: int
    network: str | None
    samples: int
    annealing: Annealed
    rows: int
    changes: dict[str, Any]
    heavy: bool  # whether it wants an accelerator


FULL = Size("cifar10", 50_000, "cifar10-res18", 50_000, Annealed(10_000, 10, 100), 1000, {}, True)
SIZES = {
    "smoke": Size("digits", 1, None, 100, Annealed(5, 2, 8), 50, TINY, False),
    "cpu": FULL,
    "paper": FULL,
}


def needs(size: Size, dataset: Dataset | None, backend: str) -> list[str]:
    """Return what the run lacks here, in words; nothing where it can be made."""
    lacking = []
    if size.heavy and backend == "cpu":
        lacking.append("an accelerator, for 300,000 updates of 62 million parameters")
    there = 0 if dataset is None else len(dataset.train)
    if there < size.images:
        lacking.append(f"{size.images:,} training images ({there:,} are here)")
    return lacking


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Put this run's row, or what it needs, under the paper's."""
    size = SIZES[scale]
    try:
        dataset = load(size.data)
    except InputError:
        dataset = None
    lacking = needs(size, dataset, jax.default_backend())
    facts: dict[str, Any] = {"needs": lacking}
    if lacking:
        ours: tuple[Any, ...] = (_not_run(lacking),) * len(NAMES)
        progress(ours[0])
    else:
        model = trained(size.data, size.changes, network=size.network, progress=progress)
        ours, facts["log Z"] = measured(model, size, progress)
    table = {**PAPER, f"MDSM, this run ({size.data})": ours}
    rows = [(name, *map(_cell, values)) for name, values in table.items()]
    told = verdict(ours, size.data == FULL.data)
    return Outcome(("model", *NAMES), rows, told, _draw(table), facts)


def measured(model: Studied, size: Size, progress: Callable[[str], None]) -> tuple[tuple[Any, ...], str]:
    """Return a trained energy's three cells, numbers or what they need, and the verdict on log Z."""
    keys = jax.random.split(jax.random.key(1), -(-size.samples // CHUNK))
    drawn = np.concatenate([model.samples(min(CHUNK, size.samples), key) for key in keys])[: size.samples]
    progress(f"{len(drawn):,} samples")
    shape = model.dataset.image_shape
    assert shape is not None
    whole = drawn[np.isfinite(drawn.reshape(len(drawn), -1)).all(axis=1)].reshape(-1, *shape)
    try:
        found = inception_quality(whole, model.dataset.train.reshape(-1, *shape))
        inception: tuple[Any, ...] = found["Inception score"].estimate, found["FID"].estimate
    except InputError as error:
        progress(str(error))
        inception = (_not_run(["torch-fidelity and its weights"]),) * 2
    bench = Bench(model, size.rows)
    log_z = bench.log_z(size.annealing)
    bits = bench.bits(None, log_z)[WAYS[0]].value + PIXELS
    progress(f"{bits:.3f} bits per dimension; log Z {log_z.status}")
    return (*inception, bits), log_z.status


def verdict(ours: Sequence[Any], same_data: bool = True) -> str:
    """Say how this run's row stands to the one that was printed, if that is of the same data."""
    if len(set(ours)) == 1 and isinstance(ours[0], str):
        return f"The row of this run is empty: {ours[0]}. The other rows are the paper's, copied."
    told = []
    for name, mine, printed in zip(NAMES, ours, PAPER[PRINTED], strict=True):
        assert printed is not None
        beside = "" if isinstance(mine, str) else f" ({mine - printed:+.3g} against {printed:g} printed)"
        told.append(f"{name} {_cell(mine)}{beside if same_data else ''}")
    return "; ".join(told) + "."


def _cell(value: float | str | None) -> str:
    return "–" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _not_run(lacking: Sequence[str]) -> str:
    return "not run here: needs " + "; ".join(lacking)


def _draw(table: Mapping[str, Sequence[Any]]) -> Any:
    figure = canvas(11, 3.6)
    for axes, (i, name) in zip(figure.subplots(1, len(NAMES), sharey=True), enumerate(NAMES), strict=True):
        for place, (model, values) in enumerate(table.items()):
            known = isinstance(values[i], float)
            color = "C0" if model.startswith("MDSM") else "0.6"
            axes.barh(place, values[i] if known else 0.0, color=color)
            if not known:
                word = "not run here" if isinstance(values[i], str) else "–"
                axes.text(0, place, f" {word}", va="center", fontsize=8, color="0.4")
        axes.set_yticks(range(len(table)), list(table))
        axes.set_title(name)
        axes.invert_yaxis()
    return figure
