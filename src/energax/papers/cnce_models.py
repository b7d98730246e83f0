r"""Ceylan & Gutmann's three models: errors of conditional NCE, NCE and maximum likelihood as data grow.

    gaussian    E(u) = ½ uᵀΛu in 5 dimensions, 15 parameters; eigenvalues of Λ from 0.1 to 1
    ica         E(u) = √2 Σ_j |b_j·u| in 4 dimensions, 16 parameters: sources of Laplace's law, variance 1
    ring        E(u) = (γ/2)(‖u‖ − μ)² in 5 dimensions, γ alone unknown

Each ground truth is a draw of parameters and a sample of it; of the same sample the first N rows are given to
all methods, which descend to rest on all of them at once (`papers.fixed_sample`). The noise of NCE is a
Gaussian fitted to those rows, log Z is learned beside. ε of conditional NCE is what the library finds by
the model it starts from, on the first hundred rows. The error is that of the parameters, ‖θ̂ − θ‖/‖θ‖, for ICA
after the order and signs of the rows were made to agree. An estimator without bias has

    error ∝ N^{−1/2}:       the slope of log error in log N is fitted to the medians, from `FROM` rows on.

ICA has local minima: that many ground truths whose descent from a small random B rests elsewhere, and higher,
than the descent from the truth. They are counted at the largest N and stay in the medians.

Ceylan & Gutmann (2018), §4: 100 ground truths, N to 20,000. They report slopes of −½, errors that approach
those of maximum likelihood as κ grows, NCE ahead on the Gaussian, a tie on ICA, and a ring on which
conditional NCE has a tenth of NCE's error; 13 and 7 local minima of 100 for ML and conditional NCE.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.energies import LinearICA
from energax.objectives import (
    Batch,
    ConditionalNoiseContrastiveEstimation,
    ExactMaximumLikelihood,
    NoiseContrastiveEstimation,
    Objective,
)
from energax.papers.fixed_sample import Minimum, first_state, minimise
from energax.papers.nce_densities import Quadratic, Ring
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference
from energax.typing import Array

__all__ = ["run", "unmixed_error"]

MODELS = ("gaussian", "ica", "ring")
ML = "ML"
D = {"gaussian": 5, "ica": 4, "ring": 5}
BLOCK = 100  # rows
FROM = 300  # rows from which on a slope is fitted: below, a sample of 16 parameters is no large one
FAR = 2.0  # standard errors from which on a slope is another one
QUANTILES = (0.1, 0.5, 0.9)
RESAMPLES = 1_000
HIGHER = 1e-4  # in a loss, than that from the truth: beyond what float32 and the end of a descent leave
APART = 0.1  # of a norm: beyond what separates two ends in one valley


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    truths
        Ground truths of each model.
    rows
        N, ascending multiples of a block.
    ratios
        Noise points per datum of conditional NCE, along N.
    noise_ratio
        Noise points per datum of NCE.
    many
        A larger κ, and the N at which it is tried; None for neither.
    models
        Which of the three.
    """

    truths: int
    rows: tuple[int, ...]
    ratios: tuple[int, ...]
    noise_ratio: int
    many: tuple[int, int] | None
    models: tuple[str, ...] = MODELS


SIZES = {
    "smoke": Size(2, (200, 800), (2,), noise_ratio=2, many=None, models=("ica",)),
    "cpu": Size(16, (100, 300, 1_000, 4_000), ratios=(2, 10), noise_ratio=10, many=(40, 1_000)),
    "paper": Size(
        100, (100, 500, 1_000, 5_000, 10_000, 20_000), ratios=(2, 6, 10, 20), noise_ratio=10, many=(60, 5_000)
    ),
}


class Case(NamedTuple):
    """A ground truth, where a descent starts, and the parameters that are compared."""

    truth: Any
    start: Any
    parameters: Callable[[Any], np.ndarray]


def unmixed_error(B: np.ndarray, truth: np.ndarray) -> float:
    """Return ‖B − truth‖ with the rows of B in the order and with the signs that make it least."""
    from scipy.optimize import linear_sum_assignment

    squares = (B**2).sum(1)[:, None] + (truth**2).sum(1)[None, :]
    costs = squares - 2 * np.abs(B @ truth.T)
    return float(np.sqrt(max(costs[linear_sum_assignment(costs)].sum(), 0.0)))


def case(model: str, truth: int) -> Case:
    """Return the ground truth of that number."""
    rng = np.random.default_rng([truth, MODELS.index(model)])
    d = D[model]
    if model == "gaussian":
        axes = np.linalg.qr(rng.standard_normal((d, d)))[0]
        precision = (axes * rng.uniform(0.1, 1.0, d)) @ axes.T
        return Case(Quadratic(precision), Quadratic(0.5 * np.eye(d)), lambda m: np.asarray(m.entries))
    if model == "ring":
        radius, sigma = 5 + 5 * rng.random(), 0.3 + 1.2 * rng.random()
        return Case(
            Ring(sigma**-2, radius, d), Ring(1.0, radius, d), lambda m: np.asarray(m.gamma).reshape(1)
        )
    mixing = rng.standard_normal((d, d))
    while np.linalg.cond(mixing) >= 10:
        mixing = rng.standard_normal((d, d))
    start = 0.1 * rng.standard_normal((d, d))
    truth_model, first = (
        LinearICA(np.sqrt(2.0) * B, source="laplace") for B in (np.linalg.inv(mixing), start)
    )
    return Case(truth_model, first, lambda m: np.asarray(m.unmixing))


def error(model: str, found: np.ndarray, truth: np.ndarray) -> float:
    """Return ‖θ̂ − θ‖/‖θ‖."""
    apart = unmixed_error(found, truth) if model == "ica" else float(np.linalg.norm(found - truth))
    return apart / float(np.linalg.norm(truth))


def methods(size: Size) -> dict[str, tuple[Objective, tuple[int, ...]]]:
    """Return the objectives by name, each with the N at which it is tried."""
    found: dict[str, tuple[Objective, tuple[int, ...]]] = {ML: (ExactMaximumLikelihood(), size.rows)}
    nce = NoiseContrastiveEstimation("gaussian", size.noise_ratio)
    found[f"NCE, ν = {size.noise_ratio}"] = nce, size.rows
    for points in size.ratios:
        objective = ConditionalNoiseContrastiveEstimation(noise_points=points)
        found[f"CNCE, κ = {points}"] = objective, size.rows
    if size.many is not None:
        points, at = size.many
        found[f"CNCE, κ = {points}"] = ConditionalNoiseContrastiveEstimation(noise_points=points), (at,)
    return found


def estimated(
    objective: Objective, start: Any, x: Array, rows: int, truth: int, *, begin: Any = None
) -> Minimum:
    """Descend on the first rows of a sample that lies in blocks.

    The descent begins at `begin`, or at `start`; noise, ε and the first log Z are those of `start`, so
    that the loss is the same wherever it begins.
    """
    init_key, key = jax.random.split(jax.random.fold_in(jax.random.key(1), truth))
    nuisance = state = None
    if isinstance(objective, NoiseContrastiveEstimation):
        flat = x.reshape(-1, *x.shape[2:])[:rows]
        nuisance, state = objective.init(start, Batch(flat), init_key, BLOCK)
    elif isinstance(objective, ConditionalNoiseContrastiveEstimation):
        nuisance, state = first_state(objective, start, x[0], init_key, BLOCK)
    model = start if begin is None else begin
    return minimise(objective, model, x, rows // BLOCK, nuisance=nuisance, state=state, key=key)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Estimate all, for each ground truth, by each method and from each number of rows."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for model in size.models:
        errors: dict[str, dict[str, list[float]]] = {}
        minima: dict[str, int] = {}
        cases = [case(model, truth) for truth in range(size.truths)]
        samples = [
            c.truth.sample(jax.random.fold_in(jax.random.key(0), t), size.rows[-1]).reshape(
                -1, BLOCK, D[model]
            )
            for t, c in enumerate(cases)
        ]
        for name, (objective, at) in methods(size).items():
            errors[name] = {str(N): [] for N in at}
            stuck = 0
            for t, (c, x) in enumerate(zip(cases, samples, strict=True)):
                truth = c.parameters(c.truth)
                for N in at:
                    end = estimated(objective, c.start, x, N, t)
                    errors[name][str(N)].append(error(model, c.parameters(end.model), truth))
                if model == "ica" and at == size.rows:
                    best = estimated(objective, c.start, x, at[-1], t, begin=c.truth)
                    apart = error(model, c.parameters(end.model), c.parameters(best.model))
                    stuck += end.loss - best.loss > HIGHER and apart > APART
            if model == "ica" and at == size.rows:
                minima[name] = int(stuck)
            text = ", ".join(f"{N}: {np.median(e):.3g}" for N, e in errors[name].items())
            progress(f"{model}, {name}: {text}" + (f"; {stuck} local minima" if name in minima else ""))
        results[model] = {"errors": errors, "local minima": minima, "slopes": slopes(errors)}
    facts = {"results": results, "truths": size.truths, "sample sizes": size.rows, "many": size.many}
    columns = ("model", "method", *(f"N = {N:,}" for N in size.rows), "slope", "local minima")
    rows = [
        (
            model,
            name,
            *(_middle(e[str(N)]) if str(N) in e else "–" for N in size.rows),
            "{:.2f} ± {:.2f}".format(*r["slopes"][name]) if name in r["slopes"] else "–",
            f"{r['local minima'][name]} of {size.truths}" if name in r["local minima"] else "–",
        )
        for model, r in results.items()
        for name, e in r["errors"].items()
    ]
    return Outcome(columns, rows, _verdict(size, results), _draw(size, results), facts)


def slopes(errors: Mapping[str, Mapping[str, list[float]]]) -> dict[str, tuple[float, float]]:
    """Return the slope of log median error in log N of each method, and its error by the bootstrap.

    What is resampled are the ground truths, each with all its N.
    """
    found = {}
    for name, by_rows in errors.items():
        large = [int(N) for N in by_rows if int(N) >= FROM]
        if len(large) > 1:
            logs = np.log([by_rows[str(N)] for N in large])
            drawn = np.random.default_rng(0).integers(logs.shape[1], size=(RESAMPLES, logs.shape[1]))
            all_truths = np.arange(logs.shape[1])[None]
            medians = np.median(logs[:, np.concatenate([all_truths, drawn])], axis=-1)
            fits = np.polyfit(np.log(large), medians, 1)[0]
            found[name] = float(fits[0]), float(fits[1:].std())
    return found


def _middle(values: list[float]) -> str:
    low, middle, high = np.quantile(values, QUANTILES)
    return f"{middle:.3g} ({low:.2g}–{high:.2g})"


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    lines = []
    last = str(size.rows[-1])
    for model, r in results.items():
        medians = {n: float(np.median(e[last])) for n, e in r["errors"].items() if last in e}
        order = ", ".join(f"{n} {medians[n]:.3g}" for n in sorted(medians, key=lambda n: medians[n]))
        lines.append(f"{model}: median error at N = {size.rows[-1]:,}: {order}.")
        told = ", ".join(f"{n} {s:.2f} ± {e:.2f}" for n, (s, e) in r["slopes"].items())
        off = [n for n, (s, e) in r["slopes"].items() if abs(s + 0.5) > FAR * e]
        fits = "all within" if not off else f"{', '.join(off)} not within"
        lines.append(f"{model}: slopes {told}; {fits} {FAR:g} standard errors of −0.5.")
        near = str(size.many[1]) if size.many else last
        ml = r["errors"][ML][near]
        ratio = {
            n: np.median(e[near]) / np.median(ml)
            for n, e in r["errors"].items()
            if n.startswith("CNCE") and near in e
        }
        values = list(ratio.values())
        falls = (
            ""
            if len(values) < 2
            else "; it falls as κ grows"
            if values == sorted(values, reverse=True)
            else ("; it does not fall throughout")
        )
        told = ", ".join(f"{v:.2f} with {n[6:]}" for n, v in ratio.items())
        lines.append(f"{model}: at N = {int(near):,} the median error over that of ML is {told}{falls}.")
        nce = f"NCE, ν = {size.noise_ratio}"
        cnce = f"CNCE, κ = {size.ratios[-1]}"
        gap = difference(np.log(r["errors"][cnce][last]).tolist(), np.log(r["errors"][nce][last]).tolist())
        lines.append(
            f"{model}: the error of {cnce} is {np.exp(gap.mean):.2f} times that of {nce} (geometric mean over"
            f" ground truths, {np.exp(gap.mean - gap.error):.2f} to {np.exp(gap.mean + gap.error):.2f};"
            f" {gap.word})."
        )
        if r["local minima"]:
            counted = ", ".join(f"{n} {k}" for n, k in r["local minima"].items())
            lines.append(f"{model}: local minima in {size.truths} descents: {counted}.")
    return bulleted(lines)


def _draw(size: Size, results: Mapping[str, Any]) -> Any:
    figure = canvas(4.6 * len(results), 4.4)
    panels = np.atleast_1d(np.asarray(figure.subplots(1, len(results))))
    for axes, (model, r) in zip(panels, results.items(), strict=True):
        for i, (name, by_rows) in enumerate(r["errors"].items()):
            rows = np.array([int(N) for N in by_rows])
            low, middle, high = np.quantile(list(by_rows.values()), QUANTILES, axis=1)
            shifted = rows * 1.04 ** (i - 2)
            bars = [middle - low, high - middle]
            axes.errorbar(
                shifted, middle, bars, color=f"C{i}", marker="o", ms=3, lw=1.2, elinewidth=0.7, label=name
            )
        ml = [np.median(r["errors"][ML][str(N)]) for N in size.rows]
        guide = ml[-1] * np.sqrt(size.rows[-1] / np.array(size.rows))
        axes.plot(size.rows, guide, color="0.6", ls="--", lw=1, label="slope −½")
        axes.set(xscale="log", yscale="log", xlabel="rows N", title=f"{model}, {D[model]}-d")
        axes.grid(color="0.92")
    panels[0].set_ylabel("‖θ̂ − θ‖/‖θ‖, median and 0.1 and 0.9 quantiles")
    panels[0].legend(fontsize=8, frameon=False)
    return figure
