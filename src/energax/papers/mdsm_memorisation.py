r"""MDSM figure C.1: the ten training rows nearest to samples, and a test of whether the samples are copies.

Li, Chen & Sommer (2019, appendix C) show samples of Fashion-MNIST beside their neighbours and find them
different. An eye that has seen no copy cannot tell how one would look: so the same energy is trained on fewer
and fewer rows for as many updates, until it must have learned them by heart. Samples of each are judged by
`evaluation.memorisation` against the rows it was trained on and rows it has not seen:

    nearer     the share of pairs in which a sample is nearer to its nearest training row than a held-out row
    copies     samples nearer to a training row than any held-out row
    p          of as much nearness where samples are like new rows

An energy that has memorised puts its samples on the training rows, up to the noise it samples with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.evaluation import Memorisation, memorisation
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas

__all__ = ["run", "verdict"]

LEVEL = 0.01
NEIGHBOURS = 10
SHOWN = 6


class Size(NamedTuple):
    """How large the study is: the data, the rows trained on, samples, changes to the preset."""

    data: str
    rows: tuple[int | None, ...]
    samples: int
    changes: dict[str, Any]
    network: str | None = None


SIZES = {
    "smoke": Size("digits", (30, None), 40, TINY),
    "cpu": Size("digits", (30, 150, 500, None), 200, {"fit.steps": 2000, "energy.width": 256}),
    "paper": Size("fashion-mnist", (100, 1000, 10_000, None), 1000, {}, "mnist-res12"),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train on more and more rows, and look for copies among the samples of each."""
    size = SIZES[scale]
    found: dict[int, Memorisation] = {}
    pictures: dict[int, tuple[np.ndarray, tuple[int, ...]]] = {}
    for rows in size.rows:
        model = trained(size.data, size.changes, network=size.network, rows=rows, progress=progress)
        n = len(model.dataset.train)
        samples = model.samples(size.samples, jax.random.key(1))
        whole = samples[np.isfinite(samples.reshape(len(samples), -1)).all(axis=1)]
        found[n] = judged(model, whole)
        near = model.dataset.train[found[n].neighbours[:SHOWN]]
        shape = model.dataset.image_shape
        assert shape is not None
        sheet = np.concatenate([whole[:SHOWN, None], near], axis=1)
        pictures[n] = sheet.reshape(*sheet.shape[:2], *shape[:2]), shape
        f = found[n]
        progress(f"trained on {n:,} rows: a sample is nearer in {f.nearer:.0%} of pairs, p = {f.p_value:.2g}")
    rows = [
        (
            f"{n:,}",
            float(np.median(f.from_samples)),
            float(np.median(f.from_held_out)),
            f.nearer,
            f.copies,
            f.p_value,
        )
        for n, f in found.items()
    ]
    columns = (
        "rows trained on",
        "distance of samples, median",
        "of held-out rows",
        "nearer",
        f"copies of {size.samples}",
        "p",
    )
    told = {
        n: {k: getattr(f, k) for k in ("nearer", "copies", "p_value", "status")} for n, f in found.items()
    }
    figure = _draw(found, {n: sheet for n, (sheet, _) in pictures.items()})
    return Outcome(columns, rows, verdict(found), figure, {"data": size.data, "cases": told})


def judged(model: Studied, samples: np.ndarray) -> Memorisation:
    """Hold samples against the rows of the training and rows that it has not seen, in model units."""
    z, new = model.to_model(samples), model.to_model(model.dataset.test)
    return memorisation(z, model.to_model(model.dataset.train), new, count=NEIGHBOURS)


def verdict(found: Mapping[int, Memorisation]) -> str:
    """Say for how many rows samples were copies, and what the whole data set gave."""
    copied = [n for n, f in found.items() if f.p_value < LEVEL]
    most = max(found)
    f = found[most]
    share = np.median(f.from_samples) / np.median(f.from_held_out)
    where = f"with {', '.join(f'{n:,}' for n in copied)} rows" if copied else "nowhere"
    no, yes = "holds: samples are no copies", "does not hold: samples lie nearer than new rows"
    far = ", farther than new rows are: poor samples cannot be copies" if share > 1 else ""
    return (
        f"Samples lie nearer to the training rows than held-out rows do (p < {LEVEL}) {where}. On all "
        f"{most:,} rows the paper's sentence {yes if most in copied else no} (p = {f.p_value:.2g}); their "
        f"median distance is {share:.2f} of the held-out rows'{far}."
    )


def _draw(found: Mapping[int, Memorisation], sheets: Mapping[int, np.ndarray]) -> Any:
    figure = canvas(3.6 * len(found), 5.2)
    axes = figure.subplots(2, len(found), height_ratios=(1.3, 1), squeeze=False)
    far = max(float(np.quantile(np.r_[f.from_samples, f.from_held_out], 0.98)) for f in found.values())
    for column, (n, f) in enumerate(found.items()):
        above, below = axes[:, column]
        sheet = np.pad(np.clip(sheets[n], 0, 1), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=0.35)
        r, c, h, w = sheet.shape
        above.imshow(sheet.transpose(0, 2, 1, 3).reshape(r * h, c * w), cmap="gray", vmin=0, vmax=1)
        above.set_title(f"{n:,} training rows: a sample, its ten nearest", fontsize=9)
        above.set_axis_off()
        bins = np.linspace(0, far, 40).tolist()
        for name, values, color in (("held out", f.from_held_out, "0.4"), ("samples", f.from_samples, "C0")):
            share = np.full(len(values), 1 / len(values))
            below.hist(np.minimum(values, far), bins, weights=share, histtype="step", color=color, label=name)
        below.set(title=f"p = {f.p_value:.2g}", xlabel="distance to the nearest training row", yticks=[])
        below.legend(fontsize=8, frameon=False)
    return figure
