r"""MDSM §4 and appendix D: what its sentences on training and sampling amount to on 8 × 8 digits.

One baseline, the multiscale objective (eq. 7) with a quadratic head

    E = (a·h + b₁)(c·h + b₂) + d·(h∘h) + b₃                        (eq. 12)

and a geometric ladder 0.05 … 2, sampled by eq. 8 from noise √T σ₀ = 1 with ε = 0.2 σ₀, and one
jump (eq. 9). Each case changes one thing: in the training the head, the spacing of the ladder, its
largest σ, or the schedule of the learning rate; in the sampling the step ε, the starting noise, the
shape of the anneal, or the jump. The sampling cases share one trained energy per seed.

Measured are

    denoise      ( mean_σ  E‖x̃ − σ₀²∇E(x̃) − x‖² / dσ² )^½  at σ = 0.1 … 0.6 on held-out digits:
                 the root-mean-square error left, as a share of the noise;
    distance     the energy distance of samples to held-out digits, and that of training digits
                 as a floor (`energax.papers.judge`);
    recognised   the judge's share;
    lost         the share of samples that are not finite or leave [0, 1] by more than 10;
    copies       the share of samples whose nearest digit is a training one rather than held out:
                 n/(n + m), for n training and m held-out digits, if none is memorised.

All are means ± standard errors over seeds, which decide the initial weights, the order of the rows
and all noise; comparisons are paired. The paper gives one number for none of its sentences, so
that "significantly" is read as *clear* (`energax.papers.judge`), and "little" as a mean change of distance
below a fifth of the baseline's. Ladders that end below 2 are sampled from noise 1, as the others, and
from half their largest level, since a quadratic head may fall without bound beyond its ladder.

The network is a small perceptron, not a ResNet, and the data are not natural images: what fails
here may hold there, and the other way round. At scale "paper" the same cases run on MNIST with
the paper's Res12, 100,000 updates, 2,700 sampling steps and three seeds.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data, energies
from energax.config import FitConfig
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.papers.judge import Judge, difference, energy_distance, pixels, summary
from energax.papers.outcome import Outcome
from energax.samplers import Langevin, schedules
from energax.tasks import anneal, denoise
from energax.training import DivergenceError, fit

__all__ = ["run"]

SIGMA_0 = 0.1
DENOISED = (0.1, 0.2, 0.3, 0.6)  # σ of the denoising error: within all ladders but the shortest
LITTLE = 0.2  # a change of distance below this share of the baseline's is "little"
FAR = 10.0
STEP = 0.2  # ε in units of σ₀, in which the paper's range is 0.15 … 0.5

BASE = "baseline"
LINEAR_HEAD, LINEAR_LADDER, CONSTANT_RATE = "linear head", "linear ladder", "constant learning rate"
BOTH_LONG = "linear ladder, σ_max = 10"
TRAININGS: dict[str, dict[str, Any]] = {
    BASE: {},
    LINEAR_HEAD: {"head": "linear"},
    LINEAR_LADDER: {"spacing": "linear"},
    **{f"σ_max = {s:g}": {"sigma_max": s} for s in (0.3, 0.6, 1.2, 3.0, 10.0)},
    BOTH_LONG: {"spacing": "linear", "sigma_max": 10.0},
    CONSTANT_RATE: {"schedule": "constant"},
}
ENOUGH = ("σ_max = 1.2", BASE, "σ_max = 3")  # the paper's two ranges end at 1.2 and 3
INSIDE, OUTSIDE_LOW, OUTSIDE_HIGH = (0.15, 0.3, 0.5), (0.02, 0.05), (1.0, 1.5)
STARTS = (0.2, 0.5, 1.5)
SHORT = (0.3, 0.6, 1.2)
NO_ANNEAL, WARM, WARM_JUMP = "T = 1 throughout", "no cooling, no jump", "no cooling, jump"
SAMPLINGS: dict[str, dict[str, Any]] = {
    **{f"ε = {e:g} σ₀": {"epsilon": e} for e in (*OUTSIDE_LOW, *INSIDE, *OUTSIDE_HIGH)},
    **{f"start at noise {s:g}": {"noise_max": s} for s in STARTS},
    "linear anneal": {"shape": "linear"},
    "anneal at once": {"shape": "at once"},
    NO_ANNEAL: {"shape": "constant"},
    "no jump": {"jump": False},
    WARM: {"shape": "warm", "jump": False},
    WARM_JUMP: {"shape": "warm"},
}


def inside(sigma_max: float) -> str:
    """Return the name of the case that samples a short ladder from half its largest level."""
    return f"σ_max = {sigma_max:g}, start at {sigma_max / 2:g}"


class Sizes(NamedTuple):
    """What a scale means."""

    dataset: str
    network: str
    options: dict[str, Any]
    fit: dict[str, Any]
    ladder: dict[str, Any]
    lengths: tuple[int, int, int]
    samples: int
    seeds: int


SCALES = {
    "smoke": Sizes(
        "digits", "MLP", {"width": 32, "depth": 1}, {"steps": 60, "ema": 0.9}, {}, (5, 20, 5), 60, 2
    ),
    "cpu": Sizes(
        "digits",
        "MLP",
        {"width": 256, "depth": 3},
        {"steps": 1200, "learning_rate": 1.5e-3, "ema": 0.99},
        {},
        (200, 1000, 100),
        200,
        3,
    ),
    "paper": Sizes(
        "mnist",
        "ResNet",
        {"layers": 12, "width": 64},
        {"steps": 100_000, "learning_rate": 5e-5, "beta2": 0.95, "ema": 0.0},
        {"sigma_min": 0.1},
        (500, 2000, 200),
        1000,
        3,
    ),
}


class Watched(MultiscaleDenoisingScoreMatching):
    """The same loss, with the mean energy of data + σ₀z as a further metric."""

    def loss(self, model, nuisance, state, batch, key):
        """Return the loss, and the mean energy beside its metrics."""
        value, metrics = super().loss(model, nuisance, state, batch, key)
        noise = jax.random.normal(jax.random.fold_in(key, 1), batch.x.shape)
        energy = jax.vmap(model)(batch.x + self.sigma_0 * noise)
        return value, {**metrics, "energy": jax.lax.stop_gradient(jnp.mean(energy))}


class Bench:
    """What every case is trained on and judged by."""

    def __init__(self, sizes: Sizes):
        self.sizes = sizes
        self.dataset = getattr(data, sizes.dataset)()
        if sizes.network == "ResNet":  # the paper pads MNIST to 32 × 32
            self.dataset = _padded(self.dataset)
        self.test = self.dataset.test[:1000]
        self.judge = Judge.of(self.dataset)

    def train(self, seed: int, *, head: str = "quadratic", schedule: str = "cosine", **ladder: Any) -> Any:
        """Return a fit."""
        sizes = self.sizes
        model_key, fit_key = jax.random.split(jax.random.key(seed))
        energy = _network(sizes.network, self.dataset.event_shape, head, **sizes.options)(model_key)
        objective = Watched(**{"sigma_max": 2.0, "sigma_0": SIGMA_0, **sizes.ladder, **ladder})
        config = FitConfig(**{"schedule": schedule, **sizes.fit})
        try:
            return fit(energy, objective, self.dataset.train, key=fit_key, config=config, progress=False)
        except DivergenceError as stopped:
            return stopped.fit

    def denoising(self, energy: Any, seed: int) -> list[float]:
        """Return the rms error left at each σ of `DENOISED`, as a share of σ."""
        rng = np.random.default_rng(seed)
        z = rng.normal(size=self.test.shape).astype(np.float32)
        errors = [denoise(energy, self.test + s * z, sigma_0=SIGMA_0) - self.test for s in DENOISED]
        return [float(np.sqrt(np.mean(e**2)) / s) for s, e in zip(DENOISED, errors, strict=True)]

    def sample(
        self, energy: Any, seed: int, *, epsilon: float = STEP, noise_max: float = 1.0, jump: bool = True,
        shape: str = "paper",
    ) -> np.ndarray:  # fmt: skip
        """Return samples of the sampler with one thing changed."""
        sampler = Langevin.mdsm(epsilon * SIGMA_0, _temperature(shape, noise_max, self.sizes.lengths))
        return np.asarray(
            anneal(
                energy,
                self.sizes.samples,
                key=jax.random.fold_in(jax.random.key(seed), 1),
                sigma_0=SIGMA_0,
                noise_max=noise_max,
                sampler=sampler,
                final_jump=jump,
            ).x
        )

    def quality(self, samples: np.ndarray) -> dict[str, float]:
        """Return what the samples are worth."""
        far = ~np.isfinite(samples) | (np.abs(np.nan_to_num(samples) - 0.5) > 0.5 + FAR)
        lost = far.reshape(len(samples), -1).any(1)
        return {
            "distance": energy_distance(samples, self.test),
            "recognised": self.judge.verdict(samples)["recognised"],
            "lost": float(lost.mean()),
            "copies": _copies(samples, self.dataset.train, self.test),
        }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train and sample every case with every seed; judge the paper's sentences."""
    bench = Bench(SCALES[scale])
    seeds = range(bench.sizes.seeds)
    results: dict[str, list[dict[str, Any]]] = {}
    baselines: list[Any] = []
    shown: dict[str, np.ndarray] = {}
    for case, changes in TRAININGS.items():
        fits = [bench.train(seed, **changes) for seed in seeds]
        trained = [
            {
                "left": bench.denoising(f.energy, seed),
                "diverged": f.status == "diverged",
                "energy": [float(r["energy"]) for r in f.history],
            }
            for seed, f in enumerate(fits)
        ]
        ways = {case: {}}
        if changes.get("sigma_max") in SHORT:
            ways[inside(changes["sigma_max"])] = {"noise_max": changes["sigma_max"] / 2}
        for name, way in ways.items():
            drawn = [bench.sample(f.energy, seed, **way) for seed, f in enumerate(fits)]
            shown[name] = drawn[0]
            results[name] = [
                {**t, "denoise": float(np.sqrt(np.mean(np.square(t["left"])))), **bench.quality(samples)}
                for t, samples in zip(trained, drawn, strict=True)
            ]
            progress(_told(name, results[name]))
        if case == BASE:
            baselines = [f.energy for f in fits]
    for case, changes in SAMPLINGS.items():
        results[case] = []
        for seed, energy in zip(seeds, baselines, strict=True):
            samples = bench.sample(energy, seed, **changes)
            results[case].append(bench.quality(samples))
            if seed == 0:
                shown[case] = samples
        progress(_told(case, results[case]))
    floor = energy_distance(bench.dataset.train[: len(bench.test)], bench.test)
    real = bench.judge.verdict(bench.test)["recognised"]
    n, m = len(bench.dataset.train), len(bench.test)
    claims = _claims(results, floor, n / (n + m))
    verdict = "\n".join(f"- {c}" for c in claims.values())
    facts = {
        "cases": results,
        "training digits": {"distance": floor},
        "held-out digits": {"recognised": real},
        "claims": claims,
        "sigmas": DENOISED,
    }
    rows = [_row(case, results[case]) for case in results]
    rows.append(("training digits", "", f"{floor:.3f}", "", "", ""))
    rows.append(("held-out digits", "", "0", f"{real:.0%}", "", ""))
    columns = ("case", "denoise", "distance", "recognised", "lost", "copies")
    return Outcome(columns, rows, verdict, _draw(results, shown, bench, floor, real), facts)


@functools.cache
def _network(name: str, shape: tuple[int, ...], head: str, **options: Any) -> Callable[[Any], Any]:
    """Return key ↦ network, compiled once for each head."""
    return eqx.filter_jit(lambda key: getattr(energies, name)(shape, head=head, **options, key=key))


def _temperature(shape: str, noise_max: float, lengths: tuple[int, int, int]) -> schedules.Schedule:
    """Return the temperatures of one shape; all shapes are equally long."""
    hold, down, cool = lengths
    top = (noise_max / SIGMA_0) ** 2
    paper = schedules.mdsm(top, hold=hold, anneal=down, cool=cool)
    cold = schedules.linear(1.0, 0.0, cool)
    if shape == "paper":
        return paper
    if shape == "linear":
        return schedules.join(schedules.constant(top, hold), schedules.linear(top, 1.0, down), cold)
    if shape == "at once":
        return schedules.join(schedules.geometric(top, 1.0, hold + down), cold)
    if shape == "constant":
        return schedules.join(schedules.constant(1.0, hold + down), cold)
    values = np.asarray(paper.values)  # "warm": T = 1 where the others cool
    return schedules.Schedule(np.append(values[: hold + down], np.ones(cool)))


def _padded(dataset: data.Dataset) -> data.Dataset:
    def pad(x):
        h, w, c = dataset.image_shape or x.shape[1:]
        return np.pad(x.reshape(-1, h, w, c), ((0, 0), (2, 2), (2, 2), (0, 0)))

    return replace(dataset, train=pad(dataset.train), test=pad(dataset.test), image_shape=None)


def _copies(samples: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Return the share of samples nearer to a training row than to any held-out one."""
    from scipy.spatial.distance import cdist

    x = pixels(samples)
    return float(np.mean(cdist(x, pixels(train)).min(1) < cdist(x, pixels(test)).min(1)))


def _values(results: Mapping[str, Any], case: str, name: str) -> list[Any]:
    return [r[name] for r in results[case]]


def _pm(values: list[float], digits: int = 3) -> str:
    mean, error = summary(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def _told(case: str, found: list[dict[str, Any]]) -> str:
    distance, recognised = ([r[name] for r in found] for name in ("distance", "recognised"))
    return f"{case}: distance {_pm(distance)}, recognised {_pm(recognised, 2)}"


def _row(case: str, found: list[dict[str, Any]]) -> tuple[str, ...]:
    left = _pm([r["denoise"] for r in found]) if "denoise" in found[0] else "as baseline"
    lost, copies = (np.mean([r[name] for r in found]) for name in ("lost", "copies"))
    return (
        case,
        left,
        _pm([r["distance"] for r in found]),
        _pm([r["recognised"] for r in found], 2),
        f"{lost:.0%}",
        f"{copies:.0%}",
    )


class Compared(NamedTuple):
    """A case against another: positive means that the case is worse."""

    by: float
    error: float
    clear: bool
    relative: float

    @property
    def worse(self) -> bool:
        """Whether it is clearly worse."""
        return self.clear and self.by > 0

    @property
    def better(self) -> bool:
        """Whether it is clearly better."""
        return self.clear and self.by < 0

    @property
    def little(self) -> bool:
        """Whether the mean change is below a fifth of the baseline's."""
        return abs(self.relative) < LITTLE

    def __str__(self) -> str:
        how = "clear" if self.clear else "not clear"
        return f"{self.by:+.3f} ± {self.error:.3f} ({self.relative:+.0%}, {how})"


def _against(results: Mapping[str, Any], case: str, other: str = BASE, name: str = "distance") -> Compared:
    these, those = _values(results, case, name), _values(results, other, name)
    relative = float(np.mean(these) / np.mean(those) - 1) if np.mean(those) else float("nan")
    return Compared(*difference(these, those), relative)


def _claims(results: Mapping[str, Any], floor: float, chance: float) -> dict[str, str]:
    """Return the paper's sentences in our words, each with what the numbers say."""
    return {
        "head": _head(results),
        "largest noise": _largest_noise(results),
        "small noise": _small_noise(results),
        "large noise": _large_noise(results),
        "spacing": _spacing(results),
        "robust": _robust(results),
        "start": _start(results),
        "step": _step(results),
        "step outside": _step_outside(results),
        "jump": _jump(results),
        "anneal": _anneal(results),
        "shape": _shape(results),
        "energy": _energy(results),
        "copies": _overfit(results, floor, chance),
    }


def _says(place: str, sentence: str, holds: bool, evidence: str) -> str:
    return f'{place}, "{sentence}": {"holds" if holds else "does not hold"} here. {evidence}'


def _head(results: Mapping[str, Any]) -> str:
    d, e = _against(results, LINEAR_HEAD), _against(results, LINEAR_HEAD, name="denoise")
    return _says(
        "§4 and appendix D",
        "a quadratic head is significantly better than a linear one",
        d.worse and not e.better,
        f"With a linear head the distance changes by {d}, the denoising error by {e}.",
    )


def _largest_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in (*ENOUGH, inside(1.2)) if c != BASE}
    return _says(
        "§4",
        "the largest noise level matters little once it is large enough",
        all(d.little for c, d in found.items() if c != inside(1.2)),
        f"Against σ_max = 2 the distance changes by {_listed(found)}; chains lost: {_lost(results, found)}.",
    )


def _small_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for s in (0.3, 0.6) for c in (f"σ_max = {s:g}", inside(s))}
    return _says(
        "§4",
        "too small a largest level is harmful",
        all(d.worse for d in found.values()),
        f"The distance changes by {_listed(found)}; chains lost: {_lost(results, found)}.",
    )


def _large_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in ("σ_max = 10", BOTH_LONG)}
    stopped = sum(sum(_values(results, c, "diverged")) for c in TRAININGS)
    return _says(
        "§4",
        "too large a largest level is harmful, and extremes can destabilise training",
        all(d.worse for d in found.values()) and stopped > 0,
        f"The distance changes by {_listed(found)}; of all trainings, on short ladders or long, {stopped} "
        "diverged.",
    )


def _lost(results: Mapping[str, Any], cases: Mapping[str, Any]) -> str:
    return ", ".join(f"{np.mean(_values(results, c, 'lost')):.0%} for {c}" for c in cases)


def _spacing(results: Mapping[str, Any]) -> str:
    d, e = _against(results, LINEAR_LADDER), _against(results, LINEAR_LADDER, name="denoise")
    return _says(
        "§4",
        "geometric and linear ladders both work, with little between them",
        d.little,
        f"A linear ladder changes the distance by {d}, the denoising error by {e}.",
    )


def _robust(results: Mapping[str, Any]) -> str:
    rise = _against(results, "σ_max = 10"), _against(results, BOTH_LONG, LINEAR_LADDER)
    spread = [np.std(_values(results, c, "distance"), ddof=1) for c in (BASE, LINEAR_LADDER)]
    return _says(
        "§4",
        "linear spacing is somewhat more robust",
        rise[1].by < rise[0].by and bool(spread[1] < spread[0]),
        f"A ladder to σ = 10 instead of 2 changes the distance by {rise[0].by:+.3f} if geometric and "
        f"{rise[1].by:+.3f} if linear; over seeds the distance has a standard deviation of {spread[0]:.4f} "
        f"and {spread[1]:.4f}.",
    )


def _start(results: Mapping[str, Any]) -> str:
    found = {f"noise {s:g}": _against(results, f"start at noise {s:g}") for s in STARTS}
    low = found["noise 0.2"]
    return _says(
        "§4",
        "T = 100, noise 1, is a sufficient start",
        not found["noise 1.5"].better,
        f"The distance changes by {_listed(found)}. That so high a start is needed "
        f"{'shows' if low.worse else 'does not show'}.",
    )


def _step(results: Mapping[str, Any]) -> str:
    cases = [f"ε = {e:g} σ₀" for e in INSIDE]
    found = {c: _against(results, c) for c in cases}
    seen = {c: _against(results, c, name="recognised") for c in cases}
    return _says(
        "§4",
        "any ε within 0.15 … 0.5 σ₀ works",
        all(d.little or d.by < 0 for d in found.values()),
        f"Against ε = {STEP} σ₀ the distance changes by {_listed(found)}; the share recognised by "
        f"{_listed(seen)}.",
    )


def _step_outside(results: Mapping[str, Any]) -> str:
    found = {f"ε = {e:g} σ₀": _against(results, f"ε = {e:g} σ₀") for e in (*OUTSIDE_LOW, *OUTSIDE_HIGH)}
    bad = [c for c, d in found.items() if d.by > 0 and not d.little]
    fine = [c for c in found if c not in bad]
    return (
        "Outside that range, of which the paper says nothing: the distance changes by "
        f"{_listed(found)}. Worse by more than a fifth: {', '.join(bad) or 'none'}; not so: "
        f"{', '.join(fine) or 'none'}."
    )


def _jump(results: Mapping[str, Any]) -> str:
    pairs = {"after cooling to T = 0": (BASE, "no jump"), "if the anneal ends at T = 1": (WARM_JUMP, WARM)}
    by = {w: _against(results, *pair) for w, pair in pairs.items()}
    seen = {w: _against(results, *pair, name="recognised") for w, pair in pairs.items()}
    helps = all(d.by < 0 for d in by.values()) and all(d.by > 0 for d in seen.values())
    clear = any(d.clear for d in (*by.values(), *seen.values()))
    told = "; ".join(f"{w} the distance by {by[w]} and the share recognised by {seen[w]}" for w in pairs)
    return _says(
        "§4", "a jump after the anneal further enhances samples", helps and clear, f"It changes {told}."
    )


def _anneal(results: Mapping[str, Any]) -> str:
    d, r = _against(results, NO_ANNEAL), _against(results, NO_ANNEAL, name="recognised")
    return _says(
        "§3.2",
        "annealing improves the exploration of modes",
        d.worse,
        f"Without it, T = 1 from the start, the distance changes by {d}, the share recognised by {r}.",
    )


def _shape(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in ("linear anneal", "anneal at once")}
    return _says(
        "Appendix D",
        "but for CIFAR-10, the shape of the anneal has less effect",
        all(d.little for d in found.values()),
        f"The distance changes by {_listed(found)}.",
    )


def _energy(results: Mapping[str, Any]) -> str:
    """Compare how far the mean energy moves in the halves of a fit, with and without the cosine."""
    told, holds = [], True
    for case in (BASE, CONSTANT_RATE):
        halves = [_halves(e) for e in _values(results, case, "energy")]
        first, second = (float(np.mean([h[i] for h in halves])) for i in (0, 1))
        holds = holds and second < first
        told.append(f"{first:.1f} and {second:.1f} ({case})")
    return _says(
        "Appendix D",
        "energies, though unbounded in principle, stabilise by themselves",
        holds,
        f"The mean energy of data + σ₀z moves by {'; '.join(told)} in the first and second half of a fit.",
    )


def _halves(energies_: list[float]) -> tuple[float, float]:
    start, middle, end = energies_[0], energies_[(len(energies_) - 1) // 2], energies_[-1]
    return abs(middle - start), abs(end - middle)


def _overfit(results: Mapping[str, Any], floor: float, chance: float) -> str:
    shares = _values(results, BASE, "copies")
    mean, error = summary(shares)
    d = difference(shares, [chance] * len(shares))
    return _says(
        "§4",
        "nearest neighbours give no sign of overfitting",
        not (d.clear and d.mean > 0),
        f"The nearest digit of {mean:.1%} ± {error:.1%} of the samples is a training one, and would be of "
        f"{chance:.1%} if none were memorised. Training digits are at distance {floor:.3f} of held-out ones.",
    )


def _listed(found: Mapping[str, Compared]) -> str:
    return ", ".join(f"{d} for {case}" for case, d in found.items())


def _draw(
    results: Mapping[str, Any], shown: Mapping[str, np.ndarray], bench: Bench, floor: float, real: float
) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 12), layout="constrained")
    FigureCanvasAgg(figure)
    left, right, strips = figure.subplots(1, 3, width_ratios=(1, 1, 0.85), sharey=True)
    cases = list(results)
    y = np.arange(len(cases))
    for axes, name, reference, label in (
        (left, "distance", floor, "training digits"),
        (right, "recognised", real, "held-out digits"),
    ):
        stats = np.array([summary(_values(results, c, name)) for c in cases])
        base = stats[cases.index(BASE)]
        axes.axvspan(base[0] - 2 * base[1], base[0] + 2 * base[1], color="C0", alpha=0.15, lw=0)
        axes.axvline(reference, color="0.4", ls="--", lw=1, label=label)
        for i, (mean, error) in enumerate(stats):
            color = "C1" if cases[i] in SAMPLINGS else "C0"
            axes.errorbar(mean, i, xerr=2 * error, fmt="o", ms=5, color=color, lw=1.5)
        axes.axhline(len(cases) - len(SAMPLINGS) - 0.5, color="0.8", lw=0.8)
        axes.grid(axis="y", color="0.92")
        axes.legend(loc="lower left", fontsize=9)
    left.set_xscale("log")
    left.set_xlim(0.004, 6)
    left.set_xlabel("energy distance to held-out digits\n(mean ± 2 s.e.; lower is better)")
    right.set_xlabel("share recognised\n(mean ± 2 s.e.; higher is better)")
    left.set_yticks(y, cases)
    left.set_ylim(len(cases) - 0.5, -0.5)
    left.set_title("changes to the training (blue), to the sampling (orange)", fontsize=10, loc="left")
    _strips(strips, [shown[c] for c in cases], bench)
    return figure


def _strips(axes: Any, rows: list[np.ndarray], bench: Bench, count: int = 10) -> None:
    """Show the first samples of every case beside its row."""
    h, w, _ = bench.dataset.image_shape or (1, 1, 1)
    for i, samples in enumerate(rows):
        tiles = pixels(samples)[:count].reshape(count, h, w)
        strip = np.pad(tiles, ((0, 0), (0, 0), (0, 1)), constant_values=1.0)
        strip = strip.transpose(1, 0, 2).reshape(h, -1)
        axes.imshow(strip, cmap="gray", vmin=0, vmax=1, extent=(0, count, i + 0.47, i - 0.47), aspect="auto")
    axes.set_xlim(0, count)
    axes.set_title("first samples of the first seed", fontsize=10, loc="left")
    axes.set_xticks([])
    axes.tick_params(left=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
