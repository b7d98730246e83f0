r"""The couplings of an Ising model learned by minimum probability flow, against the truth.

The demonstration of Sohl-Dickstein, Battaglino & DeWeese (2011): bits with the energy and the couplings

    E(x) = xᵀJx,      J = (G + Gᵀ)/2,  G_ij ~ N(0, 9/d),  J_ii = −Σ_{j≠i} J_ij,

so that no bit prefers a side (of spins 2x − 1 it is an `IsingGraph` with couplings −½J and no field, about
as cold as the spin glass's transition). Draws are by Gibbs sampling, a chain giving one each 10d visits
after 100d, of many chains. No log Z is known at d = 50, nor wanted. All d(d + 1)/2 entries are learned
from zero by L-BFGS on all rows at once:

    probability flow       `MinimumProbabilityFlow`, exp(½[E(x) − E(y)]) over the d flips y
    pseudo-likelihood      `CompositeLikelihood`, softplus(E(x) − E(y)) over the same flips
    mean field             −(C⁻¹)_ij of the spins' covariance C, no descent (Kappen & Rodríguez 1998)

The first two weigh the same energy differences differently; both are consistent, so that their error falls as
1/√N, which mean field's does not. Measured are the root mean square error of J_ij, i < j, and of J_ii, the
correlation of J_ij with the truth, and the processor's seconds, compilation apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

from energax.energies import IsingGraph
from energax.objectives import Batch, CompositeLikelihood, MinimumProbabilityFlow, Objective
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, pm, summary
from energax.samplers import BlockGibbs
from energax.samplers import run as run_chains
from energax.typing import Key

__all__ = ["couplings", "graph", "of_graph", "run"]

FLOW, PSEUDO, FIELD = "probability flow", "pseudo-likelihood", "mean field"
ALL = (FLOW, PSEUDO, FIELD)
BURN_IN, BETWEEN = 100, 10  # sweeps of d visits
NEAR = 0.1  # of −½ the slope of an error in N is called that
BLOCK = 500  # rows whose flips are held at a time: they stay in the processor's cache


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    bits
        d.
    rows
        Numbers of samples, ascending, multiples of `BLOCK`: the first ones of the largest number.
    machines
        Random J, each with its own samples.
    chains
        That give them.
    iterations
        Of L-BFGS, at most.
    """

    bits: int
    rows: tuple[int, ...]
    machines: int
    chains: int
    iterations: int


SIZES = {
    "smoke": Size(12, rows=(500, 4_000), machines=2, chains=500, iterations=60),
    "cpu": Size(50, rows=(1_000, 3_000, 10_000), machines=3, chains=1_000, iterations=300),
    "paper": Size(50, rows=(1_000, 3_000, 10_000, 30_000), machines=10, chains=1_000, iterations=10_000),
}


def couplings(d: int, seed: int) -> np.ndarray:
    """Return the demonstration's random J of d bits, shape (d, d)."""
    G = 3 * np.random.default_rng(seed).standard_normal((d, d)) / np.sqrt(d)
    J = (G + G.T) / 2
    np.fill_diagonal(J, 0)
    return J - np.diag(J.sum(0))


def graph(J: np.ndarray) -> IsingGraph:
    """Return the model of spins y = 2x − 1 whose energy is xᵀJx up to a constant."""
    pairs = J - np.diag(np.diag(J))
    return IsingGraph(-0.5 * pairs, -0.5 * J.sum(1))


def of_graph(model: IsingGraph) -> np.ndarray:
    """Return the J of bits of a model of spins: the inverse of `graph`."""
    pairs = -2 * np.asarray(model.matrix, np.float64)
    return pairs + np.diag(-2 * np.asarray(model.field, np.float64) - pairs.sum(1))


def sampled(model: IsingGraph, n: int, chains: int, key: Key) -> np.ndarray:
    """Return n draws of spins, shape (n, d), of chains that were started from fair coins."""
    start_key, burn_key, key = jax.random.split(key, 3)
    d = model.field.size
    x = 2 * jax.random.bernoulli(start_key, 0.5, (chains, d)).astype(jnp.float32) - 1
    x = run_chains(BlockGibbs(), model, x, key=burn_key, steps=BURN_IN).x
    draws = []
    for i in range(-(-n // chains)):
        x = run_chains(BlockGibbs(), model, x, key=jax.random.fold_in(key, i), steps=BETWEEN).x
        draws.append(np.asarray(x))
    return np.concatenate(draws)[:n]


@dataclass(frozen=True)
class Learned:
    """The J that was found, how often the loss was asked for, and the processor's seconds for all."""

    J: np.ndarray
    evaluations: int
    seconds: float


def learned(objective: Objective, x: np.ndarray, iterations: int) -> Learned:
    """Minimise an objective over all rows, from zero couplings and fields."""
    d = x.shape[1]
    start, unravel = ravel_pytree(IsingGraph(np.zeros((d, d)), np.zeros(d)))
    rows = jnp.asarray(x)
    _, state = objective.init(unravel(start), Batch(rows), jax.random.key(0), BLOCK)
    blocks = rows.reshape(-1, BLOCK, d)

    def value_and_slope(theta):
        theta = jnp.asarray(theta, jnp.float32)
        value, slope = _value_and_slope(objective, unravel, state, blocks, theta)
        return float(value), np.asarray(slope, np.float64)

    theta = np.zeros(start.size)
    value_and_slope(theta)
    begun = time.process_time()
    # The loss is float32: asking for more digits than it has would end in a failed line search.
    options = {"maxiter": iterations, "maxcor": 20, "ftol": 1e-7, "gtol": 1e-5}
    found = scipy.optimize.minimize(value_and_slope, theta, jac=True, method="L-BFGS-B", options=options)
    seconds = time.process_time() - begun
    return Learned(of_graph(unravel(jnp.asarray(found.x, jnp.float32))), int(found.nfev), seconds)


@eqx.filter_jit
def _value_and_slope(objective, unravel, state, blocks, theta):
    def loss(theta, x):
        return objective.loss(unravel(theta), None, state, Batch(x), jax.random.key(0))[0]

    def add(total, x):
        return jax.tree.map(jnp.add, total, jax.value_and_grad(loss)(theta, x)), None

    total, _ = jax.lax.scan(add, (jnp.zeros(()), jnp.zeros_like(theta)), blocks)
    return jax.tree.map(lambda a: a / len(blocks), total)


def mean_field(x: np.ndarray) -> Learned:
    """Return −C⁻¹ and the fields that keep the means, from rows of spins."""
    begun = time.process_time()
    mean = x.mean(0, dtype=np.float64)
    pairs = -np.linalg.inv(np.cov(x.T))
    np.fill_diagonal(pairs, 0)
    field = np.arctanh(np.clip(mean, -0.999, 0.999)) - pairs @ mean
    J = -2 * pairs
    J += np.diag(-2 * field - J.sum(1))
    return Learned(J, 0, time.process_time() - begun)


def errors(J: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Return how far the entries are from the truth, and how they correlate with it."""
    above = np.triu_indices(len(J), 1)
    return {
        "pairs": float(np.sqrt(np.mean((J - truth)[above] ** 2))),
        "diagonal": float(np.sqrt(np.mean(np.diag(J - truth) ** 2))),
        "correlation": float(np.corrcoef(J[above], truth[above])[0, 1]),
    }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Sample every machine once, and learn it back from more and more of its samples."""
    size = SIZES[scale]
    found: dict[str, dict[int, list[dict[str, float]]]] = {m: {n: [] for n in size.rows} for m in ALL}
    shown: dict[str, np.ndarray] = {}
    for seed in range(size.machines):
        truth = couplings(size.bits, seed)
        x = sampled(graph(truth), size.rows[-1], size.chains, jax.random.key(seed))
        for n in size.rows:
            ways = {
                FLOW: learned(MinimumProbabilityFlow(), x[:n], size.iterations),
                PSEUDO: learned(CompositeLikelihood(), x[:n], size.iterations),
                FIELD: mean_field(x[:n]),
            }
            for name, way in ways.items():
                cost = {"evaluations": way.evaluations, "seconds": way.seconds}
                found[name][n].append(errors(way.J, truth) | cost)
            if seed == 0 and n == size.rows[-1]:
                shown = {"truth": truth, **{name: way.J for name, way in ways.items()}}
        last = {name: found[name][size.rows[-1]][-1] for name in ALL}
        told = ", ".join(f"{name} {e['pairs']:.4f} in {e['seconds']:.1f} s" for name, e in last.items())
        progress(f"machine {seed + 1}, error of J from {size.rows[-1]:,} samples: {told}")
    slopes = {name: slope(size.rows, [_values(found[name][n], "pairs") for n in size.rows]) for name in ALL}
    columns = (
        "samples",
        "method",
        "rms error of J_ij",
        "of J_ii",
        "correlation of J_ij",
        "loss evaluations",
        "processor's seconds",
    )
    rows = [
        (
            f"{n:,}",
            name,
            pm(_values(found[name][n], "pairs"), ".4f"),
            pm(_values(found[name][n], "diagonal"), ".4f"),
            f"{summary(_values(found[name][n], 'correlation'))[0]:.4f}",
            "–" if name == FIELD else f"{summary(_values(found[name][n], 'evaluations'))[0]:.0f}",
            f"{summary(_values(found[name][n], 'seconds'))[0]:.2g}",
        )
        for n in size.rows
        for name in ALL
    ]
    spread = float(np.std(shown["truth"][np.triu_indices(size.bits, 1)]))
    facts = {
        "bits": size.bits,
        "machines": size.machines,
        "spread": spread,
        "slopes": slopes,
        "errors": {name: {f"{n}": found[name][n] for n in size.rows} for name in ALL},
        "shown": {name: J.tolist() for name, J in shown.items()},
    }
    verdict = _verdict(size, found, slopes, spread)
    return Outcome(columns, rows, verdict, _draw(size, found, shown), facts)


def slope(rows: tuple[int, ...], values: list[list[float]]) -> tuple[float, float]:
    """Return mean and standard error over the machines of the slope of log error in log N."""
    x, y = np.log(rows), np.log(np.array(values))
    return summary(np.polyfit(x, y, 1)[0].tolist())


def _values(found: list[dict[str, float]], of: str) -> list[float]:
    return [f[of] for f in found]


def _verdict(
    size: Size,
    found: Mapping[str, Mapping[int, list[dict[str, float]]]],
    slopes: Mapping[str, tuple[float, float]],
    spread: float,
) -> str:
    n = size.rows[-1]
    last = {name: found[name][n] for name in ALL}
    told = ", ".join(
        f"{name} {pm(_values(e, 'pairs'), '.4f')} (correlation {summary(_values(e, 'correlation'))[0]:.4f})"
        for name, e in last.items()
    )
    lines = [
        f"From {n:,} samples of {size.bits} bits, mean of {size.machines} machines whose J_ij spread by"
        f" {spread:.2f}, the couplings are found with an error of: {told}."
    ]
    for name in ALL:
        mean, error = slopes[name]
        near = abs(mean + 0.5) < NEAR
        says = "near 1/√N" if near else "faster than 1/√N" if mean < -0.5 else "slower than 1/√N"
        lines.append(f"The error of {name} goes as N^({mean:.2f} ± {error:.2f}), {says}.")
    for k in size.rows:
        logs = {name: np.log(_values(found[name][k], "pairs")).tolist() for name in (FLOW, PSEUDO)}
        gap = difference(logs[FLOW], logs[PSEUDO])
        ratio = np.exp(gap.mean)
        lines.append(
            f"At {k:,} samples the error of {FLOW} is {ratio:.3f} times that of {PSEUDO} ({gap.word}): where"
            f" errors go as 1/√N, for the same error {FLOW} needs {ratio**2:.2f} times the samples."
        )
    cost = {
        name: (summary(_values(last[name], "seconds"))[0], summary(_values(last[name], "evaluations"))[0])
        for name in (FLOW, PSEUDO)
    }
    lines.append(
        f"At {n:,} samples {FLOW} takes {cost[FLOW][0]:.1f} s of the processor and {cost[FLOW][1]:.0f}"
        f" evaluations of its loss, {PSEUDO} {cost[PSEUDO][0]:.1f} s and {cost[PSEUDO][1]:.0f}."
    )
    return bulleted(lines)


def _draw(
    size: Size,
    found: Mapping[str, Mapping[int, list[dict[str, float]]]],
    shown: Mapping[str, np.ndarray],
) -> Any:
    figure = canvas(15, 4.6)
    *scatters, curve = figure.subplots(1, 4)
    above = np.triu_indices(size.bits, 1)
    truth = shown["truth"]
    low, high = truth[above].min() * 1.3, truth[above].max() * 1.3
    for i, (axes, name) in enumerate(zip(scatters, ALL, strict=True)):
        axes.plot([low, high], [low, high], color="0.6", lw=0.8)
        axes.plot(truth[above], shown[name][above], ".", ms=3, color=f"C{i}")
        e = errors(shown[name], truth)
        axes.set(xlabel="true J_ij", xlim=(low, high), ylim=(low, high), aspect="equal")
        axes.set_title(f"{name}, {size.rows[-1]:,} samples\nrms error {e['pairs']:.3f}", fontsize=10)
    scatters[0].set_ylabel("learned J_ij")
    for i, name in enumerate(ALL):
        values = np.array([_values(found[name][n], "pairs") for n in size.rows])
        curve.loglog(size.rows, values.mean(1), color=f"C{i}", label=name)
        curve.loglog(size.rows, values, ".", color=f"C{i}", ms=5)
    reference = np.mean(_values(found[FLOW][size.rows[0]], "pairs")) * 1.25
    curve.loglog(
        size.rows,
        reference * np.sqrt(size.rows[0] / np.array(size.rows)),
        "--",
        color="0.6",
        label="slope −½",
    )
    curve.set(xlabel="samples", ylabel="rms error of J_ij", title=f"{size.bits} bits, a dot a machine")
    curve.grid(color="0.92", which="both")
    curve.legend(fontsize=8, frameon=False)
    return figure
