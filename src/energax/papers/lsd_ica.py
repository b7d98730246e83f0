r"""Linear ICA by the learned Stein discrepancy, beside maximum likelihood and what else does without log Z.

Grathwohl et al. (2020), §8.1, B.5 and figure 8: matrices, starts and minibatches as in the study
`ica_baselines`, the same for every method, and one budget of iterations. An iteration is a minibatch: with k
steps of the critic for each of the model's, LSD updates its model in one of k + 1. Each method has the best
of its settings by the mean likelihood of a validation sample (the paper: of the test sample),

    LSD                     λ × k × learning rate of the model, the critic's being 10⁻³
    ML, SM, NCE, CNCE       learning rate; the paper's NCE has a diagonal Gaussian

and is compared on a test sample, by exact log p, with ML on the same matrices. The text says that sources are
Laplace, its numbers and its code say logistic: here both. On Laplace sources ∂² log p = 0 almost everywhere,
so that score matching is not defined, and its cell says so. LSD runs there, s_q = −Wᵀ sign(Wx) being all it
needs; but sign(Wx) jumps where W turns the kinks past x, and a derivative of s_q·f in W, taken row by row,
misses the jumps: it is not the slope of E[s_q·f], and what it misses is what a turn of W would show.

What there is to lose by not turning W at all is told by a row that no method trained,

    unturned            W = c Q W₀ with W₀ the truth, Q a random rotation, c the likeliest scale:
                        sources that are white, and as mixed as they can be.

A method no better than that has learned the covariance of the data, and nothing that is ICA's own.

The critic's Adam and the model's have (0.5, 0.9), as in the paper. All matrices of a case are one compiled
program.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import LinearICA
from energax.objectives import LearnedSteinDiscrepancy, Objective
from energax.papers.ica_baselines import (
    BETAS,
    CNCE,
    FLOOR,
    ML,
    NCE,
    PAPER,
    POINTS,
    SM,
    TESTED,
    descended,
    draws,
    methods,
    mixing,
    models,
    prepared,
    tested,
)
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import Difference, difference, pm
from energax.typing import Array, Key

__all__ = ["concluded", "paper_gap", "run", "unturned", "updates"]

LSD, UNTURNED = "LSD", "unturned"
METHODS = (ML, LSD, SM, NCE, CNCE)
PUBLISHED = {**PAPER, LSD: {10: -10.95, 20: -18.37, 30: -21.23, 40: -25.14, 50: -25.36}}
CRITIC_RATE = 1e-3
UNDEFINED = "not defined"
NEAR = 0.1  # of what there is to lose by not turning: a gap within it is no gap in practice
SCALES = 41  # tried for c


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    cases
        Sources and D.
    seeds
        Matrices, each with a start, of each case.
    batch, iterations
        Rows of a minibatch, and how many minibatches a training sees.
    width
        Hidden units of a layer of the critic.
    rates
        Learning rates tried.
    penalties, critic_steps
        λ and k tried.
    names
        Of the methods.
    """

    cases: tuple[tuple[str, int], ...]
    seeds: int
    batch: int
    iterations: int
    width: int
    rates: tuple[float, ...]
    penalties: tuple[float, ...]
    critic_steps: tuple[int, ...]
    names: tuple[str, ...] = METHODS


def _both(*dimensions: int) -> tuple[tuple[str, int], ...]:
    return tuple(itertools.product(("logistic", "laplace"), dimensions))


SIZES = {
    "smoke": Size((("logistic", 5),), 2, 100, 1_500, 32, (1e-2,), (10.0,), (1,), (ML, LSD)),
    "cpu": Size(
        (*_both(10, 20), ("logistic", 50)), 2, 200, 10_000, 64, (5e-3, 2e-2, 5e-2), (1.0, 10.0), (1, 5)
    ),
    "paper": Size(
        _both(10, 20, 30, 40, 50), 5, 1_000, 100_000, 300, (1e-4, 1e-3, 1e-2), (0.1, 1.0, 10.0), (1, 5)
    ),
}


def updates(iterations: int, critic_steps: int) -> int:
    """Return how often the model is updated when every step of the critic counts as an iteration, too."""
    return iterations // (critic_steps + 1) // POINTS * POINTS


def paper_gap(method: str, d: int) -> float:
    """Return the paper's mean test log-likelihood less its ML's; not a number where it has none."""
    return PUBLISHED.get(method, {}).get(d, np.nan) - PUBLISHED[ML].get(d, np.nan)


def settings(name: str, size: Size) -> list[tuple[str, Objective, int, float]]:
    """Return what is tried: how it is called, what is descended on, with how many updates, at what rate."""
    if name != LSD:
        steps = updates(size.iterations, 0)
        return [(f"rate {rate:g}", methods()[name][0], steps, rate) for rate in size.rates]
    tried = []
    for penalty, k, rate in itertools.product(size.penalties, size.critic_steps, size.rates):
        objective = LearnedSteinDiscrepancy(
            penalty=penalty,
            critic_steps=k,
            critic_learning_rate=CRITIC_RATE,
            critic_beta1=BETAS[0],
            critic_beta2=BETAS[1],
            width=size.width,
            warmup=0,
        )
        label = f"λ {penalty:g}, k {k}, rate {rate:g}"
        tried.append((label, objective, updates(size.iterations, k), rate))
    return tried


def trained(name: str, size: Size, truth: Any, start: Any, keys: Key) -> dict[str, Any]:
    """Return what the best setting of a method ended with, and what every one was worth."""
    worth: dict[str, float] = {}
    best: dict[str, Any] = {}
    for label, objective, steps, rate in settings(name, size):
        model, nuisance, state = prepared(objective, truth, start, False, size.batch, keys)
        pace = jnp.asarray(rate, jnp.float32)
        end = jax.device_get(
            descended(objective, truth, model, nuisance, state, pace, size.batch, steps, keys)
        )
        value = float(np.mean(end.validation))
        worth[label] = value if np.isfinite(value) else -np.inf
        if worth[label] == max(worth.values()):
            best = {"setting": label, "test": end.test.tolist(), "curve": end.curve.tolist()}
    return {**best, "validation of each": worth}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every method on every case, each in its best setting."""
    size = SIZES[scale]
    results: dict[str, dict[str, Any]] = {}
    for source, d in size.cases:
        rng = np.random.default_rng(d)
        truth, start = (models([mixing(rng, d) for _ in range(size.seeds)], source) for _ in range(2))
        keys = jax.random.split(jax.random.key(d), size.seeds)
        found: dict[str, Any] = {"truth": {"test": tested(truth, keys).tolist()}}
        for name in size.names:
            if name == SM and source == "laplace":
                continue
            found[name] = trained(name, size, truth, start, keys)
            gap = _gap(found, name)
            progress(f"{source}, D = {d}, {name}: {gap.mean:+.3f} ± {gap.error:.3f} nats from ML,"
                     f" {found[name]['setting']}")  # fmt: skip
        found[UNTURNED] = {"setting": "–", "test": unturned(truth, keys).tolist()}
        results[f"{source}, D = {d}"] = found
    return concluded(size, results)


@eqx.filter_jit
def unturned(truth: LinearICA, keys: Key) -> Array:
    """Return the test log-likelihood of sources that are white and turned at random, of each seed."""

    def one(truth, key):
        _, turn_key, validation_key, test_key = jax.random.split(key, 4)
        Q = jnp.linalg.qr(jax.random.normal(turn_key, truth.unmixing.shape))[0]
        scales = jnp.exp(jnp.linspace(-0.5, 0.5, SCALES))

        def mean_log_prob(c, rows_key):
            model = LinearICA(c * Q @ truth.unmixing, truth.source)
            return jnp.mean(jax.vmap(model.log_prob)(draws(truth, rows_key, TESTED)))

        values = jax.lax.map(lambda c: mean_log_prob(c, validation_key), scales)
        return mean_log_prob(scales[jnp.argmax(values)], test_key)

    return eqx.filter_vmap(one)(truth, keys)


def concluded(size: Size, results: Mapping[str, dict[str, Any]]) -> Outcome:
    """Return table, verdict and picture of what was measured."""
    columns = ("sources", "method", "best setting", "test log p", "gap to ML", "the paper's gap")
    rows = [
        (
            case,
            name,
            found[name]["setting"] if name in found else UNDEFINED,
            pm(found[name]["test"], ".2f") if name in found else "–",
            _shown(found, name),
            _signed(paper_gap(name, int(case.split()[-1]))) if case.startswith("logistic") else "–",
        )
        for case, found in results.items()
        for name in (*size.names, UNTURNED)
    ]
    facts = {"results": results, "paper": PUBLISHED, "settings": vars(size)}
    return Outcome(columns, rows, _verdict(size, results), _draw(size, results), facts)


def _gap(found: Mapping[str, Any], name: str) -> Difference:
    return difference(found[name]["test"], found[ML]["test"])


def _shown(found: Mapping[str, Any], name: str) -> str:
    if name not in found:
        return UNDEFINED
    gap = _gap(found, name)
    return "–" if name == ML else f"{gap.mean:+.3f} ± {gap.error:.3f}"


def _signed(value: float) -> str:
    return "–" if np.isnan(value) or value == 0 else f"{value:+.2f}"


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    lines = []
    for case, found in results.items():
        below = difference(found[ML]["test"], found["truth"]["test"])
        gaps = {name: _gap(found, name) for name in METHODS if name in found and name != ML}
        told = ", ".join(
            f"{name} {g.mean:+.3f} ± {g.error:.3f}{'' if g.clear else ' (not clear)'}"
            for name, g in gaps.items()
        )
        order = ", ".join(sorted(gaps, key=lambda name: -gaps[name].mean))
        undefined = [name for name in size.names if name not in found]
        without = f"; {undefined[0]} is not defined" if undefined else ""
        lines.append(
            f"{case}: ML ends {below.mean:+.3f} nats from the truth; gaps to ML: {told}; from the best,"
            f" {order}{without}."
        )
    for case, found in results.items():
        lost = -_gap(found, UNTURNED).mean
        shares = {name: -_gap(found, name).mean / lost for name in METHODS if name in found and name != ML}
        told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
        lines.append(
            f"{case}: white sources that are not turned at all lose {lost:.3f} nats; of that the methods"
            f" lose, as a share: {told}; LSD {_learned(shares[LSD])}."
        )
    chosen = "; ".join(f"{case}: {found[LSD]['setting']}" for case, found in results.items())
    lines.append(f"LSD's best settings: {chosen}.")
    ends = []
    for case, found in results.items():
        of_k = {
            k: max(v for label, v in found[LSD]["validation of each"].items() if f"k {k}," in label)
            for k in size.critic_steps
        }
        ends.append(f"{case} " + ", ".join(f"k = {k} {v:.2f}" for k, v in of_k.items()))
    lines.append(f"The best validation log p by the critic's steps: {'; '.join(ends)}.")
    return bulleted(lines)


def _learned(share: float) -> str:
    if share < NEAR:
        return "has turned the sources as ML has"
    return "has learned part of the turn" if share < 1 - NEAR else "has not learned the turn"


def _draw(size: Size, results: Mapping[str, Any]) -> Any:
    figure = canvas(4.2 * len(results), 4.4)
    panels = figure.subplots(1, len(results), squeeze=False)[0]
    seen = size.iterations * (1 + np.arange(POINTS)) / POINTS
    for axes, (case, found) in zip(panels, results.items(), strict=True):
        best = np.array(found["truth"]["test"])
        for i, name in enumerate(METHODS):
            if name not in found:
                continue
            below = (best[:, None] - np.array(found[name]["curve"])).mean(0)
            axes.plot(seen, np.maximum(below, FLOOR), color=f"C{i}", lw=1.3, label=name)
        axes.set(title=case, xlabel="iterations", yscale="log", ylim=(FLOOR / 2, None))
        axes.grid(color="0.92")
    panels[0].set_ylabel("validation log p, nats below the truth")
    panels[-1].legend(fontsize=9, frameon=False)
    return figure
