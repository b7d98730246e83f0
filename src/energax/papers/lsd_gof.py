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

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import scipy.stats

from energax.checks import check
from energax.evaluation import (
    CriticTraining,
    TestResult,
    fssd_test,
    ksd_test,
    linear_ksd_test,
    lsd_test,
    stein_discrepancy,
)
from energax.evaluation.scores import sample_and_scores
from energax.papers.judge import difference, summary
from energax.papers.outcome import Outcome
from energax.papers.perturbed_machines import draws, energies, machine, perturbed
from energax.typing import Key

__all__ = ["Kept", "levels_of", "run"]

N = 1_000
TESTED = 100  # rows that LSD tests on
ALPHA = 0.05
ALPHAS = (0.01, 0.05, 0.1)
DRAWS = 500  # of the bootstrap on fresh rows
LEARNED = "LSD"
TESTS = (LEARNED, "KSD", "LKSD", "FSSD")
NORMAL = "LSD, normal null"
MACHINES = ((50, 40), (100, 80), (200, 100))


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    cases
        (Visible units, hidden units, replicates of each level).
    levels
        Of the perturbation.
    sweeps
        Of the chains that draw the rows.
    steps, check_every
        Of the critic's training, and between its looks at the validation rows.
    fresh
        Hundreds of rows on which the level of each null critic is measured.
    clocked
        Numbers of rows at which the tests are timed, on the first machine.
    paired
        (Visible units, level, machines) that are also tested by critics of a longer training.
    longer
        Its `steps` and `check_every`.
    width
        Hidden units of a layer of the critic.
    """

    cases: tuple[tuple[int, int, tuple[int, ...]], ...]
    levels: tuple[float, ...]
    sweeps: int
    steps: int
    check_every: int
    fresh: int
    clocked: tuple[int, ...]
    paired: tuple[tuple[int, float, int], ...] = ()
    longer: tuple[int, int] = (1_000, 100)
    width: int = 300


SIZES = {
    "smoke": Size(((8, 4, (2, 2)),), (0.0, 0.5), 50, 40, 20, 4, (), ((8, 0.5, 2),), (80, 20), width=50),
    "cpu": Size(
        tuple((d, m, (60, 20, 20)) for d, m in MACHINES),
        (0.0, 0.02, 0.06),
        200,
        200,
        10,
        30,
        (1_000, 4_000, 16_000),
        ((50, 0.02, 20),),
    ),
    "paper": Size(
        tuple((d, m, (200,) * 5) for d, m in MACHINES),
        (0.0, 0.01, 0.02, 0.04, 0.06),
        2_000,
        1_000,
        100,
        30,
        (1_000, 4_000, 16_000),
    ),
}


class Kept:
    """What is finished, in a file of a line each; a line cut short by a kill is left out and done again.

    Parameters
    ----------
    path
        The file; None to keep nothing.
    settings
        What the lines were measured with: a file of other settings is refused.
    """

    def __init__(self, path: Path | None, settings: Mapping[str, Any]):
        self.path = path
        self.found: dict[str, Any] = {}
        head = json.loads(json.dumps(settings))
        if self.path is None:
            return
        lines = self.path.read_text(encoding="utf-8").split("\n") if self.path.exists() else []
        whole = lines[:-1]  # what follows the last line's end was cut short
        if whole:
            same = json.loads(whole[0]) == head
            check(same, "lsd-gof", "--out", "a folder without replicates of other settings", str(self.path))
            self.found = dict(json.loads(line) for line in whole[1:])
        text = "".join(f"{line}\n" for line in whole or [json.dumps(head)])
        self.path.write_text(text, encoding="utf-8")

    def get(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return what is kept by that name, or measure and keep it."""
        if name not in self.found:
            self.found[name] = json.loads(json.dumps(measure()))
            if self.path is not None:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps([name, self.found[name]]) + "\n")
        return self.found[name]


def levels_of(h: np.ndarray, key: Key) -> dict[str, list[float]]:
    """Return, for each α, how often t of parts of h is too large for the normal law and for the bootstrap.

    Parameters
    ----------
    h
        Of mean zero, shape (parts, rows of a part).
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    n = h.shape[1]
    t = np.sqrt(n) * h.mean(1) / h.std(1, ddof=1)
    normal = scipy.stats.norm.sf(t)
    bootstrap = []
    for part, value in zip(h, t, strict=True):
        again = part[generator.integers(0, n, (DRAWS, n))]
        null = np.sqrt(n) * (again.mean(1) - part.mean()) / again.std(1, ddof=1)
        bootstrap.append((1 + np.sum(null >= value)) / (1 + DRAWS))
    each = {"normal": normal, "bootstrap": np.array(bootstrap)}
    return {name: [float(np.mean(p <= alpha)) for alpha in ALPHAS] for name, p in each.items()}


def tests_of(x: np.ndarray, s: np.ndarray, size: Size, key: Key) -> dict[str, Callable[[], TestResult]]:
    """Return the four tests of these rows and scores, yet to be run, by name."""
    keys = jax.random.split(key, len(TESTS))
    how = CriticTraining(width=size.width, steps=size.steps, check_every=size.check_every)
    learned = {"training": how, "split": (0.8, 0.1, 0.1), "progress": False}
    return {
        LEARNED: lambda: lsd_test(x, scores=s, key=keys[0], **learned),
        "KSD": lambda: ksd_test(x, scores=s, kernel="rbf", key=keys[1]),
        "LKSD": lambda: linear_ksd_test(x, scores=s, kernel="rbf", key=keys[2]),
        "FSSD": lambda: fssd_test(x, scores=s, key=keys[3]),
    }


@cache
def warm(visible: int, n: int, size: Size) -> None:
    """Run every test once at these shapes, so that no seconds measured afterwards are of a compiler."""
    x = np.asarray(jax.random.normal(jax.random.key(n), (n, visible)))
    for test in tests_of(x, -x, replace(size, steps=1), jax.random.key(0)).values():
        test()


def sample(
    visible: int, hidden: int, level: float, size: Size, key: Key, extra: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return N and some extra rows of a machine, and the scores there of the machine that is off by σ."""
    keys = jax.random.split(key, 3)
    truth = machine(keys[0], visible, hidden)
    rows = draws(truth, N + extra, size.sweeps, keys[1])
    return sample_and_scores("lsd-gof", rows, perturbed(truth, level, keys[2]), None)


def replicate(visible: int, hidden: int, level: float, size: Size, key: Key) -> dict[str, Any]:
    """Return the p-values and seconds of every test on one machine, and its critic's level if σ = 0."""
    warm(visible, N, size)
    keys = jax.random.split(key, 3)
    rows, s = sample(visible, hidden, level, size, keys[0], TESTED * size.fresh if level == 0 else 0)
    found: dict[str, Any] = {"p": {}, "seconds": {}}
    for name, test in tests_of(rows[:N], s[:N], size, keys[1]).items():
        start = time.perf_counter()
        result = test()
        found["seconds"][name] = time.perf_counter() - start
        found["p"][name] = result.p_value
        if name == LEARNED:
            found["p"][NORMAL] = float(scipy.stats.norm.sf(result.statistic))
            found |= {"t": result.statistic, "step": result.settings["step"]}
            if level == 0:
                critic = result.settings["critic"]
                h = stein_discrepancy(rows[N:], scores=s[N:], critic=critic).terms
                found["levels"] = levels_of(h.reshape(size.fresh, TESTED), keys[2])
    return found


def longer(visible: int, hidden: int, level: float, size: Size, key: Key) -> dict[str, Any]:
    """Return what the learned test says of a replicate's rows after the longer training."""
    steps, check_every = size.longer
    keys = jax.random.split(key, 3)
    rows, s = sample(visible, hidden, level, size, keys[0])
    result = tests_of(rows, s, replace(size, steps=steps, check_every=check_every), keys[1])[LEARNED]()
    return {"p": {LEARNED: result.p_value}, "t": result.statistic, "step": result.settings["step"]}


def clock(visible: int, hidden: int, n: int, size: Size) -> dict[str, float]:
    """Return the seconds of each test on n rows."""
    warm(visible, n, size)
    key = jax.random.key(n)
    truth = machine(key, visible, hidden)
    x, s = sample_and_scores("lsd-gof", draws(truth, n, 10, key), truth, None)
    seconds = {}
    for name, test in tests_of(x, s, size, key).items():
        start = time.perf_counter()
        test()
        seconds[name] = time.perf_counter() - start
    return seconds


def run(scale: str, progress: Callable[[str], None], path: Path | None = None) -> Outcome:
    """Test every machine at every level that the file does not hold yet."""
    size = SIZES[scale]
    # What decides a replicate; more of them, or other machines, may join those that are kept.
    settings = {k: v for k, v in asdict(size).items() if k not in ("cases", "clocked", "paired")}
    kept = Kept(path, settings)
    results: dict[str, Any] = {}
    pairs: dict[str, Any] = {}
    for visible, hidden, counts in size.cases:
        units = f"{visible}, {hidden}"
        for j, (level, count) in enumerate(zip(size.levels, counts, strict=True)):
            found = _each(kept, replicate, visible, hidden, j, size, count)
            results.setdefault(units, {})[f"{level:g}"] = found
            told = ", ".join(f"{name} {_rejected(found, name) / count:.2f}" for name in TESTS)
            progress(f"{units} units, σ = {level:g}: rejected {told}")
            again = sum(m for d, off, m in size.paired if (d, off) == (visible, level))
            if again:
                pairs[f"{units}, {level:g}"] = many = _each(kept, longer, visible, hidden, j, size, again)
                told = f"LSD {_rejected(many, LEARNED) / again:.2f} after {size.longer[0]:,} steps"
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
            *(_share(found, name) for name in (*TESTS, NORMAL)),
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
    verdict = _verdict(size, results, pairs, seconds, starts)
    return Outcome(columns, table, verdict, _draw(size, results, pairs, seconds), facts)


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


def _rejected(found: list[Any], name: str) -> int:
    return sum(r["p"][name] <= ALPHA for r in found)


def _interval(k: int, n: int) -> tuple[float, float]:
    """Return Clopper & Pearson's 95 % interval of a rate, of k in n."""
    low, high = scipy.stats.beta.ppf([0.025, 0.975], [max(k, 1e-9), k + 1], [n - k + 1, max(n - k, 1e-9)])
    return float(low if k else 0.0), float(high if k < n else 1.0)


def _ends(found: list[Any], name: str) -> tuple[float, float]:
    return _interval(_rejected(found, name), len(found))


def _share(found: list[Any], name: str) -> str:
    low, high = _ends(found, name)
    return f"{_rejected(found, name) / len(found):.2f} ({low:.2f}–{high:.2f})"


def lost(few: list[Any], many: list[Any], steps: tuple[int, int]) -> str:
    """Say what power the shorter of two trainings of `steps` loses, on the machines that had both.

    Of the machines that only one of them rejects, each has it one or the other way with equal chance if the
    trainings have one power: an exact test of signs (McNemar 1947). No more can be lost than what only the
    longer one rejects, whose share Clopper & Pearson bound.
    """
    n, few = len(many), few[: len(many)]
    short, long = (np.array([r["p"][LEARNED] <= ALPHA for r in found]) for found in (few, many))
    gained, missed = int(np.sum(long & ~short)), int(np.sum(short & ~long))
    signs: Any = scipy.stats.binomtest(gained, gained + missed) if gained + missed else None
    p = signs.pvalue if signs else 1.0
    t = difference([r["t"] for r in many], [r["t"] for r in few])
    kept = [np.median([r["step"] for r in found]) for found in (few, many)]
    a, b = (f"{count:,}" for count in steps)
    return (
        f"{a} steps of the critic reject {_share(few, LEARNED)}, {b} reject {_share(many, LEARNED)};"
        f" {gained} by {b} alone, {missed} by {a} alone: the power lost is {(gained - missed) / n:+.2f}"
        f" ({_clear(p <= ALPHA)}: p = {p:.2g} by the signs; at most {_interval(gained, n)[1]:.2f})."
        f" t is {t.mean:+.2f} ± {t.error:.2f} larger with {b} ({_clear(t.clear)}); the critics kept"
        f" are of step {kept[0]:g} and {kept[1]:g} (medians)"
    )


def _verdict(
    size: Size,
    results: Mapping[str, Any],
    pairs: Mapping[str, Any],
    seconds: Mapping[str, Any],
    starts: Mapping[str, Any],
) -> str:
    lines = []
    for units, by_level in results.items():
        null = by_level["0"]
        told = ", ".join(f"{name} {_share(null, name)}" for name in TESTS)
        off = [n for n in TESTS if not _ends(null, n)[0] <= ALPHA <= _ends(null, n)[1]]
        apart = f"not so: {', '.join(off)}" if off else "none is apart from it"
        lines.append(f"{units}: true machines are rejected at {ALPHA:g} by {told}: {apart}.")
        for level, found in by_level.items():
            if level != "0":
                order = sorted(TESTS, key=lambda n: -_rejected(found, n))
                told = ", ".join(f"{n} {_share(found, n)}" for n in order)
                lines.append(f"{units}: machines off by {level} are rejected by {told}.")
                if many := pairs.get(f"{units}, {level}"):
                    told = lost(found, many, (size.steps, size.longer[0]))
                    lines.append(f"{units}, {len(many)} machines off by {level}, twice: {told}.")
        levels = {
            name: np.array([r["levels"][name] for r in null]).T.tolist() for name in ("normal", "bootstrap")
        }
        told = "; ".join(
            f"{alpha:g}: normal {_level(levels['normal'][i])}, bootstrap {_level(levels['bootstrap'][i])}"
            for i, alpha in enumerate(ALPHAS)
        )
        gap = difference(levels["normal"][1], levels["bootstrap"][1])
        lines.append(
            f"{units}: level of the LSD test with {TESTED} rows, over {len(null)} critics × {size.fresh}"
            f" tests, at {told}. The normal null rejects {gap.mean:+.3f} ± {gap.error:.3f} more at {ALPHA:g}"
            f" ({_clear(gap.clear)})."
        )
        ones, random = (starts[units][k] for k in ("ones", "random"))
        z = (random["mean"] - ones["mean"]) / np.hypot(random["error"], ones["error"])
        lines.append(
            f"{units}: after {size.sweeps:,} sweeps chains from spins all +1 and from random spins lie"
            f" {random['mean'] - ones['mean']:+.3g} apart in mean energy ({z:+.0f} standard errors), near"
            f" {ones['patterns']} and {random['patterns']} patterns of spins:"
            f" {'the start is not forgotten' if abs(z) > 5 else 'by this they cannot be told apart'}."
        )
    if seconds:
        told = "; ".join(
            f"{int(n):,} rows: " + ", ".join(f"{name} {v:.2g}" for name, v in s.items())
            for n, s in seconds.items()
        )
        lines.append(
            f"Seconds of a test at {next(iter(results))} units, {size.steps} steps of LSD's critic: {told}."
        )
    return "\n".join(f"- {line}" for line in lines)


def _clear(yes: bool) -> str:
    return "clear" if yes else "not clear"


def _level(values: list[float]) -> str:
    mean, error = summary(values)
    return f"{mean:.3f} ± {error:.3f}"


def _draw(
    size: Size, results: Mapping[str, Any], pairs: Mapping[str, Any], seconds: Mapping[str, Any]
) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.6, 7.8), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 3)
    for axes in above[len(results) :]:
        axes.set_axis_off()
    for axes, (units, by_level) in zip(above, results.items(), strict=False):
        x = np.array([float(level) for level in by_level])
        for i, name in enumerate(TESTS):
            rate = np.array([_rejected(found, name) / len(found) for found in by_level.values()])
            ends = np.array([_ends(found, name) for found in by_level.values()]).T
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
