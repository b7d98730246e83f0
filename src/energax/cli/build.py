"""From a configuration and data to the objects it names: pipeline, energy, objective."""

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
from energax.cli import stacks
from energax.config import RunConfig, replace
from energax.data import Dataset, Pipeline, Reshape, preprocessing
from energax.derivatives import Score
from energax.devices import memory
from energax.options import MACHINES, DynamicsOptions, FlowContrastOptions, of_bits, walls_of
from energax.samplers.pools import Normal, Replay
from energax.tasks import way
from energax.tasks.way import chain
from energax.training.bases import network_options, on_base
from energax.training.mesh import data_mesh
from energax.typing import Array

__all__ = ["Parts", "build", "parameters"]

ENERGY_CLASSES = {
    "mlp": energies.MLP,
    "mixer": energies.PatchMixer,
    "resnet": energies.ResNet,
    "mlp-field": energies.MLPField,
    "mixer-field": energies.PatchMixerField,
    "bernoulli-rbm": energies.BernoulliRBM,
    "gaussian-rbm": energies.GaussianBernoulliRBM,
    "ising": energies.Ising,
    "ising-graph": energies.IsingGraph,
    "ica": energies.LinearICA,
    "multigrid": stacks.multigrid,
    "deep-boltzmann": stacks.deep_boltzmann,
}
OBJECTIVE_CLASSES = {
    "multiscale": objectives.MultiscaleDenoisingScoreMatching,
    "denoising": objectives.DenoisingScoreMatching,
    "noise-conditional": objectives.NoiseConditionalScoreMatching,
    "score-matching": objectives.ScoreMatching,
    "sliced": objectives.SlicedScoreMatching,
    "non-negative": objectives.NonNegativeScoreMatching,
    "box": objectives.BoxScoreMatching,
    "ratio": objectives.RatioMatching,
    "contrastive-divergence": objectives.ContrastiveDivergence,
    "persistent-cd": objectives.PersistentContrastiveDivergence,
    "replay-buffer": objectives.ReplayBufferLikelihood,
    "short-run": objectives.ShortRunLikelihood,
    "improved-cd": objectives.ImprovedContrastiveDivergence,
    "mean-field-cd": objectives.MeanFieldContrastiveDivergence,
    "multigrid-cd": objectives.MultigridContrastiveDivergence,
    "variational-pcd": objectives.DeepBoltzmannLikelihood,
    "unbiased-cd": objectives.UnbiasedContrastiveDivergence,
    "exact-likelihood": objectives.ExactMaximumLikelihood,
    "nce": objectives.NoiseContrastiveEstimation,
    "bregman-nce": objectives.BregmanNoiseContrastiveEstimation,
    "conditional-nce": objectives.ConditionalNoiseContrastiveEstimation,
    "shifted-nce": objectives.ShiftedNoiseContrastiveEstimation,
    "flow-contrastive": objectives.FlowContrastiveEstimation,
    "adversarial-contrastive": objectives.AdversarialContrastiveEstimation,
    "probability-flow": objectives.MinimumProbabilityFlow,
    "composite-likelihood": objectives.CompositeLikelihood,
    "minimum-velocity": objectives.MinimumVelocityLearning,
    "learned-stein": objectives.LearnedSteinDiscrepancy,
    "kernel-stein": objectives.KernelSteinDiscrepancy,
}
FIELDS_DO = (
    "multiscale",
    "denoising",
    "noise-conditional",
    "score-matching",
    "sliced",
    "non-negative",
    "box",
    "learned-stein",
    "kernel-stein",
)
IMAGES_ONLY = ("mixer", "resnet", "mixer-field", "multigrid")
FIELDS = ("mlp-field", "mixer-field")
FLOW = 1  # of the seed's keys: where a flow's first weights come from
STATES = {"bits": (0, 1), "spins": (-1, 1)}
CHUNK = 4096  # rows that are checked at once
CONDITIONED = ("mlp", "mixer", "mlp-field", "mixer-field")


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
    stacks.check_pair(config)
    pipeline, shape = _pipeline(config, dataset)
    config = stacks.with_levels(config, shape)
    energy_key, fit_key = jax.random.split(jax.random.key(config.seed))
    seen = np.asarray(jax.jit(jax.vmap(pipeline.forward))(dataset.train[:1000]))
    center = float(seen.mean())
    config = _with_ladder(_with_noise(config, seen), seen)
    _check_states(config, dataset, pipeline)
    energy = _model(config, shape, seen, energy_key)
    objective = _objective(config, seen)

    devices, batch = data_mesh().size, config.fit.batch_size
    check(batch % devices == 0, "fit", "batch_size", f"a multiple of the {devices} devices", batch)
    way(config)
    _trace(objective, energy, batch, shape)
    reach = float(np.abs(seen - center).max())
    return Parts(config, dataset, pipeline, energy, objective, fit_key, center, reach)


def _pipeline(config: RunConfig, dataset: Dataset) -> tuple[Pipeline, tuple[int, ...]]:
    """Return the pipeline and the shape of an event behind it, laid out as the energy needs it."""
    bits = "bits" if of_bits(config.objective, config.objective_options) else None
    walls = walls_of(config.objective, config.objective_options)
    states = MACHINES.get(config.energy, bits)
    pipeline = preprocessing(dataset, config.preprocess, states=states, walls=walls)
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
    if config.energy == "ising" and len(shape) != 2:
        grid = dataset.image_shape if len(shape) == 1 else shape
        one = grid is not None and len(grid) == 3 and grid[2] == 1 and math.prod(grid) == math.prod(shape)
        allowed = f"'ising-graph' (any pairs) or another for {dataset.kind} data of shape {shape}"
        check(one, "train", "--energy", allowed, "'ising'")
        assert grid is not None
        pipeline = Pipeline((*pipeline.transforms, Reshape(shape, grid[:2])))
        shape = grid[:2]
    if config.energy == "resnet":
        missing = max(-shape[0] % 8, -shape[1] % 8)
        allowed = f"one that gives heights and widths divisible by 8 (a frame, as in pad:{missing // 2 or 1})"
        check(missing == 0, "train", "--preprocess", allowed, f"images {shape}")
    return pipeline, tuple(shape)


def _with_ladder(config: RunConfig, seen: np.ndarray) -> RunConfig:
    """Return the configuration with the noise levels that were left to the data filled in."""
    options = config.objective_options
    told = config.objective == "noise-conditional"
    if config.objective not in ("noise-conditional", "multiscale"):
        return config
    if options.sigma_max is not None and (options.levels is not None or not told):
        return config
    proposed = objectives.noise_ladder(seen, sigma_min=options.sigma_min)
    top = float(proposed[0]) if options.sigma_max is None else options.sigma_max
    if not told:
        return replace(config, {"objective.sigma_max": float(f"{top:.5g}")})
    ratio = float(proposed[0] / proposed[1])
    check(top > options.sigma_min, "train", "objective.sigma_max", "above objective.sigma_min", top)
    count = 1 + math.ceil(math.log(top / options.sigma_min) / math.log(ratio))
    chosen = {"objective.sigma_max": float(f"{top:.5g}"), "objective.levels": options.levels or count}
    return replace(config, chosen)


def _with_noise(config: RunConfig, seen: np.ndarray) -> RunConfig:
    """Return the configuration with the kind of noise that was left to the data filled in."""
    if getattr(config.objective_options, "noise", None) != "auto":
        return config
    kind = objectives.noise_kind(seen)
    if kind == "bernoulli" and isinstance(config.objective_options, FlowContrastOptions):
        return config  # bits, which the objective refuses in its own words
    return replace(config, {"objective.noise": kind})


def _check_states(config: RunConfig, dataset: Dataset, pipeline: Pipeline) -> None:
    """Refuse other rows than of bits or spins where the energy has these states or the moves are flips.

    All rows are looked at: one of them is enough to teach the energy what no state of it is, or, held out, to
    judge it by that.
    """
    flips = of_bits(config.objective, config.objective_options)
    states = MACHINES.get(config.energy, "bits" if flips else None)
    if states is None:
        return
    low, high = STATES[states]
    forward = jax.jit(jax.vmap(pipeline.forward))
    whom = f"the energy {config.energy}" if config.energy in MACHINES else f"the objective {config.objective}"
    wanted = f"one that gives {'zeros and ones' if states == 'bits' else 'spins, −1 and 1,'} for {whom}"
    for name, x in (("row", dataset.train), ("held-out row", dataset.test)):
        for first in range(0, len(x), CHUNK):
            rows = np.asarray(forward(x[first : first + CHUNK]))
            other = (rows != low) & (rows != high)
            if other.any():
                row = first + int(np.argmax(other.reshape(len(rows), -1).any(axis=1)))
                how = "binarise:T, T a threshold" + (", then spins" if states == "spins" else "")
                got = f"{rows[other][0]:g} in {name} {row}"
                check(False, "train", "--preprocess", f"{wanted} ({how})", got)


def _model(config: RunConfig, shape: tuple[int, ...], seen: np.ndarray, key: Array) -> Any:
    """Return the model with its initial weights, as the objective needs it."""
    options = dataclasses.asdict(config.energy_options)
    made = ENERGY_CLASSES[config.energy]
    if config.energy in MACHINES:
        allowed = f"a network ({', '.join(n for n in ENERGY_CLASSES if n not in MACHINES)})"
        noisy = config.objective in ("multiscale", "denoising", "noise-conditional")
        wanted = f"{allowed} for the objective {config.objective}"
        check(not noisy, "train", "--energy", wanted, config.energy)
        if config.energy == "ising":
            return made(shape, **options)
        if config.energy == "ising-graph":
            return made.from_data(seen)
        if config.energy == "deep-boltzmann":
            check_integer("train", "energy.pretrain", options.pop("pretrain"), at_least=0)
            return made(seen, **options, key=key)
        return made.from_data(seen, **options, key=key)
    if config.energy == "ica":
        check(
            len(shape) == 1,
            "train",
            "--preprocess",
            "one that gives rows of numbers (flatten)",
            f"events {shape}",
        )
        return made.from_data(seen, **options, key=key)
    if config.energy == "multigrid":
        return made(seen, **options, key=key)
    options = network_options(config)
    told = config.objective == "noise-conditional"
    if told:
        allowed = f"one that takes a condition, {', '.join(CONDITIONED)}, for a noise-conditional objective"
        check(config.energy in CONDITIONED, "train", "--energy", allowed, config.energy)
        options["condition_size"] = energies.NOISE_FEATURES
    if config.energy in FIELDS:
        allowed = f"an energy (mlp, mixer or resnet) for the objective {config.objective}"
        check(config.objective in FIELDS_DO, "train", "--energy", allowed, config.energy)
    # An array that no memory holds would end the process in XLA, not in a sentence.
    drafted = 4 * parameters(eqx.filter_eval_shape(made, shape, **options, key=key))
    allowed = f"of a size that this machine holds ({memory() / 2**30:.0f} GiB)"
    check(drafted <= memory(), "train", "the energy", allowed, f"{drafted / 2**30:,.0f} GiB of parameters")
    network = on_base(made(shape, **options, key=key), config, seen)
    model = Score(network) if config.energy in FIELDS else network
    if not told:
        return model
    return energies.NoiseConditional(model, mean=float(seen.mean()), scale=max(float(seen.std()), 1e-3))


def _objective(config: RunConfig, seen: np.ndarray) -> Any:
    """Return the training principle; where it moves chains, with their dynamics and their start."""
    made, options = OBJECTIVE_CLASSES[config.objective], dataclasses.asdict(config.objective_options)
    if isinstance(config.objective_options, DynamicsOptions):
        options["sampler"] = chain(config)
        for name in ("chain", "step_size"):
            options.pop(name)
        if config.objective == "short-run":  # its samples start where its training chains do
            mean, scale = float(seen.mean()), config.sampler.noise_max
            options["noise"] = Normal(seen.shape[1:], mean, scale)
        if config.objective == "improved-cd":
            options["pool"] = Replay(options.pop("size"), options.pop("restart"))
    if isinstance(config.objective_options, FlowContrastOptions):
        described = {name: options.pop(name) for name in ("layers", "width", "kind")}
        size, key = math.prod(seen.shape[1:]), jax.random.fold_in(jax.random.key(config.seed), FLOW)
        options["flow"] = energies.Flow.coupling(size, key=key, **described)
    return made(**options)


def _trace(objective: Any, energy: Any, batch: int, shape: tuple[int, ...]) -> None:
    """Trace one step, so that what only a step can find wrong is found before a folder is made."""

    def once(energy, rows, key):
        batch_ = objectives.Batch(rows)
        nuisance, state = objective.init(energy, batch_, key, batch)
        batches = jax.tree.map(lambda a: jnp.broadcast_to(a, (objective.batches, *a.shape)), batch_)
        state, _ = objective.refresh(energy, nuisance, state, batches, key)
        return objective.loss(energy, nuisance, state, batch_, key)[0]

    rows = jax.ShapeDtypeStruct((batch, *shape), jnp.float32)
    eqx.filter_eval_shape(once, energy, rows, jax.random.key(0))


def parameters(energy: Any) -> int:
    """Return how many numbers are learned, also of an energy of shapes alone."""
    shaped = (a for a in jax.tree.leaves(energy) if eqx.is_array(a) or isinstance(a, jax.ShapeDtypeStruct))
    return sum(math.prod(a.shape) for a in shaped if jnp.issubdtype(a.dtype, jnp.inexact))
