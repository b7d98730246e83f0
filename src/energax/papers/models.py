"""Models that several studies judge: one training for a configuration, kept in the cache folder.

A multiscale denoising score matching energy is trained by its data set's preset (`energax.presets`), or
by that with changes, and written to models/ in the cache under the SHA-256 of all that decides it: the
configuration, the training rows, the versions of Energax and JAX. A study that asks for the same again
reads the file; deleting it costs a training and changes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import __version__, energies
from energax.config import RunConfig, replace, to_dict
from energax.data import Dataset, Pipeline, load, preprocessing
from energax.data.sources import cache_folder
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.presets import preset
from energax.samplers import Observer, Run
from energax.tasks import Way, anneal, way
from energax.tasks.rows import to_data, to_model
from energax.training import fit, modelfile
from energax.training.bases import network_options, on_base
from energax.typing import Key, Model

__all__ = ["PERCEPTRON", "TINY", "Studied", "trained"]

# Of a training that shows only that a study works.
TINY: dict[str, Any] = {
    "fit.steps": 60,
    "energy.width": 32,
    "sampler.hold": 5,
    "sampler.anneal": 20,
    "sampler.cool": 5,
}
# Of MNIST's like in a minute or two on two cores, where the presets take ten; without a base.
PERCEPTRON: dict[str, Any] = {
    "energy": "mlp",
    "energy.base": "none",
    "energy.width": 512,
    "energy.depth": 3,
    "fit.steps": 2000,
    "fit.ema": 0.99,
    "fit.learning_rate": 2e-3,
}
NETWORKS = {"mlp": energies.MLP, "mixer": energies.PatchMixer, "resnet": energies.ResNet}


@dataclass(frozen=True)
class Studied:
    """A trained energy and what it takes to use it.

    Parameters
    ----------
    energy
        On events in the units the model sees.
    pipeline
        From the data's units to those.
    dataset, config
        What it was trained on, and how.
    way
        How it is to be sampled.
    """

    energy: Model
    pipeline: Pipeline
    dataset: Dataset
    config: RunConfig
    way: Way

    def to_model(self, x: np.ndarray) -> np.ndarray:
        """Return rows of the data in the units the model sees."""
        return to_model(self.pipeline, x)

    def to_data(self, z: np.ndarray) -> np.ndarray:
        """Return rows of model units in the data's own."""
        return to_data(self.pipeline, z)

    def anneal(
        self,
        n: int,
        key: Key,
        *,
        jumps: bool = True,
        observers: Mapping[str, Observer] | None = None,
        every: int | None = None,
    ) -> Run:
        """Draw n samples in model units by the configuration's dynamics; see `tasks.anneal`."""
        return anneal(
            self.energy,
            n,
            key=key,
            sigma_0=self.way.sigma_0 or 0.0,
            noise_max=self.way.start,
            sampler=self.way.sampler,
            center=float(self.to_model(self.dataset.train[:1000]).mean()),
            final_jump=jumps,
            observers=observers,
            every=every,
        )

    def samples(self, n: int, key: Key) -> np.ndarray:
        """Draw n samples in the data's units."""
        return self.to_data(np.asarray(self.anneal(n, key).x))


def trained(
    name: str,
    changes: Mapping[str, Any] | None = None,
    *,
    network: str | None = None,
    rows: int | None = None,
    progress: Callable[[str], None] = lambda text: None,
) -> Studied:
    """Return the multiscale energy of a data set, trained now or read from the cache.

    Parameters
    ----------
    name
        A known data set with a preset of its own: digits, mnist, fashion-mnist, …
    changes
        To the preset, as `config.replace` takes them; `TINY` for a smoke run.
    network
        Another preset than the data set's own: "mnist-res12", "cifar10-res18", the paper's, for a GPU.
    rows
        Train on so many rows, the first, instead of all.
    progress
        Told of a training that begins.
    """
    dataset = load(name)
    if rows is not None:
        labels = None if dataset.train_labels is None else dataset.train_labels[:rows]
        dataset = dataclasses.replace(dataset, train=dataset.train[:rows], train_labels=labels)
    config = replace(preset(network or name, name), dict(changes or {}))
    pipeline = preprocessing(dataset, config.preprocess)
    event = jax.ShapeDtypeStruct(dataset.event_shape, np.float32)
    shape = jax.eval_shape(pipeline.forward, event).shape
    path = cache_folder() / "models" / f"{_fingerprint(config, dataset)}.safetensors"
    if path.exists():
        energy = modelfile.load(path).model
    else:
        progress(f"training an energy of {name}: {config.fit.steps:,} steps")
        model_key, fit_key = jax.random.split(jax.random.key(config.seed))
        made, options = NETWORKS[config.energy], network_options(config)
        start = eqx.filter_jit(lambda k: made(shape, **options, key=k))(model_key)
        objective = MultiscaleDenoisingScoreMatching(**vars(config.objective_options))
        start = on_base(start, config, jax.jit(jax.vmap(pipeline.forward))(dataset.train[:1000]))
        found = fit(
            start, objective, dataset.train, preprocessing=pipeline, key=fit_key, config=config.fit,
            progress=False,
        )  # fmt: skip
        energy = found.energy
        path.parent.mkdir(parents=True, exist_ok=True)
        modelfile.save(path, energy, preprocessing=pipeline, about={"config": to_dict(config)})
    return Studied(energy, pipeline, dataset, config, way(config))


def _fingerprint(config: RunConfig, dataset: Dataset) -> str:
    told = {"config": to_dict(config), "versions": (__version__, jax.__version__, jax.default_backend())}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(dataset.train).tobytes())
    return digest.hexdigest()
