r"""Every number and every row that the report shows; nothing is drawn here.

All measuring is in model units z = f(x), where noise is Gaussian and the energy lives; rows to
look at are brought back to data units by f⁻¹. Rows judged are held out; only the linear
denoiser and the neighbours look at training rows.

    sampling     one annealed run gives samples, strip and energy trace       MDSM §3.2, figures 3 and F.1B
    denoising    x̃ − σ₀²∇E(x̃) at a dozen σ, none of them told to the model    MDSM eq. 9
    inpainting   the known part clamped and noised with the temperature       MDSM §4
    neighbours   samples and held-out rows against training rows              MDSM appendix C
    energies     E(x + σ₀z), since E is trained on noisy rows only            MDSM §4

A chain is *lost* if it ends where no noise of the ladder could have brought it: a network's energy
is made only where there was noise, and may fall without bound beyond. Lost chains are counted, shown
nowhere, and enter no average.

At temperature T an energy that is quadratic in each of its d coordinates has mean energy
constant + Td/2 (equipartition): the straight line that `Trace.slope` is compared with.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

from energax import tasks
from energax.checks import check, check_choice, check_integer
from energax.config import RunConfig
from energax.data import Dataset, Pipeline
from energax.derivatives import Score
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.report.neighbours import nearest
from energax.report.wiener import Wiener
from energax.samplers import Langevin, annealed_langevin, observers, schedules
from energax.typing import Key, Model

__all__ = [
    "Denoising",
    "Energies",
    "Inpainting",
    "Landscape",
    "Measurements",
    "Neighbours",
    "Protocol",
    "Reach",
    "Samples",
    "Trace",
    "Training",
    "Units",
    "auroc",
    "measure",
    "protocol",
    "ratio_of_roots",
]

IMAGE_CHAINS, OTHER_CHAINS = 64, 256  # samples drawn
RECORDS = 48  # looks at the chains while they run
RECORD_BYTES = 256 * 2**20
STRIP = 10  # columns of the annealing strip
JUDGED = 256  # held-out rows denoised at every σ
MOMENT_ROWS = 20_000  # training rows behind the linear denoiser
WIDEST_COVARIANCE = 4096
SCORED = 512  # rows of each kind whose energy is measured
MASKS = ("left", "center")

Progress = Callable[[str], None]


@eqx.filter_jit
def _map(function: Callable[..., jax.Array], rows: np.ndarray) -> jax.Array:
    return jax.vmap(function)(rows)


class Units:
    """The two units of a data set: its own, and those the model sees.

    Parameters
    ----------
    dataset
        The data.
    preprocessing
        From data to model units, on one event; None for the identity.
    """

    def __init__(self, dataset: Dataset, preprocessing: Pipeline | None):
        self.dataset = dataset
        self.preprocessing = Pipeline() if preprocessing is None else preprocessing
        event = jax.ShapeDtypeStruct(dataset.event_shape, np.float32)
        self.model_shape = jax.eval_shape(self.preprocessing.forward, event).shape
        self.low, self.high = float(dataset.train.min()), float(dataset.train.max())

    def to_model(self, rows: np.ndarray) -> np.ndarray:
        """Return f of each row."""
        return self._blocks(self.preprocessing.forward, rows)

    def to_data(self, rows: np.ndarray) -> np.ndarray:
        """Return f⁻¹ of each row."""
        return self._blocks(self.preprocessing.inverse, rows)

    def log_det(self, rows: np.ndarray) -> np.ndarray:
        """Return log|det ∂f/∂x| at each row in data units."""
        return self._blocks(self.preprocessing.log_det, rows)

    def known(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask of data coordinates (True where known) as one of model coordinates.

        A model coordinate is known if nothing that is missing can move it; a frame of padding
        is.
        """
        other = self.high if self.high > self.low else self.low + 1
        rows = np.full((2, *mask.shape), self.low, np.float32)
        rows[1, ~mask] = other
        first, second = self.to_model(rows)
        return first == second

    @staticmethod
    def _blocks(function: Callable[[jax.Array], jax.Array], rows: np.ndarray) -> np.ndarray:
        size = 4096
        parts = [np.asarray(_map(function, rows[i : i + size])) for i in range(0, len(rows), size)]
        return np.concatenate(parts)


@dataclass(frozen=True)
class Protocol:
    """How a model is to be used, read from its configuration.

    Parameters
    ----------
    sigma_0
        The unit of the energy: the jump is x − σ₀²∇E(x). The σ of a single-level objective.
    sampler
        The dynamics, with their schedule of temperatures.
    noise_max
        Standard deviation of the noise that chains start from.
    settled
        Step at which the first temperature has been held.
    sigmas
        Noise levels at which denoising is measured, ascending.
    shown
        Those at which it is shown.
    """

    sigma_0: float
    sampler: Langevin
    noise_max: float
    settled: int
    sigmas: np.ndarray
    shown: np.ndarray

    @property
    def temperatures(self) -> np.ndarray:
        """The temperature of each step."""
        return np.asarray(self.sampler.temperature.values)


def protocol(config: RunConfig) -> Protocol:
    """Return the protocol of a configuration.

    With many noise levels: annealed Langevin dynamics (MDSM appendix D), and the ladder's own
    range. With one, σ: T = 1 from noise of that σ (appendix B), and σ/4 to 2σ.
    """
    check_choice("report", "objective", config.objective, ("mdsm", "dsm"))
    options, s = config.objective_options, config.sampler
    if config.objective == "mdsm":
        sigma_0 = options.sigma_0
        sampler = annealed_langevin(
            sigma_0=sigma_0,
            noise_max=s.noise_max,
            epsilon=s.epsilon * sigma_0,
            hold=s.hold,
            anneal=s.anneal,
            cool=s.cool,
        )
        sigmas = np.unique(np.geomspace(options.sigma_min, options.sigma_max, 12))
        shown = np.unique(np.clip(options.sigma_max * np.array([1, 3, 6, 10]) / 12, options.sigma_min, None))
        return Protocol(sigma_0, sampler, s.noise_max, s.hold, sigmas, shown)
    sigma = options.sigma
    total = s.hold + s.anneal + s.cool
    sampler = Langevin.mdsm(s.epsilon * sigma, schedules.constant(1.0, total))
    return Protocol(
        sigma, sampler, sigma, 0, sigma * np.geomspace(0.25, 2, 12), sigma * np.array([0.5, 1, 1.5, 2])
    )


@dataclass(frozen=True)
class Training:
    """The losses on record.

    Parameters
    ----------
    steps, loss
        Of each record.
    validation_steps, validation
        Of those that hold a validation loss.
    levels
        Mean σ of each group of noise levels; empty if the objective reports none.
    first, last
        Loss by group in the first record, and in the mean of the last twentieth of them.
    linear
        What the best linear denoiser would lose at those levels, on training moments.
    """

    steps: np.ndarray
    loss: np.ndarray
    validation_steps: np.ndarray
    validation: np.ndarray
    levels: np.ndarray
    first: np.ndarray
    last: np.ndarray
    linear: np.ndarray


def training(config: RunConfig, history: Sequence[Mapping[str, Any]], wiener: Wiener) -> Training:
    """Read the records of a fit; those whose loss is missing or not finite are left out."""

    def finite(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(r["step"], r[name]) for r in history if r.get(name) is not None]
        table = np.asarray([p for p in pairs if np.isfinite(p[1])], np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    empty = np.zeros(0)
    levels = first = last = linear = empty
    groups = [r["loss_by_noise"] for r in history if "loss_by_noise" in r]
    if groups and config.objective == "mdsm":
        options = config.objective_options
        objective = MultiscaleDenoisingScoreMatching(**dataclasses.asdict(options))
        levels = np.asarray(objective.reported_levels(config.fit.batch_size), np.float64)
        table = np.asarray(groups, np.float64)
        fits = table.shape[1:] == levels.shape
        check(fits, "report", "history", f"records of {len(levels)} noise levels", table.shape[1:])
        first, last = table[0], table[-max(1, len(table) // 20) :].mean(axis=0)
        linear = levels**-options.weight_power * wiener.squared_error(levels)
    return Training(*finite("loss"), *finite("validation_loss"), levels, first, last, linear)


@dataclass(frozen=True)
class Trace:
    """What the chains went through.

    Parameters
    ----------
    steps, temperature
        When the chains were looked at, and the temperature that had brought them there.
    energy, spread
        Mean and standard deviation of E over chains.
    slope
        dE/dT by least squares over the hotter nine tenths of the anneal, in units of d/2 (1 for
        a quadratic energy); NaN at a constant temperature.
    shown_steps
        When the strip shows them, shape (t,).
    noisy, denoised
        The first chains then, and one jump on; data units, shape (t, c, *event).
    """

    steps: np.ndarray
    temperature: np.ndarray
    energy: np.ndarray
    spread: np.ndarray
    slope: float
    shown_steps: np.ndarray
    noisy: np.ndarray
    denoised: np.ndarray


@dataclass(frozen=True)
class Samples:
    """Samples after the last jump, in both units, with held-out rows to look at beside them.

    Parameters
    ----------
    data, model
        The samples in data and in model units, shape (n, *event).
    held_out
        As many held-out rows, data units.
    distances
        Kolmogorov–Smirnov distance of samples and held-out rows in each column; empty for images.
    lost
        How many more chains were lost.
    """

    data: np.ndarray
    model: np.ndarray
    held_out: np.ndarray
    distances: np.ndarray
    lost: int


@dataclass(frozen=True)
class Reach:
    """Where chains start, and how far they may go before they are lost.

    Parameters
    ----------
    center
        Centre of the starting noise, in model units.
    radius
        Root mean square distance from it, per coordinate, beyond which a chain is lost.
    """

    center: Any
    radius: float

    @classmethod
    def of_rows(cls, rows: np.ndarray, noise_max: float, image: bool) -> Reach:
        """Return ten times as far as data with starting noise lie.

        The centre is the middle of pixels in [0, 1], as in the paper, or else the mean.
        """
        unit = image and rows.min() >= 0 and rows.max() <= 1
        center = 0.5 if unit else jnp.asarray(rows.mean(axis=0, dtype=np.float64), jnp.float32)
        spread = np.sqrt(np.square(rows - np.asarray(center)).reshape(len(rows), -1).mean(axis=1))
        return cls(center, 10 * (noise_max + float(spread.max())))

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows are finite and within the radius."""
        with np.errstate(over="ignore", invalid="ignore"):
            square = np.square(rows.astype(np.float64) - np.asarray(self.center)).reshape(len(rows), -1)
            return square.mean(axis=1) <= self.radius**2


def sampling(
    way: Protocol, model: Model, units: Units, reach: Reach, key: Key, progress: Progress
) -> tuple[Samples, Trace | None]:
    """Draw samples once, and keep what is needed of the way there; no trace if all chains are lost."""
    image = units.dataset.kind == "image"
    n = IMAGE_CHAINS if image else OTHER_CHAINS
    shape = units.model_shape
    start_key, run_key = jax.random.split(key)
    start = reach.center + way.noise_max * jax.random.normal(start_key, (n, *shape))
    total = len(way.temperatures)
    records = min(max(RECORD_BYTES // (8 * start.size), STRIP), RECORDS)
    every = max(1, -(-total // records))
    progress(f"sampling {n} chains")
    run = tasks.anneal(
        model,
        n,
        key=run_key,
        sigma_0=way.sigma_0,
        sampler=way.sampler,
        start=np.asarray(start),
        event_shape=shape,
        observers={
            "noisy": observers.position,
            "denoised": observers.denoised(way.sigma_0),
            "energy": observers.energy,
        },
        every=every,
        progress=_tenths(f"sampling {n} chains", progress),
    )
    drawn = np.asarray(run.x)
    kept = np.flatnonzero(reach.holds(drawn))
    held_out = units.dataset.test[:n]
    if len(kept) == 0:
        none = np.zeros((0, *units.dataset.event_shape), np.float32)
        return Samples(none, drawn[kept], held_out, np.zeros(0), n), None
    energy = np.asarray(run.observed["energy"][:, kept], np.float64)
    temperature = way.temperatures[np.maximum(run.steps - 1, 0)].astype(np.float64)
    wanted = np.r_[0, np.linspace(way.settled, total, STRIP - 1)]
    columns = np.unique(np.abs(run.steps[:, None] - wanted).argmin(axis=0))
    chains = kept[:3] if image else kept

    def rows(name: str) -> np.ndarray:
        chosen = run.observed[name][columns][:, chains]
        flat = units.to_data(chosen.reshape(-1, *shape))
        return flat.reshape(len(columns), len(chains), *flat.shape[1:])

    samples = drawn[kept]
    data = units.to_data(samples)
    distances = np.zeros(0)
    if not image:
        pairs = zip(
            data.reshape(len(kept), -1).T,
            units.dataset.test.reshape(len(units.dataset.test), -1).T,
            strict=True,
        )
        distances = np.asarray([stats.ks_2samp(a, b, method="asymp")[0] for a, b in pairs])
    trace = Trace(
        steps=run.steps,
        temperature=temperature,
        energy=energy.mean(axis=1),
        spread=energy.std(axis=1),
        slope=_slope(run.steps, temperature, energy.mean(axis=1), way.settled) / (start[0].size / 2),
        shown_steps=run.steps[columns],
        noisy=rows("noisy"),
        denoised=rows("denoised"),
    )
    return Samples(data, samples, held_out, distances, n - len(kept)), trace


def _tenths(what: str, progress: Progress) -> Callable[[int, int], None]:
    """Return a reporter of steps that speaks about ten times."""
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal said
        if 10 * done // total > said:
            said = 10 * done // total
            progress(f"{what}: step {done:,} of {total:,}")

    return report


def _slope(steps: np.ndarray, temperature: np.ndarray, energy: np.ndarray, settled: int) -> float:
    top = temperature.max()
    used = (steps >= settled) & (temperature >= 0.1 * top)
    if used.sum() < 3 or np.ptp(temperature[used]) < 1e-6 * top:
        return float("nan")
    return float(np.polyfit(temperature[used], energy[used], 1)[0])


@dataclass(frozen=True)
class Denoising:
    """How well one jump removes noise, beside the best linear denoiser.

    Parameters
    ----------
    sigmas
        Noise levels, shape (s,).
    noisy, linear, model
        Root mean square error per coordinate on the same held-out noisy rows, in model units.
    ratio, ratio_error
        model ÷ linear, and its standard error over rows (paired: both saw the same noise).
    rows
        How many held-out rows.
    shown
        Noise levels shown, shape (t,).
    clean, clean_noisy, clean_denoised
        Held-out rows in data units, shape (c, *event); noisy and denoised, shape (t, c, *event).
    """

    sigmas: np.ndarray
    noisy: np.ndarray
    linear: np.ndarray
    model: np.ndarray
    ratio: np.ndarray
    ratio_error: np.ndarray
    rows: int
    shown: np.ndarray
    clean: np.ndarray
    clean_noisy: np.ndarray
    clean_denoised: np.ndarray

    @property
    def verdict(self) -> np.ndarray:
        """1 where the model is better than the linear denoiser by three standard errors, −1 worse, else 0."""
        return np.sign(1 - self.ratio) * (np.abs(1 - self.ratio) > 3 * self.ratio_error)


def ratio_of_roots(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return r = √(mean above / mean below) over the last axis and its standard error.

    The rows are paired, so by the delta method the variance of r² is that of
    (above − r² below) / mean below.
    """
    mean = np.maximum(below.mean(axis=-1), 1e-30)
    square = above.mean(axis=-1) / mean
    spread = (above - square[..., None] * below).std(axis=-1) / np.sqrt(above.shape[-1]) / mean
    root = np.sqrt(square)
    return root, spread / np.maximum(2 * root, 1e-30)


def denoising(way: Protocol, model: Model, units: Units, wiener: Wiener, key: Key) -> Denoising:
    """Denoise held-out rows; the same noise z at every level, so that levels compare."""
    image = units.dataset.kind == "image"
    clean = units.to_model(units.dataset.test[:JUDGED])
    z = np.asarray(jax.random.normal(key, clean.shape))

    def jumps(rows: int, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noisy = np.stack([clean[:rows] + np.float32(sigma) * z[:rows] for sigma in sigmas])
        flat = noisy.reshape(-1, *units.model_shape)
        out = tasks.denoise(model, flat, sigma_0=way.sigma_0, event_shape=units.model_shape)
        return noisy, out.reshape(noisy.shape)

    def squares(rows: np.ndarray) -> np.ndarray:
        return np.mean((rows.astype(np.float64) - clean).reshape(len(clean), -1) ** 2, axis=1)

    noisy, denoised = jumps(len(clean), way.sigmas)
    by_model = np.stack([squares(rows) for rows in denoised])
    by_line = np.stack([squares(wiener(rows, s)) for rows, s in zip(noisy, way.sigmas, strict=True)])
    ratio, ratio_error = ratio_of_roots(by_model, by_line)
    count = min(8 if image else JUDGED, len(clean))
    shown_noisy, shown_denoised = jumps(count, way.shown)

    def data(rows: np.ndarray) -> np.ndarray:
        flat = units.to_data(rows.reshape(-1, *units.model_shape))
        return flat.reshape(len(way.shown), count, *flat.shape[1:])

    return Denoising(
        sigmas=way.sigmas,
        noisy=np.sqrt([squares(rows).mean() for rows in noisy]),
        linear=np.sqrt(by_line.mean(axis=1)),
        model=np.sqrt(by_model.mean(axis=1)),
        ratio=ratio,
        ratio_error=ratio_error,
        rows=len(clean),
        shown=way.shown,
        clean=units.dataset.test[:count],
        clean_noisy=data(shown_noisy),
        clean_denoised=data(shown_denoised),
    )


@dataclass(frozen=True)
class Inpainting:
    """Completions of held-out images under one mask.

    Parameters
    ----------
    name
        What was missing.
    known
        True where the image was known, shape of an event in data units.
    truth, completed
        Data units, shape (c, *event); NaN where a chain was lost.
    """

    name: str
    known: np.ndarray
    truth: np.ndarray
    completed: np.ndarray


def inpainting(
    way: Protocol, model: Model, units: Units, reach: Reach, key: Key, progress: Progress
) -> tuple[Inpainting, ...]:
    """Complete held-out images, all masks in one run."""
    shape = units.dataset.image_shape
    assert shape is not None
    truth = units.dataset.test[:6]
    masks = [tasks.named_mask(name, shape).reshape(units.dataset.event_shape) for name in MASKS]
    known = np.concatenate([np.broadcast_to(units.known(m), (len(truth), *units.model_shape)) for m in masks])
    x = np.concatenate([units.to_model(truth)] * len(masks))
    progress("inpainting")
    out = tasks.inpaint(
        model,
        x,
        known,
        key=key,
        sigma_0=way.sigma_0,
        sampler=way.sampler,
        center=reach.center,
        event_shape=units.model_shape,
        progress=_tenths("inpainting", progress),
    )
    data = units.to_data(out)
    data[~reach.holds(out)] = np.nan
    completed = np.split(data, len(masks))
    return tuple(Inpainting(n, m, truth, c) for n, m, c in zip(MASKS, masks, completed, strict=True))


@dataclass(frozen=True)
class Neighbours:
    """Training rows nearest to samples.

    Parameters
    ----------
    samples, neighbours
        Data units, shapes (c, *event) and (c, k, *event).
    distances
        L2 in model units, shape (c, k).
    from_samples, from_held_out
        Distance to the nearest training row, of every sample and of held-out rows.
    """

    samples: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    from_samples: np.ndarray
    from_held_out: np.ndarray


def neighbours(samples: Samples, units: Units) -> Neighbours:
    """Find the nearest training rows of samples, and of held-out rows for comparison."""
    held_out = units.to_model(units.dataset.test[:JUDGED])
    queries = np.concatenate([samples.model, held_out])
    index, distance = nearest(queries, units.dataset.train, 5, transform=units.to_model)
    n = len(samples.model)
    return Neighbours(
        samples=samples.data[:10],
        neighbours=units.dataset.train[index[: min(n, 10)]],
        distances=distance[: min(n, 10)],
        from_samples=distance[:n, 0],
        from_held_out=distance[n:, 0],
    )


@dataclass(frozen=True)
class Energies:
    """E(x + σ₀z) of rows of several kinds, in nats up to one constant.

    Parameters
    ----------
    sigma_0
        The noise added to every row before measuring.
    sigma
        The noise of the kind "noisy".
    values
        Kind → energies: "train", "held out", "samples" (if there are any), "noisy", "uniform".
    auroc
        Kind → chance that a row of that kind has a higher energy than a held-out one.
    """

    sigma_0: float
    sigma: float
    values: dict[str, np.ndarray]
    auroc: dict[str, float]

    @property
    def gap(self) -> tuple[float, float]:
        """Mean energy of held-out less that of training rows, with its standard error."""
        a, b = self.values["held out"], self.values["train"]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        return float(a.mean() - b.mean()), float(error)


def auroc(negative: np.ndarray, positive: np.ndarray) -> float:
    """Return P(positive > negative) + ½ P(equal): the area under the ROC curve."""
    ranks = stats.rankdata(np.concatenate([negative, positive]))[len(negative) :]
    n, m = len(negative), len(positive)
    return float((ranks.sum() - m * (m + 1) / 2) / (n * m))


def energies(way: Protocol, model: Model, units: Units, samples: Samples, seed: int) -> Energies:
    """Measure energies, with noise σ₀ added first (MDSM §4)."""
    rng = np.random.default_rng(seed)
    data = units.dataset
    few = rng.permutation(len(data.train))[:SCORED]
    train, held_out = units.to_model(data.train[np.sort(few)]), units.to_model(data.test[:SCORED])
    low, high = (units.low, units.high) if data.kind == "image" else (data.train.min(0), data.train.max(0))
    uniform = rng.uniform(low, high, (len(held_out), *data.event_shape)).astype(np.float32)
    sigma = float(way.shown[len(way.shown) // 2])
    rows = {
        "train": train,
        "held out": held_out,
        "samples": samples.model,
        "noisy": held_out + np.float32(sigma) * rng.standard_normal(held_out.shape, np.float32),
        "uniform": units.to_model(uniform),
    }
    if len(samples.model) == 0:
        del rows["samples"]
    noise = np.float32(way.sigma_0)
    values = {
        name: tasks.score(
            model, x + noise * rng.standard_normal(x.shape, np.float32), event_shape=units.model_shape
        ).astype(np.float64)
        for name, x in rows.items()
    }
    areas = {name: auroc(values["held out"], value) for name, value in values.items() if name != "held out"}
    return Energies(way.sigma_0, sigma, values, areas)


@dataclass(frozen=True)
class Landscape:
    """E(f(x)) − log|det ∂f/∂x| of two-dimensional data on a grid: −log p_X up to a constant.

    Parameters
    ----------
    first, second
        Grid lines.
    energy
        Shape (len(second), len(first)), least value 0.
    """

    first: np.ndarray
    second: np.ndarray
    energy: np.ndarray


def landscape(model: Model, units: Units, points: int = 120) -> Landscape:
    """Evaluate the energy on a grid that holds the training rows."""
    train = units.dataset.train
    low, high = train.min(0), train.max(0)
    margin = 0.12 * np.maximum(high - low, 1e-6)
    first, second = np.linspace(low - margin, high + margin, points, dtype=np.float32).T
    grid = np.stack(np.meshgrid(first, second), axis=-1).reshape(-1, 2)
    rows = units.to_model(grid)
    finite = np.isfinite(rows).all(axis=1)
    value = np.full(len(grid), np.nan)
    energy = tasks.score(model, rows[finite], event_shape=units.model_shape)
    value[finite] = energy - units.log_det(grid[finite])
    return Landscape(first, second, (value - np.nanmin(value)).reshape(points, points))


@dataclass(frozen=True)
class Measurements:
    """Everything the report shows.

    Parameters
    ----------
    parameters
        Floating-point parameters of the model.
    dimension
        Coordinates of an event in model units.
    transforms
        Names of the preprocessing's transforms.
    protocol, training, samples, trace, denoising, inpainting, neighbours, energies, landscape
        The parts. `trace` is None if every chain was lost; `inpainting` is empty unless events
        are images; `landscape` is None unless they have two coordinates.
    low, high
        Range of the training rows, to which images are scaled.
    image_shape, columns
        How an event looks; `columns` names its coordinates and is empty for images.
    """

    parameters: int
    dimension: int
    transforms: tuple[str, ...]
    protocol: Protocol
    training: Training
    samples: Samples
    trace: Trace | None
    denoising: Denoising
    inpainting: tuple[Inpainting, ...]
    neighbours: Neighbours
    energies: Energies
    landscape: Landscape | None
    low: float
    high: float
    image_shape: tuple[int, int, int] | None
    columns: tuple[str, ...]


def measure(
    *,
    config: RunConfig,
    model: Model,
    preprocessing: Pipeline | None,
    dataset: Dataset,
    history: Sequence[Mapping[str, Any]],
    seed: int,
    progress: Progress,
) -> Measurements:
    """Measure everything; the arguments are those of `build`."""
    check_integer("report", "seed", seed, at_least=0)
    check(not isinstance(model, Score), "report", "model", "an energy", "a Score, which has no value")
    way, units = protocol(config), Units(dataset, preprocessing)
    shape = getattr(model, "event_shape", units.model_shape)
    fits = tuple(shape) == units.model_shape
    check(
        fits, "report", "model", f"an energy of events {units.model_shape}", f"one of events {tuple(shape)}"
    )
    dimension = int(np.prod(units.model_shape))
    image = dataset.kind == "image"

    progress("measuring the data")
    rows = _moment_rows(units, dimension, seed)
    wiener = Wiener.of_rows(rows)
    reach = Reach.of_rows(rows, way.noise_max, image)
    keys = map(jax.random.fold_in, itertools.repeat(jax.random.key(seed)), itertools.count())
    samples, trace = sampling(way, model, units, reach, next(keys), progress)
    progress("denoising")
    cleaned = denoising(way, model, units, wiener, next(keys))
    filled = inpainting(way, model, units, reach, next(keys), progress) if image else ()
    progress("looking for neighbours")
    near = neighbours(samples, units)
    progress("measuring energies")
    scored = energies(way, model, units, samples, seed)
    flat = int(np.prod(dataset.event_shape))
    return Measurements(
        parameters=sum(a.size for a in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))),
        dimension=dimension,
        transforms=tuple(type(t).__name__ for t in units.preprocessing.transforms),
        protocol=way,
        training=training(config, history, wiener),
        samples=samples,
        trace=trace,
        denoising=cleaned,
        inpainting=filled,
        neighbours=near,
        energies=scored,
        landscape=landscape(model, units) if dataset.event_shape == (2,) else None,
        low=units.low,
        high=units.high,
        image_shape=dataset.image_shape,
        columns=() if image else dataset.columns or tuple(f"x{i + 1}" for i in range(flat)),
    )


def _moment_rows(units: Units, dimension: int, seed: int) -> np.ndarray:
    """Return the training rows, or a random part of them, that moments are taken from."""
    train = units.dataset.train
    most = MOMENT_ROWS if dimension <= WIDEST_COVARIANCE else WIDEST_COVARIANCE
    if len(train) > most:
        train = train[np.sort(np.random.default_rng(seed).permutation(len(train))[:most])]
    return units.to_model(train)
