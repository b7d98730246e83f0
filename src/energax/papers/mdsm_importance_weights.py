r"""MDSM appendix A: where the importance ratio that is set to one matters, and by how much.

The exact objective (*) weighs each draw (x_i, x̃), x̃ = x_i + σ_k z, by

    w = π_σ₀(i | x̃) / π_M(i | x̃),     π_σ(j | x̃) ∝ q_σ(x̃ | x_j),     π_M(j | x̃) ∝ Σ_k l_k q_{σ_k}(x̃ | x_j),

and the paper sets w = 1, expecting both posteriors to sit on the original point. The minima over all
vector fields, s = −∇E, are known in closed form on a finite data set:

    w exact      s = (Σ_j π_σ₀(j | x̃) x_j − x̃)/σ₀² = ∇log p̂_σ₀(x̃)        the Parzen score
    w = 1        s = (Σ_j π_M(j | x̃) x_j − x̃)/σ₀²                        the ladder's compromise
    minibatch    s = (Σ_B p_B(x̃) Σ_{j∈B} π_σ₀(j | x̃, B) x_j / Σ_B p_B(x̃) − x̃)/σ₀²

the last if π_σ₀ is normalised over the minibatch B instead of the data set: a mistake that is easily
made, and whose minimum is a mean of minibatches' Parzen scores (p_B is the density of draws from B).
With infinitely many data the ladder's compromise has a closed form too (`objectives.Ladder`), and the
exact one becomes the score of p_σ₀.

Two references, then: the Parzen score of the n data at hand, and ∇log p_σ₀ of the population. **The
one to want is the population's**: a model that equals the Parzen density generates its training
rows plus noise. Data are drawn from a mixture of four Gaussians in d dimensions, either on sheets
(standard deviation 0.3 along two directions, 0.02 across: the paper's low-dimensional manifold) or
full (0.3 in all directions). All errors are relative,

    ( E‖s − s_ref‖² / E‖s_ref‖² )^½     at held-out points + σ₀z,

so that 1 is the error of s = 0. On sheets ‖s_ref‖ grows as √d, since the score across a sheet is
large, well known, and counts d − 2 times. Then a small perceptron energy is trained by each objective
on the sheets, several times; differences between objectives are paired over these seeds. How uneven
the weights are is told by the effective sample size (Σw)²/(n Σw²) of draws.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import energies
from energax.derivatives import score
from energax.energies import GaussianMixture
from energax.objectives import Ladder, MultiscaleDenoisingScoreMatching
from energax.objectives.posterior import importance_weights, parzen_score
from energax.papers.fields import scores_at
from energax.papers.mdsm_importance_scores import (
    LEVELS,
    SIGMA_0,
    SIGMA_MAX,
    SIGMA_MIN,
    ladder,
    ladder_score,
    minibatch_scores,
)
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference
from energax.training import fit
from energax.typing import Array, Key

__all__ = ["run"]

BATCH = 128
COMPONENTS = 4
SPREAD, ALONG, ACROSS = 0.4, 0.3, 0.02  # of the means, along a sheet, across it
SHEET = 2  # dimensions of a sheet
NEAR_ONE = 0.1
TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
SHEETS, FULL = "sheets", "full"
CLOSED = ("w = 1", "w exact", "w = 1, infinite data", "minibatch", "one minibatch")
WEIGHTINGS = ("none", "importance", "posterior", "minibatch")
TRAINED = tuple(f"trained: {w}" for w in WEIGHTINGS)


class Sizes(NamedTuple):
    """What a scale means."""

    dimensions: tuple[int, ...]
    trained: tuple[int, ...]
    rows: int
    held_out: int
    draws: int
    batches: int
    width: int
    depth: int
    steps: int
    seeds: int


SCALES = {
    "smoke": Sizes((2, 16), (2,), 256, 128, 512, 16, 16, 1, 30, 2),
    "cpu": Sizes((2, 4, 16, 64), (2, 4, 16, 64), 1500, 512, 4096, 64, 128, 3, 1500, 3),
    "paper": Sizes(
        (2, 4, 16, 64, 256, 1024), (2, 4, 16, 64, 256, 1024), 50_000, 4096, 16_384, 256, 1024, 4, 100_000, 3
    ),
}


class OverTheMinibatch(MultiscaleDenoisingScoreMatching):
    """The mistake: the posterior over the rows of the minibatch, in place of the data set."""

    def loss(self, model, nuisance, state, batch, key):
        """Return the posterior loss with the minibatch for a data set."""
        return super().loss(model, nuisance, batch.x, batch, key)


def mixture(kind: str, d: int, key: Key) -> GaussianMixture:
    """Return the population: four Gaussians on sheets, or full."""
    mean_key, *sheet_keys = jax.random.split(key, 1 + COMPONENTS)
    means = 0.5 + SPREAD * jax.random.normal(mean_key, (COMPONENTS, d))
    if kind == FULL:
        return GaussianMixture(jnp.ones(COMPONENTS), means, ALONG**2 * jnp.eye(d))

    def covariance(k):
        along = jnp.linalg.qr(jax.random.normal(k, (d, SHEET)))[0]
        return ALONG**2 * along @ along.T + ACROSS**2 * jnp.eye(d)

    return GaussianMixture(jnp.ones(COMPONENTS), means, jnp.stack([covariance(k) for k in sheet_keys]))


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Compare the closed forms on both kinds of data, and the trained energies on the sheets."""
    sizes = SCALES[scale]
    results: dict[str, dict[str, Any]] = {}
    for kind in (SHEETS, FULL):
        for d in sizes.dimensions:
            key = jax.random.fold_in(jax.random.key(d), kind == FULL)
            found = _measure(kind, d, sizes, key)
            results[f"{kind}, d = {d}"] = {"data": kind, "d": d, **found}
            told = ", ".join(f"{c} {found[c][1]:.3g}" for c in (*CLOSED, *TRAINED) if c in found)
            progress(f"{kind}, d = {d}: error to the population: {told}; effective {found['effective']:.0%}")
    verdict = bulleted(_verdict(results))
    columns = ("data", "d", "rms score", "effective", "near 1", *CLOSED, *TRAINED)
    rows = [_row(r) for r in results.values()]
    return Outcome(columns, rows, verdict, _draw(results), {"cases": results})


def _measure(kind: str, d: int, sizes: Sizes, key: Key) -> dict[str, Any]:
    population_key, data_key, test_key, noise_key, draw_key, batch_key, fit_key = jax.random.split(key, 7)
    population = mixture(kind, d, population_key)
    data = population.sample(data_key, sizes.rows)
    x = population.sample(test_key, sizes.held_out)
    x = x + SIGMA_0 * jax.random.normal(noise_key, x.shape)
    order = [
        jax.random.permutation(k, sizes.rows)[:BATCH] for k in jax.random.split(batch_key, sizes.batches)
    ]
    fields = {k: np.asarray(v) for k, v in _closed_forms(population, data, x, jnp.stack(order)).items()}
    parzen, truth = fields["w exact"], fields.pop("truth")
    errors: dict[str, Any] = {c: (_relative(s, parzen), _relative(s, truth)) for c, s in fields.items()}
    if kind == SHEETS and d in sizes.trained:
        for case, weighting in zip(TRAINED, WEIGHTINGS, strict=True):
            scores = _trained(weighting, np.asarray(data), x, sizes, fit_key)
            each = [(_relative(s, parzen), _relative(s, truth)) for s in scores]
            errors[case] = tuple(np.mean(each, axis=0).tolist())
            errors[f"{case}, each seed"] = each
    size = {"score": _rms(truth), "Parzen score": _rms(parzen)}
    one = {"one minibatch, rms error": _rms(fields["one minibatch"] - parzen)}
    return {**errors, **size, **one, **_weights(data, draw_key, sizes.draws)}


@eqx.filter_jit
def _closed_forms(population: GaussianMixture, data: Array, x: Array, rows: Array) -> dict[str, Array]:
    sigmas, weights = ladder()
    compromise = Ladder(sigmas, weights, jnp.asarray(SIGMA_0)).optimum(population)
    smooth = population.smoothed(SIGMA_0)
    average, first = minibatch_scores(x, data, rows)
    return {
        "truth": jax.vmap(lambda y: score(smooth, y))(x),
        "w = 1": ladder_score(x, data),
        "w exact": parzen_score(x, data, SIGMA_0),
        "w = 1, infinite data": jax.vmap(lambda y: score(compromise, y))(x),
        "minibatch": average,
        "one minibatch": first,
    }


def _trained(weighting: str, data: np.ndarray, x: Array, sizes: Sizes, key: Key) -> list[np.ndarray]:
    """Return the scores of perceptrons trained by one of the objectives, one for each seed."""
    mistaken = weighting == "minibatch"
    kind: Any = OverTheMinibatch if mistaken else MultiscaleDenoisingScoreMatching
    objective = kind(
        SIGMA_MIN,
        SIGMA_MAX,
        sigma_0=SIGMA_0,
        levels=LEVELS,
        weighting="posterior" if mistaken else weighting,
    )
    settings = {"steps": sizes.steps, "batch_size": BATCH, "ema": 0.99, "progress": False}
    scores = []
    for seed in range(sizes.seeds):
        model_key, fit_key = jax.random.split(jax.random.fold_in(key, seed))
        model = energies.MLP(data.shape[1:], width=sizes.width, depth=sizes.depth, key=model_key)
        trained = fit(model, objective, data, key=fit_key, **settings)
        scores.append(np.asarray(scores_at(trained.energy, x)))
    return scores


@eqx.filter_jit
def _draws(data: Array, key: Key, n: int) -> tuple[Array, Array]:
    """Return the weights of n draws of the ladder, and the level of each."""
    row_key, noise_key = jax.random.split(key)
    sigmas, weights = ladder()
    level = jnp.arange(n) % LEVELS
    z = jax.random.normal(noise_key, (n, data.shape[1]))
    x = data[jax.random.randint(row_key, (n,), 0, len(data))]
    own = sigmas[level] ** 2 * jnp.sum(z**2, axis=1)
    noisy = x + sigmas[level][:, None] * z
    return importance_weights(noisy, own, data, SIGMA_0, sigmas, weights), level


def _weights(data: Array, key: Key, n: int) -> dict[str, Any]:
    """Return how uneven the weights are, in all and level by level."""
    w, level = (np.asarray(a, np.float64) for a in _draws(data, key, n))
    return {
        "effective": float(w.sum() ** 2 / (n * np.sum(w**2))),
        "near one": float(np.mean(np.abs(w - 1) < NEAR_ONE)),
        "variance of w": float(w.var()),
        "mean w": float(w.mean()),
        "near one by level": [float(np.mean(np.abs(w[level == k] - 1) < NEAR_ONE)) for k in range(LEVELS)],
    }


def _rms(s: np.ndarray) -> float:
    """Return the root of the mean square of the norm."""
    return float(np.sqrt(np.mean(np.sum(np.square(s, dtype=np.float64), axis=1))))


def _relative(s: np.ndarray, reference: np.ndarray) -> float:
    return _rms(s - reference) / _rms(reference)


def _row(r: Mapping[str, Any]) -> tuple[Any, ...]:
    errors = [f"{r[c][0]:.2g} / {r[c][1]:.2g}" if c in r else "" for c in (*CLOSED, *TRAINED)]
    return (r["data"], r["d"], r["score"], f"{r['effective']:.1%}", f"{r['near one']:.0%}", *errors)


def _verdict(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    sheets = [r for r in results.values() if r["data"] == SHEETS]
    full = [r for r in results.values() if r["data"] == FULL]
    ratio = [r["near one"] for r in sheets]
    lines = [
        f"Is the ratio close to one, as appendix A expects? Within {NEAR_ONE:.0%} of one for "
        + _by_dimension(sheets, lambda r: f"{r['near one']:.0%}")
        + " of the draws on sheets and "
        + _by_dimension(full, lambda r: f"{r['near one']:.0%}")
        + f" of full data: {'for most draws in every d' if min(ratio) > 0.5 else 'not for most draws'}. "
        + "Effective sample size "
        + _by_dimension(sheets, lambda r: f"{r['effective']:.1%}")
        + " on sheets."
    ]
    for rows, name in ((sheets, "on sheets"), (full, "on full data")):
        bias = [r["w = 1, infinite data"][1] for r in rows]
        memory = [r["w exact"][1] for r in rows]
        wins = [r["d"] for r, b, m in zip(rows, memory, bias, strict=True) if b < m]
        lines.append(
            f"Closed forms {name}: w = 1 is off the Parzen score by "
            + _by_dimension(rows, lambda r: f"{r['w = 1'][0]:.0%}")
            + ". Against the population, its bias with infinite data is "
            + _by_dimension(rows, lambda r: f"{r['w = 1, infinite data'][1]:.0%}")
            + (", falling" if bias[-1] < bias[0] else ", not falling")
            + " with d; the Parzen score, the minimum of the exact objective, is off by "
            + _by_dimension(rows, lambda r: f"{r['w exact'][1]:.0%}")
            + (", rising." if memory[-1] > memory[0] else ", not rising.")
            + " The exact objective's own minimum is the nearer to the population in "
            + (f"d = {', '.join(map(str, wins))} only." if wins else "no d.")
        )
    trained = [r for r in sheets if TRAINED[0] in r]
    none, importance, posterior, mistaken = TRAINED
    told = {t: _by_dimension(trained, lambda r, t=t: f"{r[t][1]:.0%}") for t in TRAINED[:3]}
    lines.append(
        "Energies on sheets, error to the population: "
        + "; ".join(f"{t} {v}" for t, v in told.items())
        + ". "
        + _compared(trained, importance, none, "importance weights against none", 1)
        + " "
        + _compared(trained, posterior, none, "posterior targets against no weights", 1)
    )
    lines.append(
        "Importance weights and posterior targets have one minimum, the Parzen score. Trained equally long: "
        + _compared(trained, importance, posterior, "importance weights against posterior targets", 0)
    )
    low = sheets[0]
    to_parzen = _by_dimension(sheets, lambda r: f"{r['minibatch'][0]:.0%}")
    to_population = _by_dimension(sheets, lambda r: f"{r['minibatch'][1]:.0%}")
    lines.append(
        f"Normalising over a minibatch of {BATCH}: in d = {low['d']} the field of one minibatch has an rms "
        f"error of {low['one minibatch, rms error']:.3g} against a Parzen score of rms "
        f"{low['Parzen score']:.3g}. Training tends to the mean over minibatches, which is on sheets off the "
        "Parzen score by "
        f"{to_parzen}, off the population by {to_population}. "
        + _compared(trained, mistaken, posterior, "energies trained so, against posterior targets", 0)
        + " "
        + _compared(trained, mistaken, posterior, "the same", 1)
    )
    return lines


def _compared(rows: list[Mapping[str, Any]], this: str, that: str, name: str, reference: int) -> str:
    """Say in which dimensions one training ends clearly nearer to a reference than another does."""
    found: dict[str, list[str]] = {"nearer": [], "farther": [], "neither": []}
    for r in rows:
        these, those = ([e[reference] for e in r[f"{t}, each seed"]] for t in (this, that))
        d = difference(these, those)
        found["neither" if not d.clear else "nearer" if d.mean < 0 else "farther"].append(str(r["d"]))
    said = ["nearer to it", "farther from it", "neither clearly"]
    told = "; ".join(f"{say} in d = {', '.join(d)}" for say, d in zip(said, found.values(), strict=True) if d)
    to = ("Parzen score", "population")[reference]
    return f"{name[0].upper()}{name[1:]}, to the {to}: {told}."


def _by_dimension(rows: list[Mapping[str, Any]], show: Callable[[Mapping[str, Any]], str]) -> str:
    return ", ".join(f"{show(r)} (d = {r['d']})" if r is rows[0] else f"{show(r)} ({r['d']})" for r in rows)


def _draw(results: Mapping[str, Mapping[str, Any]]) -> Any:
    figure = canvas(14, 4.6)
    shares, closed, trained = figure.subplots(1, 3, width_ratios=(1, 1.25, 1.25))
    for kind, style in ((SHEETS, "-"), (FULL, "--")):
        rows = [r for r in results.values() if r["data"] == kind]
        d = [r["d"] for r in rows]
        shares.plot(
            d, [r["effective"] for r in rows], f"o{style}", color="C0", label=f"effective share, {kind}"
        )
        shares.plot(
            d, [r["near one"] for r in rows], f"s{style}", color="C1", label=f"within 10 % of 1, {kind}"
        )
        for i, case in enumerate(CLOSED[:4]):
            label = case if kind == SHEETS else None
            closed.plot(d, [r[case][1] for r in rows], f"o{style}", color=f"C{i}", label=label)
        if kind == SHEETS:
            rows = [r for r in rows if TRAINED[0] in r]
            d = [r["d"] for r in rows]
            for i, case in zip((0, 1, 4, 3), TRAINED, strict=True):
                name = case.removeprefix("trained: ")
                trained.plot(
                    d, [r[case][1] for r in rows], "o-", color=f"C{i}", label=f"{name}, to the population"
                )
                trained.plot(d, [r[case][0] for r in rows], "o:", color=f"C{i}", mfc="w", alpha=0.6)
    closed.plot([], [], "k--", label="full data (solid: sheets)")
    trained.plot([], [], "k:", label="dotted: to the Parzen score")
    for axes, title in (
        (shares, "weights of draws"),
        (closed, "minima in closed form: error to the population"),
        (trained, "trained energies, sheets"),
    ):
        axes.set_xscale("log", base=2)
        axes.set_xticks(d, [str(v) for v in d])
        axes.set_xlabel("d")
        axes.set_title(title, fontsize=11)
        axes.grid(color="0.92")
        axes.legend(fontsize=8, frameon=False)
    for axes in (closed, trained):
        axes.set_yscale("log")
        axes.axhline(1, color="0.6", lw=0.8)
        axes.set_ylabel("relative error at held-out points + σ₀z (1: that of s = 0)")
        axes.set_yticks(TICKS, [f"{v:g}" for v in TICKS])
        axes.minorticks_off()
    closed.set_ylim(0.01, 20)
    trained.set_ylim(0.1, 2)
    shares.set_ylabel("share of draws")
    shares.set_ylim(0, 1)
    return figure
