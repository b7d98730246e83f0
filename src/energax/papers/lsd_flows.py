r"""LSD figure 7: does the discrepancy rank a flow's checkpoints as its exact likelihood does.

Grathwohl et al. (2020, §7.2, B.3) train a Glow of three scales with additive couplings on MNIST and compare,
at ten checkpoints, the exact log-likelihood of test digits with the learned Stein discrepancy and with the
score matching objective, neither of which is told log Z. Here two flows that a CPU can train stand in for it,
trained on digits in logits by exact likelihood, kept after ten equal stages each (Adam starts anew in each):

    affine          y₂ = x₂ ∘ a(x₁) + b(x₁), whose scores grow with its scales
    additive        y₂ = x₂ + b(x₁), as the Glow's, and a learned scale a coordinate at the end (NICE, Dinh
                    et al. 2015): log |det| is the same at every x

Their dense networks have `silu`, not the rectifier of `Flow.coupling`: with that the score jumps where a unit
switches, and score matching's trace, taken row by row, misses the jumps. On rows that no flow was trained on:

    log q(x)                                 exact, the truth
    sup_f E[s_q·f + tr ∇f] − λE‖f‖²           the critic trained, chosen and judged on shares of its own
    E[½‖s_q‖² + vᵀ∇s_q v]                    score matching, Hutchinson's trace with `probes` draws

Rank correlation with log q over the checkpoints: −1 is perfect agreement for both, less being better. All
three need not agree: the likelihood and the Fisher divergence weigh a model's faults differently. Uniform
dequantisation gives the data's density edges, where its score is not defined and a flow that follows it must
be steep; so everything is asked twice, of these rows and of rows smoothed by Gaussian noise of `SMOOTH`
standard deviations of a pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import score
from energax.energies import Flow
from energax.evaluation import CriticTraining, learned_stein_discrepancy
from energax.evaluation.outliers import rank_correlation
from energax.objectives import ExactMaximumLikelihood
from energax.papers.fields import scores_at
from energax.papers.lsd_at_scale import Size as Images
from energax.papers.lsd_at_scale import logits
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.training import fit
from energax.typing import Array, Model

__all__ = ["run"]

CHUNK = 500
SMOOTH = 0.3
EDGES, ROUNDED = "edges", "smoothed"
AFFINE, ADDITIVE = "affine", "additive"


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
        Of a flow.
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
    """Train each flow stage by stage on either kind of rows, and judge it in three ways after each."""
    size = SIZES[scale]
    x = logits(size.images)
    shape = x.shape[1:3]
    x = x.reshape(len(x), -1)
    centre, spread = x.mean(0), x.std(0) + 0.1
    x = (x - centre) / spread  # one constant of log q for all checkpoints: no rank changes
    noise = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    data = {EDGES: x, ROUNDED: x + SMOOTH * noise}
    tables = {
        f"{kind}, {rows}": checkpoints(kind, data[rows], size, f"{kind}, {rows}", progress)
        for kind in (AFFINE, ADDITIVE)
        for rows in data
    }
    ranks = {
        name: {
            "LSD": rank_correlation(table[:, 1], table[:, 2]),
            "score matching": rank_correlation(table[:, 1], table[:, 4]),
        }
        for name, table in tables.items()
    }
    return Outcome(
        columns=["flow, rows", "step", "log-likelihood", "LSD", "its error", "score matching"],
        rows=[[name, int(row[0]), *map(float, row[1:])] for name, table in tables.items() for row in table],
        verdict=verdict(ranks, tables, shape),
        figure=_figure(tables),
        facts={"rank correlation with log-likelihood": ranks, "dimension": x.shape[1]},
    )


def flow(kind: str, d: int, size: Size, key: jax.Array) -> Flow:
    """Return an untrained flow of affine or additive couplings."""
    import paramax
    from flowjax.bijections import Loc
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow

    base = Normal(jnp.zeros(d))  # trained with additive couplings: their only scales
    distribution = coupling_flow(
        key,
        base_dist=base if kind == ADDITIVE else paramax.non_trainable(base),
        transformer=Loc(0.0) if kind == ADDITIVE else None,
        flow_layers=size.layers,
        nn_width=size.width,
        nn_activation=jax.nn.silu,
    )
    return Flow(distribution)


def checkpoints(
    kind: str, x: np.ndarray, size: Size, name: str, progress: Callable[[str], None]
) -> np.ndarray:
    """Return step, log-likelihood, LSD, its error and score matching's objective after every stage."""
    train, test = x[: -size.held_out], x[-size.held_out :]
    key = jax.random.key(0)
    model: Any = flow(kind, x.shape[1], size, key)
    how = {"steps": size.steps, "learning_rate": 1e-3, "schedule": "constant", "ema": 0.0, "clip": 10.0}
    rows = []
    for stage in range(1, size.stages + 1):
        stage_key = jax.random.fold_in(key, stage)
        model = fit(model, ExactMaximumLikelihood(), train, key=stage_key, progress=False, **how).energy
        found = measured(model, test, size, key)
        rows.append([stage * size.steps, *found])
        progress(
            f"{name}, step {rows[-1][0]:,}: log-likelihood {found[0]:.1f}, LSD {found[1]:.3g} ± "
            f"{found[2]:.2g}, score matching {found[3]:.4g}"
        )
    return np.array(rows, float)


def measured(flow: Model, test: np.ndarray, size: Size, key: jax.Array) -> tuple[float, float, float, float]:
    """Return the mean log-likelihood, the LSD with its error, and score matching's objective."""
    chunks = np.split(test, range(CHUNK, len(test), CHUNK))
    s = np.concatenate([np.asarray(scores_at(flow, jnp.asarray(c))) for c in chunks])
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
def _traces(flow: Model, x: Array, key: jax.Array, probes: int) -> Array:
    """Return Hutchinson's estimate of tr ∇s of every row."""

    def one(x, key):
        v = jax.random.rademacher(key, (probes, *x.shape), x.dtype)
        return jnp.mean(jax.vmap(lambda v: v @ jax.jvp(lambda x: score(flow, x), (x,), (v,))[1])(v))

    return jax.vmap(one)(x, jax.random.split(key, len(x)))


def verdict(ranks: dict[str, dict[str, float]], tables: dict[str, np.ndarray], shape: tuple[int, ...]) -> str:
    """Say how well each ranks the checkpoints, and which checkpoint each would keep."""
    lines = []
    for name, table in tables.items():
        best = {
            "log-likelihood": int(table[np.argmax(table[:, 1]), 0]),
            "LSD": int(table[np.argmin(table[:, 2]), 0]),
            "score matching": int(table[np.argmin(table[:, 4]), 0]),
        }
        told = ", ".join(f"{by} {value:+.2f}" for by, value in ranks[name].items())
        kept = ", ".join(f"{by} that of step {step:,}" for by, step in best.items())
        clear = int(np.sum(table[:, 2] > 2 * table[:, 3]))
        lines.append(
            f"{name}: rank correlation with log-likelihood over {len(table)} checkpoints (−1 is agreement)"
            f" {told}; the LSD is above twice its error at {clear}; each would keep: {kept}."
        )
    lines.append(
        "The flows stand in for the paper's Glow of three scales: dense couplings, on images of"
        f" {' × '.join(map(str, shape))}."
    )
    return bulleted(lines)


def _figure(tables: dict[str, np.ndarray]) -> Any:
    figure = canvas(11, 3.2 * len(tables))
    for (left, middle, right), (name, table) in zip(
        figure.subplots(len(tables), 3), tables.items(), strict=True
    ):
        left.plot(table[:, 0], table[:, 1], "o-", color="k")
        left.set(title=f"{name}: held-out log-likelihood, nats", xlabel="step")
        middle.errorbar(table[:, 0], table[:, 2], 1.96 * table[:, 3], fmt="o-")
        middle.axhline(0, color="0.7", linewidth=0.8)
        middle.set(title="learned Stein discrepancy", xlabel="step")
        right.plot(table[:, 0], table[:, 4], "s-", color="tab:orange")
        right.set(title="score matching objective", xlabel="step")
    return figure
