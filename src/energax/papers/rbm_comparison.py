r"""Small Boltzmann machines learned from 100 samples by probability flow, pseudo-likelihood and chains.

The demonstration that came with minimum probability flow (Sohl-Dickstein, Battaglino & DeWeese 2011): a
random machine of 10 visible and 10 hidden units, weights and biases N(0, 16/11), gives 100 samples; another
one, of N(0, 1/11), learns from them. All states can be enumerated, so that log p of the samples is exact, in
bits, beside the truth's own; and so is what a hundred samples are for,

    KL(truth ‖ model) = Σ_x p(x) log₂ p(x)/p_θ(x),

the bits a sample to come is worse off. All methods take full batches and the same number of plain steps of
one rate that falls linearly to zero, on

    loss + (λ/2)‖θ‖²,        λ = 0, 0.01 and 0.1 (the demonstration has 0 for all, and 0.1 for chains too):

    PL              `CompositeLikelihood`
    MPF             `MinimumProbabilityFlow`
    CD-1, CD-10     chains of so many sweeps from the samples
    exact           the gradient of log p itself, by enumeration

A step of one is not as far as a step of another: the losses of PL and MPF are sums over ten bits. So with
λ = 0 where a method stands is a matter of how far it has come towards weights without bound, which is what
the likelihood of 100 samples asks for; with λ > 0 they come to rest, each at its own balance. The
demonstration takes PL and MPF to their minima by L-BFGS instead, and CD 10,000 steps of 0.01.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import BernoulliRBM, all_bits
from energax.objectives import (
    Batch,
    CompositeLikelihood,
    ContrastiveDivergence,
    ExactMaximumLikelihood,
    MinimumProbabilityFlow,
    Objective,
)
from energax.objectives.targets import Biased
from energax.papers.descent import descend
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import Difference, difference, pm
from energax.samplers import BlockGibbs
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["Decayed", "divergence", "random_machine", "run"]

SAMPLES = 100
PL, MPF, CD1, CD10, EXACT = "PL", "MPF", "CD-1", "CD-10", "exact"
TRUE, START = 4.0, 1.0  # standard deviations of weights and biases, times √(visible + 1)
RATE = 0.3
POINTS = 10  # of a curve


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    units
        Visible units, and as many hidden.
    steps
        Updates of a training.
    machines
        Random truths, each with its own samples.
    decays
        λ.
    """

    units: int
    steps: int
    machines: int
    decays: tuple[float, ...]


SIZES = {
    "smoke": Size(6, steps=100, machines=2, decays=(0.0, 0.1)),
    "cpu": Size(10, steps=2_000, machines=5, decays=(0.0, 0.01, 0.03, 0.1)),
    "paper": Size(10, steps=10_000, machines=20, decays=(0.0, 0.003, 0.01, 0.03, 0.1)),
}


def methods() -> dict[str, Objective]:
    """Return the objectives by name."""
    gibbs = BlockGibbs()
    return {
        PL: CompositeLikelihood(),
        MPF: MinimumProbabilityFlow(),
        CD1: ContrastiveDivergence(gibbs, 1),
        CD10: ContrastiveDivergence(gibbs, 10),
        EXACT: ExactMaximumLikelihood(),
    }


class Decayed(Objective):
    """The loss of an objective plus (λ/2)‖θ‖² of the model's parameters.

    Parameters
    ----------
    objective
        Any that learns nothing beside the model.
    decay
        λ ≥ 0.
    """

    objective: Objective
    decay: Array

    def __init__(self, objective: Objective, decay: float):
        self.objective = objective
        self.decay = jnp.asarray(decay)

    @property
    def target(self) -> Biased:
        """The objective's, drawn towards zero."""
        return Biased("parameters are drawn towards zero, λ", order=1)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return what the objective does."""
        return self.objective.init(model, data, key, rows)

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Return what the objective does."""
        return self.objective.refresh(model, nuisance, state, batches, key)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the objective's loss and the penalty, with the objective's metrics."""
        value, metrics = self.objective.loss(model, nuisance, state, batch, key)
        parameters = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
        return value + 0.5 * self.decay * sum(jnp.sum(p**2) for p in parameters), metrics


def random_machine(units: int, scale: float, key: Key) -> BernoulliRBM:
    """Return a machine of so many units in each layer, weights and biases N(0, scale²/(units + 1))."""
    weights_key, visible_key, hidden_key = jax.random.split(key, 3)
    s = scale / np.sqrt(units + 1)
    return BernoulliRBM.from_parameters(
        s * jax.random.normal(weights_key, (units, units)),
        s * jax.random.normal(visible_key, (units,)),
        s * jax.random.normal(hidden_key, (units,)),
    )


@eqx.filter_jit
def divergence(truth: BernoulliRBM, model: BernoulliRBM) -> Scalar:
    """Return KL(truth ‖ model) in bits, a sum over all visible states."""
    states = all_bits(truth.visible_bias.size)
    log_p, log_q = (jax.vmap(m)(states) for m in (truth, model))
    log_p, log_q = (-e - jax.nn.logsumexp(-e) for e in (log_p, log_q))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q)) / np.log(2)


@eqx.filter_jit
def bits(model: BernoulliRBM, x: Array) -> Scalar:
    """Return mean log₂ p(x) of rows."""
    return jnp.mean(jax.vmap(model.log_prob)(x)) / np.log(2)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every method with every decay on the samples of every machine."""
    size = SIZES[scale]
    problems = []
    for seed in range(size.machines):
        truth_key, sample_key, start_key = jax.random.split(jax.random.key(seed), 3)
        truth = random_machine(size.units, TRUE, truth_key)
        x = np.asarray(truth.sample(sample_key, SAMPLES))
        problems.append((truth, x, random_machine(size.units, START, start_key)))
    own = [float(bits(truth, jnp.asarray(x))) for truth, x, _ in problems]
    distinct = [len(np.unique(x, axis=0)) for _, x, _ in problems]
    curves: dict[str, dict[float, np.ndarray]] = {}  # (machines, points, [updates, bits, divergence])
    for name, objective in methods().items():
        curves[name] = {}
        for decay in size.decays:
            found = [
                _trained(Decayed(objective, decay), problem, size.steps, jax.random.key(seed))
                for seed, problem in enumerate(problems)
            ]
            curves[name][decay] = np.array(found)
        ends = {decay: c[:, -1] for decay, c in curves[name].items()}
        told = "; ".join(f"{end[:, 1].mean():.2f} and {end[:, 2].mean():.2f}" for end in ends.values())
        progress(
            f"{name}, λ = {', '.join(f'{d:g}' for d in ends)}: log₂ p of the samples and KL, bits: {told}"
        )
    gains = {name: {d: (c[:, -1, 1] - own).tolist() for d, c in by.items()} for name, by in curves.items()}
    losses = {name: {d: c[:, -1, 2].tolist() for d, c in by.items()} for name, by in curves.items()}
    columns = ("method", "λ", "log₂ p of the samples", "above the truth's", "KL(truth ‖ model), bits")
    rows = [
        (
            name,
            f"{d:g}",
            f"{c[:, -1, 1].mean():.3f}",
            pm(gains[name][d]),
            pm(losses[name][d]),
        )
        for name, by in curves.items()
        for d, c in by.items()
    ]
    rows.append(("the truth", "–", f"{np.mean(own):.3f}", "0", "0"))
    facts = {
        "units": size.units,
        "truth": own,
        "distinct": distinct,
        "start": [float(divergence(truth, start)) for truth, _, start in problems],
        "gains": {name: {f"{d:g}": v for d, v in by.items()} for name, by in gains.items()},
        "divergences": {name: {f"{d:g}": v for d, v in by.items()} for name, by in losses.items()},
        "curves": {name: {f"{d:g}": c.tolist() for d, c in by.items()} for name, by in curves.items()},
    }
    verdict = _verdict(size, gains, losses, distinct)
    return Outcome(columns, rows, verdict, _draw(size, curves, own), facts)


def _trained(
    objective: Objective, problem: tuple[BernoulliRBM, np.ndarray, BernoulliRBM], steps: int, key: Key
) -> list[list[float]]:
    """Return (updates, bits of the samples, divergence) along one training."""
    truth, x, model = problem
    rows = jnp.asarray(x)
    curve = [[0, float(bits(model, rows)), float(divergence(truth, model))]]
    pace = {"rate": RATE, "falling": True, "batch": len(x), "steps": steps, "every": steps // POINTS}
    for done, reached, _ in descend(model, objective, x, key=key, **pace):
        curve.append([done, float(bits(reached, rows)), float(divergence(truth, reached))])
    return curve


def _verdict(
    size: Size,
    gains: Mapping[str, Mapping[float, list[float]]],
    losses: Mapping[str, Mapping[float, list[float]]],
    distinct: list[int],
) -> str:
    def ordered(values: Mapping[str, float], best: Callable[[Any], Any]) -> str:
        return ", ".join(f"{name} {values[name]:.3f}" for name in sorted(values, key=best))

    none = size.decays[0]
    gained = {name: float(np.mean(by[none])) for name, by in gains.items()}
    lost = {name: float(np.mean(by[none])) for name, by in losses.items()}
    lines = [
        f"{size.machines} machines, {SAMPLES} samples each, {np.mean(distinct):.0f} of them distinct on"
        f" average. Without decay, after {size.steps:,} updates, bits a sample above the truth's own:"
        f" {ordered(gained, lambda n: -gained[n])}; and from the truth: {ordered(lost, lambda n: lost[n])}."
    ]
    lead = difference(gains[MPF][none], gains[CD1][none])
    side = "above" if lead.mean > 0 else "below"
    lines.append(
        f"On those samples, the demonstration's measure, MPF ends {abs(lead.mean):.3f} ± {lead.error:.3f}"
        f" bits {side} CD-1 ({lead.word})."
    )
    for decay in size.decays:
        found = {n: difference(by[decay], losses[EXACT][decay]) for n, by in losses.items() if n != EXACT}
        listed = ", ".join(f"{n} {_compared(d)}" for n, d in found.items())
        lines.append(f"With λ = {decay:g}, bits farther from the truth than the exact gradient: {listed}.")
    best = {name: min(by, key=lambda d, v=by: float(np.mean(v[d]))) for name, by in losses.items()}
    nearest = {name: float(np.mean(by[best[name]])) for name, by in losses.items()}
    told = ", ".join(
        f"{n} {nearest[n]:.3f} at λ = {best[n]:g}" for n in sorted(nearest, key=lambda n: nearest[n])
    )
    first, *_ = sorted(nearest, key=lambda n: nearest[n])
    alike = [
        n
        for n in nearest
        if n != first and not difference(losses[n][best[n]], losses[first][best[first]]).clear
    ]
    among = f", not clearly nearer than {', '.join(alike)}" if alike else ", clearly before all others"
    lines.append(f"Each at its best λ, bits from the truth: {told}. Nearest is {first}{among}.")
    lead = difference(losses[MPF][best[MPF]], losses[CD1][best[CD1]])
    side = "nearer to" if lead.mean < 0 else "farther from"
    lines.append(
        f"There MPF is {abs(lead.mean):.3f} ± {lead.error:.3f} bits {side} the truth than CD-1 ({lead.word})."
    )
    return bulleted(lines)


def _compared(gap: Difference) -> str:
    return f"{gap.mean:+.3f} ± {gap.error:.3f} ({gap.word})"


def _draw(size: Size, curves: Mapping[str, Mapping[float, np.ndarray]], own: list[float]) -> Any:
    figure = canvas(15, 4.6)
    left, middle, right = figure.subplots(1, 3)
    for i, (name, by) in enumerate(curves.items()):
        for decay, style in zip((size.decays[0], size.decays[-1]), ("-", ":"), strict=True):
            c = by[decay]
            label = name if style == "-" else None
            left.plot(c[0, :, 0], (c[:, :, 1].T - own).mean(1), style, color=f"C{i}", label=label)
            middle.plot(c[0, :, 0], c[:, :, 2].mean(0), style, color=f"C{i}", label=label)
        for j, c in enumerate(by.values()):
            at = j + 0.13 * (i - 2)
            right.plot([at] * len(c), c[:, -1, 2], ".", color=f"C{i}", ms=5, alpha=0.6)
            right.plot(at, c[:, -1, 2].mean(), "_", color=f"C{i}", ms=13, mew=2)
    left.axhline(0, color="0.4", ls="--", lw=1)
    left.set(xlabel="updates", ylabel="log₂ p of the samples above the truth's, bits", ylim=(-2, None))
    left.set_title(f"the {SAMPLES} samples (dotted: λ = {size.decays[-1]:g})", fontsize=10)
    middle.set(xlabel="updates", ylabel="KL(truth ‖ model), bits", ylim=(0, 1))
    middle.set_title("samples to come", fontsize=10)
    right.set_xticks(range(len(size.decays)), [f"λ = {d:g}" for d in size.decays])
    right.set(ylabel="KL(truth ‖ model), bits", yscale="log")
    right.set_title("at the end: a dot a machine, a bar their mean", fontsize=10)
    for axes in (left, middle, right):
        axes.grid(color="0.92")
    left.legend(fontsize=8, frameon=False)
    return figure
