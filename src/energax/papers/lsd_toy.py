r"""Densities in the plane by the learned Stein discrepancy, beside the data and judged by quadrature.

Grathwohl et al. (2020), figure 4 and B.4: q ∝ exp(−E(x)) N(x; μ, diag β²) with E a network of two hidden
layers and a learned base, a critic of two, five critic steps for each of the model's, λ = 10, minibatches of
100. There the densities are looked at. Here each has its KL(p ‖ q) by a sum over the plane (`papers.plane`),
and stands beside what the same network comes to in as many updates by other ways:

    LSD, (β₁, β₂)        Adam's decay rates of model and critic: the text's (0.5, 0.9), the code's (0, 0.999)
    score matching       where the critic is f* = (s_q − s_p)/2λ, LSD descends in the same direction
    likelihood           exact, log Z being the same kind of sum: what the network can do

The network is the library's `MLP`, whose second layer is residual; score matching and likelihood keep the
library's decay rates, (0.9, 0.999). What is judged is the average of the parameters that `fit` keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from energax import data
from energax.energies import Energy, Gaussian
from energax.objectives import Objective, ScoreMatching
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.plane import PARTS, Square, divergence, log_density, weights_divergence
from energax.papers.plane_trainings import (
    CODE_DECAYS,
    LIBRARY_DECAYS,
    REACH,
    TEXT_DECAYS,
    likelihood,
    stein,
    tile,
    trained,
)
from energax.papers.repeats import difference, pm

__all__ = ["run"]

CODE, TEXT = "LSD, (0, 0.999)", "LSD, (0.5, 0.9)"
SM, ML = "score matching", "likelihood"
WAYS = (CODE, TEXT, SM, ML)
DECAYS = {CODE: CODE_DECAYS, TEXT: TEXT_DECAYS}
BASE = "Gaussian of the data's variances"


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    names
        Of the densities.
    rows
        Training rows.
    width
        Hidden units of a layer, of the model and of the critic.
    steps, batch
        Updates of a training and rows of its minibatch.
    ways
        Which ways to train are looked at.
    cells
        Of a side of the square in the judgement.
    coarse
        Of a side of the square in the likelihood's log Z.
    seeds
        Trainings in each way; of the likelihood only one.
    """

    names: tuple[str, ...]
    rows: int
    width: int
    steps: int
    batch: int
    ways: tuple[str, ...]
    cells: int
    coarse: int
    seeds: int


FOUR = ("eight-gaussians", "two-moons", "checkerboard", "rings")
SIZES = {
    "smoke": Size(("two-moons",), 2_000, 32, 300, 100, (CODE, SM), cells=90, coarse=36, seeds=1),
    "cpu": Size(FOUR, 50_000, width=64, steps=3_000, batch=100, ways=WAYS, cells=180, coarse=54, seeds=3),
    "paper": Size((*FOUR, "swiss-roll", "two-spirals"), 500_000, 300, 10_000, 100, WAYS, 360, 90, 5),
}


def objective(way: str, size: Size) -> Objective:
    """Return what a way to train descends on."""
    if way == SM:
        return ScoreMatching()
    return likelihood(size.coarse) if way == ML else stein(DECAYS[way], size.width)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every density in every way."""
    size = SIZES[scale]
    square = Square(REACH, size.cells)
    found: dict[str, dict[str, list[float]]] = {}
    weights: dict[str, dict[str, list[float]]] = {}
    shown: dict[str, dict[str, np.ndarray]] = {}
    for name in size.names:
        x = data.toy(name, size.rows).train
        log_p = log_density(name, square)
        base = Gaussian(x.mean(axis=0), np.diag(x.var(axis=0)))
        found[name] = {BASE: [divergence(log_p, base, square)[0]]}
        weights[name] = {}
        shown[name] = {"data": x[:4_000], "the density": log_p}
        for way in size.ways:
            ends = [
                divergence(log_p, energy(way, size, x, seed), square)
                for seed in range(1 if way == ML else size.seeds)
            ]
            found[name][way] = [kl for kl, _ in ends]
            weights[name][way] = [weights_divergence(name, log_p, log_q, square) for _, log_q in ends]
            shown[name][way] = ends[0][1]
        progress(f"{name}, KL: " + ", ".join(f"{way} {pm(kl)}" for way, kl in found[name].items()))
    columns = ("trained by", *(f"KL, {name}" for name in size.names))
    rows = [(way, *(pm(found[name][way]) for name in size.names)) for way in (BASE, *size.ways)]
    facts = {"divergence": found, "of the weights": weights, "settings": vars(size)}
    return Outcome(columns, rows, _verdict(size, found, weights), _draw(size, shown, square), facts)


def energy(way: str, size: Size, x: np.ndarray, seed: int) -> Energy:
    """Return the energy after a training in one way."""
    decays = DECAYS.get(way, LIBRARY_DECAYS)
    return trained(objective(way, size), x, decays, size.width, size.steps, size.batch, seed)


def _verdict(
    size: Size,
    found: Mapping[str, Mapping[str, list[float]]],
    weights: Mapping[str, Mapping[str, list[float]]],
) -> str:
    told = "; ".join(f"{n} {pm(v[CODE])} ({v[BASE][0]:.3f})" for n, v in found.items())
    lines = [
        f"KL of the density after {size.steps:,} updates by {CODE}, in nats, and in brackets that of a"
        f" Gaussian with the data's variances, where it starts: {told}."
    ]
    for other, why in ((TEXT, "both Adams as in the text"), (SM, "the trace in place of a critic")):
        if other not in size.ways:
            continue
        parts = []
        for name, values in found.items():
            gap = difference(values[CODE], values[other])
            parts.append(f"{name} {gap.mean:+.3f}{'' if gap.clear else ' (not clear)'}")
        lines.append(f"{CODE} less {other} ({why}): {', '.join(parts)}.")
    told = "; ".join(
        f"{n} " + ", ".join(f"{way} {np.mean(w[way]):.3f}" for way in size.ways)
        for n, w in weights.items()
        if n in PARTS
    )
    if told:
        lines.append(f"Of the KL, what is of the weights of separate parts: {told}.")
    best = {n: min(size.ways, key=lambda w: float(np.mean(v[w]))) for n, v in found.items()}
    lines.append(f"The least KL is that of: {', '.join(f'{n} {way}' for n, way in best.items())}.")
    spreads = {way: max(float(np.ptp(v[way])) for v in found.values()) for way in size.ways if way != ML}
    if size.seeds > 1:
        told = ", ".join(f"{way} {spread:.3f}" for way, spread in spreads.items())
        lines.append(f"Between the {size.seeds} trainings of one density the KL differs by at most: {told}.")
    return bulleted(lines)


def _draw(size: Size, shown: Mapping[str, Mapping[str, np.ndarray]], square: Square) -> Any:
    across = ("data", "the density", *size.ways)
    figure = canvas(2.3 * len(across), 2.4 * len(shown))
    grid = figure.subplots(len(shown), len(across), squeeze=False)
    for i, (line, (name, parts)) in enumerate(zip(grid, shown.items(), strict=True)):
        top = float(parts["the density"].max())
        for axes, what in zip(line, across, strict=True):
            if what == "data":
                axes.scatter(*parts[what].T, s=0.5, lw=0, color="k")
                axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")
                axes.set_ylabel(name, fontsize=10)
            else:
                tile(axes, parts[what], square, top)
            axes.set(xticks=[], yticks=[])
            if i == 0:
                axes.set_title(what, fontsize=10)
    return figure
