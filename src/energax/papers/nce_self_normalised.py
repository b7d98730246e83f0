r"""Self-normalised noise-contrastive estimation: how near one the integral of e^{−E} ends.

`NoiseContrastiveEstimation(log_normalizer="fixed")` learns no log Z: e^{−E} itself is told from the noise,
and where the loss is least it is the data's density, if the energy can be so. What log Ẑ = log ∫ e^{−Ê} then
is depends on whether a parameter shifts the energy.

*With a constant*, E_θ(x) + b, the loss is that of E_θ with b in the place of the learned log Z. So θ̂ is the
same, b̂ = ĉ, and log Ẑ = log Z(θ̂) − ĉ. With g, P and J of `nce_estimates`, m = E_p g = ∇_(θ,c)(log Z(θ) − c),

    N Var log Ẑ → mᵀ J⁻¹ m − (1 + 1/ν)

as N grows, since m_c = −1. With the data's own law as noise J e_c = −m ν/(1 + ν), so that this is zero: there
log Ẑ goes to zero as 1/N, not as 1/√N.

*Without*, no θ makes e^{−E} the data's density (unless its log Z was zero), and the minimum is a compromise
of shape and mass,

    ∫ (p − e^{−E}) νq/(νq + e^{−E}) ∇_θE dx = 0,

which depends on the noise, and neither θ̂ nor log Ẑ tends to its truth. As ν → ∞, E_p[∇E] = ∫ e^{−E} ∇E dx:
for E = ½ xᵀΛx in d dimensions Λ = Ẑ Λ*, and

    log Ẑ = log Z* · 2/(d + 2).

A Boltzmann machine has no member with log Z = 0 at all, for e^{−E(0)} = Π_j (1 + e^{c_j}) > 1.

Models are a Gaussian, a mixture (those of `nce_noise`) and a machine of bits that can be enumerated, so that
log Ẑ and KL(p ‖ p_θ̂) are exact: of the Gaussian by points whose second moments are its own, of the mixture
by a grid. Of k parameters maximum likelihood has 2N KL/k → 1. Each estimate is Newton's from a sample and
noise of its own: from the truth with log Z learned, and with b a nat from it where self-normalised, so that
the two meet only in one minimum. A network in the plane, whose last layer has a constant, is trained by
`fit`, both ways from the same weights on the same rows; its log Z is by quadrature.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.papers.nce_densities import FITTED
from energax.papers.nce_self_normalised_fits import (
    BARE,
    FIT_ROWS,
    LAW,
    LEARNED,
    MODELS,
    RATIO,
    SHIFTED,
    WAYS,
    measured,
    network,
    noises,
    spread,
    truths,
)
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, pm, summary

__all__ = ["run"]

NETWORK = "network"
CLOSE = 0.05  # nats
AGREES = 4.0  # standard errors within which a measured spread is the predicted one
SAME = 1e-3  # nats, within which two fits are one
ZERO = 0.02  # a predicted spread below is one of rounding


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    rows
        N, each four times the one before.
    replicates
        Samples of each N.
    draws
        Of p and q each, in the predicted spreads.
    models
        Which of the three.
    fits
        Of the network, each on rows of its own.
    steps
        Of each fit.
    """

    rows: tuple[int, ...]
    replicates: int
    draws: int
    models: tuple[str, ...]
    fits: int
    steps: int


SIZES = {
    "smoke": Size((1_000, 4_000), 20, 5_000, ("mixture",), fits=2, steps=300),
    "cpu": Size((1_000, 4_000), replicates=100, draws=50_000, models=MODELS, fits=5, steps=2_000),
    "paper": Size(
        (1_000, 4_000, 16_000), replicates=400, draws=500_000, models=MODELS, fits=20, steps=20_000
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Estimate the three models every way, and train the network both ways."""
    size = SIZES[scale]
    results: list[dict[str, Any]] = []
    for target, model in truths().items():
        if target not in size.models:
            continue
        for name, noise in noises(model).items():
            told = spread(model, noise, RATIO, size.draws, jax.random.key(0))
            for rows in size.rows:
                found = {
                    way: measured(model, noise, way, rows, size.replicates, jax.random.key(1)) for way in WAYS
                }
                results.append(
                    {
                        "model": target,
                        "parameters": ravel_pytree(model)[0].size,
                        "log Z*": float(model.log_normalizer()),
                        "noise": name,
                        "rows": rows,
                        "predicted": told,
                        "found": {
                            way: {what: r[what][r["at rest"]].tolist() for what in ("log Z", "KL")}
                            for way, r in found.items()
                        },
                        "not at rest": {way: int((~r["at rest"]).sum()) for way, r in found.items()},
                    }
                )
                progress(f"{target}, {name}, N = {rows:,}: " + ", ".join(map(str, _cells(results[-1])[3:])))
    nets: dict[str, dict[str, list[float]]] = {w: {"log Z": [], "KL": []} for w in (LEARNED, SHIFTED)}
    for seed in range(size.fits):
        for way, r in network(size.steps, seed).items():
            for what, value in r.items():
                nets[way][what].append(value)
        progress(
            f"{NETWORK} {seed}: " + ", ".join(f"{w}: log Z {r['log Z'][-1]:+.3f}" for w, r in nets.items())
        )
    columns = (
        "model",
        "noise",
        "N",
        "N Var log Ẑ, predicted",
        "N mean (log Ẑ)²",
        "mean abs(log Ẑ)",
        "KL",
        "KL, log Z learned",
        "log Ẑ without a constant",
        "KL without a constant",
    )
    trained = (NETWORK, FITTED, f"{FIT_ROWS:,}", "–", "–", _mean(np.abs(nets[SHIFTED]["log Z"])),
               _mean(nets[SHIFTED]["KL"]), _mean(nets[LEARNED]["KL"]), "–", "–")  # fmt: skip
    facts = {"results": results, NETWORK: nets, "ratio": RATIO}
    return Outcome(
        columns, [*map(_cells, results), trained], _verdict(results, nets), _draw(size, results), facts
    )


def _mean(values: Any) -> str:
    return pm(values, ".3g", ".1g")


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    found, lost = row["found"], row["not at rest"]
    told = {way: f", {count} not at rest" if count else "" for way, count in lost.items()}
    return (
        row["model"],
        row["noise"],
        f"{row['rows']:,}",
        f"{row['predicted']:.3g}" if row["predicted"] > ZERO else "0",
        _mean(_squares(row)),
        _mean(np.abs(found[SHIFTED]["log Z"])),
        _mean(found[SHIFTED]["KL"]) + told[SHIFTED],
        _mean(found[LEARNED]["KL"]) + told[LEARNED],
        _mean(found[BARE]["log Z"]),
        _mean(found[BARE]["KL"]) + told[BARE],
    )


def _squares(row: Mapping[str, Any]) -> list[float]:
    """Return N (log Ẑ)² of the fits with a constant."""
    return (row["rows"] * np.square(row["found"][SHIFTED]["log Z"])).tolist()


def _verdict(results: list[dict[str, Any]], nets: Mapping[str, Mapping[str, list[float]]]) -> str:
    lines = []
    few, many = min(r["rows"] for r in results), max(r["rows"] for r in results)
    for target in dict.fromkeys(r["model"] for r in results):
        last = [r for r in results if r["model"] == target and r["rows"] == many]
        told = "; ".join(
            f"{r['noise']} {_mean(np.abs(r['found'][SHIFTED]['log Z']))}"
            f" ({np.mean(np.abs(r['found'][SHIFTED]['log Z']) < CLOSE):.0%} within {CLOSE:g})"
            for r in last
        )
        lines.append(
            f"{target}, N = {many:,}: abs(log Ẑ) of the self-normalised fit with a constant, {told}."
        )
        worth = "; ".join(
            f"{r['noise']} {_mean(2 * many / r['parameters'] * np.array(r['found'][SHIFTED]['KL']))}"
            for r in last
        )
        lines.append(f"{target}, N = {many:,}: 2N KL/k of it, 1 being maximum likelihood's limit, {worth}.")
    both = [r for r in results if not any(r["not at rest"][way] for way in (LEARNED, SHIFTED))]
    apart = [
        float(np.max(np.abs(np.subtract(r["found"][SHIFTED]["KL"], r["found"][LEARNED]["KL"])))) for r in both
    ]
    same = sum(a < SAME for a in apart)
    most = f" (at most {max(apart):.2g})" if apart else ""
    lines.append(
        f"The fits with a constant and with log Z learned, from different starts, are one estimate: in {same}"
        f" of {len(both)} settings where all came to rest, their KL differ by less than {SAME:g} nats in"
        f" every sample{most}."
    )
    compared = [r for r in results if r["predicted"] > ZERO]
    off = [
        r
        for r in compared
        if abs(summary(_squares(r))[0] - r["predicted"]) > AGREES * summary(_squares(r))[1]
    ]
    but = (
        "; not for " + "; ".join(f"{r['model']}, {r['noise']}, N = {r['rows']:,}" for r in off) if off else ""
    )
    lines.append(
        f"The spread of log Ẑ is the predicted one within {AGREES:g} standard errors in"
        f" {len(compared) - len(off)} of {len(compared)} settings{but}."
    )
    for target in dict.fromkeys(r["model"] for r in results):
        sizes = {
            r["rows"]: float(np.mean(np.abs(r["found"][SHIFTED]["log Z"])))
            for r in results
            if r["model"] == target and r["noise"] == LAW
        }
        lines.append(
            f"{target}, noise of the data's law, where the prediction is zero: {many // few} times the rows"
            f" leave {sizes[many] / sizes[few]:.2f} of abs(log Ẑ), {few / many:.2f} being 1/N and"
            f" {np.sqrt(few / many):.2f} being 1/√N."
        )
    for target in dict.fromkeys(r["model"] for r in results):
        pairs = []
        for r in (r for r in results if r["model"] == target and r["rows"] == many):
            before = next(
                s for s in results if (s["model"], s["noise"], s["rows"]) == (target, r["noise"], few)
            )
            kl, was = (np.mean(s["found"][BARE]["KL"]) for s in (r, before))
            pairs.append(
                f"{r['noise']}: log Ẑ {_mean(r['found'][BARE]['log Z'])}, KL {kl:.3g} nats,"
                f" {kl / np.mean(r['found'][SHIFTED]['KL']):.0f} times that with a constant"
                f" (at N = {few:,} {was:.3g})"
            )
        star = next(r["log Z*"] for r in results if r["model"] == target)
        lines.append(f"{target} without a constant, log Z* = {star:.2f}, N = {many:,}: {'; '.join(pairs)}.")
    gap = difference(np.abs(nets[SHIFTED]["log Z"]).tolist(), np.abs(nets[LEARNED]["log Z"]).tolist())
    worse = difference(nets[SHIFTED]["KL"], nets[LEARNED]["KL"])
    lines.append(
        f"{NETWORK}, mean of {len(nets[SHIFTED]['KL'])}: abs(log Ẑ) {_mean(np.abs(nets[SHIFTED]['log Z']))}"
        f" self-normalised, {_mean(np.abs(nets[LEARNED]['log Z']))} with log Z learned"
        f" ({gap.word}); KL {_mean(nets[SHIFTED]['KL'])} and"
        f" {_mean(nets[LEARNED]['KL'])} nats ({worse.word})."
    )
    return bulleted(lines)


def _draw(size: Size, results: list[dict[str, Any]]) -> Any:
    figure = canvas(4.6 * max(2, len(size.models)), 7.2)
    panels = np.asarray(figure.subplots(2, len(size.models), squeeze=False))
    for (top, bottom), target in zip(panels.T, size.models, strict=True):
        of_model = [r for r in results if r["model"] == target]
        for j, name in enumerate(dict.fromkeys(r["noise"] for r in of_model)):
            of_noise = [r for r in of_model if r["noise"] == name]
            N = np.array([r["rows"] for r in of_noise], float) * 1.03 ** (j - 1)
            told = of_noise[0]["predicted"]
            if told > ZERO:
                top.plot(N, np.sqrt(2 / np.pi * told / N), "--", color=f"C{j}", lw=1)
            for way, mark in ((SHIFTED, "o"), (BARE, "s")):
                for axes, what in ((top, "log Z"), (bottom, "KL")):
                    values = [np.abs(r["found"][way][what]).tolist() for r in of_noise]
                    means, errors = np.array([summary(v) for v in values]).T
                    label = name if way == SHIFTED and axes is top else None
                    axes.errorbar(
                        N, means, 2 * errors, fmt=f"{mark}-", ms=4, lw=0.8, color=f"C{j}", label=label
                    )
        N = np.array(size.rows, float)
        bottom.plot(N, of_model[0]["parameters"] / (2 * N), color="0.5", ls="--", lw=1, label="k/2N")
        top.set(title=f"{target}, log Z* = {of_model[0]['log Z*']:.2f}")
        bottom.set(xlabel="rows N")
        for axes in (top, bottom):
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(size.rows, [f"{rows:,}" for rows in size.rows])
            axes.set_xticks([], minor=True)
            axes.grid(color="0.92")
        top.legend(fontsize=8, frameon=False)
    panels[0, 0].set_ylabel("mean |log Ẑ|: ● with a constant, ■ without")
    panels[1, 0].set_ylabel("KL(p ‖ p_θ̂), nats")
    panels[1, 0].legend(fontsize=8, frameon=False)
    return figure
