r"""Bars and stripes on 4 × 4 pixels: exact likelihood after contrastive divergence, biased and unbiased.

A pattern has whole rows on, or whole columns: 16 + 16 patterns, blank and full among both, so that
counted with their multiplicity the 32 rows have entropy

    28/32 log 32 + 4/32 log 16 = 3.379 nats:    no model's mean log p(x) exceeds −3.379.

A machine of 16 visible and up to 16 hidden units is small enough for exact log p(x) and for its exact
gradient, and its chains mix badly once it has learned, which is where the members of the family part:

    CD-1, CD-10          chains from the data: biased
    PCD-1                chains that go on: no bias at rest, but they must keep up
    unbiased CD          pairs of chains summed until they meet, nothing cut off (Qiu, Zhang & Wang 2020)
    exact                the enumerated gradient

All take full batches, as many chains as rows, and the same number of plain steps of a rate that falls
linearly to zero, from N(0, 0.1²) weights. Each has the best rate of a grid, by what the first seed reaches.
The grid of unbiased CD lacks the largest: with such noise weights grow until its pairs do not meet again.
Bias and noise of the gradients themselves are measured at one machine, that of the exact gradient after a
fifth of its updates: with g the exact gradient and G one update's estimate,

    bias = ‖E[G] − g‖/‖g‖  (corrected for the noise of the mean),        noise = √(tr Cov G)/‖g‖,

for unbiased CD also when the sum begins after k = 10 sweeps. How large a rate the exact gradient bears is 2/λ
of the machine it ends with (`papers.descent`).

The setting is the demonstration of Qiu, Zhang & Wang (2020), with their 16 hidden units, 1,000 chains and
10,000 updates at scale "paper"; their code cuts chains off after 100 sweeps, this does not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.energies import BernoulliRBM
from energax.objectives import (
    Batch,
    ContrastiveDivergence,
    ExactMaximumLikelihood,
    Objective,
    PersistentContrastiveDivergence,
    UnbiasedContrastiveDivergence,
)
from energax.papers.descent import at_best_rate, curvature, descend, log_likelihood
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, show_sheet
from energax.papers.repeats import difference, pm, summary
from energax.samplers import BlockGibbs

__all__ = ["patterns", "run"]

SIDE = 4
SCALE = 0.1  # of the initial weights
EXACT, PERSISTENT, UNBIASED = "exact", "PCD-1", "unbiased CD"
LATER = f"{UNBIASED}, k = 10"  # whose gradient alone is looked at
ALL = ("CD-1", "CD-10", PERSISTENT, UNBIASED, LATER, EXACT)
POINTS = 20  # of a curve
SIGNIFICANT = 5.0  # standard errors from which on a bias is one


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    hidden
        Units of the hidden layer.
    copies
        Of the patterns in a batch.
    rates
        The grid, ascending; unbiased CD does without the last.
    steps, seeds
        Updates of a training, and trainings of each method.
    draws
        Gradients of which bias and noise are taken.
    names
        Of the methods looked at.
    """

    hidden: int
    copies: int
    rates: tuple[float, ...]
    steps: int
    seeds: int
    draws: int
    names: tuple[str, ...] = ALL


SIZES = {
    "smoke": Size(8, 1, rates=(0.3, 1.0), steps=60, seeds=2, draws=40, names=(UNBIASED, EXACT)),
    "cpu": Size(hidden=12, copies=1, rates=(0.1, 0.3, 1.0), steps=1_500, seeds=3, draws=400),
    "paper": Size(hidden=16, copies=31, rates=(0.03, 0.1, 0.3, 1.0), steps=10_000, seeds=5, draws=400),
}


def patterns(side: int = SIDE) -> np.ndarray:
    """Return the 2 · 2^side patterns, flat: blank and full twice."""
    lines = (np.arange(2**side)[:, None] >> np.arange(side) & 1).astype(np.float32)
    columns = np.broadcast_to(lines[:, None, :], (len(lines), side, side))
    return np.concatenate([columns, columns.transpose(0, 2, 1)]).reshape(-1, side**2)


def bound(x: np.ndarray) -> float:
    """Return the largest mean log p(x) there is: minus the entropy of the rows."""
    _, counts = np.unique(x, axis=0, return_counts=True)
    share = counts / len(x)
    return float(np.sum(share * np.log(share)))


def methods(chains: int) -> dict[str, Objective]:
    """Return the members of the family, by name."""
    gibbs = BlockGibbs()
    return {
        "CD-1": ContrastiveDivergence(gibbs, 1),
        "CD-10": ContrastiveDivergence(gibbs, 10),
        PERSISTENT: PersistentContrastiveDivergence(gibbs, 1, chains=chains),
        UNBIASED: UnbiasedContrastiveDivergence(),
        LATER: UnbiasedContrastiveDivergence(10),
        EXACT: ExactMaximumLikelihood(),
    }


@dataclass(frozen=True)
class Training:
    """What one training ended with: (updates, log p) and (mean, longest) meeting times along it."""

    model: BernoulliRBM
    early: BernoulliRBM
    curve: list[list[float]]
    meetings: list[list[float]]

    @property
    def log_p(self) -> float:
        """Mean log p(x) at the end."""
        return self.curve[-1][1]


def trained(size: Size, objective: Objective, x: np.ndarray, rate: float, seed: int) -> Training:
    """Descend on one objective with one rate."""
    model_key, key = jax.random.split(jax.random.key(seed))
    model = early = BernoulliRBM((SIDE**2,), size.hidden, scale=SCALE, key=model_key)
    curve, meetings = [], []
    every = size.steps // POINTS
    pace = {"rate": rate, "falling": True, "batch": len(x), "steps": size.steps, "every": every}
    for done, reached, metrics in descend(model, objective, x, key=key, **pace):
        model = reached
        curve.append([done, float(log_likelihood(model, jnp.asarray(x))[0])])
        meetings.append([metrics.get(n, np.nan) for n in ("meeting_time", "longest_meeting_time")])
        early = model if done <= size.steps // 5 else early
    return Training(model, early, curve, meetings)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train by every method, and measure the bias and noise of its gradient."""
    size = SIZES[scale]
    x = np.tile(patterns(), (size.copies, 1))
    results: dict[str, dict[str, Any]] = {}
    models: dict[str, Training] = {}
    chosen = {name: objective for name, objective in methods(len(x)).items() if name in size.names}
    for name, objective in chosen.items():
        if name == LATER:
            continue
        rates = size.rates[:-1] if name == UNBIASED else size.rates
        train = functools.partial(trained, size, objective, x)
        rate, found, values = at_best_rate(rates, size.seeds, train, lambda t: t.log_p)
        models[name] = found[0]
        results[name] = {
            "log p": [t.log_p for t in found],
            "rate": rate,
            "log p at each rate": {f"{r:g}": v for r, v in values.items()},
            "curves": [t.curve for t in found],
            "meetings": [t.meetings for t in found],
            "draws": np.asarray(found[0].model.sample(jax.random.key(1), 32)).tolist(),
        }
        met = f", met after {_meeting(results[name])} sweeps" if name == UNBIASED else ""
        progress(f"{name}: {pm(results[name]['log p'])} nats at rate {rate:g}{met}")
    errors = {}
    for name, objective in chosen.items():
        if name not in (EXACT, PERSISTENT):
            errors[name] = gradient_error(models[EXACT].early, objective, x, size.draws)
            e = errors[name]
            progress(f"{name}: bias {e['bias']:.3f} ± {e['bias error']:.3f}, noise {e['noise']:.2f}")
    best = bound(patterns())
    columns = ("method", "rate", "log p", "below the bound", "bias", "noise of an update", "meeting time")
    rows = []
    for name, r in results.items():
        biased, noisy = ("0", "0") if name == EXACT else ("–", "–")
        if name in errors:
            biased = f"{errors[name]['bias']:.3f} ± {errors[name]['bias error']:.3f}"
            noisy = f"{errors[name]['noise']:.2f}"
        met = _meeting(r) if name == UNBIASED else "–"
        rows.append((name, r["rate"], pm(r["log p"]), best - summary(r["log p"])[0], biased, noisy, met))
    sharp = float(curvature(models[EXACT].model, jnp.asarray(x)))
    facts = {"bound": best, "results": results, "errors": errors, "chains": len(x), "curvature": sharp}
    verdict = _verdict(size, results, errors, best, sharp)
    return Outcome(columns, rows, verdict, _draw(results, best), facts)


def gradient_error(model: BernoulliRBM, objective: Objective, x: np.ndarray, draws: int) -> dict[str, float]:
    """Return bias and noise of an objective's gradient, relative to the exact gradient's norm.

    The square of the bias is estimated without bias, ‖mean − g‖² − tr Cov/draws, and is reported as
    zero below zero; its standard error is that of the mean's norm, √(tr Cov/draws).
    """
    rows = Batch(jnp.asarray(x))
    _, state = objective.init(model, rows, jax.random.key(0), len(x))

    def one(key):
        refresh_key, loss_key = jax.random.split(key)
        inner, _ = objective.refresh(model, None, state, Batch(rows.x[None]), refresh_key)
        gradient = eqx.filter_grad(lambda m: objective.loss(m, None, inner, rows, loss_key)[0])(model)
        return ravel_pytree(gradient)[0]

    drawn = np.asarray(
        eqx.filter_jit(jax.lax.map)(one, jax.random.split(jax.random.key(1), draws)), np.float64
    )
    exact = eqx.filter_grad(lambda m: -log_likelihood(m, rows.x)[0])(model)
    g = np.asarray(ravel_pytree(exact)[0], np.float64)
    variance = drawn.var(axis=0, ddof=1).sum()
    bias = np.sum((drawn.mean(axis=0) - g) ** 2) - variance / draws
    norm = np.linalg.norm(g)
    return {
        "bias": float(np.sqrt(max(bias, 0.0)) / norm),
        "bias error": float(np.sqrt(variance / draws) / norm),
        "noise": float(np.sqrt(variance) / norm),
    }


def _meeting(result: Mapping[str, Any]) -> str:
    first, last = (np.mean([m[i][0] for m in result["meetings"]]) for i in (0, -1))
    return f"{first:.1f} to {last:.1f}"


def _verdict(
    size: Size, results: Mapping[str, Any], errors: Mapping[str, Any], best: float, sharp: float
) -> str:
    means = {name: summary(r["log p"])[0] for name, r in results.items()}
    order = ", ".join(f"{name} {means[name]:.3f}" for name in sorted(means, key=lambda n: -means[n]))
    lines = [
        f"Mean log p(x) of the patterns after {size.steps:,} updates, each method at its best rate, at most"
        f" {best:.3f}: {order}."
    ]
    for name, r in results.items():
        if name != EXACT:
            gap = difference(results[EXACT]["log p"], r["log p"])
            where = "below" if gap.mean > 0 else "above"
            lines.append(
                f"{name} ends {abs(gap.mean):.3f} ± {gap.error:.3f} nats {where} the exact gradient"
                f" ({gap.word})."
            )
    edges = [n for n, r in results.items() if f"{r['rate']:g}" == list(r["log p at each rate"])[-1]]
    listed = "; ".join(
        f"{name} " + ", ".join(f"{v:.2f} at {rate}" for rate, v in r["log p at each rate"].items())
        for name, r in results.items()
    )
    lines.append(
        f"By rate, first seed: {listed}. The best is the largest tried for {', '.join(edges) or 'no method'}."
        f" Where the exact gradient ends, 2/λ = {2 / sharp:.2f}."
    )
    seen = [n for n, e in errors.items() if e["bias"] > SIGNIFICANT * e["bias error"]]
    unseen = [n for n in errors if n not in seen]
    lines.append(
        f"Of the gradient a bias is seen for {_listed(errors, seen)}; not for {_listed(errors, unseen)}."
    )
    noises = ", ".join(f"{n} {e['noise']:.2f}" for n, e in errors.items())
    lines.append(f"The noise of one update, relative to the exact gradient there: {noises}.")
    return bulleted(lines)


def _listed(found: Mapping[str, Any], names: list[str]) -> str:
    return (
        ", ".join(f"{n} ({found[n]['bias']:.3f} ± {found[n]['bias error']:.3f})" for n in names)
        or "no method"
    )


def _draw(results: Mapping[str, Any], best: float) -> Any:
    figure = canvas(13, 6.6)
    top, bottom = figure.subfigures(2, 1, height_ratios=(2.7, 1))
    left, right = top.subplots(1, 2)
    for i, (name, r) in enumerate(results.items()):
        curves = np.array(r["curves"])
        for curve in curves:
            left.plot(curve[:, 0], curve[:, 1], color=f"C{i}", alpha=0.3, lw=0.8)
        left.plot(curves[0, :, 0], curves[:, :, 1].mean(0), color=f"C{i}", label=name)
        meetings = np.array(r["meetings"])
        if not np.isnan(meetings).any():
            for which, style in ((0, "-"), (1, ":")):
                label = f"{name}: {('mean', 'slowest of a batch')[which]}"
                right.plot(curves[0, :, 0], meetings[:, :, which].mean(0), style, color=f"C{i}", label=label)
    left.axhline(best, color="0.4", ls="--", lw=1, label="entropy of the data")
    left.set(xlabel="updates", ylabel="mean log p(x), nats", title="exact log-likelihood")
    left.set_ylim(max(-11.0, left.get_ylim()[0]), best + 0.3)
    right.set(xlabel="updates", ylabel="sweeps", title="when pairs of chains meet", yscale="log")
    for axes in (left, right):
        axes.grid(color="0.92")
        axes.legend(fontsize=8, frameon=False)
    sheets = {"data": patterns().tolist(), **{name: r["draws"] for name, r in results.items()}}
    for axes, (name, rows) in zip(bottom.subplots(1, len(sheets)), sheets.items(), strict=True):
        title = name if name == "data" else f"{name}: exact draws"
        show_sheet(axes, np.reshape(rows, (32, SIDE, SIDE)), 8, title, 9, frame=0.4)
    return figure
