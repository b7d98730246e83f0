r"""Which critic finds most on images: three constraints and two architectures.

Grathwohl et al. (2020) leave to future work which constraint on the critic, and which architecture, serve on
images. Here the model is one that is far off: independent Gaussians fitted to MNIST's pixels, dequantised,
(255 x + U)/256, and in logits of 10⁻² + 0.98 times that. Critics are trained for the
discrepancy, chosen on validation rows, and judged on rows of their own by

    t = √n mean h / sd h          h = s·f + tr ∇f, how surely the model is found wrong, whatever f's scale is;
    mean h / √(mean ‖f‖²)         the discrepancy of a critic of unit size: comparable between constraints,
                                  and at most √(E‖s − s_p‖²), which the best critic has.

A convolutional critic has no closed-form trace: it is trained with one probe and judged with 16 on each row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import InputError
from energax.data import load
from energax.evaluation import CriticTraining, learned_stein_discrepancy
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.papers.repeats import pm

__all__ = ["run"]

MARGIN = 1e-2  # of the unit interval, left out at both ends before logits are taken
CONSTRAINTS = ("l2", "clipping", "spectral")
ARCHITECTURES = ("mlp", "convolutional")


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    data
        What `data.load` calls the images.
    rows
        Images, four fifths of them to train on.
    seeds
        Critics of each kind.
    width, channels
        Of the two architectures.
    steps, channel_steps
        Of the two trainings.
    pool
        Pixels that are averaged along each side.
    """

    data: str
    rows: int
    seeds: int
    width: int
    channels: int
    steps: int
    channel_steps: int
    pool: int


SIZES = {
    "smoke": Size("digits", 300, 1, 32, 4, 20, 4, 1),
    "cpu": Size("mnist", 5_000, 2, 300, 8, 400, 100, 2),
    "paper": Size("mnist", 60_000, 5, 1000, 32, 5_000, 5_000, 1),
}


def logits(size: Size) -> np.ndarray:
    """Return images in logits, shape (rows, H, W, 1)."""
    dataset = load(size.data)
    x = dataset.train[: size.rows].reshape(-1, *(dataset.image_shape or dataset.train.shape[1:]))
    low, high = float(dataset.train.min()), float(dataset.train.max())
    unit = (x - low) / (high - low)
    n, h, w, c = unit.shape
    k = size.pool
    unit = unit.reshape(n, h // k, k, w // k, k, c).mean((2, 4))
    noise = np.random.default_rng(0).random(unit.shape)
    unit = MARGIN + (1 - 2 * MARGIN) * (255 * unit + noise) / 256
    return np.log(unit / (1 - unit)).astype(np.float32)


def trainings(size: Size) -> dict[tuple[str, str], CriticTraining]:
    """Return the settings of each kind of critic."""
    plain = CriticTraining(
        width=size.width, dropout=0.0, batch_size=128, steps=size.steps, check_every=max(1, size.steps // 8)
    )
    small = replace(
        plain,
        architecture="convolutional",
        width=size.channels,
        steps=size.channel_steps,
        check_every=max(1, size.channel_steps // 4),
    )
    return {
        (architecture, constraint): replace(how, constraint=constraint)
        for architecture, how in zip(ARCHITECTURES, (plain, small), strict=True)
        for constraint in CONSTRAINTS
    }


def judged(x: np.ndarray, s: np.ndarray, how: CriticTraining, seed: int) -> dict[str, float]:
    """Return t, the discrepancy at unit size, and the seconds of one critic."""
    before = time.perf_counter()
    found = learned_stein_discrepancy(x, scores=s, training=how, key=jax.random.key(seed), progress=False)
    seconds = time.perf_counter() - before
    critic: Any = found.settings["critic"]
    f = jax.vmap(critic)(jnp.asarray(x[:1000])).reshape(min(1000, len(x)), -1)
    scale = float(jnp.sqrt(jnp.mean(jnp.sum(f**2, 1))))
    step = found.settings["step"]
    assert isinstance(step, int)
    return {
        "t": found.estimate / found.standard_error,
        "unit": found.estimate / max(scale, 1e-12),
        "step": step,
        "seconds": seconds,
    }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every kind of critic against one model, and judge."""
    size = SIZES[scale]
    try:
        x = logits(size)
    except InputError as error:
        raise InputError(f"lsd-at-scale: {error}") from None
    mean, spread = x.mean(0), x.std(0) + 0.1
    s = (mean - x) / spread**2
    found: dict[str, dict[str, list[float]]] = {}
    for (architecture, constraint), how in trainings(size).items():
        each = [judged(x, s, how, seed) for seed in range(size.seeds)]
        name = f"{architecture}, {constraint}"
        found[name] = {k: [e[k] for e in each] for k in each[0]}
        progress(f"{name}: t = {np.mean(found[name]['t']):.1f}, unit {np.mean(found[name]['unit']):.3g}")
    rows = [
        [
            name,
            *(pm(values[k], ".3g", ".2g") for k in ("t", "unit")),
            *(_mean(values[k]) for k in ("step", "seconds")),
        ]
        for name, values in found.items()
    ]
    return Outcome(
        columns=["critic", "t", "discrepancy at unit size", "chosen step", "seconds"],
        rows=rows,
        verdict=verdict(found),
        figure=_figure(found),
        facts={"found": found, "shape": list(x.shape)},
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values))


def verdict(found: dict[str, dict[str, list[float]]]) -> str:
    """Say which critic finds most by each measure."""
    told = []
    for measure, words in (("unit", "the largest discrepancy at unit size"), ("t", "the surest (t)")):
        means = {name: float(np.mean(values[measure])) for name, values in found.items()}
        order = sorted(means, key=means.__getitem__, reverse=True)
        told.append(
            f"{words} is {order[0]!r} ({means[order[0]]:.3g}), then {order[1]!r} ({means[order[1]]:.3g})"
        )
    return "Of the critics, " + "; ".join(told) + "."


def _figure(found: dict[str, dict[str, list[float]]]) -> Any:
    figure = canvas(10, 3.6)
    for ax, (measure, title) in zip(
        figure.subplots(1, 2), (("unit", "discrepancy at unit size"), ("t", "√n mean h / sd h")), strict=True
    ):
        for i, (name, values) in enumerate(found.items()):
            ax.plot([i] * len(values[measure]), values[measure], "o", label=name)
        ax.set(title=title, xticks=range(len(found)))
        ax.set_xticklabels(list(found), rotation=30, ha="right", fontsize="small")
    return figure
