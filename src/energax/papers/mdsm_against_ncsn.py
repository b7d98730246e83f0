r"""MDSM §5: why did NCSN make the better samples? Its two guesses, and a third, taken apart.

Li, Chen & Sommer name two reasons why their model might fall short of NCSN (Song & Ermon 2019): the
approximation behind eq. 6 (the importance ratio set to one, see `mdsm_importance_weights`), and that
NCSN learns a free vector field, "a larger set of functions", where theirs is the gradient of a scalar.
A third difference is not named: NCSN is told the noise level. The lecture on NCSN asks the second
question in general: need a score model be a proper score? Here all combine, with one network body,

    {energy, field} × {not told σ: MDSM with w = 1, MDSM with exact weights; told σ: NCSN},

an energy's score being s = −∇E, a field's s = f, with as many updates on the same digits and the same
ladder. Not told σ, the model stands for E[x | x̃] = x̃ + σ₀²s(x̃) and is sampled by annealed Langevin
dynamics (eq. 8) and one jump; told σ, for E[x | x̃, σ] = x̃ + σ²s(x̃, σ), and sampled by NCSN's algorithm
with as many evaluations and its last denoising step. Measured on held-out digits, over seeds,

    denoise     ( E‖x̂ − x‖²/dσ² )^½ at each σ: the error left, as a share of the noise;
    asymmetry   ‖J − Jᵀ‖_F / ‖J + Jᵀ‖_F, J = ∇s, at digits + σz: zero for a gradient, one for a matrix of
                independent entries;
    distance    the energy distance of samples to held-out digits (`energax.papers.judge`);
    recognised  the judge's share of samples, entropy that of their classes (at most 2.30 nats), and off
                the share of samples that leave [0, 1] by more than one.

Each sampler runs with its own step, ε = 0.2 σ₀ or 0.2 σ_L², with half and with a quarter of it, and the
one of the least mean distance counts.

Told σ, or with exact weights, the minimum over all fields is a gradient, so that asymmetry is error; with
w = 1 it is not (`objectives.Ladder`). "Exact" is exact in its own terms: its minimum is the Parzen score
at σ₀, whose denoising of larger noise finds the nearest training digit, not the mean of the posterior.

What is told σ has a Gaussian base and a preconditioned network (`energies.NoiseConditional`); to take
that difference away, what is not told has a base as well,

    E = (½‖x − μ‖² + F(x))/σ₀²,        s = (μ − x + f(x))/σ₀²,

and MDSM's own energy, a quadratic head without base, is shown beside. At scale "paper" the body is a
wider perceptron on MNIST with 100,000 updates, not the paper's residual network.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data, energies
from energax.derivatives import Score, score
from energax.energies import NoiseConditional
from energax.energies.noise import NOISE_FEATURES
from energax.objectives import MultiscaleDenoisingScoreMatching, NoiseConditionalScoreMatching
from energax.papers.judge import Judge, energy_distance, pixels
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas, show_sheet
from energax.papers.repeats import Difference, difference, pm, summary
from energax.samplers import AnnealedNoiseLangevin, annealed_langevin
from energax.samplers import run as run_chains
from energax.tasks import anneal
from energax.tasks.rows import map_rows
from energax.training import fit
from energax.typing import Array, Key

__all__ = ["asymmetry", "run"]

SIGMA_0 = 0.1
SIGMA_MIN, SIGMA_MAX, LEVELS = 0.05, 2.0, 16
SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
NOTICED = 0.01  # an asymmetry beyond it is no rounding
STEPS = (1.0, 0.5, 0.25)  # multiples of the samplers' own steps, of which the best counts
OFF = 1.0  # pixels may leave [0, 1] by as much
JACOBIANS = 48  # held-out rows at which Jacobians are looked at

ENERGY, FIELD = "energy", "field"
APPROXIMATE, EXACT, TOLD = "w = 1", "exact w", "told σ"
HOWS = (APPROXIMATE, EXACT, TOLD)
PLAIN = "w = 1, no base"
CASES = [(ENERGY, PLAIN), *((body, how) for how in HOWS for body in (ENERGY, FIELD))]


class Sizes(NamedTuple):
    """What a scale means."""

    dataset: str
    width: int
    depth: int
    fit: dict[str, Any]
    lengths: tuple[int, int, int]
    samples: int
    seeds: int


_RATE = {"learning_rate": 1.5e-3, "ema": 0.99, "batch_size": 128}
SCALES = {
    "smoke": Sizes("digits", 32, 1, {**_RATE, "steps": 60, "ema": 0.9}, (8, 32, 8), 60, 2),
    "cpu": Sizes("digits", 256, 3, {**_RATE, "steps": 2000}, (200, 980, 100), 200, 3),
    "paper": Sizes(
        "mnist", 2048, 4, {**_RATE, "steps": 100_000, "learning_rate": 2e-4}, (500, 2000, 188), 1000, 3
    ),
}


class OnBase(eqx.Module):
    """x ↦ (½‖x − μ‖² + F(x))/σ₀², or the field x ↦ (μ − x + f(x))/σ₀²: a network on a parabola's back.

    Parameters
    ----------
    network
        F, an energy, or f, a field of flat events.
    mean
        μ, one number.
    """

    network: Any
    mean: float = eqx.field(static=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.network.event_shape

    def __call__(self, x: Array, condition: Any = None) -> Array:
        """Return the energy or the field at one event."""
        out = self.network(x)
        if out.ndim:
            return (self.mean - x + out) / SIGMA_0**2
        return (0.5 * jnp.sum((x - self.mean) ** 2) + out) / SIGMA_0**2


@functools.cache
def _network(body: str, how: str, shape: tuple[int, ...], width: int, depth: int, mean: float, scale: float):
    """Return key ↦ model, compiled once."""
    told = NOISE_FEATURES if how == TOLD else 0

    def make(key: Key) -> Any:
        kind = energies.MLP if body == ENERGY else energies.MLPField
        network: Any = kind(shape, width=width, depth=depth, condition_size=told, key=key)
        if how == TOLD:
            return NoiseConditional(network if body == ENERGY else Score(network), mean, scale)
        if how == PLAIN:
            return network
        model = OnBase(network, mean)
        return model if body == ENERGY else Score(model)

    return eqx.filter_jit(make)


def at(model: Any, sigma: Any) -> Any:
    """Return the model at a noise level, told or not."""
    return model.at(sigma) if isinstance(model, NoiseConditional) else model


@eqx.filter_jit
def _clean(model: Any, noisy: Array, sigma: Array) -> Array:
    """Return x̂: x̃ + σ²s(x̃, σ) if the model is told σ, x̃ + σ₀²s(x̃) if not."""
    unit = sigma if isinstance(model, NoiseConditional) else SIGMA_0
    return jax.vmap(lambda x: x + unit**2 * score(at(model, sigma), x))(noisy)


@eqx.filter_jit
def asymmetry(model: Any, x: Array, sigma: Array) -> Array:
    """‖J − Jᵀ‖_F / ‖J + Jᵀ‖_F of the score's Jacobian J, of each row (flat events)."""
    level = at(model, sigma)

    def one(y):
        j = jax.jacfwd(lambda v: score(level, v))(y)
        return jnp.linalg.norm(j - j.T) / jnp.linalg.norm(j + j.T)

    return jax.vmap(one)(x)


class Bench:
    """What every case is trained on and judged by."""

    def __init__(self, sizes: Sizes):
        self.sizes = sizes
        dataset = getattr(data, sizes.dataset)()
        self.image_shape = dataset.image_shape
        self.train, self.test = (a.reshape(len(a), -1) for a in (dataset.train, dataset.test[:1000]))
        self.judge = Judge.of(dataset)

    def fitted(self, body: str, how: str, seed: int) -> Any:
        """Return the trained model of a case."""
        sizes = self.sizes
        model_key, fit_key = jax.random.split(jax.random.key(seed))
        mean, scale = float(self.train.mean()), float(self.train.std())
        model = _network(body, how, self.train.shape[1:], sizes.width, sizes.depth, mean, scale)(model_key)
        objective: Any
        if how == TOLD:
            objective = NoiseConditionalScoreMatching(SIGMA_MIN, SIGMA_MAX, LEVELS)
        else:
            weighting = "posterior" if how == EXACT else "none"
            objective = MultiscaleDenoisingScoreMatching(
                SIGMA_MIN, SIGMA_MAX, sigma_0=SIGMA_0, levels=LEVELS, weighting=weighting
            )
        return fit(model, objective, self.train, key=fit_key, progress=False, **sizes.fit).energy

    def sample(self, model: Any, seed: int, step: float) -> np.ndarray:
        """Return samples, by the sampler that belongs to the model, with a multiple of its step."""
        n, lengths, key = self.sizes.samples, self.sizes.lengths, jax.random.fold_in(jax.random.key(seed), 1)
        if not isinstance(model, NoiseConditional):
            epsilon = step * 0.2 * SIGMA_0
            hold, down, cool = lengths
            sampler = annealed_langevin(sigma_0=SIGMA_0, epsilon=epsilon, hold=hold, anneal=down, cool=cool)
            return np.asarray(anneal(model, n, key=key, sigma_0=SIGMA_0, sampler=sampler).x)
        levels = AnnealedNoiseLangevin(
            np.geomspace(SIGMA_MAX, SIGMA_MIN, LEVELS),
            epsilon=step * 0.2 * SIGMA_MIN**2,
            steps_per_level=sum(lengths) // LEVELS,
        )
        start_key, chain_key = jax.random.split(key)
        start = 0.5 + SIGMA_MAX * jax.random.normal(start_key, (n, self.train.shape[1]))
        return np.asarray(run_chains(levels, model, start, key=chain_key).x)

    def fields(self, model: Any, seed: int) -> dict[str, Any]:
        """Return the denoising errors and the asymmetries."""
        z = np.random.default_rng(seed).normal(size=self.test.shape).astype(np.float32)
        left, asymmetric = [], []
        for sigma in SIGMAS:
            noisy, level = self.test + sigma * z, jnp.asarray(sigma, jnp.float32)
            clean = map_rows(lambda rows, s=level: _clean(model, rows, s), noisy)
            left.append(float(np.sqrt(np.mean((clean - self.test) ** 2)) / sigma))
            asymmetric.append(float(np.mean(asymmetry(model, jnp.asarray(noisy[:JACOBIANS]), level))))
        return {
            "left": left,
            "denoise": float(np.sqrt(np.mean(np.square(left)))),
            "asymmetries": asymmetric,
            "asymmetry": float(np.mean(asymmetric)),
        }

    def quality(self, samples: np.ndarray) -> dict[str, float]:
        """Return what samples are worth."""
        with np.errstate(invalid="ignore"):
            off = ~(np.abs(samples - 0.5) < 0.5 + OFF).all(1)
        return {
            "distance": energy_distance(samples, self.test),
            **self.judge.verdict(samples),
            "off": float(off.mean()),
        }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train, measure and sample the seven cases; judge the guesses."""
    bench = Bench(SCALES[scale])
    results: dict[str, list[dict[str, Any]]] = {}
    shown: dict[str, np.ndarray] = {}
    for body, how in CASES:
        case = f"{body}, {how}"
        models = [bench.fitted(body, how, seed) for seed in range(bench.sizes.seeds)]
        measured = [bench.fields(model, seed) for seed, model in enumerate(models)]
        drawn = {s: [bench.sample(model, seed, s) for seed, model in enumerate(models)] for s in STEPS}
        worth = {s: [bench.quality(samples) for samples in drawn[s]] for s in STEPS}
        best = min(STEPS, key=lambda s, w=worth: np.mean([q["distance"] for q in w[s]]))
        every = {f"at {s:g} step": [q["distance"] for q in w] for s, w in worth.items()}
        results[case] = [
            {**m, **q, "step": best, **{name: d[i] for name, d in every.items()}}
            for i, (m, q) in enumerate(zip(measured, worth[best], strict=True))
        ]
        shown[case] = drawn[best][0]
        told = ", ".join(f"{n} {pm(_values(results, case, n))}" for n in MEASURES)
        progress(f"{case}: {told}; step {best:g}")
    floor = energy_distance(bench.train[: len(bench.test)], bench.test)
    real = bench.judge.verdict(bench.test)["recognised"]
    findings = _findings(results)
    columns = ("case", *(f"left at {s:g}" for s in SIGMAS), *MEASURES[1:], "entropy", "off", "step")
    rows: list[tuple[Any, ...]] = []
    for case, found in results.items():
        left = [f"{v:.3f}" for v in np.mean([r["left"] for r in found], axis=0)]
        rest = [pm(_values(results, case, n)) for n in MEASURES[1:]]
        entropy, off = (float(np.mean(_values(results, case, n))) for n in ("entropy", "off"))
        rows.append((case, *left, *rest, f"{entropy:.2f}", f"{off:.0%}", f"{found[0]['step']:g}"))
    blank = [""] * (len(SIGMAS) + 1)
    rows.append(("training digits", *blank, f"{floor:.3f}", "", "", "", ""))
    rows.append(("held-out digits", *blank, "", f"{real:.3f}", "", "", ""))
    facts = {"cases": results, "sigmas": SIGMAS, "training digits": floor, "held-out digits": real}
    facts |= {"findings": findings}
    verdict = bulleted(findings.values())
    return Outcome(columns, rows, verdict, _draw(results, shown, bench, floor), facts)


MEASURES = ("denoise", "asymmetry", "distance", "recognised")


def _values(results: Mapping[str, Any], case: str, name: str) -> list[float]:
    return [r[name] for r in results[case]]


def _compared(results: Mapping[str, Any], these: str, those: str, name: str) -> Difference:
    return difference(_values(results, these, name), _values(results, those, name))


def _shown(d: Difference) -> str:
    return f"{d.mean:+.3f} ± {d.error:.3f} ({d.word})"


def _findings(results: Mapping[str, Any]) -> dict[str, str]:
    """Return what the numbers say of each guess; a lower distance is better."""
    weights = {
        b: _compared(results, f"{b}, {EXACT}", f"{b}, {APPROXIMATE}", "distance") for b in (ENERGY, FIELD)
    }
    fields = {h: _compared(results, f"{FIELD}, {h}", f"{ENERGY}, {h}", "distance") for h in HOWS}
    tellings = {
        b: _compared(results, f"{b}, {TOLD}", f"{b}, {APPROXIMATE}", "distance") for b in (ENERGY, FIELD)
    }
    errors = {h: _compared(results, f"{FIELD}, {h}", f"{ENERGY}, {h}", "denoise") for h in HOWS}
    ncsn = _compared(results, f"{FIELD}, {TOLD}", f"{ENERGY}, {PLAIN}", "distance")
    base = _compared(results, f"{ENERGY}, {APPROXIMATE}", f"{ENERGY}, {PLAIN}", "distance")
    curl = {h: summary(_values(results, f"{FIELD}, {h}", "asymmetry"))[0] for h in HOWS}
    spans = {h: _span(results, h) for h in curl}
    seen = _compared(results, f"{FIELD}, {TOLD}", f"{ENERGY}, {PLAIN}", "recognised")
    best = min(results, key=lambda c: np.mean(_values(results, c, "distance")))
    shares = summary(_values(results, best, "recognised"))
    return {
        "premise": f"NCSN (field, told σ) against MDSM (energy, w = 1, no base): distance {_shown(ncsn)}, "
        f"share recognised {_shown(seen)}; by distance NCSN is {_better(ncsn)} here. A base alone changes "
        f"MDSM's distance by {_shown(base)}.",
        "approximation": "First guess, the approximation w = 1 costs quality: exact weights are "
        f"{_held(weights.values())}. They change the distance by {_each(weights)}.",
        "larger set": "Second guess, a free field does better than a gradient: a field is "
        f"{_held(fields.values())}. It changes the distance by {_each(fields)}, the denoising error by "
        f"{_each(errors)}.",
        "told": "Not among the guesses, being told σ does better: it is "
        f"{_held(tellings.values())}. It changes the distance by {_each(tellings)}.",
        "best": f"Nearest to the held-out digits: {best}, at {pm(_values(results, best, 'distance'))}, "
        f"{shares[0]:.0%} ± {shares[1]:.0%} recognised.",
        "asymmetry": f"The fields learned are {'no ' if min(curl.values()) > NOTICED else ''}gradients: "
        "‖J − Jᵀ‖/‖J + Jᵀ‖ is on average "
        + ", ".join(f"{v:.3f} ({h}; {spans[h]})" for h, v in curl.items())
        + f"; that of the energies is at most {_largest(results):.1e}.",
    }


def _span(results: Mapping[str, Any], how: str) -> str:
    each = np.mean([r["asymmetries"] for r in results[f"{FIELD}, {how}"]], axis=0)
    return f"{each[0]:.3f} at σ = {SIGMAS[0]:g}, {each[-1]:.3f} at {SIGMAS[-1]:g}"


def _largest(results: Mapping[str, Any]) -> float:
    return max(a for h in HOWS for r in results[f"{ENERGY}, {h}"] for a in r["asymmetries"])


def _better(d: Difference) -> str:
    return (
        ("clearly better" if d.mean < 0 else "clearly worse")
        if d.clear
        else "neither clearly better nor worse"
    )


def _held(found: Any) -> str:
    """Return whether all, some or none of the differences are clear improvements."""
    found = list(found)
    better = sum(d.clear and d.mean < 0 for d in found)
    worse = sum(d.clear and d.mean > 0 for d in found)
    if better == len(found):
        return "clearly better in every pair"
    return f"clearly better in {better} of {len(found)} pairs, clearly worse in {worse}"


def _each(found: Mapping[str, Difference]) -> str:
    return ", ".join(f"{_shown(d)} for {name}" for name, d in found.items())


def _draw(results: Mapping[str, Any], shown: Mapping[str, np.ndarray], bench: Bench, floor: float) -> Any:
    figure = canvas(13, 7.8)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    left, middle, right = top.subplots(1, 3)
    colors = {PLAIN: "0.5", APPROXIMATE: "C0", EXACT: "C2", TOLD: "C1"}
    for (body, how), case in zip(CASES, results, strict=True):
        style, color = ("-" if body == ENERGY else "--"), colors[how]
        left.plot(
            SIGMAS, np.mean([r["left"] for r in results[case]], axis=0), f"o{style}", color=color, label=case
        )
        if body == FIELD:
            curl = np.mean([r["asymmetries"] for r in results[case]], axis=0)
            middle.plot(SIGMAS, curl, f"o{style}", color=color, label=case)
    for axes in (left, middle):
        axes.set_xscale("log")
        axes.set_xticks(SIGMAS, [f"{s:g}" for s in SIGMAS])
        axes.minorticks_off()
        axes.set_xlabel("σ")
        axes.grid(color="0.92")
        axes.legend(fontsize=8, frameon=False)
    left.set_title("denoising error left, share of σ", fontsize=11)
    middle.set_title("asymmetry ‖J − Jᵀ‖ / ‖J + Jᵀ‖ of fields", fontsize=11)
    middle.set_ylim(bottom=0)
    stats = np.array([summary(_values(results, case, "distance")) for case in results])
    y = np.arange(len(stats))
    right.barh(y, stats[:, 0], xerr=2 * stats[:, 1], color=[colors[how] for _, how in CASES], alpha=0.8)
    right.axvline(floor, color="0.4", ls="--", lw=1, label="training digits")
    right.set_yticks(y, list(results))
    right.invert_yaxis()
    right.set_title("energy distance of samples (± 2 s.e.)", fontsize=11)
    right.legend(fontsize=8, frameon=False)
    h, w, _ = bench.image_shape or (1, 1, 1)
    for axes, (case, samples) in zip(bottom.subplots(1, len(shown)), shown.items(), strict=True):
        title = f"{case}\n{np.mean(_values(results, case, 'recognised')):.0%} recognised"
        show_sheet(axes, pixels(samples)[:40].reshape(-1, h, w), 5, title, 10)
    return figure
