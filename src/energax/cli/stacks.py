"""Models made of several: an energy at each scale of an image, and a machine of several layers.

Each is learned whole by one objective of its own (`options.PAIRED`).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from energax import energies
from energax.checks import InputError, check, check_integer
from energax.cli import DIVERGED, Stopped
from energax.config import RunConfig, replace
from energax.options import PAIRED
from energax.typing import Array

__all__ = ["check_pair", "deep_boltzmann", "multigrid", "pretrained", "with_levels"]

COARSEST = 4  # the least side of the lowest level, where levels are left to the data
STACK = 2  # of the seed's keys: where the draws of pretraining come from
NETWORKS = {"mlp": energies.MLP, "mixer": energies.PatchMixer}


def check_pair(config: RunConfig) -> None:
    """Refuse one of a pair without the other.

    Raises
    ------
    InputError
        That names the other.
    """
    wanted = PAIRED.get(config.energy)
    allowed = f"{wanted} for the energy {config.energy}"
    check(wanted in (None, config.objective), "train", "--objective", allowed, config.objective)
    owner = {objective: energy for energy, objective in PAIRED.items()}.get(config.objective)
    allowed = f"{owner} for the objective {config.objective}"
    check(owner in (None, config.energy), "train", "--energy", allowed, config.energy)


def with_levels(config: RunConfig, shape: tuple[int, ...]) -> RunConfig:
    """Return the configuration with the number of scales that was left to the images filled in.

    Raises
    ------
    InputError
        For more levels than the sides can be halved.
    """
    if config.energy != "multigrid":
        return config
    sides = math.gcd(*shape[:2])
    most = 1 + (sides & -sides).bit_length() - 1  # one more than the twos in both sides
    asked = config.energy_options.levels
    if asked is None:
        fitting = sum(min(shape[:2]) >> s >= COARSEST for s in range(most))
        return replace(config, {"energy.levels": max(1, fitting)})
    check_integer("train", "energy.levels", asked, at_least=1)
    allowed = f"at most {most}, as often as sides of {shape[0]} × {shape[1]} can be halved"
    check(asked <= most, "train", "energy.levels", allowed, asked)
    return config


def multigrid(
    seen: np.ndarray,
    *,
    network: str,
    levels: int,
    width: int,
    depth: int,
    patch: int,
    head: str,
    activation: str,
    key: Array,
) -> energies.Multigrid:
    """Return one network per scale, sides halved from level to level, each with a Gaussian beside it.

    E_s(x) = f_s(x) + ‖x − m_s‖²/2v_s, of the mean image and the mean square of the entries about it, both
    learned from there on: Gao et al.'s reference law, without which chains of an untrained network run away.

    Parameters
    ----------
    seen
        Images (n, H, W, C) as the model sees them.
    network, width, depth, patch, head, activation
        Each network's; the patch is a mixer's.
    levels
        How many scales.
    key
        Decides the weights.
    """
    _, H, W, C = seen.shape
    described: dict[str, Any] = {"width": width, "depth": depth, "head": head, "activation": activation}
    if network == "mixer":
        described["patch"] = patch
    made = []
    for s, k in zip(reversed(range(levels)), jax.random.split(key, levels), strict=True):
        h, w = H >> s, W >> s
        versions = seen.reshape(len(seen), h, H // h, w, W // w, C).mean((2, 4))
        net = NETWORKS[network]((h, w, C), **described, key=k)
        mean = versions.mean(axis=0)
        made.append(energies.WithGaussianBase(net, mean, max(float((versions - mean).std()), 1e-3)))
    return energies.Multigrid(made)


def deep_boltzmann(seen: np.ndarray, *, hidden: str, key: Array) -> energies.DeepBoltzmannMachine:
    """Return the machine before any training, its visible biases the data's log odds.

    Parameters
    ----------
    seen
        Rows of bits.
    hidden
        Units of the hidden layers from the lowest, commas between.
    key
        Decides the weights.
    """
    return energies.DeepBoltzmannMachine.from_data(seen, _layers(hidden), key=key)


def pretrained(parts: Any) -> Any:
    """Return the energy that a fit starts from: of a deep machine, composed of a stack trained first.

    It is a function of the configuration and the data alone, so that a run killed on the way has lost
    nothing but time. One that has a checkpoint does not need it.

    Raises
    ------
    Stopped
        If a machine of the stack diverges.
    """
    config: RunConfig = parts.config
    steps = config.energy_options.pretrain if config.energy == "deep-boltzmann" else 0
    if steps == 0:
        return parts.energy
    from energax.tasks.rows import to_model
    from energax.training import DivergenceError, greedy

    options = config.objective_options
    hidden = _layers(config.energy_options.hidden)
    layer = 0

    def begun(number: int) -> None:
        nonlocal layer
        layer = number
        print(f"pretraining layer {layer} of {len(hidden)}: {steps:,} steps", flush=True)

    try:
        return greedy(
            to_model(parts.pipeline, parts.dataset.train),
            hidden,
            steps=steps,
            rate=config.fit.learning_rate,
            key=jax.random.fold_in(jax.random.key(config.seed), STACK),
            sweeps=options.steps,
            chains=options.chains,
            batch_size=config.fit.batch_size,
            begun=begun,
            progress=None,
        )
    except DivergenceError as error:
        raise Stopped(f"error: pretraining layer {layer}: {error.diagnosis.sentence}", DIVERGED) from None


def _layers(hidden: str) -> list[int]:
    allowed = "whole numbers of at least 1 with commas between, one for each layer from the lowest"
    try:
        units = [int(word) for word in hidden.split(",")]
    except ValueError:
        raise InputError(f"train: energy.hidden must be {allowed}; got {hidden!r}.") from None
    check(min(units) > 0, "train", "energy.hidden", allowed, repr(hidden))
    return units
