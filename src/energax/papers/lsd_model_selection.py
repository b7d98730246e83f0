r"""Which critic is kept: three rules on validation rows, where the truth is known.

Grathwohl et al. (2020), appendix A and figure 10: rows of N(0, I) in ten dimensions, the model N(δ1, I) with
δ = 1, a hundred rows to learn from. There Δ = s − s_p = δ1 everywhere and the discrepancy, with λ = ½, is
E‖Δ‖² = 10δ². A flexible critic overfits: on its own rows h grows past all bounds, and on validation rows
its standard deviation does. The critic kept is that of the largest

    mean          mean h                     whose error grows with the critic
    mean − sd     mean h − sd h              the paper's
    objective     mean h − λ mean ‖f‖²       what the critic ascends on

over the looks at the validation rows. The paper shows δ = 1. But along the multiples c f* of the best critic
h has mean c‖δ1‖² and standard deviation c‖δ1‖, so that mean − sd = c(‖δ1‖² − ‖δ1‖) falls in c wherever
‖δ1‖ < 1: then it prefers no critic to the best one, however many rows there are. So smaller δ and more
rows are tried, too, each rule choosing from the same paths (`critic_path`), and is judged by what its choice
is worth in truth: the share of the largest objective E‖Δ‖²/4λ that it reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import Critic
from energax.papers.critic_path import RULES, Known, Path, Sample, chosen, follow, taken
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, pm, summary
from energax.typing import Key

__all__ = ["run"]

D = 10
PENALTY = 0.5
VALIDATION = 100  # rows, whatever the critic learns from
FRESH = 2_000
BATCH = 100
BEST, THEIRS, OURS = "best look", "mean − sd", "objective"


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    cases
        (Rows that the critic learns from, δ).
    seeds
        Samples, each with a critic, of each case.
    width
        Hidden units of a layer.
    every, looks
        Steps between two looks, and how many there are.
    rate
        Adam's.
    """

    cases: tuple[tuple[int, float], ...]
    seeds: int
    width: int
    every: int
    looks: int
    rate: float = 1e-3


SHIFTS = (1.0, 0.5, 0.25, 0.1)
SIZES = {
    "smoke": Size(((300, 1.0), (300, 0.2)), seeds=4, width=50, every=10, looks=15, rate=3e-3),
    "cpu": Size(tuple((n, s) for n in (100, 1_000) for s in SHIFTS), 16, width=100, every=10, looks=40),
    "paper": Size(
        tuple((n, s) for n in (100, 1_000, 10_000) for s in SHIFTS), 50, width=300, every=10, looks=100
    ),
}


def theory(shift: float) -> float:
    """Return E‖Δ‖²/2λ."""
    return D * shift**2 / (2 * PENALTY)


def paths(rows: int, shift: float, size: Size, key: Key) -> Path:
    """Return the paths of all seeds of a case."""

    def one(key):
        keys = jax.random.split(key, 5)
        train, validation, x = (
            jax.random.normal(k, (n, D)) for k, n in zip(keys, (rows, VALIDATION, FRESH), strict=False)
        )
        return follow(
            Critic((D,), width=size.width, key=keys[3]),
            Sample(train, shift - train),
            Sample(validation, shift - validation),
            Known(x, jnp.full_like(x, shift)),
            penalty=jnp.asarray(PENALTY),
            rate=jnp.asarray(size.rate),
            batch=BATCH if rows > BATCH else None,
            every=size.every,
            looks=size.looks,
            key=keys[4],
        )

    return jax.device_get(eqx.filter_jit(jax.vmap(one))(jax.random.split(key, size.seeds)))


def judged(path: Path, shift: float) -> dict[str, dict[str, list[float]]]:
    """Return, for each rule and the best look of all, what its choices are worth in truth."""
    worth = (path.value - PENALTY * path.size) / (theory(shift) / 2)
    picks = {rule: chosen(path, rule, PENALTY) for rule in RULES}
    picks[BEST] = np.argmax(worth, axis=-1)
    found = {}
    for rule, pick in picks.items():
        at = {
            "step": path.step,
            "share": worth,
            "discrepancy": path.value / theory(shift),
            "cosine": path.cosine,
            "estimate": path.validation_mean,
        }
        seen = {name: taken(a, pick).tolist() for name, a in at.items()}
        found[rule] = {**seen, "untrained": [float(p == 0) for p in pick]}
    return found


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Follow critics in every case, and let each rule choose."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for i, (rows, shift) in enumerate(size.cases):
        path = paths(rows, shift, size, jax.random.fold_in(jax.random.key(0), i))
        found = judged(path, shift)
        record = {"rows": rows, "shift": shift, "theory": theory(shift), "rules": found}
        results[f"{rows:,} rows, δ = {shift:g}"] = {**record, "path": path._asdict()}
        told = ", ".join(f"{rule} {np.mean(f['share']):.2f}" for rule, f in found.items())
        progress(f"{rows:,} rows, δ = {shift:g}: share of the best objective by {told}")
    columns = ("learns from", "δ", "E‖Δ‖²", "rule", "step (median)", "untrained", "discrepancy, in truth",
               "cosine with f*", "share of the best objective")  # fmt: skip
    table = [
        (
            f"{r['rows']:,}",
            r["shift"],
            r["theory"],
            rule,
            f"{np.median(f['step']):g}",
            f"{sum(f['untrained']):g} of {size.seeds}",
            pm(np.array(f["discrepancy"]) * r["theory"], ".3g", ".2g"),
            pm(f["cosine"], ".3g", ".2g"),
            pm(f["share"], ".3g", ".2g"),
        )
        for r in results.values()
        for rule, f in r["rules"].items()
    ]
    facts = {"results": results, "settings": vars(size)}
    return Outcome(columns, table, _verdict(size, results), _draw(results), facts)


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    first, r = next(iter(results.items()))
    path, rules = r["path"], r["rules"]
    end, start = path["train_mean"][:, -1], rules[THEIRS]
    spread = path["validation_sd"]
    picks = np.searchsorted(path["step"][0], start["step"])
    at = spread[np.arange(len(spread)), picks]
    lines = [
        f"{first}, the paper's case: at the end mean h is {np.mean(end):.3g} on the rows learned from,"
        f" {np.mean(end) / r['theory']:.3g} times the discrepancy; sd h on validation rows is"
        f" {np.mean(spread[:, -1] / at):.3g} times what it is at the choice of {THEIRS}, step"
        f" {np.median(start['step']):g}, which is worth {np.mean(start['discrepancy']) * r['theory']:.3g}"
        f" of {r['theory']:.3g}."
    ]
    for name, r in results.items():
        found = r["rules"]
        share = {rule: summary(found[rule]["share"])[0] for rule in (*RULES, BEST)}
        gap = difference(found[OURS]["share"], found[THEIRS]["share"])
        better = "not clear" if not gap.clear else f"clear, for {OURS if gap.mean > 0 else THEIRS}"
        alone = int(sum(found[THEIRS]["untrained"]))
        lines.append(
            f"{name} (‖Δ‖ = {np.sqrt(r['theory']):.2g}): share of the best objective by mean"
            f" {share['mean']:.3g}, {THEIRS} {share[THEIRS]:.3g}, {OURS} {share[OURS]:.3g}, of at most"
            f" {share[BEST]:.3g} on the path; {OURS} less {THEIRS} {gap.mean:+.2f} ± {gap.error:.2f}"
            f" ({better}); {THEIRS} keeps the untrained critic in {alone} of {size.seeds}."
        )
    small = [r for r in results.values() if r["theory"] < 1]
    worst = {rule: min(summary(r["rules"][rule]["share"])[0] for r in results.values()) for rule in RULES}
    told = ", ".join(f"{rule} {v:.3g}" for rule, v in worst.items())
    if small:
        parts = {
            rule: [float(np.mean(r["rules"][rule]["discrepancy"])) for r in small] for rule in (THEIRS, OURS)
        }
        theirs, ours = (f"{min(part):.0%} to {max(part):.0%}" for part in parts.values())
        lines.append(
            f"Where ‖Δ‖ < 1, the critics that {THEIRS} keeps find {theirs} of the discrepancy, those of"
            f" {OURS} {ours}."
        )
    best = max(worst, key=lambda rule: worst[rule])
    lines.append(f"The worst case of each rule: {told}; the best worst case is {best}'s.")
    return bulleted(lines)


def _draw(results: Mapping[str, Any]) -> Any:
    figure = canvas(13, 4.4)
    left, middle, right = figure.subplots(1, 3)
    name, r = next(iter(results.items()))
    path = r["path"]
    step = path["step"][0]
    for part, color in (("train", "C0"), ("validation", "C1")):
        mean, sd = path[f"{part}_mean"].mean(0), path[f"{part}_sd"].mean(0)
        left.plot(step, mean, color=color, label=f"mean h, {part}")
        middle.plot(step, sd, color=color, label=f"sd h, {part}")
    left.plot(step, path["value"].mean(0), color="C2", label="in truth")
    left.axhline(r["theory"], color="0.4", ls="--", lw=1, label="E‖Δ‖²")
    for i, rule in enumerate(RULES):
        left.axvline(np.median(r["rules"][rule]["step"]), color=f"C{3 + i}", lw=1, ls=":", label=f"{rule}")
    left.set_yscale("symlog", linthresh=1.0)
    middle.set_yscale("log")
    left.set(title=name, ylabel="mean h (dotted: median choices)")
    middle.set(title=name, ylabel="sd h")
    counts = sorted({r["rows"] for r in results.values()})
    for rows, dash in zip(counts, ("-", "--", ":"), strict=False):
        at = [r for r in results.values() if r["rows"] == rows]
        for i, rule in enumerate((*RULES, BEST)):
            shares = [summary(r["rules"][rule]["share"]) for r in at]
            xs = [np.sqrt(r["theory"]) for r in at]
            label = f"{rule}, {rows:,} rows"
            mean, error = (np.array(v) for v in zip(*shares, strict=True))
            right.errorbar(xs, mean, 2 * error, color=f"C{3 + i}", ls=dash, marker="o", ms=3, label=label)
    right.axvline(1, color="0.7", lw=1)
    ticks = sorted({float(np.sqrt(r["theory"])) for r in results.values()})
    right.set_xscale("log")
    right.set_xticks(ticks, [f"{t:.2g}" for t in ticks])
    right.minorticks_off()
    right.set(xlabel="‖Δ‖", ylabel="share of the best objective", ylim=(-1.05, 1.05))
    for axes in (left, middle):
        axes.set_xlabel("steps of the critic")
    for axes in (left, middle, right):
        axes.grid(color="0.92")
        axes.legend(fontsize=7, frameon=False)
    return figure
