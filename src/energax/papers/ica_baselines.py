r"""Linear ICA with logistic sources in 10 to 50 dimensions: maximum likelihood, and what does without log Z.

Grathwohl et al. (2020), §8.1 and figure 8: s = Wx, s_i logistic, W a matrix of normal numbers, drawn until
its condition number is below its dimension D; the model is the same family, started from another such matrix.
Every step has a fresh minibatch, so there is no overfitting, and all methods see the same ones:

    ML      `ExactMaximumLikelihood`
    SM      `SlicedScoreMatching`, ½‖s‖² + vᵀ∇s v with a normal v, the paper's "score matching"
    NCE     one noise point a datum from a Gaussian with the variances of data, log Z learned
    CNCE    one noise point a datum, ε the library's search

and, since the paper's NCE fails as D grows, what it fails by: NCE with the data's whole covariance, and NCE
and CNCE from a start that whitens the data, as `LinearICA.from_data` does. Adam (0.5, 0.9), a rate that falls
to zero along a cosine; each case has the best of a grid of rates by the mean likelihood of a validation
sample (the paper took the best by the test sample's). Held-out log p is exact for all, with W's own
log |det W| in place of any learned log Z. Absolute values hang on |det W|, so what is compared is the gap to
ML on the same matrices.

All seeds of a case are one compiled program, vmapped. The paper: minibatches of 1,000, 100,000 steps, five
matrices, D to 50. Its learned Stein discrepancy is the study `lsd_ica`, which descends with what is here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from energax.energies import LinearICA
from energax.objectives import (
    Batch,
    ConditionalNoiseContrastiveEstimation,
    ExactMaximumLikelihood,
    NoiseContrastiveEstimation,
    Objective,
    SlicedScoreMatching,
)
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import Difference, difference, pm
from energax.typing import Array, Float, Key

__all__ = ["descended", "draws", "mixing", "models", "prepared", "run", "tested"]

ML, SM, NCE, CNCE = "ML", "SM", "NCE", "CNCE"
FULL, WHITENED, CNCE_WHITENED = "NCE, full covariance", "NCE, full, whitened start", "CNCE, whitened start"
METHODS = (ML, SM, NCE, CNCE, FULL, WHITENED, CNCE_WHITENED)
PAPER = {  # figure 8's table: mean test log-likelihood
    ML: {10: -10.98, 20: -18.48, 30: -21.49, 40: -23.43, 50: -25.53},
    SM: {10: -11.13, 20: -27.20, 30: -21.48, 40: np.nan, 50: np.nan},
    NCE: {10: -10.92, 20: -22.52, 30: -30.33, 40: -55.53, 50: -73.62},
    CNCE: {10: -11.00, 20: -18.77, 30: -24.47, 40: -37.64, 50: -36.31},
}
BETAS = (0.5, 0.9)
FIRST = 1_000  # rows from which noise, ε and a whitened start are made
TESTED = 10_000  # rows of each held-out sample
POINTS = 25  # of a curve
FLOOR = 1e-3  # nats, below which a picture does not look
LARGE = 1.0  # nats: a gap beyond it is a failure, not an inefficiency


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    dimensions
        D.
    seeds
        Matrices, each with a start, of each D.
    batch, steps
        Rows of a minibatch, and how many there are.
    rates
        The grid of learning rates.
    names
        Of the methods.
    """

    dimensions: tuple[int, ...]
    seeds: int
    batch: int
    steps: int
    rates: tuple[float, ...]
    names: tuple[str, ...] = METHODS


SIZES = {
    "smoke": Size((5,), seeds=3, batch=200, steps=600, rates=(0.03,), names=(ML, NCE, CNCE)),
    "cpu": Size((10, 20, 30), seeds=5, batch=500, steps=1_000, rates=(3e-2, 1e-1)),
    "paper": Size((10, 20, 30, 40, 50), 5, batch=1_000, steps=100_000, rates=(1e-4, 1e-3, 3e-3, 1e-2)),
}


def mixing(rng: np.random.Generator, d: int) -> np.ndarray:
    """Return a d × d matrix of normal numbers with a condition number below d."""
    B = rng.standard_normal((d, d))
    while np.linalg.cond(B) >= d:
        B = rng.standard_normal((d, d))
    return B


def methods() -> dict[str, tuple[Objective, bool]]:
    """Return each objective, and whether it starts from whitened data."""
    nce = NoiseContrastiveEstimation("diagonal", 1.0)
    full = NoiseContrastiveEstimation("gaussian", 1.0)
    cnce = ConditionalNoiseContrastiveEstimation(noise_points=1)
    return {
        ML: (ExactMaximumLikelihood(), False),
        SM: (SlicedScoreMatching(distribution="gaussian"), False),
        NCE: (nce, False),
        CNCE: (cnce, False),
        FULL: (full, False),
        WHITENED: (full, True),
        CNCE_WHITENED: (cnce, True),
    }


class Trained(NamedTuple):
    """What the seeds of one case ended with; (seeds,) each, curves (points, seeds)."""

    validation: Array
    test: Array
    log_normalizer: Array
    curve: Array


@eqx.filter_jit
def prepared(
    objective: Objective, truth: LinearICA, start: LinearICA, whitened: bool, batch: int, keys: Key
) -> tuple[LinearICA, Any, Any]:
    """Return, for each seed, where its descent begins and what the objective keeps."""

    def one(truth, start, key):
        data_key, turn_key, init_key = jax.random.split(key, 3)
        x = draws(truth, data_key, FIRST)
        model = LinearICA(_whitening(x, turn_key)) if whitened else start
        return model, *objective.init(model, Batch(x), init_key, batch)

    return eqx.filter_vmap(one)(truth, start, keys)


def _whitening(x: Float[Array, "n d"], key: Key) -> Float[Array, "d d"]:
    """Return W with Wx of covariance (π²/3) I, the logistic's: `LinearICA.from_data` inside a program."""
    variances, axes = jnp.linalg.eigh(jnp.cov(x.T))
    rotation = jnp.linalg.qr(jax.random.normal(key, axes.shape))[0]
    return jnp.pi / jnp.sqrt(3.0) * rotation @ (axes / jnp.sqrt(variances)).T


def draws(truth: LinearICA, key: Key, n: int) -> Float[Array, "n d"]:
    """Return n rows of `truth.sample`'s law: an inverse is cheaper than as many solutions at every step."""
    draw = {"logistic": jax.random.logistic, "laplace": jax.random.laplace}[truth.source]
    return draw(key, (n, *truth.event_shape)) @ jnp.linalg.inv(truth.unmixing).T


def _log_likelihood(model: LinearICA, x: Float[Array, "n d"]) -> Array:
    return jnp.mean(jax.vmap(model.log_prob)(x))


@eqx.filter_jit
def descended(
    objective: Objective,
    truth: LinearICA,
    model: LinearICA,
    nuisance: Any,
    state: Any,
    rate: Array,
    batch: int,
    steps: int,
    keys: Key,
) -> Trained:
    """Descend for all seeds at once, and look at held-out rows."""
    optimiser = optax.chain(optax.scale_by_adam(*BETAS), optax.scale(-1.0))

    def one(truth, model, nuisance, state, key):
        data_key, loss_key, validation_key, test_key = jax.random.split(key, 4)
        validation = draws(truth, validation_key, TESTED)
        learned = (model, nuisance)

        def refreshed(learned, state, i):
            """Return the state after fresh minibatches of its own, if the objective asks for any."""
            seen = objective.batches - 1
            if not seen:
                return state
            row_key, move_key = jax.random.split(jax.random.fold_in(jax.random.fold_in(loss_key, 0), i))
            rows = draws(truth, row_key, (seen + 1) * batch).reshape(seen + 1, batch, -1)
            return objective.refresh(learned[0], learned[1], state, Batch(rows), move_key)[0]

        def step(carry, i):
            learned, moments, state = carry
            state = refreshed(learned, state, i)
            rows = Batch(draws(truth, jax.random.fold_in(data_key, i), batch))
            draw = jax.random.fold_in(loss_key, i)
            slope = jax.grad(lambda now: objective.loss(now[0], now[1], state, rows, draw)[0])(learned)
            pace = rate * 0.5 * (1 + jnp.cos(jnp.pi * i / steps))
            moves, moments = optimiser.update(slope, moments)
            return (jax.tree.map(lambda p, m: p + pace * m, learned, moves), moments, state), None

        def stretch(carry, first):
            carry, _ = jax.lax.scan(step, carry, first + jnp.arange(steps // POINTS))
            return carry, _log_likelihood(carry[0][0], validation)

        firsts = jnp.arange(POINTS) * (steps // POINTS)
        (learned, _, _), curve = jax.lax.scan(stretch, (learned, optimiser.init(learned), state), firsts)
        model, nuisance = learned
        c = jnp.nan if nuisance is None else nuisance.value - model.log_normalizer()
        test = _log_likelihood(model, draws(truth, test_key, TESTED))
        return Trained(curve[-1], test, jnp.asarray(c), curve)

    return eqx.filter_vmap(one)(truth, model, nuisance, state, keys)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every method in every dimension, each at its best rate."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for d in size.dimensions:
        rng = np.random.default_rng(d)
        truth, start = (models([mixing(rng, d) for _ in range(size.seeds)]) for _ in range(2))
        keys = jax.random.split(jax.random.key(d), size.seeds)
        found: dict[str, Any] = {"truth": {"test": tested(truth, keys).tolist()}}
        for name in size.names:
            objective, whitened = methods()[name]
            model, nuisance, state = prepared(objective, truth, start, whitened, size.batch, keys)
            tried = {}
            for rate in size.rates:
                pace = jnp.asarray(rate, jnp.float32)
                case = (objective, truth, model, nuisance, state, pace, size.batch, size.steps, keys)
                tried[rate] = jax.device_get(descended(*case))
            best = max(size.rates, key=lambda rate: _worth(tried[rate]))
            found[name] = {
                "rate": best,
                "validation at each rate": {f"{r:g}": np.mean(t.validation).item() for r, t in tried.items()},
                "test": tried[best].test.tolist(),
                "learned log Z − log Z": tried[best].log_normalizer.tolist(),
                "curve": np.asarray(tried[best].curve).tolist(),
            }
            gap = _gap(found, name)
            progress(f"D = {d}, {name}: {gap.mean:+.3f} ± {gap.error:.3f} nats from ML, rate {best:g}")
        results[str(d)] = found
    columns = ("D", "method", "rate", "test log p", "gap to ML", "the paper's gap", "learned log Z is off by")
    rows = [
        (int(d), name, found[name]["rate"], pm(found[name]["test"], '.2f'), _shown(_gap(found, name), name),
         _signed(paper_gap(name, int(d))), _apart(found[name]))
        for d, found in results.items()
        for name in size.names
    ]  # fmt: skip
    facts = {"results": results, "paper": PAPER, "batch": size.batch, "steps": size.steps}
    return Outcome(columns, rows, _verdict(results), _draw(results, size.steps), facts)


def paper_gap(method: str, d: int) -> float:
    """Return the paper's mean test log-likelihood less its ML's; not a number where it has none."""
    if method == ML:
        return np.nan
    return PAPER.get(method, {}).get(d, np.nan) - PAPER[ML].get(d, np.nan)


def ranks(gaps: Mapping[str, float]) -> list[str]:
    """Return the methods, best first; one without a number is last."""
    return sorted(gaps, key=lambda name: np.inf if np.isnan(gaps[name]) else -gaps[name])


def models(matrices: list[np.ndarray], source: str = "logistic") -> LinearICA:
    """Return models with a leading axis of seeds; W is B transposed, which is as good a draw."""
    stacked = jnp.asarray(np.stack(matrices), jnp.float32)
    return eqx.filter_vmap(lambda W: LinearICA(W, source))(stacked)


@eqx.filter_jit
def tested(truth: LinearICA, keys: Key) -> Array:
    """Return the truth's own log-likelihood of the test samples."""

    def one(truth, key):
        return _log_likelihood(truth, draws(truth, jax.random.split(key, 4)[3], TESTED))

    return eqx.filter_vmap(one)(truth, keys)


def _worth(trained: Trained) -> float:
    value = float(np.mean(trained.validation))
    return value if np.isfinite(value) else -np.inf


def _gap(found: Mapping[str, Any], name: str) -> Difference:
    return difference(found[name]["test"], found[ML]["test"])


def _shown(gap: Difference, name: str) -> str:
    return "–" if name == ML else f"{gap.mean:+.3f} ± {gap.error:.3f}"


def _signed(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:+.2f}"


def _apart(found: Mapping[str, Any]) -> str:
    values = np.abs(found["learned log Z − log Z"])
    return "–" if np.isnan(values).any() else f"{np.mean(values):.2g}"


def _verdict(results: Mapping[str, Any]) -> str:
    lines = []
    baselines = [SM, NCE, CNCE]
    for d, found in results.items():
        gaps = {name: _gap(found, name) for name in METHODS if name in found and name != ML}
        told = ", ".join(
            f"{name} {g.mean:+.3f} ± {g.error:.3f}{'' if g.clear else ' (not clear)'}"
            for name, g in gaps.items()
        )
        below = difference(found[ML]["test"], found["truth"]["test"])
        lines.append(f"D = {d}: ML ends {below.mean:+.3f} nats from the truth; gaps to ML: {told}.")
        paper = {name: paper_gap(name, int(d)) for name in baselines}
        if not all(np.isnan(v) for v in paper.values()):
            ours = ranks({name: gaps[name].mean for name in baselines})
            theirs = ranks(paper)
            same = "the same order" if ours == theirs else "another order"
            failed = [name for name in baselines if not gaps[name].mean > -LARGE]
            theirs_failed = [name for name in baselines if not paper[name] > -LARGE]
            lines.append(
                f"D = {d}: from the best, {', '.join(ours)}; in the paper {', '.join(theirs)}: {same}."
                f" More than {LARGE:g} nat below ML: {', '.join(failed) or 'none'}; in the paper"
                f" {', '.join(theirs_failed) or 'none'}."
            )
        for worse, better, why in (
            (NCE, FULL, "the data's whole covariance"),
            (FULL, WHITENED, "a whitened start, too,"),
            (CNCE, CNCE_WHITENED, "a whitened start"),
        ):
            if better not in found:
                continue
            gain = difference(found[better]["test"], found[worse]["test"])
            lines.append(
                f"D = {d}: {why} changes {worse} by {gain.mean:+.3f} ± {gain.error:.3f} nats ({gain.word})."
            )
    chosen = [r for found in results.values() for name, r in found.items() if name in METHODS]
    rates = [list(r["validation at each rate"]) for r in chosen]
    largest = sum(f"{r['rate']:g}" == tried[-1] for r, tried in zip(chosen, rates, strict=True))
    lines.append(
        f"Of the rates tried, {', '.join(rates[0])}, the largest was the best in {largest} of {len(chosen)}"
        " cases."
    )
    lines.append("The paper's column of the learned Stein discrepancy is the study lsd-ica.")
    return bulleted(lines)


def _draw(results: Mapping[str, Any], steps: int) -> Any:
    figure = canvas(4.4 * (len(results) + 1), 4.6)
    panels = np.asarray(figure.subplots(1, len(results) + 1))
    dimensions = [int(d) for d in results]
    updates = steps // POINTS * (1 + np.arange(POINTS))
    shown = [name for name in METHODS if all(name in found for found in results.values())]
    for i, name in enumerate(shown):
        for axes, found in zip(panels[1:], results.values(), strict=True):
            best = np.array(found["truth"]["test"])
            below = best[:, None] - np.array(found[name]["curve"])
            axes.plot(updates, np.maximum(below.mean(0), FLOOR), color=f"C{i}", lw=1.2, label=name)
        if name != ML:
            gaps = [_gap(found, name) for found in results.values()]
            axes = panels[0]
            at = np.array(dimensions) + 0.35 * (i - 3)
            below = np.maximum([-g.mean for g in gaps], FLOOR)
            axes.errorbar(
                at, below, [2 * g.error for g in gaps], color=f"C{i}", fmt="o-", ms=4, lw=0.8, label=name
            )
            if name in PAPER:
                paper = np.maximum([-paper_gap(name, d) for d in dimensions], FLOOR)
                axes.plot(at, paper, "x", color=f"C{i}", ms=7)
    panels[0].set(
        xlabel="D", ylabel="nats below ML", title="test log p; crosses: the paper", xticks=dimensions
    )
    for axes, d in zip(panels[1:], dimensions, strict=True):
        axes.set(xlabel="updates", ylabel="validation, nats below the truth", title=f"D = {d}")
    for axes in panels:
        axes.set_yscale("log")
        axes.set_ylim(bottom=FLOOR / 2)
        axes.grid(color="0.92")
    panels[-1].legend(fontsize=8, frameon=False)
    return figure
