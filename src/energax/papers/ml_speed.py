r"""Whether a step of MDSM is ten times faster than one of maximum likelihood, and what the steps buy.

Li, Chen & Sommer (2019), §4: a batch takes 0.3 seconds, and about 3 by maximum likelihood with 30 Langevin
steps on the same network, their Res12; the number of updates is called similar. Counted in gradients of E
in x, a step of MDSM is one of them and its derivative in θ; a step by K Langevin steps is K of them and a
derivative of E in θ at twice as many rows.

*Time.* The same network, one whole update each (chains, gradient, Adam): MDSM, and a replay buffer
(Du & Mordatch 2019) with K = 10, 30, 60. All are compiled first, then timed by turns; kept is the least over
the rounds, of processor time over all threads, which other jobs disturb less than the clock. The clock's is
beside it.

*What the steps buy.* The perceptron on the digits, trained with 125, 250, 500, … updates, each a training
of its own with its own cosine. Both principles are after one density, digits + σ₀z: MDSM by its ladder,
maximum likelihood by rows with σ₀z added. So both end with the same jump x − σ₀²∇E. Samples are drawn in two
ways, of which the better ones count, for each training: by 1,300 Langevin steps from noise at T = 1; and by
MDSM's anneal, or for maximum likelihood from its buffer as it stands. Quality is the share that the judge
recognises (`energax.papers.judge`). The energy distance stands beside it and does not decide: pixels drawn
independently, from which the buffer's chains start, are nearer to digits by it than trained models'
samples, and not one of them is a digit. *Equal quality* is the mean share of MDSM's longest training; a
method needs as many updates as its shortest training that reaches it, and those updates times the
measured step are its time.

The step ε = 0.5 σ₀ and the learning rates were chosen by a few trials; with twice the ε maximum likelihood
diverged within 2,000 updates. A training that diverges has no samples and counts as failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from energax.papers.ml_speed_methods import BATCH, MDSM, methods, name_of
from energax.papers.ml_speed_quality import Bench
from energax.papers.ml_speed_time import MIXER, PERCEPTRONS, RESIDUAL, timed
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, show_sheet
from energax.papers.repeats import pm

__all__ = ["run"]

CLAIMED = 30  # Langevin steps of the claim
NEAR_TEN = (7.0, 14.0)  # ratios called "about ten"


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    networks
        Those whose steps are timed, of `ml_speed_time.NETWORKS`.
    langevin
        The numbers K of Langevin steps.
    trained
        Those of them that are trained with.
    rounds
        Of timing.
    updates, ml_updates
        Lengths of the trainings by MDSM and by maximum likelihood.
    width
        Of the perceptron that is trained.
    seeds, samples, chain
        Trainings of each case, samples of each, and Langevin steps of each.
    """

    networks: tuple[str, ...]
    langevin: tuple[int, ...]
    trained: tuple[int, ...]
    rounds: int
    updates: tuple[int, ...]
    ml_updates: tuple[int, ...]
    width: int
    seeds: int
    samples: int
    chain: int


SIZES = {
    "smoke": Size(("small",), (30,), (30,), 2, (20, 60), (20,), 32, 2, 40, 30),
    "cpu": Size(
        (*PERCEPTRONS, MIXER),
        (10, 30, 60),
        (10, 30, 60),
        8,
        (125, 250, 500, 1000),
        (125, 250, 500, 1000),
        256,
        2,
        100,
        1300,
    ),
    "paper": Size(
        (*PERCEPTRONS, MIXER, RESIDUAL),
        (10, 30, 60),
        (10, 30, 60),
        20,
        (125, 250, 500, 1000, 2000, 4000, 8000),
        (125, 250, 500, 1000, 2000, 4000),
        256,
        5,
        1000,
        2700,
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Time a step of each method on each network, then train to see what the steps buy."""
    size = SIZES[scale]
    # `fit` renews its buffer in place; what is timed here would copy it, so it is a small one.
    brief, compared = methods(size.langevin, 2 * BATCH), methods(size.trained, 10_000)
    seconds: dict[str, dict[str, dict[str, float]]] = {}
    for network in size.networks:
        seconds[network] = timed(network, brief, size.rounds)
        text = ", ".join(f"{n} {1e3 * s['processor']:.1f} ms" for n, s in seconds[network].items())
        progress(f"{network}: {text}")
    bench = Bench(size.width, size.samples, size.chain)
    results: dict[str, list[dict[str, Any]]] = {}
    shown: dict[str, np.ndarray] = {}
    for name, objective in compared.items():
        results[name] = []
        for updates in size.updates if name == MDSM else size.ml_updates:
            found = [bench.quality(name, objective, updates, seed) for seed in range(size.seeds)]
            shown[name] = found[0].pop("samples")
            for other in found[1:]:
                other.pop("samples")
            results[name].append({"updates": updates, "trainings": found})
            progress(f"{name}, {updates} updates: {_shown(results[name][-1], 'recognised')} recognised")
    target = float(np.mean(_shares(results[MDSM][-1])))
    trained = size.networks[0]
    needs = {name: _needed(found, target) for name, found in results.items()}
    rows: list[tuple[Any, ...]] = []
    for name in brief:
        ratios = [_ratio(seconds[network], name) for network in size.networks]
        per_step = seconds[trained][name]["processor"]
        cells = ["–"] * 4
        if name in results:
            last, need = results[name][-1], needs[name]
            reached = "never" if need is None else need
            spent = "never" if need is None else f"{need * per_step:.1f}"
            share = f"{_shown(last, 'recognised')} ({last['updates']})"
            cells = [share, _shown(last, "distance"), reached, spent]
        times = (
            f"{1e3 * seconds[n][name]['processor']:.1f} ({r:.1f}×)"
            for n, r in zip(size.networks, ratios, strict=True)
        )
        rows.append((name, *times, *cells))
    columns = (
        "method",
        *(f"{n}: ms a step (× MDSM's)" for n in size.networks),
        "recognised (after so many updates)",
        "distance",
        "updates to equal quality",
        "processor seconds to it",
    )
    facts = {
        "seconds": seconds,
        "results": results,
        "equal quality": target,
        "updates to equal quality": needs,
        "held-out digits": bench.real,
        "independent pixels": bench.independent,
    }
    return Outcome(columns, rows, _verdict(size, facts), _draw(size, facts, shown, bench.image_shape), facts)


def _shares(record: Mapping[str, Any]) -> list[float]:
    return [t["recognised"] for t in record["trainings"]]


def _diverged(record: Mapping[str, Any]) -> int:
    return sum("diverged" in t for t in record["trainings"])


def _shown(record: Mapping[str, Any], name: str) -> str:
    values = [t[name] for t in record["trainings"] if name in t]
    failed = f", {_diverged(record)} diverged" if _diverged(record) else ""
    return (pm(values) if values else "") + failed


def _ratio(seconds: Mapping[str, Any], name: str, by: str = "processor") -> float:
    return seconds[name][by] / seconds[MDSM][by]


def _needed(found: Sequence[Mapping[str, Any]], target: float) -> int | None:
    """Return the updates of the shortest training of which as large a share is recognised."""
    return next((r["updates"] for r in found if np.mean(_shares(r)) >= target), None)


def _verdict(size: Size, facts: Mapping[str, Any]) -> str:
    lines = []
    low, high = NEAR_TEN
    for network, seconds in facts["seconds"].items():
        ratios = {k: _ratio(seconds, name_of(k)) for k in size.langevin}
        at = ratios[CLAIMED]
        says = "holds" if low <= at <= high else "does not hold: it is " + ("more" if at > high else "less")
        listed = ", ".join(f"{r:.1f} with {k}" for k, r in ratios.items())
        clock = _ratio(seconds, name_of(CLAIMED), "clock")
        lines.append(
            f"{network}: a step of maximum likelihood costs, in steps of MDSM, {listed} Langevin steps; that"
            f" it is about ten with {CLAIMED} {says} ({clock:.1f} by the clock)."
        )
    results, needs, target = facts["results"], facts["updates to equal quality"], facts["equal quality"]
    longest = results[MDSM][-1]["updates"]
    lines.append(
        f"Equal quality is MDSM's after {longest:,} updates, {target:.1%} recognised (held-out digits"
        f" {facts['held-out digits']['recognised']:.1%}); MDSM is there after {needs[MDSM]:,}."
    )
    seconds = facts["seconds"][size.networks[0]]
    for k in size.trained:
        name = name_of(k)
        if needs[name] is None:
            tried = results[name][-1]["updates"]
            share = np.mean(_shares(results[name][-1]))
            cost = tried / needs[MDSM] * _ratio(seconds, name)
            lines.append(
                f"{name}: not there after {tried:,} updates, {share:.1%} recognised, at {cost:.2f} times the"
                " processor time that MDSM needs."
            )
            continue
        fewer = needs[name] / needs[MDSM]
        worth = fewer * _ratio(seconds, name)
        lines.append(
            f"{name}: there after {needs[name]:,} updates, {fewer:.2f} of MDSM's, and"
            f" {worth:.2f} times its processor time."
        )
    diverged = sum(_diverged(r) for found in results.values() for r in found)
    apart = facts["independent pixels"]
    lines.append(
        f"Trainings that diverged: {diverged}. Independent pixels: distance {apart['distance']:.3f},"
        f" {apart['recognised']:.1%} recognised."
    )
    return bulleted(lines)


def _draw(
    size: Size, facts: Mapping[str, Any], shown: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> Any:
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = canvas(14, 7.2)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    left, middle, right = top.subplots(1, 3)
    for network, seconds in facts["seconds"].items():
        ratios = [_ratio(seconds, name_of(k)) for k in size.langevin]
        left.plot(size.langevin, ratios, "o-", label=network)
    left.axhspan(*NEAR_TEN, color="0.92")
    left.axhline(1, color="0.5", ls="--", lw=1)
    left.set(xlabel="Langevin steps", title="a step of maximum likelihood ÷ one of MDSM", ylim=(0, None))
    left.legend(fontsize=8, frameon=False)
    seconds = facts["seconds"][size.networks[0]]
    for i, (name, found) in enumerate(facts["results"].items()):
        updates = np.array([r["updates"] for r in found])
        means = np.array([np.mean(_shares(r)) for r in found])
        for axes, x in ((middle, updates), (right, updates * seconds[name]["processor"])):
            axes.plot(x, means, "o-", color=f"C{i}", label=name)
            for at, r in zip(x, found, strict=True):
                axes.plot([at] * len(r["trainings"]), _shares(r), ".", color=f"C{i}", alpha=0.5, ms=4)
    for axes, what in ((middle, "updates"), (right, "processor seconds of training")):
        axes.axhline(facts["equal quality"], color="0.5", ls="--", lw=1)
        axes.set(xscale="log", xlabel=what, title="share of samples recognised", ylim=(0, 1))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8, frameon=False)
        axes.grid(color="0.92")
    h, w = shape[:2]
    for axes, (name, samples) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        images = np.clip(np.nan_to_num(samples[:40].reshape(-1, h, w), nan=0.5), 0, 1)
        show_sheet(axes, images, 10, f"{name}, {facts['results'][name][-1]['updates']:,} updates", 10)
    return figure
