r"""How far a perturbed machine is, by a learned discrepancy and by kernels, against the theory.

Grathwohl et al. (2020), §7.2 and figure 6: n = 1,000 rows of a Gaussian–Bernoulli machine, and models whose
weights are off by more and more (`perturbed_machines`). With λ = ½ the learned discrepancy is at most

    E‖s − s_p‖²,        about d m σ²/4 for d visible and m hidden units,

here a mean over fresh rows (`OptimalCritic`). It is trained on 800 rows, chosen on 100 by its objective and
estimated on 100. Against it stand the squared kernel discrepancies on the other 800 rows, 200 having chosen:
KSD by its U-statistic and LKSD by 400 pairs, RBF with the bandwidth of largest discrepancy (B.2), and FSSD,
whose locations and bandwidth are optimised for power. Errors are σ/√n of what each is a mean of; of a
U-statistic (KSD, FSSD), twice that of its row means.

Chains that start from one pattern of spins stay near few, and there s − s_p is nearly constant: a difference
that the mean of the scores shows, and a kernel so wide that it is constant. So chains from random patterns,
of which there are then as many as rows, are tried, too.

The scales of these numbers have nothing in common. What counts is whether a discrepancy rises, and how many
standard errors lie between a perturbed machine and the machine itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import GaussianBernoulliRBM
from energax.evaluation import (
    CriticTraining,
    OptimalCritic,
    finite_set_stein_discrepancy,
    kernel_stein_discrepancy,
    learned_stein_discrepancy,
    linear_kernel_stein_discrepancy,
)
from energax.evaluation.scores import sample_and_scores
from energax.papers.outcome import Outcome, bulleted
from energax.papers.perturbed_machines import draws, machine, perturbed
from energax.papers.pictures import canvas
from energax.papers.repeats import summary
from energax.typing import Array, Key

__all__ = ["run"]

N = 1_000
SPLIT = (0.8, 0.1, 0.1)
LEARNED, KERNEL, LINEAR, FINITE = "LSD", "KSD", "LKSD", "FSSD"
METHODS = (LEARNED, KERNEL, LINEAR, FINITE)
APART = 3.0  # standard errors from which a machine counts as told from the true one


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    machines
        (Visible units, hidden units, the start of the chains: "ones" or "random").
    levels
        Of the perturbation; the first is 0.
    replicates
        Machines of each size, each with rows of its own.
    sweeps
        Of the chains that draw the rows.
    training
        Of the critics.
    """

    machines: tuple[tuple[int, int, str], ...]
    levels: tuple[float, ...]
    replicates: int
    sweeps: int
    training: CriticTraining


ONES, RANDOM = "ones", "random"
LEVELS = (0.0, 0.01, 0.02, 0.04, 0.06)
THREE = ((50, 40), (100, 80), (200, 100))
SIZES = {
    "smoke": Size(((10, 6, ONES),), (0.0, 0.2), 2, 100, CriticTraining(width=50, steps=100, check_every=20)),
    "cpu": Size(
        (*((d, m, ONES) for d, m in THREE), (100, 80, RANDOM)),
        LEVELS,
        3,
        200,
        CriticTraining(steps=150, check_every=10),
    ),
    "paper": Size(
        tuple((d, m, spins) for d, m in THREE for spins in (ONES, RANDOM)),
        LEVELS,
        20,
        2_000,
        CriticTraining(),
    ),
}


@eqx.filter_jit
def _bound(model: GaussianBernoulliRBM, truth: GaussianBernoulliRBM, x: Array) -> Array:
    """Return the mean of ‖s − s_p‖²."""
    return jnp.mean(jnp.sum(jax.vmap(OptimalCritic(model, truth))(x) ** 2, axis=1))


def measured(truth: GaussianBernoulliRBM, model: GaussianBernoulliRBM, x: np.ndarray, fresh: np.ndarray,
             size: Size, key: Key) -> dict[str, Any]:  # fmt: skip
    """Return the bound, each method's value and error, and what the paper's rule would choose."""
    learn_key, pair_key, place_key = jax.random.split(key, 3)
    _, s = sample_and_scores("measured", x, model, None)
    how = {"training": size.training, "split": SPLIT, "key": learn_key, "progress": False}
    learned = learned_stein_discrepancy(x, scores=s, **how)
    curve: Any = learned.settings["curve"]
    theirs = int(np.argmax(curve["validation_mean"] - curve["validation_sd"]))
    pairs = {"scores": s, "kernel": "rbf", "bandwidth": "discrepancy", "key": pair_key}
    found = {
        LEARNED: learned,
        KERNEL: kernel_stein_discrepancy(x, **pairs),
        LINEAR: linear_kernel_stein_discrepancy(x, **pairs),
        FINITE: finite_set_stein_discrepancy(x, scores=s, key=place_key),
    }
    return {
        "bound": float(_bound(model, truth, jnp.asarray(fresh))),
        "found": {method: (d.estimate, d.standard_error) for method, d in found.items()},
        "few decide": [method for method, d in found.items() if d.status.startswith("few")],
        "step": learned.settings["step"],
        "step by mean − sd": float(curve["step"][theirs]),
    }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Measure every machine at every level."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for visible, hidden, spins in size.machines:
        levels: dict[str, list[Any]] = {f"{level:g}": [] for level in size.levels}
        for replicate in range(size.replicates):
            key = jax.random.fold_in(jax.random.key(visible), replicate)
            keys = jax.random.split(key, 4)
            truth = machine(keys[0], visible, hidden)
            rows = draws(truth, 2 * N, size.sweeps, keys[1], spins=spins)
            for level in size.levels:
                model = perturbed(truth, level, keys[2])
                levels[f"{level:g}"].append(measured(truth, model, rows[:N], rows[N:], size, keys[3]))
        results[f"{visible}, {hidden}" + ("" if spins == ONES else ", random start")] = levels
        told = ", ".join(
            f"{level}: {_mean(r, LEARNED):.3g} of {_bounds(r):.3g}" for level, r in levels.items()
        )
        progress(f"{visible} visible, {hidden} hidden units, start {spins}: LSD {told}")
    columns = ("units", "σ", "E‖s − s_p‖²", *METHODS, *(f"{m}, errors from σ = 0" for m in METHODS))
    table = [
        (
            units,
            level,
            _bounds(r),
            *(f"{_mean(r, m):.3g} ± {np.mean([a['found'][m][1] for a in r]):.2g}" for m in METHODS),
            *("–" if level == "0" else f"{np.mean(_apart(levels, level, m)):.1f}" for m in METHODS),
        )
        for units, levels in results.items()
        for level, r in levels.items()
    ]
    facts = {"results": results, "sweeps": size.sweeps, "steps": size.training.steps}
    return Outcome(columns, table, _verdict(size, results), _draw(results), facts)


def _mean(found: list[Any], method: str) -> float:
    return float(np.mean([a["found"][method][0] for a in found]))


def _bounds(found: list[Any]) -> float:
    return float(np.mean([a["bound"] for a in found]))


def _apart(levels: Mapping[str, list[Any]], level: str, method: str) -> list[float]:
    """Return how many standard errors lie between each machine perturbed and itself."""
    pairs = [
        (a["found"][method], b["found"][method]) for a, b in zip(levels[level], levels["0"], strict=True)
    ]
    return [(v - w) / float(np.hypot(e, d)) for (v, e), (w, d) in pairs]


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    lines = []
    for units, levels in results.items():
        names = [level for level in levels if level != "0"]
        parts = ", ".join(f"{_mean(levels[n], LEARNED) / _bounds(levels[n]):.2f} at {n}" for n in names)
        null = [a["found"][LEARNED] for a in levels["0"]]
        z = summary([v / e for v, e in null])[0]
        lines.append(f"{units}: LSD finds a share of the theoretical discrepancy of {parts}; at 0 it lies"
                     f" {z:+.1f} standard errors from 0 (mean of {len(null)}).")  # fmt: skip
        told = []
        for method in METHODS:
            values = np.array([[a["found"][method][0] for a in levels[n]] for n in levels])
            rising = int(np.sum(np.all(np.diff(values, axis=0) > 0, axis=0)))
            first = next((n for n in names if min(_apart(levels, n, method)) > APART), None)
            when = f"tells every machine from itself by {APART:g} errors from σ = {first}" if first else (
                f"at no σ tells every machine from itself by {APART:g} errors")  # fmt: skip
            told.append(f"{method} rises throughout in {rising} of {size.replicates} machines and {when}")
        lines.append(f"{units}: " + "; ".join(told) + ".")
        top = names[-1]
        order = sorted(METHODS, key=lambda m: -float(np.mean(_apart(levels, top, m))))
        ranks = ", ".join(f"{m} {np.mean(_apart(levels, top, m)):.1f}" for m in order)
        lines.append(f"{units}: standard errors between σ = {top} and 0: {ranks}.")
    judged = [a for levels in results.values() for r in levels.values() for a in r]
    doubted = [f"{m} {sum(m in a['few decide'] for a in judged)}" for m in METHODS[1:]]
    lines.append(f"Of {len(judged)} estimates few rows, or pairs of rows, decide, as their status says, in:"
                 f" {', '.join(doubted)}.")  # fmt: skip
    every = [a for levels in results.values() for n, r in levels.items() if n != "0" for a in r]
    for where, some in (
        ("below 1", [a for a in every if a["bound"] < 1]),
        ("of 1 or more", [a for a in every if a["bound"] >= 1]),
    ):
        if some:
            theirs = [a["step by mean − sd"] for a in some]
            lines.append(
                f"Where the theoretical discrepancy is {where} ({len(some)} models) the paper's rule,"
                f" mean − sd, would stop at step {np.median(theirs):g} (median), with the untrained critic in"
                f" {theirs.count(0.0)}; the objective stops at {np.median([a['step'] for a in some]):g}."
            )
    return bulleted(lines)


def _draw(results: Mapping[str, Any]) -> Any:
    figure = canvas(4.6 * max(len(results), 2), 7.5)
    panels = np.asarray(figure.subplots(2, len(results), squeeze=False))
    for (top, bottom), (units, levels) in zip(panels.T, results.items(), strict=True):
        x = [float(level) for level in levels]
        top.plot(x, [_bounds(r) for r in levels.values()], color="0.4", ls="--", label="E‖s − s_p‖²")
        values = [_mean(r, LEARNED) for r in levels.values()]
        errors = [2 * np.mean([a["found"][LEARNED][1] for a in r]) for r in levels.values()]
        top.errorbar(x, values, errors, color="C0", marker="o", ms=4, label="LSD, two errors of one test")
        for i, method in enumerate(METHODS):
            apart = [0.0 if n == "0" else float(np.mean(_apart(levels, n, method))) for n in levels]
            bottom.plot(x, apart, color=f"C{i}", marker="o", ms=4, label=method)
        bottom.axhline(APART, color="0.7", lw=1)
        top.set(title=f"units: {units}")
        bottom.set(xlabel="perturbation σ")
        for axes in (top, bottom):
            axes.grid(color="0.92")
    panels[0, 0].set_ylabel("discrepancy")
    panels[1, 0].set_ylabel("standard errors from σ = 0")
    panels[0, 0].legend(fontsize=8, frameon=False)
    panels[1, 0].legend(fontsize=8, frameon=False)
    return figure
