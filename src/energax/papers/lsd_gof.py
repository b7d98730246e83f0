r"""Tests of fit on perturbed machines: the learned one against kernels; its level; what each costs.

Grathwohl et al. (2020), §7.1, B.1 and figure 5: n = 1,000 rows of a Gaussian–Bernoulli machine, and as the
hypothesis a machine whose weights are off by σ (`perturbed_machines`), a new machine for every replicate. LSD
trains on 800 rows, chooses on 100 and tests on 100; FSSD chooses its locations on 200 and tests on 800; KSD
(V-statistic with the wild bootstrap) and LKSD use all rows at the median bandwidth, kernels RBF. Rejections
at α = 0.05, with Clopper & Pearson's intervals.

Three settings of the paper are in its code, not its text: dropout of a half, the standard deviation of the
objective over the whole batch, chains that start from spins all +1. Its text prints the rejection's
inequality reversed and the machine's score without its halves.

At the scale `cpu` the critic has 200 steps instead of the paper's 1,000. One takes 18 to 24 ms of processor
time, half of that on two idle cores; everything else takes eight minutes or nine, so that twenty leave 300
machines about 200 steps each. What that costs is measured: some machines are tested again after the paper's
training, with the same rows, split, initial critic and dropout, so that its first steps are the same.

With a hundred rows to test on and h skewed, t is not normal. So on fresh rows of each null machine, many
times a hundred, t of the critic found is compared with the normal law and with the studentised bootstrap.
Errors of those levels are over critics.

Every finished replicate is a line of a file in the study's folder, and is not done again when the study is
started again into that folder. Seconds of tests are of no compiler: each has run once at its shapes before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats

from energax.papers.kept import Kept
from energax.papers.lsd_gof_tests import (
    ALPHAS,
    LEARNED,
    NORMAL,
    SIZES,
    TESTED,
    TESTS,
    N,
    Size,
    clock,
    longer,
    replicate,
)
from energax.papers.lsd_gof_verdict import ALPHA, bounds, rejected, share, verdict
from energax.papers.outcome import Outcome
from energax.papers.perturbed_machines import energies, machine
from energax.papers.pictures import canvas

__all__ = ["run"]


def run(scale: str, progress: Callable[[str], None], path: Path | None = None) -> Outcome:
    """Test every machine at every level that the file does not hold yet."""
    size = SIZES[scale]
    # What decides a replicate; more of them, or other machines, may join those that are kept.
    settings = {k: v for k, v in asdict(size).items() if k not in ("cases", "clocked", "paired")}
    kept = Kept("lsd-gof", path, settings)
    results: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for visible, hidden, counts in size.cases:
        units = f"{visible}, {hidden}"
        for j, (level, count) in enumerate(zip(size.levels, counts, strict=True)):
            found = _each(kept, replicate, visible, hidden, j, size, count)
            results.setdefault(units, {})[f"{level:g}"] = found
            told = ", ".join(f"{name} {rejected(found, name) / count:.2f}" for name in TESTS)
            progress(f"{units} units, σ = {level:g}: rejected {told}")
            again = sum(m for d, off, m in size.paired if (d, off) == (visible, level))
            if again:
                pairs[f"{units}, {level:g}"] = many = _each(kept, longer, visible, hidden, j, size, again)
                told = f"LSD {rejected(many, LEARNED) / again:.2f} after {size.longer[0]:,} steps"
                progress(f"{units} units, σ = {level:g}: rejected {told}")
    starts = {
        f"{d}, {m}": kept.get(
            f"energies {d}, {m}",
            lambda: energies(machine(jax.random.key(d), d, m), N, size.sweeps, jax.random.key(1)),  # noqa: B023
        )
        for d, m, _ in size.cases
    }
    first = size.cases[0][:2]
    seconds = {f"{n}": kept.get(f"seconds {n}", lambda: clock(*first, n, size)) for n in size.clocked}  # noqa: B023
    columns = ("units", "σ", "replicates", *(f"{name} rejects" for name in (*TESTS, NORMAL)),
               *(f"{name}, s" for name in TESTS))  # fmt: skip
    table = [
        (
            units,
            level,
            len(found),
            *(share(found, name) for name in (*TESTS, NORMAL)),
            *(f"{np.median([r['seconds'][name] for r in found]):.2g}" for name in TESTS),
        )
        for units, by_level in results.items()
        for level, found in by_level.items()
    ]
    facts = {
        "results": results,
        "longer": pairs,
        "seconds": seconds,
        "starts": starts,
        "settings": asdict(size),
    }
    told = verdict(size, results, pairs, seconds, starts)
    return Outcome(columns, table, told, _draw(size, results, pairs, seconds), facts)


def _each(
    kept: Kept, measure: Callable[..., Any], visible: int, hidden: int, j: int, size: Size, count: int
) -> list[Any]:
    """Return what is measured on the first machines of one size at the level of index j."""
    level, key = size.levels[j], jax.random.fold_in(jax.random.key(visible), j)
    name = f"{visible}, {hidden}, {level:g}, " + ("longer " if measure is longer else "")
    keys = [jax.random.fold_in(key, i) for i in range(count)]
    return [
        kept.get(f"{name}{i}", lambda key=key: measure(visible, hidden, level, size, key))
        for i, key in enumerate(keys)
    ]


def _draw(
    size: Size, results: Mapping[str, Any], pairs: Mapping[str, Any], seconds: Mapping[str, Any]
) -> Any:
    figure = canvas(12.6, 7.8)
    above, below = figure.subplots(2, 3)
    for axes in above[len(results) :]:
        axes.set_axis_off()
    for axes, (units, by_level) in zip(above, results.items(), strict=False):
        x = np.array([float(level) for level in by_level])
        for i, name in enumerate(TESTS):
            rate = np.array([rejected(found, name) / len(found) for found in by_level.values()])
            ends = np.array([bounds(found, name) for found in by_level.values()]).T
            bars = np.abs(ends - rate)
            shift = (i - 1.5) * 0.01 * x.max()
            axes.errorbar(x + shift, rate, bars, color=f"C{i}", marker="o", ms=4, lw=1.2, label=name)
        axes.axhline(ALPHA, color="0.4", ls="--", lw=1)
        axes.set(title=f"{units} units", xlabel="perturbation σ", ylim=(-0.03, 1.03))
    above[0].set_ylabel(f"rejected at {ALPHA:g}")
    above[0].legend(fontsize=8, frameon=False)
    axes = below[0]
    for i, units in enumerate(results):
        for name, mark in (("normal", "s--"), ("bootstrap", "o-")):
            rates = np.mean([r["levels"][name] for r in results[units]["0"]], axis=0)
            axes.plot(ALPHAS, rates, mark, color=f"C{i}", ms=4, label=f"{units}: {name}")
    axes.plot(ALPHAS, ALPHAS, color="0.4", lw=1)
    axes.set(title=f"level of LSD, {TESTED} rows", xlabel="α", ylabel="true machines rejected")
    axes.legend(fontsize=8, frameon=False)
    axes = below[1]
    for i, (at, many) in enumerate(pairs.items()):
        units, level = at.rsplit(", ", 1)
        few = results[units][level][: len(many)]
        ends = [r["t"] for r in few], [r["t"] for r in many]
        axes.plot(*ends, "o", color=f"C{i}", ms=4, label=f"{units}, σ = {level}")
        axes.axline((0, 0), slope=1, color="0.4", lw=1)
    if pairs:
        for line in (axes.axhline, axes.axvline):
            line(scipy.stats.norm.isf(ALPHA), color="0.4", ls="--", lw=1)
        axes.set(title="the same rows, two trainings", xlabel=f"t, {size.steps:,} steps of the critic")
        axes.set_ylabel(f"t, {size.longer[0]:,} steps")
        axes.legend(fontsize=8, frameon=False)
    axes = below[2]
    for i, name in enumerate(TESTS):
        axes.plot(
            [int(n) for n in seconds], [s[name] for s in seconds.values()], "o-", color=f"C{i}", label=name
        )
    if seconds:
        axes.set(xscale="log", yscale="log", xlabel="rows", ylabel="seconds of a test")
        axes.set_title(f"{next(iter(results))} units")
    for axes, shown in zip(below[1:], (pairs, seconds), strict=True):
        if not shown:
            axes.set_axis_off()
    for axes in figure.axes:
        axes.grid(color="0.92")
    return figure
