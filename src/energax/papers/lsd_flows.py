r"""LSD figure 7: does the discrepancy rank a flow's checkpoints as its exact likelihood does.

Grathwohl et al. (2020, §7.2, B.3) train a Glow of three scales with additive couplings on MNIST and compare,
at ten checkpoints, the exact log-likelihood of test digits with the learned Stein discrepancy and with the
score matching objective, neither of which is told log Z. Here the flow is a substitute that a CPU can train:
affine couplings (`Flow.coupling`) on digits of 14 × 14 in logits, by exact maximum likelihood, kept after
each of ten equal stages (Adam starts anew in each). On rows that no flow was trained on:

    log q(x)                                 exact, the truth
    sup_f E[s_q·f + tr ∇f] − λE‖f‖²           the critic trained, chosen and judged on shares of its own
    E[½‖s_q‖² + vᵀ∇s_q v]                    score matching, Hutchinson's trace with `probes` draws

Rank correlation with log q over the checkpoints: −1 is perfect agreement for both, less being better. All
three need not agree: the likelihood and the Fisher divergence weigh a model's faults differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.derivatives import score
from energax.energies import Flow
from energax.evaluation import CriticTraining, learned_stein_discrepancy
from energax.objectives import ExactMaximumLikelihood
from energax.papers.lsd_at_scale import Size as Images
from energax.papers.lsd_at_scale import logits
from energax.papers.outcome import Outcome
from energax.training import fit
from energax.typing import Array, Model

__all__ = ["run"]

CHUNK = 500


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    images
        The data: see `lsd_at_scale`.
    held_out
        Rows that no flow is trained on.
    layers, width
        Of the flow.
    stages, steps
        Checkpoints, and updates between two of them.
    critic
        How the critic is trained.
    probes
        Of score matching's trace, on each row.
    """

    images: Images
    held_out: int
    layers: int
    width: int
    stages: int
    steps: int
    critic: CriticTraining
    probes: int


def _images(data: str, rows: int, pool: int) -> Images:
    return Images(data, rows, 1, 0, 0, 0, 0, pool)


SIZES = {
    "smoke": Size(_images("digits", 600, 2), 200, 2, 16, 3, 20, CriticTraining(width=16, steps=40), 1),
    "cpu": Size(
        _images("mnist", 14_000, 2),
        4_000,
        6,
        128,
        10,
        150,
        CriticTraining(width=300, steps=400, dropout=0.0),
        4,
    ),
    "paper": Size(
        _images("mnist", 60_000, 1), 10_000, 12, 512, 10, 1000, CriticTraining(width=1000, steps=6_000), 16
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train the flow stage by stage, and judge it in three ways after each."""
    size = SIZES[scale]
    x = logits(size.images)
    x = x.reshape(len(x), -1)
    centre, spread = x.mean(0), x.std(0) + 0.1
    x = (x - centre) / spread  # one constant of log q for all checkpoints: no rank changes
    train, test = x[: -size.held_out], x[-size.held_out :]
    key = jax.random.key(0)
    flow: Any = Flow.coupling(x.shape[1], key=key, layers=size.layers, width=size.width, kind="affine")
    rows = []
    for stage in range(1, size.stages + 1):
        how = {"steps": size.steps, "learning_rate": 1e-3, "schedule": "constant", "ema": 0.0, "clip": 10.0}
        flow = fit(
            flow, ExactMaximumLikelihood(), train, key=jax.random.fold_in(key, stage), progress=False, **how
        ).energy
        found = measured(flow, test, size, key)
        rows.append([stage * size.steps, *found])
        progress(
            f"step {rows[-1][0]:,}: log-likelihood {found[0]:.1f}, LSD {found[1]:.3g} ± {found[2]:.2g}, "
            f"score matching {found[3]:.4g}"
        )
    table = np.array(rows, float)
    ranks = {
        "LSD": rank_correlation(table[:, 1], table[:, 2]),
        "score matching": rank_correlation(table[:, 1], table[:, 4]),
    }
    return Outcome(
        columns=["step", "log-likelihood", "LSD", "its error", "score matching"],
        rows=rows,
        verdict=verdict(ranks, table),
        figure=_figure(table),
        facts={"rank correlation with log-likelihood": ranks, "dimension": x.shape[1]},
    )


def measured(flow: Model, test: np.ndarray, size: Size, key: jax.Array) -> tuple[float, float, float, float]:
    """Return the mean log-likelihood, the LSD with its error, and score matching's objective."""
    chunks = np.split(test, range(CHUNK, len(test), CHUNK))
    s = np.concatenate([np.asarray(_scores(flow, jnp.asarray(c))) for c in chunks])
    log_q = np.concatenate([np.asarray(_log_prob(flow, jnp.asarray(c))) for c in chunks])
    keys = jax.random.split(key, len(chunks))
    traces = [_traces(flow, jnp.asarray(c), k, size.probes) for c, k in zip(chunks, keys, strict=True)]
    matching = 0.5 * (s.astype(np.float64) ** 2).sum(1) + np.concatenate([np.asarray(t) for t in traces])
    found = learned_stein_discrepancy(test, scores=s, training=size.critic, key=key, progress=False)
    return float(log_q.mean()), found.estimate, found.standard_error, float(matching.mean())


@eqx.filter_jit
def _log_prob(flow: Any, x: Array) -> Array:
    return -jax.vmap(flow)(x)


@eqx.filter_jit
def _scores(flow: Model, x: Array) -> Array:
    return jax.vmap(lambda x: score(flow, x))(x)


@eqx.filter_jit
def _traces(flow: Model, x: Array, key: jax.Array, probes: int) -> Array:
    """Return Hutchinson's estimate of tr ∇s of every row."""

    def one(x, key):
        v = jax.random.rademacher(key, (probes, *x.shape), x.dtype)
        return jnp.mean(jax.vmap(lambda v: v @ jax.jvp(lambda x: score(flow, x), (x,), (v,))[1])(v))

    return jax.vmap(one)(x, jax.random.split(key, len(x)))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Spearman's rank correlation."""
    return float(np.corrcoef(scipy.stats.rankdata(a), scipy.stats.rankdata(b))[0, 1])


def verdict(ranks: dict[str, float], table: np.ndarray) -> str:
    """Say how well each ranks the checkpoints, and which checkpoint each would keep."""
    best = {
        "log-likelihood": int(table[np.argmax(table[:, 1]), 0]),
        "LSD": int(table[np.argmin(table[:, 2]), 0]),
        "score matching": int(table[np.argmin(table[:, 4]), 0]),
    }
    told = ", ".join(f"{name} {value:+.2f}" for name, value in ranks.items())
    kept = ", ".join(f"{name} that of step {step:,}" for name, step in best.items())
    return (
        f"Rank correlation with log-likelihood over {len(table)} checkpoints (−1 is agreement): {told}. "
        f"Each would keep: {kept}. The flow is a substitute for the paper's Glow: affine couplings, small "
        "digits."
    )


def _figure(table: np.ndarray) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    left.plot(table[:, 0], table[:, 1], "o-", color="k")
    left.set(title="held-out log-likelihood, nats", xlabel="step")
    middle.errorbar(table[:, 0], table[:, 2], 1.96 * table[:, 3], fmt="o-")
    middle.set(title="learned Stein discrepancy", xlabel="step", yscale="log")
    right.plot(table[:, 0], table[:, 4], "s-", color="tab:orange")
    right.set(title="score matching objective", xlabel="step")
    return figure
