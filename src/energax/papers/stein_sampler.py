r"""Generators trained for a density known up to its normaliser, and what the critic's trace costs.

Hu et al. (2018): eight normal laws on a circle, no sample of them, and a network that is to draw from them:
the kernel sampler, the Fisher sampler alone, and the Fisher sampler with the kernel beside it, as in their
code. Judged by the squared maximum mean discrepancy from exact draws, next to that of other exact draws, and
by the share of the eight that hold at least half of their eighth.

Grathwohl et al. (2020), §9, propose Hutchinson's estimate for the trace of the Fisher sampler's critic, whose
exact value costs d derivatives. The second table is one slope of a critic with two hidden layers by three
traces: d derivatives, one Gaussian probe, and in closed form (`energies.Critic`), which is exact.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import Critic, GaussianMixture, Generator
from energax.evaluation import mmd_test
from energax.objectives import FisherNeuralSampler, KernelNeuralSampler, Objective
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.stein import stein_operator
from energax.training import fit
from energax.typing import Array, Key

__all__ = ["run"]

MODES, RADIUS = 8, 5.0
KINDS = ("kernel", "fisher", "fisher and kernel")
TRACES = ("d derivatives", "one probe", "closed form")


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    steps
        Of the generator.
    width
        Hidden units of the generator.
    batch
        Latents of a step.
    seeds
        Generators of each kind.
    draws
        That are judged.
    dimensions
        Of the traces.
    hidden
        Units of a layer of the critic whose trace is taken.
    repeats
        Slopes that are timed, after the first.
    """

    steps: int
    width: int
    batch: int
    seeds: int
    draws: int
    dimensions: tuple[int, ...]
    hidden: int
    repeats: int


SIZES = {
    "smoke": Size(60, 32, 64, 1, 400, (2, 8), 32, 2),
    "cpu": Size(3000, 100, 256, 2, 2000, (2, 10, 50, 200), 300, 5),
    "paper": Size(20_000, 200, 500, 5, 2000, (2, 10, 50, 200, 784), 300, 20),
}


def ring() -> GaussianMixture:
    """Return eight normal laws of unit variance on a circle."""
    angles = 2 * np.pi * np.arange(MODES) / MODES
    means = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return GaussianMixture(np.full(MODES, 1 / MODES), means, np.tile(np.eye(2), (MODES, 1, 1)))


def shares(x: np.ndarray, law: GaussianMixture) -> np.ndarray:
    """Return the share of the draws that is nearest to each mean."""
    nearest = np.linalg.norm(x[:, None] - np.asarray(law.means), axis=-1).argmin(1)
    return np.bincount(nearest, minlength=MODES) / len(x)


def objective(kind: str, law: GaussianMixture) -> Objective:
    """Return the training principle of that name."""
    if kind == "kernel":
        return KernelNeuralSampler(law)
    return FisherNeuralSampler(law, kernel_weight=2.0 if kind == "fisher and kernel" else 0.0)


def drawn(kind: str, law: GaussianMixture, size: Size, key: Key) -> np.ndarray:
    """Return draws of a trained generator."""
    start = Generator((2,), latent=5, width=size.width, scale=RADIUS, activation="silu", key=key)
    latents = start.latents(jax.random.fold_in(key, 1), 20_000)
    how = {"steps": size.steps, "batch_size": size.batch, "learning_rate": 1e-3, "ema": 0.99}
    found = fit(start, objective(kind, law), latents, key=key, progress=False, **how).energy
    return np.asarray(found.sample(jax.random.fold_in(key, 2), size.draws))


class Plain(eqx.Module):
    """A critic that hides its closed form."""

    critic: Critic

    def __call__(self, x: Array) -> Array:
        return self.critic(x)


@eqx.filter_jit
def _slope(critic: Any, x: Array, key: Key, probes: int) -> Any:
    """Return the gradient of mean A f − ½ mean ‖f‖² in the critic, the score being −x."""

    def misfit(critic):
        def one(x, k):
            h, f = stein_operator(critic, x, -x, key=k if probes else None, probes=probes)
            return 0.5 * jnp.sum(f**2) - h

        return jnp.mean(jax.vmap(one)(x, jax.random.split(key, len(x))))

    return eqx.filter_grad(misfit)(critic)


def milliseconds(trace: str, d: int, size: Size, key: Key) -> float:
    """Return the median time of one slope, 256 rows."""
    critic: Any = Critic((d,), width=size.hidden, key=key)
    critic = critic if trace == TRACES[2] else Plain(critic)
    x, probes, times = jax.random.normal(key, (256, d)), int(trace == TRACES[1]), []
    for _ in range(size.repeats + 1):
        before = time.perf_counter()
        jax.block_until_ready(_slope(critic, x, key, probes))
        times.append(time.perf_counter() - before)
    return 1e3 * float(np.median(times[1:]))


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every kind, time every trace, and judge."""
    size, law, key = SIZES[scale], ring(), jax.random.key(0)
    truth, other = (np.asarray(law.sample(jax.random.fold_in(key, i), size.draws)) for i in (1, 2))
    gap = lambda x: mmd_test(x, truth, draws=1, key=key).statistic  # noqa: E731
    judged, clouds = {}, {}
    for kind in KINDS:
        found = [drawn(kind, law, size, jax.random.fold_in(key, 10 + i)) for i in range(size.seeds)]
        clouds[kind] = found[0]
        held = [float(np.mean(shares(x, law) > 0.5 / MODES)) for x in found]
        judged[kind] = {"mmd": [gap(x) for x in found], "modes": held}
        progress(f"{kind}: {np.mean(held):.0%} of the modes")
    judged["exact draws"] = {"mmd": [gap(other)], "modes": [float(np.mean(shares(other, law) > 0.5 / MODES))]}
    costs = {}
    for d in size.dimensions:
        costs[d] = {trace: milliseconds(trace, d, size, key) for trace in TRACES}
        progress(f"d = {d}: " + ", ".join(f"{trace} {ms:.1f} ms" for trace, ms in costs[d].items()))
    rows: list[list[Any]] = [
        [kind, float(np.mean(found["mmd"])), f"{np.mean(found['modes']):.0%}"] + [""] * 3
        for kind, found in judged.items()
    ]
    rows += [[f"one slope, d = {d}", "", "", *cost.values()] for d, cost in costs.items()]
    return Outcome(
        columns=["", "MMD²", "modes held", *[f"{trace}, ms" for trace in TRACES]],
        rows=rows,
        verdict=verdict(judged, costs),
        figure=_figure(clouds, truth, costs),
        facts={"judged": judged, "costs": {str(d): cost for d, cost in costs.items()}},
    )


def verdict(judged: dict[str, dict[str, list[float]]], costs: dict[int, dict[str, float]]) -> str:
    """Say which samplers hold the modes, and what each trace costs at the largest d."""
    held = {kind: float(np.mean(found["modes"])) for kind, found in judged.items()}
    best = min(KINDS, key=lambda kind: np.mean(judged[kind]["mmd"]))
    floor = float(np.mean(judged["exact draws"]["mmd"]))
    times = float(np.mean(judged[best]["mmd"])) / floor
    d = max(costs)
    by_derivatives, by_probe, closed = (costs[d][trace] for trace in TRACES)
    kept = ", ".join(f"{kind} {held[kind]:.0%}" for kind in KINDS)
    return (
        f"Share of the {MODES} modes held: {kept}. Nearest to the law is {best!r}, with {times:.1f} times "
        f"the discrepancy of exact draws from each other. At d = {d} a slope with the exact trace by d "
        f"derivatives costs {by_derivatives / closed:.1f} times that in closed form, and one with a single "
        f"probe {by_probe / closed:.2f} times."
    )


def _figure(clouds: dict[str, np.ndarray], truth: np.ndarray, costs: dict[int, dict[str, float]]) -> Any:
    figure = canvas(15, 3.4)
    axes = figure.subplots(1, len(clouds) + 2)
    for ax, (name, x) in zip(axes, {"exact draws": truth, **clouds}.items(), strict=False):
        ax.plot(*x.T, ".", markersize=1.5, alpha=0.5)
        ax.set(title=name, xlim=(-9, 9), ylim=(-9, 9), aspect="equal", xticks=[], yticks=[])
    for trace in TRACES:
        axes[-1].plot(list(costs), [cost[trace] for cost in costs.values()], "o-", label=trace)
    axes[-1].set(title="one slope of the critic", xlabel="d", ylabel="ms", xscale="log", yscale="log")
    axes[-1].legend()
    return figure
