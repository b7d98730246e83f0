r"""Which noise is best for noise-contrastive estimation: the tutorial's advice, measured.

Song & Kingma (2021), §5: "NCE works the best when the noise distribution is close to the data
distribution (but not exactly the same)". Let the noise be the data's own law, scaled by s about its mean
and moved by m of its standard deviations along its widest axis: s = 1, m = 0 is the data. Two models whose
parameters θ and log Z = c are all learned, on N rows with νN noise points:

    gaussian    E(x) = ½ xᵀΛx                                               15 parameters and c; 5-d
    mixture     E(x) = −log Σ_k exp(a_k − ½ β_k ‖x − μ_k‖²), a_1 = 0        7 parameters and c; 2-d

What is measured is N times the mean squared error of θ, and of c, over independent samples, in units of what
maximum likelihood has as N grows (1 is efficient). What it must be as N grows is known: `nce_estimates`. The
curves are this; so is the search for the best s, and for the best ν when drawing noise costs as much as data,
(1 + ν) MSE being what counts. That noise equal to the data is *not* the best is Gutmann & Hyvärinen's (2012)
observation, and that of Chehab, Gramfort & Hyvärinen (2022).

Each estimate is Newton's method from the truth on `NoiseContrastiveEstimation`'s own loss, the draws of
noise held fixed; those that do not come to rest are counted and left out. Where some of the data have
next to no noise nearby, N rows do not determine θ, and a descent from the truth stays near it: nothing is
measured where the predicted mean square error is above `UNDETERMINED`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.energies import Gaussian
from energax.objectives import NoiseContrastiveEstimation
from energax.objectives.base import LogNormalizer
from energax.papers.nce_densities import FITTED, Modes, noise_law, truth
from energax.papers.nce_estimates import Efficiency, at_rest, efficiencies, estimates
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, summary
from energax.typing import Key

__all__ = ["run"]

TARGETS = ("gaussian", "mixture")
EQUAL = (1.0, 0.0)
WIDE = (2.0, 0.0)
FINE = np.round(np.geomspace(0.5, 4.0, 37), 3)  # scales of the curves
RATIOS = np.geomspace(0.1, 100.0, 31)
CURVES = (0.1, 1.0, 10.0)  # ν of the curves along s
WHAT = ("θ", "log Z")
NOTABLE = 0.02  # of an error: beyond what the draws behind a curve leave
UNDETERMINED = 10.0  # of a mean square error of θ, in its own units of about one
AGREES = 4.0  # standard errors within which a measured error is the predicted one


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    rows
        N.
    replicates
        Samples at ν ≤ 1, and a share of them in proportion at larger ν, but no fewer than `fewest`.
    fewest
        See above.
    scales, shifts
        s at m = 0, and m at s = 1, at which errors are measured with ν = 1.
    ratios
        ν at which they are measured with noise equal to the data, and twice as wide.
    draws
        Of p and q each, in the predicted errors.
    """

    rows: int
    replicates: int
    fewest: int
    scales: tuple[float, ...]
    shifts: tuple[float, ...]
    ratios: tuple[float, ...]
    draws: int


SIZES = {
    "smoke": Size(1_000, 40, 40, scales=(1.0, 3.0), shifts=(), ratios=(), draws=5_000),
    "cpu": Size(
        rows=1_000,
        replicates=200,
        fewest=100,
        scales=(0.5, 0.7, 1.0, 1.2, 1.5, 2.0, 4.0),
        shifts=(1.0, 2.0, 3.0),
        ratios=(0.1, 10.0, 100.0),
        draws=50_000,
    ),
    "paper": Size(
        rows=2_000,
        replicates=1_000,
        fewest=200,
        scales=(0.5, 0.6, 0.7, 0.85, 1.0, 1.1, 1.2, 1.35, 1.5, 2.0, 3.0, 4.0),
        shifts=(0.5, 1.0, 1.5, 2.0, 3.0, 4.0),
        ratios=(0.1, 0.3, 3.0, 10.0, 30.0, 100.0),
        draws=500_000,
    ),
}


def measured(
    model: Any, noise: Any, ratio: float, size: Size, key: Key
) -> tuple[list[float], list[float], int]:
    """Return N times the squared errors of θ and of c of each replicate at rest, and how many are not."""
    replicates = min(size.replicates, max(size.fewest, round(size.replicates / ratio)))
    objective = NoiseContrastiveEstimation(noise, ratio)
    truth = model, LogNormalizer(model.log_normalizer())
    found, slopes = estimates(objective, model, truth, size.rows, jax.random.split(key, replicates))
    rest = at_rest(slopes, ratio)
    errors = np.asarray(found - ravel_pytree(truth)[0], np.float64)
    squares = size.rows * errors[rest] ** 2
    return squares[:, :-1].sum(1).tolist(), squares[:, -1].tolist(), int((~rest).sum())


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Predict and measure the errors of both models along scale, shift and ν."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for target in TARGETS:
        model = truth(target)
        predicted = _curves(model, size.draws)
        exact = predicted.pop("ML")
        rows = []
        for name, noise, ratio in _settings(model, size):
            (told,), _ = efficiencies(model, noise, [ratio], size.draws, jax.random.key(0))
            theta: list[float] = []
            log_z: list[float] = []
            lost = 0
            if told.theta < UNDETERMINED * size.rows:
                theta, log_z, lost = measured(model, noise, ratio, size, jax.random.key(1))
            rows.append(
                {
                    "noise": name,
                    "ratio": ratio,
                    "predicted": dict(zip(WHAT, (np.array(told) / np.array(exact)).tolist(), strict=True)),
                    "measured": {
                        what: (np.array(values) / unit).tolist()
                        for what, values, unit in zip(WHAT, (theta, log_z), exact, strict=True)
                    },
                    "not at rest": lost,
                }
            )
            progress(f"{target}, {name}, ν = {ratio:g}: " + ", ".join(_told(rows[-1], what) for what in WHAT))
        results[target] = {"rows": rows, "curves": predicted, "ML": exact._asdict()}
    columns = (
        "model",
        "noise",
        "ν",
        *(f"{what}, {how}" for what in WHAT for how in ("predicted", "measured")),
    )
    table = [
        (target, row["noise"], f"{row['ratio']:g}", *(cell for what in WHAT for cell in _cells(row, what)))
        for target, r in results.items()
        for row in r["rows"]
    ]
    facts = {
        "results": results,
        "sample size": size.rows,
        "scales of curves": FINE,
        "ratios of curves": RATIOS,
    }
    return Outcome(columns, table, _verdict(size, results), _draw(results), facts)


def _settings(model: Any, size: Size) -> list[tuple[str, Any, float]]:
    """Return name, noise and ν of each case that is measured."""
    found = [(_name(s, 0.0), noise_law(model, s, 0.0), 1.0) for s in size.scales]
    found += [(_name(1.0, m), noise_law(model, 1.0, m), 1.0) for m in size.shifts]
    if isinstance(model, Modes):
        found.append((FITTED, Gaussian(*model.moments()), 1.0))
    for s, m in (EQUAL, WIDE):
        found += [(_name(s, m), noise_law(model, s, m), ratio) for ratio in size.ratios]
    return found


def _name(scale: float, shift: float) -> str:
    return (
        "the data's law" if (scale, shift) == EQUAL else f"s = {scale:g}" if shift == 0 else f"m = {shift:g}"
    )


def _curves(model: Any, draws: int) -> dict[str, Any]:
    """Return the predicted errors over those of ML: along s for a few ν, along ν for two noises."""
    key = jax.random.key(0)
    along, by_scale = [], []
    exact = Efficiency(np.nan, np.nan)
    for s in FINE:
        found, exact = efficiencies(model, noise_law(model, float(s), 0.0), CURVES, draws, key)
        by_scale.append(found)
    for noise in (noise_law(model, *EQUAL), noise_law(model, *WIDE)):
        found, exact = efficiencies(model, noise, RATIOS.tolist(), draws, key)
        along.append(found)
    unit = np.array(exact)
    return {
        "scale": {f"{ratio:g}": (np.array(by_scale)[:, i] / unit).tolist() for i, ratio in enumerate(CURVES)},
        "ratio": {
            name: (np.array(a) / unit).tolist() for name, a in zip(("equal", "wide"), along, strict=True)
        },
        "ML": exact,
    }


def _told(row: Mapping[str, Any], what: str) -> str:
    if not row["measured"][what]:
        return f"{what} not determined (predicted {row['predicted'][what]:.3g})"
    mean, error = summary(row["measured"][what])
    return f"{what} {mean:.2f} ± {error:.2f} (predicted {row['predicted'][what]:.2f})"


def _cells(row: Mapping[str, Any], what: str) -> tuple[str, str]:
    if not row["measured"][what]:
        return f"{row['predicted'][what]:.3g}", "not determined"
    mean, error = summary(row["measured"][what])
    lost = f", {row['not at rest']} not at rest" if row["not at rest"] and what == WHAT[0] else ""
    return f"{row['predicted'][what]:.3g}", f"{mean:.3g} ± {error:.2g}{lost}"


def _best(values: np.ndarray, grid: np.ndarray) -> tuple[float, float]:
    """Return where a curve is least, and its value there."""
    i = int(np.argmin(values))
    return float(grid[i]), float(values[i])


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    lines = ["Errors are N times the mean square, in units of what maximum likelihood's tend to."]
    same = int(np.flatnonzero(FINE == 1.0)[0])
    for target, r in results.items():
        for i, what in enumerate(WHAT):
            told = []
            for ratio, curve in r["curves"]["scale"].items():
                values = np.array(curve)[:, i]
                s, least = _best(values, FINE)
                told.append(f"ν = {ratio}: s = {s:g}, {least:.2f} against {values[same]:.2f} at s = 1")
            lines.append(f"{target}: the scale at which {what} is predicted to err least, {'; '.join(told)}.")
        rows = {(row["noise"], row["ratio"]): row for row in r["rows"]}
        equal = rows[_name(*EQUAL), 1.0]
        others = {n: row for (n, ratio), row in rows.items() if ratio == 1 and row is not equal}
        best = min(others.values(), key=lambda row: row["predicted"]["θ"], default=None)
        if best is not None and not (best["not at rest"] or equal["not at rest"]):
            gap = difference(best["measured"]["θ"], equal["measured"]["θ"])
            lines.append(
                f"{target}: of the noises tried at ν = 1, {best['noise']} is predicted to be best for θ"
                f" beside the data's law; measured on the same samples its error differs by {gap.mean:+.2f} ±"
                f" {gap.error:.2f}"
                f" ({gap.word})."
            )
        far = ", ".join(
            f"{n} {summary(row['measured']['θ'])[0]:.2f} and {summary(row['measured']['log Z'])[0]:.2f}"
            for n, row in others.items()
            if row["measured"]["θ"]
        )
        lines.append(
            f"{target}: at ν = 1 the errors of θ and log Z are {summary(equal['measured']['θ'])[0]:.2f} and"
            f" {summary(equal['measured']['log Z'])[0]:.2f} with the data's law as noise; {far}."
        )
        for name, curve in r["curves"]["ratio"].items():
            values = np.array(curve)
            ends = ", ".join(
                f"{v:.2f} at ν = {RATIOS[j]:g}" for j, v in ((0, values[0, 0]), (-1, values[-1, 0]))
            )
            cost = (
                _best((1 + RATIOS) * values[:, 0], RATIOS)[0],
                _best((1 + RATIOS) * values[:, 1], RATIOS)[0],
            )
            where = "equal to the data" if name == "equal" else "twice as wide"
            lines.append(
                f"{target}, noise {where}: θ {ends}; where noise costs as much as data, ν = {cost[0]:.2g} is"
                f" best for θ and {cost[1]:.2g} for log Z."
            )
    curves = [np.array(c) for r in results.values() for c in r["curves"]["scale"].values()]
    for i, what in enumerate(WHAT):
        gains = [1 - _best(c[:, i], FINE)[1] / c[same, i] for c in curves]
        gained = sum(g > NOTABLE for g in gains)
        lines.append(
            f"Noise of another scale is predicted to be better than noise equal to the data by more than"
            f" {NOTABLE:.0%} for {what} in {gained} of {len(gains)} cases, by {max(gains):.0%} at most."
        )
    off = []
    compared = 0
    for target, r in results.items():
        for row in r["rows"]:
            for what in WHAT:
                if not row["measured"][what]:
                    continue
                mean, error = summary(row["measured"][what])
                compared += 1
                if abs(mean - row["predicted"][what]) > AGREES * error:
                    off.append(f"{what} of {target} with {row['noise']}, ν = {row['ratio']:g}")
    lost = sum(row["not at rest"] for r in results.values() for row in r["rows"])
    but = f"; not for {'; '.join(off)}" if off else ""
    lines.append(
        f"Measured and predicted errors agree within {AGREES:g} standard errors in {compared - len(off)} of"
        f" {compared} cases{but}; {lost} estimates did not come to rest."
    )
    return bulleted(lines)


def _draw(results: Mapping[str, Any]) -> Any:
    figure = canvas(13, 7.2)
    panels = np.asarray(figure.subplots(len(results), 3, squeeze=False))
    for (target, r), line in zip(results.items(), panels, strict=True):
        for axes, (i, what) in zip(line[:2], enumerate(WHAT), strict=True):
            for j, (ratio, curve) in enumerate(r["curves"]["scale"].items()):
                values = np.array(curve)[:, i]
                axes.plot(FINE, values, color=f"C{j}", lw=1.2, label=f"ν = {ratio}")
                s, least = _best(values, FINE)
                axes.plot(s, least, "v", color=f"C{j}", ms=7, mfc="none")
            for row in r["rows"]:
                where = row["noise"]
                s = 1.0 if where == _name(*EQUAL) else float(where[4:]) if where.startswith("s =") else None
                if s is not None and row["ratio"] in CURVES:
                    mean, error = summary(row["measured"][what])
                    colour = f"C{CURVES.index(row['ratio'])}"
                    axes.errorbar(s, mean, 2 * error, fmt="o", ms=3, color=colour, elinewidth=0.8)
            axes.axvline(1.0, color="0.6", lw=0.8, ls=":")
            axes.axhline(1.0, color="0.4", lw=1, ls="--")
            axes.set(
                xscale="log", yscale="log", xlabel="scale s of the noise", title=f"{target}: error of {what}"
            )
            axes.set_xticks([0.5, 0.7, 1, 1.5, 2, 4], ["0.5", "0.7", "1", "1.5", "2", "4"])
            axes.set_xticks([], minor=True)
        axes = line[2]
        for j, (name, style) in enumerate((("equal", "-"), ("wide", "--"))):
            values = np.array(r["curves"]["ratio"][name])
            for i, what in enumerate(WHAT):
                label = f"{what}, noise {'equal to the data' if name == 'equal' else 'twice as wide'}"
                axes.plot(RATIOS, values[:, i], style, color=f"C{3 + i}", lw=1.2, label=label)
            wanted = _name(*(EQUAL if name == "equal" else WIDE))
            for row in r["rows"]:
                if row["noise"] == wanted:
                    for i, what in enumerate(WHAT):
                        mean, error = summary(row["measured"][what])
                        axes.errorbar(
                            row["ratio"],
                            mean,
                            2 * error,
                            fmt="os"[j],
                            ms=3,
                            color=f"C{3 + i}",
                            elinewidth=0.8,
                        )
        axes.axhline(1.0, color="0.4", lw=1, ls="--")
        axes.set(
            xscale="log", yscale="log", xlabel="noise points per datum ν", title=f"{target}: error over ν"
        )
        line[0].set_ylabel("N × mean square, over ML's")
    for axes in panels.flat:
        axes.grid(color="0.92")
    panels[0, 0].legend(fontsize=8, frameon=False)
    panels[0, 2].legend(fontsize=8, frameon=False)
    return figure
