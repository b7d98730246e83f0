r"""One network, one data set, trained by a short-run sampler and by the learned Stein discrepancy.

Grathwohl et al. (2020), figure 1: "samples from approximate samplers follow a different distribution than the
density they are applied to. It is this induced distribution which is trained to match the data." In the plane
both can be measured:

    the density         q ∝ exp(−E), by its KL(p ‖ q) and by exact draws from the cells
    the short run       where K steps x ← x − ε∇E + σz from noise N(0, I) end (Nijkamp et al. 2019)

each against fresh rows of data by MMD², and against its floor, fresh rows against fresh rows. Trained by

    short run           mean E(x) − mean E(x̃), x̃ the end of the short run: its own samples are those ends
    short run, cold     the same with the noise halved, at a quarter of the density's temperature σ²/2ε = 1
    LSD                 no sampler: its own samples are exact draws of its density
    likelihood          exact, log Z by quadrature: what the network can do

The figure does not name its data set or any setting: here eight Gaussians, K = 30 at scale cpu, ε = 0.02 and
σ = 0.2 or 0.1. LSD's two Adams have (0.5, 0.9), the decays of the paper's plane (B.4), the critic thrice the
model's rate; the others' Adam has the library's (0.9, 0.999).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from energax import data
from energax.evaluation import mmd_test
from energax.objectives import Objective, ShortRunLikelihood
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.plane import Square, divergence, log_density, weights_divergence
from energax.papers.plane_trainings import (
    LIBRARY_DECAYS,
    RATE,
    REACH,
    TEXT_DECAYS,
    likelihood,
    stein,
    tile,
    trained,
)
from energax.papers.repeats import Difference, difference, pm
from energax.samplers import Langevin
from energax.samplers import run as run_chains

__all__ = ["draws", "run"]

NAME = "eight-gaussians"
SHORT, COLD, LSD, ML = "short run", "short run, cold", "LSD", "likelihood"
NUMBERS = ("KL", "weights", "exact", "short")
EPSILON = 0.02
SIGMA = {SHORT: 0.2, COLD: 0.1}  # σ²/2ε is 1, the temperature of the density itself, and 1/4


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    rows
        Training rows.
    width
        Hidden units of a layer, of the model and of the critic.
    steps, batch
        Updates of a training and rows of its minibatch.
    chain
        K, steps of a short run.
    cells, coarse
        Of a side of the square, to judge, and for the likelihood's log Z.
    judged
        Draws that the MMD is of.
    seeds
        Trainings in each way.
    ways
        To train.
    """

    rows: int
    width: int
    steps: int
    batch: int
    chain: int
    cells: int
    coarse: int
    judged: int
    seeds: int
    ways: tuple[str, ...] = (SHORT, COLD, LSD, ML)


SIZES = {
    "smoke": Size(2_000, 32, 300, 100, 20, cells=90, coarse=36, judged=500, seeds=1, ways=(SHORT, LSD)),
    "cpu": Size(50_000, 64, steps=3_000, batch=128, chain=30, cells=200, coarse=60, judged=4_000, seeds=3),
    "paper": Size(500_000, 300, 20_000, 256, chain=100, cells=360, coarse=90, judged=10_000, seeds=5),
}


def draws(log_q: np.ndarray, square: Square, n: int, rng: np.random.Generator) -> np.ndarray:
    """Return n draws of the law that is even within each cell: a cell by its mass, a place in it."""
    mass = np.exp(log_q + square.log_cell)
    chosen = rng.choice(len(mass), size=n, p=mass / mass.sum())
    side = 2 * square.reach / square.cells
    return (square.points[chosen] + side * (rng.random((n, 2)) - 0.5)).astype(np.float32)


def sampler(way: str) -> Langevin:
    """Return the chain that a model is trained, or only looked at, with."""
    return Langevin.sgld(EPSILON, SIGMA.get(way, SIGMA[SHORT]))


def objective(way: str, size: Size) -> Objective:
    """Return what a way to train descends on."""
    if way in SIGMA:
        return ShortRunLikelihood(sampler(way), size.chain)
    return likelihood(size.coarse) if way == ML else stein(TEXT_DECAYS, size.width, 3 * RATE)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train in each way, and judge densities and samples."""
    size = SIZES[scale]
    square, rng = Square(REACH, size.cells), np.random.default_rng(0)
    x = data.toy(NAME, size.rows).train
    log_p = log_density(NAME, square)
    fresh, again = (data.toy(NAME, size.judged, seed).train for seed in (1, 2))
    keys = jax.random.split(jax.random.key(2), 3)

    def apart(samples: np.ndarray) -> float:
        inside = np.clip(np.nan_to_num(samples, nan=2 * REACH), -2 * REACH, 2 * REACH)
        # The width is the data's own scale for all, and one permutation is enough: only the statistic counts.
        return mmd_test(inside, fresh, bandwidth=0.5, draws=1, key=keys[0]).statistic

    found: dict[str, list[dict[str, float]]] = {}
    shown: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
    start = jax.random.normal(keys[1], (size.judged, 2))
    for way in size.ways:
        found[way] = []
        decays = TEXT_DECAYS if way == LSD else LIBRARY_DECAYS
        for seed in range(size.seeds):
            energy = trained(objective(way, size), x, decays, size.width, size.steps, size.batch, seed)
            kl, log_q = divergence(log_p, energy, square)
            exact = draws(log_q, square, size.judged, rng)
            short = np.asarray(run_chains(sampler(way), energy, start, key=keys[2], steps=size.chain).x)
            weights = weights_divergence(NAME, log_p, log_q, square)
            found[way].append({"KL": kl, "weights": weights, "exact": apart(exact), "short": apart(short)})
            shown.setdefault(way, (log_q, exact, short))
        told = ", ".join(f"{name} {_pm(found[way], name)}" for name in NUMBERS)
        progress(f"{way}: {told}")
    floor = apart(again)
    columns = (
        "trained by",
        "KL of the density",
        "of it, of the weights",
        "MMD² of exact draws",
        "MMD² of short runs",
    )
    rows = [(way, *(_pm(ends, name) for name in NUMBERS)) for way, ends in found.items()]
    rows.append(("fresh rows of data", "–", "–", f"{floor:.4f}", "–"))
    facts = {"found": found, "floor": floor, "settings": vars(size)}
    return Outcome(columns, rows, _verdict(size, found, floor), _draw(x, log_p, shown, square), facts)


def _pm(ends: list[dict[str, float]], name: str) -> str:
    return pm([end[name] for end in ends], ".4f")


def _verdict(size: Size, found: Mapping[str, list[dict[str, float]]], floor: float) -> str:
    def of(way: str, name: str) -> list[float]:
        return [end[name] for end in found[way]]

    def told(gap: Difference) -> str:
        return f"{gap.mean:+.4f} ({gap.word})"

    listed = ", ".join(f"{way} {_pm(ends, 'KL')}" for way, ends in found.items())
    lines = [
        f"KL of the density after {size.steps:,} updates: {listed} nats; the floor of MMD² is {floor:.4f}."
    ]
    for way in (SHORT, COLD):
        if way not in found:
            continue
        gap = difference(of(way, "exact"), of(way, "short"))
        density = difference(of(way, "KL"), of(LSD, "KL"))
        own = difference(of(way, "short"), of(LSD, "exact"))
        seen = gap.mean > 0 and density.mean > 0
        claim = (
            "holds" if seen and gap.clear and density.clear else "is not shown" if seen else "does not hold"
        )
        lines.append(
            f"{way}: exact draws of its density are farther from the data than its own chains by {told(gap)}"
            f" in MMD²; its density is farther than LSD's by {told(density)} nats: figure 1's claim"
            f" {claim}. Its own samples less LSD's own, exact draws:"
            f" {told(own)} in MMD²."
        )
    shares = ", ".join(
        f"{way} {np.mean(of(way, 'weights')):.4f} of {np.mean(of(way, 'KL')):.4f}" for way in found
    )
    lines.append(f"Of the KL, what is of the weights of the eight Gaussians: {shares} nats.")
    inside = {way: [end["KL"] - end["weights"] for end in ends] for way, ends in found.items()}
    rivals = [way for way in found if way != LSD]
    gaps = ", ".join(f"{way} {told(difference(inside[way], inside[LSD]))}" for way in rivals)
    lines.append(f"Inside the Gaussians, KL less LSD's {np.mean(inside[LSD]):.4f}: {gaps}.")
    return bulleted(lines)


def _draw(x: np.ndarray, log_p: np.ndarray, shown: Mapping[str, Any], square: Square) -> Any:
    figure = canvas(3.1 * (len(shown) + 1), 8.6)
    grid = figure.subplots(3, len(shown) + 1)
    top = float(log_p.max())

    def scatter(axes: Any, points: np.ndarray) -> None:
        axes.scatter(*points[:4_000].T, s=0.6, lw=0, color="k")
        axes.set(xlim=(-REACH, REACH), ylim=(-REACH, REACH), aspect="equal")

    tile(grid[0, 0], log_p, square, top)
    scatter(grid[1, 0], x)
    grid[0, 0].set_title("the density", fontsize=10)
    grid[1, 0].set_title("data", fontsize=10)
    grid[2, 0].set_axis_off()
    for column, (way, (log_q, exact, short)) in zip(grid.T[1:], shown.items(), strict=True):
        tile(column[0], log_q, square, top)
        scatter(column[1], exact)
        scatter(column[2], short)
        column[0].set_title(f"trained by {way}\nits density", fontsize=10)
        column[1].set_title("exact draws of it", fontsize=10)
        column[2].set_title("short runs on it", fontsize=10)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[])
    return figure
