"""Everything that the report shows, measured in turn and held in one value."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax.checks import check, check_seed
from energax.config import RunConfig
from energax.data import Dataset, Pipeline
from energax.report.measure.denoising import Denoising, denoising
from energax.report.measure.energies import Energies, energies
from energax.report.measure.inpainting import Inpainting, inpainting
from energax.report.measure.landscape import Landscape, landscape
from energax.report.measure.neighbours import Neighbours, neighbours
from energax.report.measure.progress import Progress
from energax.report.measure.protocol import Protocol, protocol
from energax.report.measure.reach import Reach
from energax.report.measure.samples import Samples, Trace, sampling
from energax.report.measure.training import Training, training
from energax.report.measure.units import Units
from energax.report.wiener import Wiener
from energax.typing import Model

__all__ = ["Measurements", "measure"]

MOMENT_ROWS = 20_000  # training rows behind the linear denoiser
WIDEST_COVARIANCE = 4096


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
        The parts. `trace` is None if every chain was lost; `denoising` is None for a model that
        knows nothing of noise, `energies` for a vector field; `inpainting` is empty unless events
        are images; `landscape` is None unless they have two coordinates and an energy.
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
    denoising: Denoising | None
    inpainting: tuple[Inpainting, ...]
    neighbours: Neighbours
    energies: Energies | None
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
    check_seed("report", "seed", seed)
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
    plain = way.way.energy(model)
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
        landscape=landscape(plain, units) if dataset.event_shape == (2,) and plain is not None else None,
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
