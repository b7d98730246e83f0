r"""MDSM §4 and appendix D: what its sentences on training and sampling amount to on 8 × 8 digits.

One baseline, the multiscale objective (eq. 7) with a quadratic head

    E = (a·h + b₁)(c·h + b₂) + d·(h∘h) + b₃                        (eq. 12)

and a geometric ladder 0.05 … 2, sampled by eq. 8 from noise √T σ₀ = 1 with ε = 0.2 σ₀, and one
jump (eq. 9). Each case changes one thing: in the training the head, the spacing of the ladder, its
largest σ, or the schedule of the learning rate; in the sampling the step ε, the starting noise, the
shape of the anneal, or the jump. The sampling cases share one trained energy per seed.

Measured are

    denoise      ( mean_σ  E‖x̃ − σ₀²∇E(x̃) − x‖² / dσ² )^½  at σ = 0.1 … 0.6 on held-out digits:
                 the root-mean-square error left, as a share of the noise;
    distance     the energy distance of samples to held-out digits, and that of training digits
                 as a floor (`energax.papers.judge`);
    recognised   the judge's share;
    lost         the share of samples that are not finite or leave [0, 1] by more than 10;
    copies       the share of samples whose nearest digit is a training one rather than held out:
                 n/(n + m), for n training and m held-out digits, if none is memorised.

All are means ± standard errors over seeds, which decide the initial weights, the order of the rows
and all noise; comparisons are paired. The paper gives one number for none of its sentences, so
that "significantly" is read as *clear* (`energax.papers.repeats`), and "little" as a mean change of distance
below a fifth of the baseline's. Ladders that end below 2 are sampled from noise 1, as the others, and
from half their largest level, since a quadratic head may fall without bound beyond its ladder.

The network is a small perceptron, not a ResNet, and the data are not natural images: what fails
here may hold there, and the other way round. At scale "paper" the same cases run on MNIST with
the paper's Res12, 100,000 updates, 2,700 sampling steps and three seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from energax.papers.judge import energy_distance, pixels
from energax.papers.mdsm_ablations_bench import DENOISED, SCALES, Bench
from energax.papers.mdsm_ablations_cases import BASE, SAMPLINGS, SHORT, TRAININGS, inside
from energax.papers.mdsm_ablations_claims import claims
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import pm, summary

__all__ = ["run"]


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train and sample every case with every seed; judge the paper's sentences."""
    bench = Bench(SCALES[scale])
    seeds = range(bench.sizes.seeds)
    results: dict[str, list[dict[str, Any]]] = {}
    baselines: list[Any] = []
    shown: dict[str, np.ndarray] = {}
    for case, changes in TRAININGS.items():
        fits = [bench.train(seed, **changes) for seed in seeds]
        trained = [
            {
                "left": bench.denoising(f.energy, seed),
                "diverged": f.status == "diverged",
                "energy": [float(r["energy"]) for r in f.history],
            }
            for seed, f in enumerate(fits)
        ]
        ways = {case: {}}
        if changes.get("sigma_max") in SHORT:
            ways[inside(changes["sigma_max"])] = {"noise_max": changes["sigma_max"] / 2}
        for name, way in ways.items():
            drawn = [bench.sample(f.energy, seed, **way) for seed, f in enumerate(fits)]
            shown[name] = drawn[0]
            results[name] = [
                {**t, "denoise": float(np.sqrt(np.mean(np.square(t["left"])))), **bench.quality(samples)}
                for t, samples in zip(trained, drawn, strict=True)
            ]
            progress(_told(name, results[name]))
        if case == BASE:
            baselines = [f.energy for f in fits]
    for case, changes in SAMPLINGS.items():
        results[case] = []
        for seed, energy in zip(seeds, baselines, strict=True):
            samples = bench.sample(energy, seed, **changes)
            results[case].append(bench.quality(samples))
            if seed == 0:
                shown[case] = samples
        progress(_told(case, results[case]))
    floor = energy_distance(bench.dataset.train[: len(bench.test)], bench.test)
    real = bench.judge.verdict(bench.test)["recognised"]
    n, m = len(bench.dataset.train), len(bench.test)
    found = claims(results, floor, n / (n + m))
    verdict = bulleted(found.values())
    facts = {
        "cases": results,
        "training digits": {"distance": floor},
        "held-out digits": {"recognised": real},
        "claims": found,
        "sigmas": DENOISED,
    }
    rows = [_row(case, results[case]) for case in results]
    rows.append(("training digits", "", f"{floor:.3f}", "", "", ""))
    rows.append(("held-out digits", "", "0", f"{real:.0%}", "", ""))
    columns = ("case", "denoise", "distance", "recognised", "lost", "copies")
    return Outcome(columns, rows, verdict, _draw(results, shown, bench, floor, real), facts)


def _told(case: str, found: list[dict[str, Any]]) -> str:
    distance, recognised = ([r[name] for r in found] for name in ("distance", "recognised"))
    return f"{case}: distance {pm(distance)}, recognised {pm(recognised, '.2f')}"


def _row(case: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    left = pm([r["denoise"] for r in found]) if "denoise" in found[0] else "as baseline"
    lost, copies = (np.mean([r[name] for r in found]) for name in ("lost", "copies"))
    return (
        case,
        left,
        pm([r["distance"] for r in found]),
        pm([r["recognised"] for r in found], ".2f"),
        f"{lost:.0%}",
        f"{copies:.0%}",
    )


def _draw(
    results: Mapping[str, Any], shown: Mapping[str, np.ndarray], bench: Bench, floor: float, real: float
) -> Any:
    figure = canvas(15, 12)
    left, right, strips = figure.subplots(1, 3, width_ratios=(1, 1, 0.85), sharey=True)
    cases = list(results)
    y = np.arange(len(cases))
    for axes, name, reference, label in (
        (left, "distance", floor, "training digits"),
        (right, "recognised", real, "held-out digits"),
    ):
        stats = np.array([summary([r[name] for r in results[c]]) for c in cases])
        base = stats[cases.index(BASE)]
        axes.axvspan(base[0] - 2 * base[1], base[0] + 2 * base[1], color="C0", alpha=0.15, lw=0)
        axes.axvline(reference, color="0.4", ls="--", lw=1, label=label)
        for i, (mean, error) in enumerate(stats):
            color = "C1" if cases[i] in SAMPLINGS else "C0"
            axes.errorbar(mean, i, xerr=2 * error, fmt="o", ms=5, color=color, lw=1.5)
        axes.axhline(len(cases) - len(SAMPLINGS) - 0.5, color="0.8", lw=0.8)
        axes.grid(axis="y", color="0.92")
        axes.legend(loc="lower left", fontsize=9)
    left.set_xscale("log")
    left.set_xlim(0.004, 6)
    left.set_xlabel("energy distance to held-out digits\n(mean ± 2 s.e.; lower is better)")
    right.set_xlabel("share recognised\n(mean ± 2 s.e.; higher is better)")
    left.set_yticks(y, cases)
    left.set_ylim(len(cases) - 0.5, -0.5)
    left.set_title("changes to the training (blue), to the sampling (orange)", fontsize=10, loc="left")
    _strips(strips, [shown[c] for c in cases], bench)
    return figure


def _strips(axes: Any, rows: list[np.ndarray], bench: Bench, count: int = 10) -> None:
    """Show the first samples of every case beside its row."""
    h, w, _ = bench.dataset.image_shape or (1, 1, 1)
    for i, samples in enumerate(rows):
        tiles = pixels(samples)[:count].reshape(count, h, w)
        strip = np.pad(tiles, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
        strip = strip.transpose(1, 0, 2).reshape(h, -1)
        axes.imshow(strip, cmap="gray", vmin=0, vmax=1, extent=(0, count, i + 0.47, i - 0.47), aspect="auto")
    axes.set_xlim(0, count)
    axes.set_title("first samples of the first seed", fontsize=10, loc="left")
    axes.set_xticks([])
    axes.tick_params(left=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
