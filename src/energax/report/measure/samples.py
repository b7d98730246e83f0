r"""One annealed run gives samples, strip and energy trace (MDSM §3.2, figures 3 and F.1B).

At temperature T an energy that is quadratic in each of its d coordinates has mean energy
constant + Td/2 (equipartition): the straight line that `Trace.slope` is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from scipy import stats

from energax import tasks
from energax.report.measure.progress import Progress, tenths
from energax.report.measure.protocol import Protocol
from energax.report.measure.reach import Reach
from energax.report.measure.units import Units
from energax.samplers import Observer, observers
from energax.typing import Key, Model

__all__ = ["Samples", "Trace", "sampling"]

IMAGE_CHAINS, OTHER_CHAINS = 64, 256  # samples drawn
RECORDS = 48  # looks at the chains while they run
RECORD_BYTES = 256 * 2**20
STRIP = 10  # columns of the annealing strip


@dataclass(frozen=True)
class Trace:
    """What the chains went through.

    Parameters
    ----------
    steps, temperature
        When the chains were looked at, and the temperature (of a noise-conditional model the
        noise level) that had brought them there.
    energy, spread
        Mean and standard deviation of E over chains; NaN if the model has no one energy.
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


def sampling(
    way: Protocol, model: Model, units: Units, reach: Reach, key: Key, progress: Progress
) -> tuple[Samples, Trace | None]:
    """Draw samples once, and keep what is needed of the way there; no trace if all chains are lost."""
    image = units.dataset.kind == "image"
    n = IMAGE_CHAINS if image else OTHER_CHAINS
    shape = units.model_shape
    start_key, run_key = jax.random.split(key)
    start = reach.center + way.noise_max * jax.random.normal(start_key, (n, *shape))
    if way.way.rooted:
        train = units.dataset.train
        start = units.to_model(train[tasks.picked(len(train), n, start_key)])
    total = len(way.temperatures)
    records = min(max(RECORD_BYTES // (8 * start.size), STRIP), RECORDS)
    every = max(1, -(-total // records))
    progress(f"sampling {n} chains")
    used = way.way
    watched: dict[str, Observer] = {"noisy": observers.position}
    if used.told:
        watched["denoised"] = observers.denoised_at(tuple(way.temperatures.tolist()))
    elif used.sigma_0 is not None:
        watched["denoised"] = observers.denoised(used.sigma_0)
    if not used.told and used.energy(model) is not None:
        watched["energy"] = observers.energy
    run = tasks.anneal(
        model,
        n,
        key=run_key,
        sigma_0=way.sigma_0,
        noise_max=way.noise_max,
        sampler=used.sampler,
        start=np.asarray(start),
        event_shape=shape,
        final_jump=used.sigma_0 is not None and not used.told,
        observers=watched,
        every=every,
        progress=tenths(f"sampling {n} chains", progress),
    )
    drawn = np.asarray(run.x)
    kept = np.flatnonzero(reach.holds(drawn))
    held_out = units.dataset.test[:n]
    if len(kept) == 0:
        none = np.zeros((0, *units.dataset.event_shape), np.float32)
        return Samples(none, drawn[kept], held_out, np.zeros(0), n), None
    energy = np.full((len(run.steps), len(kept)), np.nan)
    if "energy" in watched:
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
        denoised=rows("denoised" if "denoised" in watched else "noisy"),
    )
    return Samples(data, samples, held_out, distances, n - len(kept)), trace


def _slope(steps: np.ndarray, temperature: np.ndarray, energy: np.ndarray, settled: int) -> float:
    top = temperature.max()
    used = (steps >= settled) & (temperature >= 0.1 * top) & np.isfinite(energy)
    if used.sum() < 3 or np.ptp(temperature[used]) < 1e-6 * top:
        return float("nan")
    return float(np.polyfit(temperature[used], energy[used], 1)[0])
