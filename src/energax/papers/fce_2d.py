r"""Flow contrastive estimation of eight Gaussians: the energy, the flow, and what else could have been done.

Eight Gaussians of variance 1/8 on a circle of radius 2√2, whose log density is known, and ways to learn it:

    flow, likelihood       an affine coupling flow alone, by maximum likelihood
    NCE, Gaussian          an energy told from N(x̄, S)
    NCE, flow              an energy told from the first flow, which is held still
    FCE                    an energy told from a flow that learns to pass for the data (Gao et al. 2020)
    ACE                    the same, half of the noise from N(x̄, S) (after Bose, Ling & Cao 2018)

FCE and ACE give an energy and a flow each. Their flows begin with some maximum likelihood. An energy's log p
is −E(x) − c with the c that was learned beside it, so its error has two parts: shape, and log Z. Both are
told apart by quadrature over a square:

    error on the grid      mean of (log q − log p)² over the cells within 3 standard deviations of a centre
    error on test points   the same, over fresh draws
    log of the mass        log ∫ e^{−E−c} over the square, the error of −c; of a flow, what it has outside
    KL, normalised         mean over fresh draws of log p − log q + log mass, nats
    JS, normalised         ½ KL(p ‖ m) + ½ KL(q ‖ m), m = ½(p + q), over the square: what the flows descend on

An affine flow cannot hold eight separate Gaussians: it leaves bridges between them. That is where an energy
can be better than its flow; with a flow that holds the data, FCE's energy and flow agree. JS is at most log 2
wherever q is small: a flow that descends on it may give up data that its likelihood would not.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import MLP, Flow, GaussianMixture
from energax.objectives import (
    AdversarialContrastiveEstimation,
    ExactMaximumLikelihood,
    FlowContrastiveEstimation,
    NoiseContrastiveEstimation,
)
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import difference, pm
from energax.training import fit
from energax.typing import Array, Key, Model

__all__ = ["eight_gaussians", "judged", "run"]

FLOW, GAUSSIAN, FIXED = "flow, likelihood", "NCE, Gaussian", "NCE, flow"
FCE, FCE_FLOW = "FCE", "FCE's flow"
ACE, ACE_FLOW = "ACE", "ACE's flow"
FEW = (FLOW, FCE, FCE_FLOW)
ALL = (FLOW, GAUSSIAN, FIXED, FCE, FCE_FLOW, ACE, ACE_FLOW)
FLOWS = (FLOW, FCE_FLOW, ACE_FLOW)
REACH = 5.5  # half the side of the square
INSIDE = 3.0  # standard deviations of a Gaussian that count as the data's support
RATE = 2e-3
GRID, JS = "grid error", "JS"  # by which cases are compared


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    rows
        Training rows, and a tenth as many to test.
    steps, batch
        Updates and minibatch of every training.
    warmup
        Likelihood steps of the flows of FCE and ACE.
    width, layers
        Of the networks, and coupling layers of the flows.
    cells
        Of a side of the square.
    seeds
        Trainings of each case.
    names
        Of the cases looked at: the flow, and others.
    """

    rows: int
    steps: int
    batch: int
    warmup: int
    width: int
    layers: int
    cells: int
    seeds: int
    names: tuple[str, ...] = ALL


SIZES = {
    "smoke": Size(2_000, 200, 128, warmup=400, width=16, layers=2, cells=60, seeds=1, names=FEW),
    "cpu": Size(50_000, steps=2_000, batch=256, warmup=500, width=128, layers=5, cells=200, seeds=3),
    "paper": Size(500_000, steps=50_000, batch=1_000, warmup=5_000, width=128, layers=10, cells=400, seeds=5),
}


def eight_gaussians() -> GaussianMixture:
    """Return the truth."""
    angle = np.arange(8) * np.pi / 4
    centres = 2 * np.sqrt(2) * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return GaussianMixture(np.ones(8), centres, np.broadcast_to(np.eye(2) / 8, (8, 2, 2)))


@eqx.filter_jit
def log_densities(model: Model, x: Array) -> Array:
    """Return log q of each row."""
    return jax.vmap(model.log_prob)(x)


def square(cells: int) -> np.ndarray:
    """Return the centres of the square's cells, shape (cells², 2)."""
    at = (np.arange(cells) + 0.5) / cells * 2 * REACH - REACH
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2).astype(np.float32)


def judged(model: Model, truth: GaussianMixture, test: Array, cells: int) -> dict[str, float]:
    """Return the errors of a model's log density."""
    grid = jnp.asarray(square(cells))
    centres, spread = np.asarray(truth.means), float(truth.scale_trils[0, 0, 0])
    distance = np.linalg.norm(np.asarray(grid)[:, None] - centres, axis=-1).min(1)
    on_grid = np.asarray(log_densities(model, grid), np.float64)
    log_p = np.asarray(log_densities(truth, grid), np.float64)
    off = (on_grid - log_p)[distance < INSIDE * spread]
    on_test = np.asarray(log_densities(model, test), np.float64) - np.asarray(log_densities(truth, test))
    area = 2 * np.log(2 * REACH / cells)
    log_mass = np.logaddexp.reduce(on_grid) + area
    log_q = on_grid - log_mass
    middle = np.logaddexp(log_p, log_q) - np.log(2)
    parts = [np.sum(np.exp(a + area) * (a - middle)) for a in (log_p, log_q)]
    return {
        GRID: float(np.mean(off**2)),
        "test error": float(np.mean(on_test**2)),
        "log mass": float(log_mass),
        "divergence": float(log_mass - np.mean(on_test)),
        JS: float(0.5 * sum(parts)),
    }


def trained(size: Size, x: Array, seed: int) -> tuple[dict[str, Model], dict[str, float]]:
    """Return every case's density, and what the two players of FCE and ACE came to."""
    flow_key, net_key, key = jax.random.split(jax.random.key(seed), 3)
    flow = _flow(size.layers, size.width // 2, flow_key)
    net = MLP((2,), width=size.width, depth=2, head="linear", key=net_key)
    pace = {"steps": size.steps, "batch_size": size.batch, "learning_rate": RATE}

    def fitted(model, objective):
        return fit(model, objective, x, key=key, progress=False, **pace)

    likely = fitted(flow, ExactMaximumLikelihood()).energy
    found: dict[str, Model] = {FLOW: likely}
    end: dict[str, float] = {}
    for name, noise in ((GAUSSIAN, "gaussian"), (FIXED, likely)):
        if name in size.names:
            found[name] = fitted(net, NoiseContrastiveEstimation(noise, 1.0)).density
    for name, kind in ((FCE, FlowContrastiveEstimation), (ACE, AdversarialContrastiveEstimation)):
        if name in size.names:
            objective = kind(flow, warmup=size.warmup)
            result = fitted(net, objective)
            found[name] = result.density
            found[f"{name}'s flow"] = objective.learned_flow(result.state.state)
            last = result.history[-max(1, len(result.history) // 10) :]
            end[f"{name}, loss"] = float(np.mean([r["loss"] for r in last]))
            end[f"{name}, flow moves"] = float(np.mean([r["flow_moves"] for r in last]))
    return found, end


@functools.cache
def _frame(layers: int, width: int) -> Flow:
    """Return what all flows of a size share: functions made once, so that programs are compiled once."""
    flow = Flow.coupling(2, key=jax.random.key(0), layers=layers, width=width, kind="affine")
    return eqx.filter(flow, eqx.is_array, inverse=True)


def _flow(layers: int, width: int, key: Key) -> Flow:
    flow = Flow.coupling(2, key=key, layers=layers, width=width, kind="affine")
    return eqx.combine(eqx.filter(flow, eqx.is_array), _frame(layers, width))


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every case with every seed, and judge its log density."""
    size = SIZES[scale]
    truth = eight_gaussians()
    data_key, test_key = jax.random.split(jax.random.key(0))
    x, test = truth.sample(data_key, size.rows), truth.sample(test_key, size.rows // 10)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in size.names}
    ends: list[dict[str, float]] = []
    shown: dict[str, np.ndarray] = {}
    for seed in range(size.seeds):
        models, end = trained(size, x, seed)
        ends.append(end)
        for name, model in models.items():
            found[name].append(judged(model, truth, test, size.cells))
        if seed == 0:
            grid = jnp.asarray(square(size.cells))
            shown = {
                name: np.asarray(log_densities(model, grid)).reshape(size.cells, size.cells)
                for name, model in {"the truth": truth, **models}.items()
            }
        told = ", ".join(f"{name} {errors[-1][GRID]:.3f}" for name, errors in found.items())
        progress(f"seed {seed}, error on the grid: {told}")
    columns = (
        "case",
        "error on the grid",
        "error on test points",
        "log of the mass",
        "KL, normalised",
        "JS, normalised",
    )
    kinds = ((GRID, 3), ("test error", 3), ("log mass", 4), ("divergence", 4), (JS, 4))
    rows = [
        (name, *(pm([e[k] for e in errors], f".{n}f") for k, n in kinds)) for name, errors in found.items()
    ]
    facts = {"errors": found, "ends": ends, "steps": size.steps, "samples": size.rows}
    return Outcome(columns, rows, _verdict(size, found, ends), _draw(shown, found), facts)


def _verdict(size: Size, found: Mapping[str, list[dict[str, float]]], ends: list[dict[str, float]]) -> str:
    def of(name: str, kind: str = GRID) -> list[float]:
        return [e[kind] for e in found[name]]

    def compared(one: str, other: str, kind: str) -> str:
        # Errors of very different sizes: their ratio, by the mean of logarithms.
        gap = difference(np.log(of(one, kind)).tolist(), np.log(of(other, kind)).tolist())
        return f"{one} has {np.exp(gap.mean):.3g} times the {kind} of {other} ({gap.word})"

    def listed(pairs: tuple[tuple[str, str], ...], kind: str = GRID) -> str:
        return "; ".join(compared(*pair, kind) for pair in pairs if set(pair) <= set(found))

    means = {name: float(np.mean(of(name))) for name in found}
    order = ", ".join(f"{name} {means[name]:.3f}" for name in sorted(means, key=lambda n: means[n]))
    count = f"{size.seeds} seeds" if size.seeds > 1 else "one seed"
    lines = [
        f"Mean squared error of log p on the grid after {size.steps:,} updates, {count}: {order}.",
        f"Energies against flows: {listed(((FCE, FCE_FLOW), (FCE, FLOW), (ACE, ACE_FLOW)))}.",
    ]
    if FIXED in found:
        lines.append(f"Noise against noise: {listed(((FIXED, GAUSSIAN), (FCE, FIXED), (ACE, FIXED)))}.")
    played = ((FCE_FLOW, FLOW), (ACE_FLOW, FLOW))
    lines.append(f"What the game does for its flow: {listed(played, JS)}; {listed(played)}.")
    energies = [name for name in found if name not in FLOWS]
    worst = max(energies, key=lambda n: max(abs(v) for v in of(n, "log mass")))
    far = max(abs(v) for v in of(worst, "log mass"))
    lines.append(f"The learned log Z of an energy is at most {far:.3f} nats off, that of {worst}.")
    loss = float(np.mean([e["FCE, loss"] for e in ends]))
    moves = float(np.mean([e["FCE, flow moves"] for e in ends]))
    lines.append(
        f"At the end FCE's −V is {loss:.3f}; it is log 4 = {np.log(4):.3f} where energy and flow agree. The"
        f" flow still moves {moves:.1f} times a step."
    )
    return bulleted(lines)


def _draw(shown: Mapping[str, np.ndarray], found: Mapping[str, list[dict[str, float]]]) -> Any:
    figure = canvas(13, 6.9)
    top = float(shown["the truth"].max())
    image: Any = None
    panels = figure.subplots(-(-len(shown) // 4), 4).ravel()
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        clipped = np.clip(values, top - 9, top)
        extent = (-REACH, REACH, -REACH, REACH)
        image = axes.imshow(clipped, origin="lower", extent=extent, cmap="magma", vmin=top - 9, vmax=top)
        error = f"\nerror on the grid {found[name][0][GRID]:.3f}" if name in found else "\n"
        axes.set_title(f"{name}{error}", fontsize=10)
        axes.set_axis_off()
    figure.colorbar(image, ax=panels, label="log density, nats", shrink=0.7)
    return figure
