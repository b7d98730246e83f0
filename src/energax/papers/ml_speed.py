r"""Whether a step of MDSM is ten times faster than one of maximum likelihood, and what the steps buy.

Li, Chen & Sommer (2019), §4: a batch takes 0.3 seconds, and about 3 by maximum likelihood with 30 Langevin
steps on the same network, their Res12; the number of updates is called similar. Counted in gradients of E
in x, a step of MDSM is one of them and its derivative in θ; a step by K Langevin steps is K of them and a
derivative of E in θ at twice as many rows.

*Time.* The same network, one whole update each (chains, gradient, Adam): MDSM, and a replay buffer
(Du & Mordatch 2019) with K = 10, 30, 60. All are compiled first, then timed by turns; kept is the least over
the rounds, of processor time over all threads, which other jobs disturb less than the clock. The clock's is
beside it.

*What the steps buy.* The perceptron on the digits, trained with 125, 250, 500, … updates, each a training
of its own with its own cosine. Both principles are after one density, digits + σ₀z: MDSM by its ladder,
maximum likelihood by rows with σ₀z added. So both end with the same jump x − σ₀²∇E. Samples are drawn in two
ways, of which the better ones count, for each training: by 1,300 Langevin steps from noise at T = 1; and by
MDSM's anneal, or for maximum likelihood from its buffer as it stands. Quality is the share that the judge
recognises (`energax.papers.judge`). The energy distance stands beside it and does not decide: pixels drawn
independently, from which the buffer's chains start, are nearer to digits by it than trained models'
samples, and not one of them is a digit. *Equal quality* is the mean share of MDSM's longest training; a
method needs as many updates as its shortest training that reaches it, and those updates times the
measured step are its time.

The step ε = 0.5 σ₀ and the learning rates were chosen by a few trials; with twice the ε maximum likelihood
diverged within 2,000 updates. A training that diverges has no samples and counts as failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data, energies
from energax.config import FitConfig
from energax.data import Transform
from energax.objectives import (
    Batch,
    MultiscaleDenoisingScoreMatching,
    Objective,
    ReplayBufferLikelihood,
)
from energax.papers.judge import Judge, energy_distance, summary
from energax.papers.outcome import Outcome
from energax.samplers import Langevin, annealed_langevin
from energax.samplers import run as run_chains
from energax.samplers.pools import marginals
from energax.tasks.generate import generate, jump
from energax.training import DivergenceError, fit
from energax.training.optimiser import optimiser
from energax.typing import Array, Key, Model

__all__ = ["SmoothedRows", "run"]

SIGMA_0 = 0.1
LADDER = (0.05, 2.0)
EPSILON = 0.5 * SIGMA_0
BATCH = 128
MDSM = "MDSM"
CLAIMED = 30  # Langevin steps of the claim
NEAR_TEN = (7.0, 14.0)  # ratios called "about ten"
LEAST_SECONDS = 0.05  # that one timing lasts
RATES = {MDSM: 1.5e-3, "ml": 1e-3}


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    networks
        Those whose steps are timed, of `NETWORKS`.
    langevin
        The numbers K of Langevin steps.
    trained
        Those of them that are trained with.
    rounds
        Of timing.
    updates, ml_updates
        Lengths of the trainings by MDSM and by maximum likelihood.
    width
        Of the perceptron that is trained.
    seeds, samples, chain
        Trainings of each case, samples of each, and Langevin steps of each.
    """

    networks: tuple[str, ...]
    langevin: tuple[int, ...]
    trained: tuple[int, ...]
    rounds: int
    updates: tuple[int, ...]
    ml_updates: tuple[int, ...]
    width: int
    seeds: int
    samples: int
    chain: int


PERCEPTRONS = ("digits, perceptron 3 × 256", "digits, perceptron 4 × 512")
MIXER, RESIDUAL = "mnist, mixer 64", "mnist, residual 12"
SIZES = {
    "smoke": Size(("small",), (30,), (30,), 2, (20, 60), (20,), 32, 2, 40, 30),
    "cpu": Size(
        (*PERCEPTRONS, MIXER),
        (10, 30, 60),
        (10, 30, 60),
        8,
        (125, 250, 500, 1000),
        (125, 250, 500, 1000),
        256,
        2,
        100,
        1300,
    ),
    "paper": Size(
        (*PERCEPTRONS, MIXER, RESIDUAL),
        (10, 30, 60),
        (10, 30, 60),
        20,
        (125, 250, 500, 1000, 2000, 4000, 8000),
        (125, 250, 500, 1000, 2000, 4000),
        256,
        5,
        1000,
        2700,
    ),
}
NETWORKS: dict[str, Callable[[Key], Any]] = {
    "small": lambda key: energies.MLP((64,), width=32, depth=1, key=key),
    PERCEPTRONS[0]: lambda key: energies.MLP((64,), width=256, depth=3, key=key),
    PERCEPTRONS[1]: lambda key: energies.MLP((64,), width=512, depth=4, key=key),
    MIXER: lambda key: energies.PatchMixer((28, 28, 1), width=64, key=key),
    RESIDUAL: lambda key: energies.ResNet((32, 32, 1), layers=12, width=64, key=key),
}


class SmoothedRows(Transform):
    """Rows with fresh noise σz added in training, and otherwise as they are.

    Parameters
    ----------
    sigma
        Standard deviation of the noise, in units of x.
    """

    sigma: float = eqx.field(static=True)

    def forward(self, x: Array) -> Array:
        """Return x."""
        return x

    def inverse(self, z: Array) -> Array:
        """Return z."""
        return z

    def log_det(self, x: Array) -> Array:
        """Return 0."""
        return jnp.zeros(())

    def perturb(self, x: Array, key: Key) -> Array:
        """Return x + σz."""
        return x + self.sigma * jax.random.normal(key, x.shape)


def methods(langevin: Sequence[int], buffer: int) -> dict[str, Objective]:
    """Return MDSM, and maximum likelihood with each number of Langevin steps, by name."""

    def likelihood(steps: int) -> Objective:
        return ReplayBufferLikelihood(Langevin.mdsm(EPSILON), steps, size=buffer, restart=0.05)

    ours = MultiscaleDenoisingScoreMatching(*LADDER, sigma_0=SIGMA_0)
    return {MDSM: ours, **{_name(k): likelihood(k) for k in langevin}}


def _name(steps: int) -> str:
    return f"ML, {steps} steps"


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Time a step of each method on each network, then train to see what the steps buy."""
    size = SIZES[scale]
    # `fit` renews its buffer in place; what is timed here would copy it, so it is a small one.
    brief, compared = methods(size.langevin, 2 * BATCH), methods(size.trained, 10_000)
    seconds: dict[str, dict[str, dict[str, float]]] = {}
    for network in size.networks:
        seconds[network] = timed(network, brief, size.rounds)
        text = ", ".join(f"{n} {1e3 * s['processor']:.1f} ms" for n, s in seconds[network].items())
        progress(f"{network}: {text}")
    bench = Bench(size)
    results: dict[str, list[dict[str, Any]]] = {}
    shown: dict[str, np.ndarray] = {}
    for name, objective in compared.items():
        results[name] = []
        for updates in size.updates if name == MDSM else size.ml_updates:
            found = [bench.quality(name, objective, updates, seed) for seed in range(size.seeds)]
            shown[name] = found[0].pop("samples")
            for other in found[1:]:
                other.pop("samples")
            results[name].append({"updates": updates, "trainings": found})
            progress(f"{name}, {updates} updates: {_shown(results[name][-1], 'recognised')} recognised")
    target = float(np.mean(_shares(results[MDSM][-1])))
    trained = size.networks[0]
    needs = {name: _needed(found, target) for name, found in results.items()}
    rows: list[tuple[Any, ...]] = []
    for name in brief:
        ratios = [_ratio(seconds[network], name) for network in size.networks]
        per_step = seconds[trained][name]["processor"]
        cells = ["–"] * 4
        if name in results:
            last, need = results[name][-1], needs[name]
            reached = "never" if need is None else need
            spent = "never" if need is None else f"{need * per_step:.1f}"
            share = f"{_shown(last, 'recognised')} ({last['updates']})"
            cells = [share, _shown(last, "distance"), reached, spent]
        times = (
            f"{1e3 * seconds[n][name]['processor']:.1f} ({r:.1f}×)"
            for n, r in zip(size.networks, ratios, strict=True)
        )
        rows.append((name, *times, *cells))
    columns = (
        "method",
        *(f"{n}: ms a step (× MDSM's)" for n in size.networks),
        "recognised (after so many updates)",
        "distance",
        "updates to equal quality",
        "processor seconds to it",
    )
    facts = {
        "seconds": seconds,
        "results": results,
        "equal quality": target,
        "updates to equal quality": needs,
        "held-out digits": bench.real,
        "independent pixels": bench.independent,
    }
    return Outcome(columns, rows, _verdict(size, facts), _draw(size, facts, shown, bench.image_shape), facts)


def timed(network: str, methods: Mapping[str, Objective], rounds: int) -> dict[str, dict[str, float]]:
    """Return the least seconds of one update by each method, by processor and by clock."""
    model = eqx.filter_jit(NETWORKS[network])(jax.random.key(0))
    rows = 0.5 + 0.3 * jax.random.normal(jax.random.key(1), (4 * BATCH, *model.event_shape))
    calls = {name: _update(model, objective, rows) for name, objective in methods.items()}
    least = {name: np.full(2, np.inf) for name in methods}
    for call in calls.values():
        jax.block_until_ready(call())
    for _ in range(rounds):
        for name, call in calls.items():
            least[name] = np.minimum(least[name], _seconds(call))
    return {name: {"processor": float(p), "clock": float(c)} for name, (p, c) in least.items()}


def _update(model: Model, objective: Objective, rows: Array) -> Callable[[], Any]:
    """Return a call of one compiled update: the chains' steps, the gradient, and Adam's step."""
    config = FitConfig()
    data_rows = Batch(rows)
    nuisance, state = objective.init(model, data_rows, jax.random.key(2), BATCH)
    descent = optimiser(config)
    opt = descent.init((eqx.filter(model, eqx.is_inexact_array), nuisance))

    @eqx.filter_jit
    def update(model: Any, state: Any, opt: Any, batch: Batch, key: Key) -> Any:
        refresh_key, loss_key = jax.random.split(key)
        stacked = jax.tree.map(lambda a: a[None], batch)
        frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, model)
        state, _ = objective.refresh(frozen, nuisance, state, stacked, refresh_key)

        def loss(learned):
            return objective.loss(learned[0], learned[1], state, batch, loss_key)[0]

        gradient = eqx.filter_grad(loss)((model, nuisance))
        steps: Any
        steps, opt = descent.update(gradient, opt, eqx.filter((model, nuisance), eqx.is_inexact_array))
        return eqx.apply_updates(model, jax.tree.map(lambda u: -1e-3 * u, steps[0])), state, opt

    batch, key = Batch(rows[:BATCH]), jax.random.key(3)
    return lambda: eqx.filter(update(model, state, opt, batch, key), eqx.is_array)


def _seconds(call: Callable[[], Any]) -> tuple[float, float]:
    """Seconds one call takes by processor and by clock, over as many as last `LEAST_SECONDS`."""
    calls, worked, began = 0, time.process_time(), time.perf_counter()
    while time.perf_counter() - began < LEAST_SECONDS or not calls:
        jax.block_until_ready(call())
        calls += 1
    return (time.process_time() - worked) / calls, (time.perf_counter() - began) / calls


class Bench:
    """What every training is made on and judged by."""

    def __init__(self, size: Size):
        self.size = size
        dataset = data.digits()
        assert dataset.image_shape is not None
        self.image_shape = dataset.image_shape
        self.train, self.test = dataset.train, dataset.test
        self.judge = Judge.of(dataset)
        pixels = np.asarray(marginals(jnp.asarray(self.train), jax.random.key(0)))
        self.real, self.independent = (
            {**self.judge.verdict(x), "distance": energy_distance(x, self.test)}
            for x in (self.test, pixels[: len(self.test)])
        )

    def quality(self, name: str, objective: Objective, updates: int, seed: int) -> dict[str, Any]:
        """Train and sample; return the nearer samples and what they are worth."""
        size = self.size
        model_key, fit_key, sample_key = jax.random.split(jax.random.key(seed), 3)
        model = energies.MLP((64,), width=size.width, depth=3, key=model_key)
        rate = RATES[MDSM if name == MDSM else "ml"]
        try:
            result = fit(
                model,
                objective,
                self.train,
                key=fit_key,
                preprocessing=None if name == MDSM else SmoothedRows(SIGMA_0),
                progress=False,
                steps=updates,
                batch_size=BATCH,
                learning_rate=rate,
                ema=0.99,
            )
        except DivergenceError as error:
            nothing = np.full((size.samples, self.train.shape[1]), np.nan)
            return {"recognised": 0.0, "diverged": str(error), "samples": nothing}
        ways = {"from noise": self.from_noise(result.energy, sample_key)}
        if name == MDSM:
            hold = size.chain * 2 // 13
            lengths = {"hold": hold, "anneal": size.chain - hold - hold // 2, "cool": hold // 2}
            sampler = annealed_langevin(sigma_0=SIGMA_0, epsilon=EPSILON, **lengths)
            ways["annealed"] = generate(
                result.energy, size.samples, key=sample_key, sigma_0=SIGMA_0, sampler=sampler
            )
        else:
            buffer = result.state.state.value.kept.x
            pick = jax.random.permutation(sample_key, len(buffer))[: size.samples]
            ways["buffer"] = self.denoised(result.energy, buffer[pick])
        worth = {
            way: {**self.judge.verdict(x), "distance": energy_distance(x, self.test)}
            for way, x in ways.items()
        }
        best = max(worth, key=lambda way: worth[way]["recognised"])
        return {**worth[best], "way": best, "ways": worth, "samples": np.asarray(ways[best])}

    def from_noise(self, model: Model, key: Key) -> np.ndarray:
        """Return samples by Langevin dynamics at T = 1 from wide noise, and a jump."""
        start_key, chain_key = jax.random.split(key)
        start = 0.5 + jax.random.normal(start_key, (self.size.samples, self.train.shape[1]))
        x = run_chains(Langevin.mdsm(EPSILON), model, start, key=chain_key, steps=self.size.chain).x
        return self.denoised(model, x)

    def denoised(self, model: Model, x: Array) -> np.ndarray:
        """Return x − σ₀²∇E(x)."""
        return np.asarray(jump(model, x, jnp.asarray(SIGMA_0), None))


def _shares(record: Mapping[str, Any]) -> list[float]:
    return [t["recognised"] for t in record["trainings"]]


def _diverged(record: Mapping[str, Any]) -> int:
    return sum("diverged" in t for t in record["trainings"])


def _shown(record: Mapping[str, Any], name: str) -> str:
    values = [t[name] for t in record["trainings"] if name in t]
    failed = f", {_diverged(record)} diverged" if _diverged(record) else ""
    if len(values) < 2:
        return "".join(f"{v:.3f}" for v in values) + failed
    mean, error = summary(values)
    return f"{mean:.3f} ± {error:.3f}{failed}"


def _ratio(seconds: Mapping[str, Any], name: str, by: str = "processor") -> float:
    return seconds[name][by] / seconds[MDSM][by]


def _needed(found: Sequence[Mapping[str, Any]], target: float) -> int | None:
    """Return the updates of the shortest training of which as large a share is recognised."""
    return next((r["updates"] for r in found if np.mean(_shares(r)) >= target), None)


def _verdict(size: Size, facts: Mapping[str, Any]) -> str:
    lines = []
    low, high = NEAR_TEN
    for network, seconds in facts["seconds"].items():
        ratios = {k: _ratio(seconds, _name(k)) for k in size.langevin}
        at = ratios[CLAIMED]
        says = "holds" if low <= at <= high else "does not hold: it is " + ("more" if at > high else "less")
        listed = ", ".join(f"{r:.1f} with {k}" for k, r in ratios.items())
        clock = _ratio(seconds, _name(CLAIMED), "clock")
        lines.append(
            f"{network}: a step of maximum likelihood costs, in steps of MDSM, {listed} Langevin steps; that"
            f" it is about ten with {CLAIMED} {says} ({clock:.1f} by the clock)."
        )
    results, needs, target = facts["results"], facts["updates to equal quality"], facts["equal quality"]
    longest = results[MDSM][-1]["updates"]
    lines.append(
        f"Equal quality is MDSM's after {longest:,} updates, {target:.1%} recognised (held-out digits"
        f" {facts['held-out digits']['recognised']:.1%}); MDSM is there after {needs[MDSM]:,}."
    )
    seconds = facts["seconds"][size.networks[0]]
    for k in size.trained:
        name = _name(k)
        if needs[name] is None:
            tried = results[name][-1]["updates"]
            share = np.mean(_shares(results[name][-1]))
            cost = tried / needs[MDSM] * _ratio(seconds, name)
            lines.append(
                f"{name}: not there after {tried:,} updates, {share:.1%} recognised, at {cost:.2f} times the"
                " processor time that MDSM needs."
            )
            continue
        fewer = needs[name] / needs[MDSM]
        worth = fewer * _ratio(seconds, name)
        lines.append(
            f"{name}: there after {needs[name]:,} updates, {fewer:.2f} of MDSM's, and"
            f" {worth:.2f} times its processor time."
        )
    diverged = sum(_diverged(r) for found in results.values() for r in found)
    apart = facts["independent pixels"]
    lines.append(
        f"Trainings that diverged: {diverged}. Independent pixels: distance {apart['distance']:.3f},"
        f" {apart['recognised']:.1%} recognised."
    )
    return "\n".join(f"- {line}" for line in lines)


def _draw(
    size: Size, facts: Mapping[str, Any], shown: Mapping[str, np.ndarray], shape: tuple[int, ...]
) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    figure = Figure(figsize=(14, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    top, bottom = halves
    left, middle, right = top.subplots(1, 3)
    for network, seconds in facts["seconds"].items():
        ratios = [_ratio(seconds, _name(k)) for k in size.langevin]
        left.plot(size.langevin, ratios, "o-", label=network)
    left.axhspan(*NEAR_TEN, color="0.92")
    left.axhline(1, color="0.5", ls="--", lw=1)
    left.set(xlabel="Langevin steps", title="a step of maximum likelihood ÷ one of MDSM", ylim=(0, None))
    left.legend(fontsize=8, frameon=False)
    seconds = facts["seconds"][size.networks[0]]
    for i, (name, found) in enumerate(facts["results"].items()):
        updates = np.array([r["updates"] for r in found])
        means = np.array([np.mean(_shares(r)) for r in found])
        for axes, x in ((middle, updates), (right, updates * seconds[name]["processor"])):
            axes.plot(x, means, "o-", color=f"C{i}", label=name)
            for at, r in zip(x, found, strict=True):
                axes.plot([at] * len(r["trainings"]), _shares(r), ".", color=f"C{i}", alpha=0.5, ms=4)
    for axes, what in ((middle, "updates"), (right, "processor seconds of training")):
        axes.axhline(facts["equal quality"], color="0.5", ls="--", lw=1)
        axes.set(xscale="log", xlabel=what, title="share of samples recognised", ylim=(0, 1))
        axes.xaxis.set_major_formatter(ScalarFormatter())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.legend(fontsize=8, frameon=False)
        axes.grid(color="0.92")
    h, w = shape[:2]
    for axes, (name, samples) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        images = np.clip(np.nan_to_num(samples[:40].reshape(-1, h, w), nan=0.5), 0, 1)
        tiles = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=0.35)
        tiles = tiles.reshape(4, 10, h + 2, w + 2).transpose(0, 2, 1, 3).reshape(4 * (h + 2), 10 * (w + 2))
        axes.imshow(tiles, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{name}, {facts['results'][name][-1]['updates']:,} updates", fontsize=10)
        axes.set_axis_off()
    return figure
