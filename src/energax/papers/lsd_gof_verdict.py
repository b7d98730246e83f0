"""What the study of tests of fit says of its machines: rates of rejection, their intervals, the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.stats

from energax.papers.lsd_gof_tests import ALPHAS, LEARNED, TESTED, TESTS, Size
from energax.papers.outcome import bulleted
from energax.papers.repeats import difference, pm, word

__all__ = ["ALPHA", "bounds", "lost", "rejected", "share", "verdict"]

ALPHA = 0.05


def rejected(found: list[Any], name: str) -> int:
    """Return how many machines a test rejects."""
    return sum(r["p"][name] <= ALPHA for r in found)


def _interval(k: int, n: int) -> tuple[float, float]:
    """Return Clopper & Pearson's 95 % interval of a rate, of k in n."""
    low, high = scipy.stats.beta.ppf([0.025, 0.975], [max(k, 1e-9), k + 1], [n - k + 1, max(n - k, 1e-9)])
    return float(low if k else 0.0), float(high if k < n else 1.0)


def bounds(found: list[Any], name: str) -> tuple[float, float]:
    """Return the interval of a test's rate of rejection."""
    return _interval(rejected(found, name), len(found))


def share(found: list[Any], name: str) -> str:
    """Return a test's rate of rejection, and its interval, as text."""
    low, high = bounds(found, name)
    return f"{rejected(found, name) / len(found):.2f} ({low:.2f}–{high:.2f})"


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
        f"{a} steps of the critic reject {share(few, LEARNED)}, {b} reject {share(many, LEARNED)};"
        f" {gained} by {b} alone, {missed} by {a} alone: the power lost is {(gained - missed) / n:+.2f}"
        f" ({word(p <= ALPHA)}: p = {p:.2g} by the signs; at most {_interval(gained, n)[1]:.2f})."
        f" t is {t.mean:+.2f} ± {t.error:.2f} larger with {b} ({t.word}); the critics kept"
        f" are of step {kept[0]:g} and {kept[1]:g} (medians)"
    )


def verdict(
    size: Size,
    results: Mapping[str, Any],
    pairs: Mapping[str, Any],
    seconds: Mapping[str, Any],
    starts: Mapping[str, Any],
) -> str:
    """Return the verdict.

    Parameters
    ----------
    size
        Of the study.
    results, pairs
        What was found on each machine, by units and level; and after the longer training.
    seconds, starts
        Of each test by rows, and how far chains from two starts are apart, by units.
    """
    lines = []
    for units, by_level in results.items():
        null = by_level["0"]
        told = ", ".join(f"{name} {share(null, name)}" for name in TESTS)
        off = [n for n in TESTS if not bounds(null, n)[0] <= ALPHA <= bounds(null, n)[1]]
        apart = f"not so: {', '.join(off)}" if off else "none is apart from it"
        lines.append(f"{units}: true machines are rejected at {ALPHA:g} by {told}: {apart}.")
        for level, found in by_level.items():
            if level != "0":
                order = sorted(TESTS, key=lambda n: -rejected(found, n))
                told = ", ".join(f"{n} {share(found, n)}" for n in order)
                lines.append(f"{units}: machines off by {level} are rejected by {told}.")
                if many := pairs.get(f"{units}, {level}"):
                    told = lost(found, many, (size.steps, size.longer[0]))
                    lines.append(f"{units}, {len(many)} machines off by {level}, twice: {told}.")
        levels = {
            name: np.array([r["levels"][name] for r in null]).T.tolist() for name in ("normal", "bootstrap")
        }
        told = "; ".join(
            f"{alpha:g}: normal {pm(levels['normal'][i])}, bootstrap {pm(levels['bootstrap'][i])}"
            for i, alpha in enumerate(ALPHAS)
        )
        gap = difference(levels["normal"][1], levels["bootstrap"][1])
        lines.append(
            f"{units}: level of the LSD test with {TESTED} rows, over {len(null)} critics × {size.fresh}"
            f" tests, at {told}. The normal null rejects {gap.mean:+.3f} ± {gap.error:.3f} more at {ALPHA:g}"
            f" ({gap.word})."
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
    return bulleted(lines)
