"""From a configuration and data to the objects it names: pipeline, energy, objective, sampler."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import energies, objectives
from energax.checks import check, check_integer
from energax.config import DSMOptions, RunConfig
from energax.data import Dataset, Pipeline, Reshape, preprocessing
from energax.samplers import Langevin, annealed_langevin
from energax.typing import Array

__all__ = ["Parts", "build", "make_sampler", "parameters", "sigma_0"]

ENERGY_CLASSES = {"mlp": energies.MLP, "mixer": energies.PatchMixer, "resnet": energies.ResNet}
OBJECTIVE_CLASSES = {
    "mdsm": objectives.MultiscaleDenoisingScoreMatching,
    "dsm": objectives.DenoisingScoreMatching,
}
IMAGES_ONLY = ("mixer", "resnet")


class Parts(NamedTuple):
    """All that a fit needs.

    Parameters
    ----------
    config, dataset
        What it was built from.
    pipeline
        From the data's units to the model's.
    energy
        With its initial weights.
    objective
        The training principle.
    key
        The fit's key.
    center, reach
        Mean entry of the training data as the model sees them, where samplers start; and how
        far from it an entry lies at most.
    """

    config: RunConfig
    dataset: Dataset
    pipeline: Pipeline
    energy: Any
    objective: Any
    key: Array
    center: float
    reach: float


def build(config: RunConfig, dataset: Dataset) -> Parts:
    """Return everything a configuration names, checked against the data and each other.

    Raises
    ------
    InputError
        For options no constructor takes, an energy that does not fit the data, or a batch
        that cannot be split over the devices.
    """
    pipeline, shape = _pipeline(config, dataset)
    energy_key, fit_key = jax.random.split(jax.random.key(config.seed))
    options = dataclasses.asdict(config.energy_options)
    energy = ENERGY_CLASSES[config.energy](shape, **options, key=energy_key)
    objective = OBJECTIVE_CLASSES[config.objective](**dataclasses.asdict(config.objective_options))

    devices, batch = jax.device_count(), config.fit.batch_size
    check(batch % devices == 0, "fit", "batch_size", f"a multiple of the {devices} devices", batch)
    make_sampler(config)
    _trace(objective, energy, batch, shape)
    seen = np.asarray(jax.jit(jax.vmap(pipeline.forward))(dataset.train[:1000]))
    center = float(seen.mean())
    reach = float(np.abs(seen - center).max())
    return Parts(config, dataset, pipeline, energy, objective, fit_key, center, reach)


def _pipeline(config: RunConfig, dataset: Dataset) -> tuple[Pipeline, tuple[int, ...]]:
    """Return the pipeline and the shape of an event behind it, laid out as the energy needs it."""
    pipeline = preprocessing(dataset, config.preprocess)
    event = jax.ShapeDtypeStruct(dataset.event_shape, np.float32)
    shape = jax.eval_shape(pipeline.forward, event).shape
    if config.energy in IMAGES_ONLY and len(shape) != 3:
        fits = dataset.image_shape is not None and math.prod(dataset.image_shape) == math.prod(shape)
        check(
            fits, "train", "--energy", f"'mlp' for {dataset.kind} data of shape {shape}", repr(config.energy)
        )
        assert dataset.image_shape is not None
        pipeline = Pipeline((*pipeline.transforms, Reshape(shape, dataset.image_shape)))
        shape = dataset.image_shape
    if config.energy == "resnet":
        missing = max(-shape[0] % 8, -shape[1] % 8)
        allowed = f"one that gives heights and widths divisible by 8 (a frame, as in pad:{missing // 2 or 1})"
        check(missing == 0, "train", "--preprocess", allowed, f"images {shape}")
    return pipeline, tuple(shape)


def _trace(objective: Any, energy: Any, batch: int, shape: tuple[int, ...]) -> None:
    """Trace one loss, so that what only the loss can find wrong is found before a folder is made."""

    def once(energy, key):
        rows = objectives.Batch(jnp.zeros((batch, *shape)))
        return objective.loss(energy, *objective.init(energy, rows, key), rows, key)[0]

    eqx.filter_eval_shape(once, energy, jax.random.key(0))


def parameters(energy: Any) -> int:
    """Return how many numbers are learned."""
    return sum(a.size for a in jax.tree.leaves(eqx.filter(energy, eqx.is_inexact_array)))


def sigma_0(config: RunConfig) -> float:
    """Return the unit of the energy: σ₀ of a ladder, σ itself of a single level."""
    options = config.objective_options
    return options.sigma if isinstance(options, DSMOptions) else options.sigma_0


def make_sampler(config: RunConfig) -> Langevin:
    """Return the annealed Langevin dynamics of the configuration."""
    unit, settings = sigma_0(config), config.sampler
    for name in ("hold", "anneal", "cool"):
        check_integer("sampler", name, getattr(settings, name), at_least=1)
    return annealed_langevin(
        sigma_0=unit,
        noise_max=settings.noise_max,
        epsilon=settings.epsilon * unit,
        hold=settings.hold,
        anneal=settings.anneal,
        cool=settings.cool,
    )
