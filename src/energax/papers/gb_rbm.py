r"""A Gaussian–Bernoulli machine of MNIST in logit space: what unit variance costs.

Grathwohl et al. (2020), §7.1 and figure 14: dequantised x·255/256 + U/256, z = logit(α + (1 − 2α)x) with
α = 10⁻⁶, and the machine with p(z | h) = N(½Bh + b, I), b starting at the data's mean. Here it learns by
persistent chains (their way, by the learned Stein discrepancy, is another matter), and log p(z) is exact
with 16 hidden units, Z being a sum over 65,536 states. Against it stand densities that know nothing of
hidden bits: independent Gaussians, a mean and a variance for each pixel; and factor analysis,
N(μ, LLᵀ + Ψ) with Ψ diagonal and as many factors as there are hidden units.

The machine has one setting that these have not: its noise is 1, in units of logits. Beside the paper's, it
is trained on z divided by one number, or each pixel by its own, the noise √Ψ that factor analysis found; its
log p is then corrected by the log-determinant, so that all are densities of the same z. What chains fail to
learn is told apart from what the machine cannot say by two more ways to train it: CD-10, and the exact
gradient, for which the sum over h is written by the Gram matrix,

    log Z = (n/2) log 2π + log Σ_h exp(⅛ hᵀBᵀBh + ½ hᵀBᵀb + ½‖b‖² + c·h),

2ᵐ m² multiplications, not 2ᵐ n m. Where the exact gradient ends below CD-10, is it the gradient or the way?
Its slope vanishes for a hidden unit that is always on, or always off, in data and model alike. So the units
that are *idle* are counted (on in under 1 % or in over 99 % of the rows), and the exact gradient also goes on
from where CD-10 ended, for some more updates.

Sheets are E[z | h] after Gibbs sweeps from shuffled pixels, back in grey. The large machine, 100 hidden
units as in the paper, has no exact log Z and is only shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax import data
from energax.energies import GaussianBernoulliRBM
from energax.energies.enumeration import all_bits
from energax.objectives import (
    ContrastiveDivergence,
    ExactMaximumLikelihood,
    Objective,
    PersistentContrastiveDivergence,
)
from energax.papers.descent import at_best_rate, log_likelihood
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, show_sheet
from energax.papers.repeats import difference, pm, summary
from energax.samplers import BlockGibbs
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.training import fit
from energax.typing import Scalar

__all__ = ["gram_log_normalizer", "run"]

UNITS = ("noise 1", "one noise", "noise of each pixel")
PCD, CD, EXACT, ONWARD = "PCD-1", "CD-10", "exact gradient", "CD-10, then exact"
WAYS = (PCD, CD, EXACT, ONWARD)
ONWARD_STEPS = 400
IDLE = 0.01
INDEPENDENT, FACTORS = "independent Gaussians", "factor analysis"
ALPHA = 1e-6
BATCH = 128
SHOWN = 64
POINTS = 10  # of a curve


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    dataset, levels
        A loader's name, and the grey levels of its files.
    rows
        Training rows, and at most a fifth as many held out.
    hidden
        Units of the machine whose likelihood is exact.
    steps
        Updates of a training.
    rates
        Learning rates tried, of which the best by training likelihood counts.
    seeds
        Trainings of each case.
    large
        Hidden units of the machine that is only shown, or None.
    sweeps
        Of the chains in a sheet.
    """

    dataset: str
    levels: int
    rows: int
    hidden: int
    steps: int
    rates: tuple[float, ...]
    seeds: int
    large: int | None
    sweeps: int


SIZES = {
    "smoke": Size("digits", 17, 1_000, 4, 100, (1e-2,), 2, None, 50),
    "cpu": Size("mnist", 256, 10_000, 16, 1_500, (3e-3, 1e-2, 3e-2), 1, 100, 2_000),
    "paper": Size("mnist", 256, 60_000, 16, 47_000, (1e-3, 3e-3, 1e-2, 3e-2), 3, 100, 2_000),
}


def gram_log_normalizer(model: GaussianBernoulliRBM) -> Scalar:
    """Return log Z of a machine of unit variance, by the Gram matrix of its weights."""
    B, b, c = model.weights, model.visible_bias, model.hidden_bias
    spins = 2 * all_bits(c.size) - 1
    pairs = jnp.sum((spins @ (B.T @ B)) * spins, axis=1) / 8
    log_weights = pairs + spins @ (B.T @ b / 2 + c)
    return 0.5 * b @ b + 0.5 * b.size * jnp.log(2 * jnp.pi) + jax.nn.logsumexp(log_weights)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every case, measure its density at held-out digits, draw sheets."""
    bench = Bench(SIZES[scale])
    size = bench.size
    results: dict[str, dict[str, Any]] = {}
    sheets = {"held out": bench.grey(bench.test[:SHOWN])}
    for name, found in bench.baselines().items():
        results[name] = found
        progress(f"{name}: {found['test'][0]:.0f} nats held out")
    for unit in UNITS:
        for how in WAYS:
            case = f"{unit}, {how}"
            results[case], model = bench.case(unit, how)
            idle = results[case]["idle"]
            progress(f"{case}: {pm(results[case]['test'], '.0f')} nats held out, {idle[0]} hidden units idle")
            if how == PCD:
                sheets[case] = bench.sheet(model, unit)
    large = None
    if size.large is not None:
        rate = results[f"{UNITS[0]}, {PCD}"]["rate"]
        model, large = bench.fitted(UNITS[0], PCD, rate, 0, size.large)
        sheets[f"{UNITS[0]}, {PCD}, {size.large} hidden"] = bench.sheet(model, UNITS[0])
    rows = [
        (
            c,
            pm(r["test"], ".0f"),
            pm(r["train"], ".0f"),
            r.get("rate", "–"),
            f"{np.mean(r['idle']):g}" if "idle" in r else "–",
        )
        for c, r in results.items()
    ]
    columns = ("density of z", "log p, held out", "log p, training", "learning rate", "idle units")
    facts = {"results": results, "settings": vars(size), "scales": bench.noise, "large": large}
    return Outcome(columns, rows, _verdict(size, results), _draw(results, large, sheets), facts)


class Bench:
    """The data in logit space, and the trainings on it."""

    def __init__(self, size: Size):
        from sklearn.decomposition import FactorAnalysis

        self.size = size
        dataset = getattr(data, size.dataset)()
        assert dataset.image_shape is not None
        self.image_shape = dataset.image_shape
        self.logits = data.Pipeline([data.Dequantise(size.levels), data.Logit(ALPHA)])
        keys = jax.random.split(jax.random.key(7))
        train, test = dataset.train[: size.rows], dataset.test[: size.rows // 5]
        self.train, self.test = (self._dequantised(x, k) for x, k in zip((train, test), keys, strict=True))
        self.factors = FactorAnalysis(size.hidden).fit(self.train)
        each = np.sqrt(self.factors.noise_variance_).astype(np.float32)
        one = np.full_like(each, np.sqrt(np.mean(each**2)))
        scales = (np.ones_like(each), one, each)
        self.scales: dict[str, np.ndarray] = dict(zip(UNITS, scales, strict=True))
        self.ended: dict[str, Any] = {}  # of each unit of noise, the machines of CD-10
        self.noise = {"least": float(each.min()), "one": float(one[0]), "most": float(each.max())}

    def _dequantised(self, x: np.ndarray, key: Any) -> np.ndarray:
        rows = x.reshape(len(x), -1)
        return np.asarray(jax.jit(jax.vmap(self.logits.training))(rows, jax.random.split(key, len(rows))))

    def baselines(self) -> dict[str, dict[str, Any]]:
        """Return what densities without hidden bits reach, fitted to the same rows."""
        mean, sd = self.train.mean(axis=0), self.train.std(axis=0)

        def gaussian(z: np.ndarray) -> float:
            log_p = -0.5 * ((z - mean) / sd) ** 2 - np.log(sd) - 0.5 * np.log(2 * np.pi)
            return float(np.mean(np.sum(log_p, axis=1)))

        parts = {"test": self.test, "train": self.train}
        return {
            INDEPENDENT: {name: [gaussian(z)] for name, z in parts.items()},
            FACTORS: {name: [float(self.factors.score(z))] for name, z in parts.items()},
        }

    def case(self, unit: str, how: str) -> tuple[dict[str, Any], GaussianBernoulliRBM]:
        """Train at each rate; return the best by training likelihood, and its first model."""

        def train(rate: float, seed: int) -> tuple[Any, Any, list[float]]:
            start = self.ended[unit][seed] if how == ONWARD else None
            model, history = self.fitted(unit, how, rate, seed, start=start)
            return model, history, self.judged(model, unit)

        rate, found, values = at_best_rate(self.size.rates, self.size.seeds, train, lambda t: t[2][1])
        if how == CD:
            self.ended[unit] = [model for model, _, _ in found]
        record = {
            "test": [worth[0] for _, _, worth in found],
            "train": [worth[1] for _, _, worth in found],
            "idle": [self.idle(model, unit) for model, _, _ in found],
            "rate": rate,
            "training log p at each rate": {f"{r:g}": v for r, v in values.items()},
            "history": found[0][1],
        }
        return record, found[0][0]

    def idle(self, model: GaussianBernoulliRBM, unit: str) -> int:
        """Return how many hidden units are on in nearly all rows, or in nearly none."""
        x = jnp.asarray(self.train / self.scales[unit])
        on = np.asarray(jnp.mean(jax.nn.sigmoid(jax.vmap(model.hidden_logits)(x)), axis=0))
        return int(np.sum((on < IDLE) | (on > 1 - IDLE)))

    def fitted(
        self,
        unit: str,
        how: str,
        rate: float,
        seed: int,
        hidden: int | None = None,
        start: GaussianBernoulliRBM | None = None,
    ) -> tuple[GaussianBernoulliRBM, dict[str, list[float]]]:
        """Return a trained machine, and the energy gap and movement of its chains on the way."""
        gibbs, size = BlockGibbs(), self.size
        exact = ExactMaximumLikelihood(gram_log_normalizer)
        objective: Objective = {
            PCD: PersistentContrastiveDivergence(gibbs, 1, chains=BATCH),
            CD: ContrastiveDivergence(gibbs, 10),
            EXACT: exact,
            ONWARD: exact,
        }[how]
        x = self.train / self.scales[unit]
        model_key, key = jax.random.split(jax.random.key(seed))
        model = start or GaussianBernoulliRBM.from_data(x, hidden or size.hidden, key=model_key)
        steps = min(ONWARD_STEPS, size.steps) if how == ONWARD else size.steps
        settings = {"steps": steps, "batch_size": BATCH, "learning_rate": rate}
        result = fit(model, objective, x, key=key, progress=False, log_every=max(1, steps // 50), **settings)
        names = ("step", "energy_data", "energy_gap", "log_likelihood")
        history = {n: [float(r[n]) for r in result.history] for n in names if n in result.history[0]}
        if "log_likelihood" in history:
            volume = float(np.log(self.scales[unit]).sum())
            history["log_likelihood"] = [v - volume for v in history["log_likelihood"]]
        return result.energy, history

    def judged(self, model: GaussianBernoulliRBM, unit: str) -> list[float]:
        """Return mean log p(z) of held-out and of as many training rows, in units of z."""
        scale = self.scales[unit]
        rows = (jnp.asarray(z[: len(self.test)] / scale) for z in (self.test, self.train))
        return [float(v) - float(np.log(scale).sum()) for v in log_likelihood(model, *rows)]

    def grey(self, z: np.ndarray) -> np.ndarray:
        """Return logits as images in grey."""
        x = np.asarray(jax.vmap(self.logits.inverse)(jnp.asarray(z)))
        return np.clip(x, 0, 1).reshape(-1, *self.image_shape[:2])

    def sheet(self, model: GaussianBernoulliRBM, unit: str) -> np.ndarray:
        """Return E[z | h] of chains from shuffled pixels, in grey."""
        start_key, run_key, hidden_key = jax.random.split(jax.random.key(0), 3)
        start = marginals(jnp.asarray(self.train[:SHOWN] / self.scales[unit]), start_key)
        x = run_chains(BlockGibbs(), model, start, key=run_key, steps=self.size.sweeps).x
        hidden = jax.vmap(model.sample_hidden)(x, jax.random.split(hidden_key, SHOWN))
        return self.grey(np.asarray(jax.vmap(model.visible_mean)(hidden)) * self.scales[unit])


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    test = {case: summary(r["test"])[0] for case, r in results.items()}
    lines = []
    for unit in UNITS:
        every = [f"{unit}, {how}" for how in WAYS]
        persistent, short, exact, onward = every
        best = max(every, key=lambda c: test[c])
        idle = [np.mean(results[c]["idle"]) for c in (short, exact)]
        beats = [n for n in (INDEPENDENT, FACTORS) if test[best] > test[n]]
        missing = test[best] - test[FACTORS]
        where = "above " + " and ".join(beats) if beats else "below both baselines"
        lines.append(
            f"{unit}: PCD-1 reaches {test[persistent]:.0f} nats, CD-10 {test[short]:.0f}, the exact gradient"
            f" {test[exact]:.0f}, and {test[onward]:.0f} from where CD-10 ended; of CD-10's hidden units"
            f" {idle[0]:g} are idle, of the exact gradient's {idle[1]:g}; the best is {where}"
            f" ({missing:+.0f} nats against factor analysis, {test[best] - test[INDEPENDENT]:+.0f} against"
            " independent Gaussians)."
        )
    best = max((c for c in test if c not in (INDEPENDENT, FACTORS)), key=lambda c: test[c])
    gains = [
        difference(results[f"{UNITS[2]}, {how}"]["test"], results[f"{UNITS[0]}, {how}"]["test"]).mean
        for how in WAYS
    ]
    wins = test[best] > max(test[INDEPENDENT], test[FACTORS])
    edges = [c for c, r in results.items() if r.get("rate") == size.rates[-1]]
    lines.append(f"The largest rate tried was the best for {'; '.join(edges) or 'no case'}.")
    lines.append(
        f"The best machine is {best}, {test[best]:.0f} nats; it is {'' if wins else 'not '}the best density."
        f" A noise for each pixel changes log p by {min(gains):+.0f} to {max(gains):+.0f} nats."
    )
    return bulleted(lines)


def _draw(results: Mapping[str, Any], large: Any, sheets: Mapping[str, np.ndarray]) -> Any:
    figure = canvas(14, 8)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.2, 1))
    left, right = top.subplots(1, 2)
    means = [summary(r["test"])[0] for r in results.values()]
    colors = {INDEPENDENT: "0.5", FACTORS: "0.3", PCD: "C2", CD: "C1", EXACT: "C3", ONWARD: "C4"}
    left.barh(
        range(len(means)), means, color=[colors[c.partition(", ")[2] or c] for c in results], alpha=0.85
    )
    left.set_yticks(range(len(means)), list(results), fontsize=9)
    left.set_xlim(min(means) * 1.03, max(means) * 0.9)
    left.invert_yaxis()
    left.set(title="log p(z) of held-out digits, nats", xlabel="to the right is better")
    curves = {unit: results[f"{unit}, {PCD}"]["history"] for unit in UNITS}
    if large is not None:
        curves[f"{UNITS[0]}, more hidden units"] = large
    for label, history in curves.items():
        right.plot(history["step"], history["energy_gap"], label=label)
    right.axhline(0, color="0.6", lw=0.8)
    right.set(title="PCD-1: mean E(data) − mean E(chains)", xlabel="updates", yscale="symlog")
    right.legend(fontsize=9, frameon=False)
    right.grid(color="0.92")
    for axes, (label, images) in zip(bottom.subplots(1, len(sheets)), sheets.items(), strict=True):
        show_sheet(axes, images, 8, label, 9)
    return figure
