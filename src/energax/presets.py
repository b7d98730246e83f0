"""Settings by name: what each data set trains with when the user says nothing.

A preset is a set of changes to `RunConfig`, as `config.replace` takes them. The names
"image", "table" and "points" stand for the user's own data of that kind.
"""

from __future__ import annotations

from typing import Any

from energax.checks import check_choice
from energax.config import RunConfig, replace

__all__ = ["OF_OBJECTIVES", "PRESETS", "changes", "preset", "preset_name"]

_MNIST_LADDER = {"objective.sigma_min": 0.1, "objective.sigma_max": 3.0}
_CIFAR_LADDER = {"objective.sigma_max": 1.2, "objective.spacing": "linear"}
_MIXER = {
    "energy": "mixer",
    "energy.width": 64,
    "fit.steps": 2700,
    "fit.beta2": 0.95,
    "fit.warmup": 50,
    "fit.ema": 0.995,
    "fit.learning_rate": 2e-3,
}
# A perceptron sees the whole image at once, and on a CPU takes several steps in the time of one of a mixer.
# Without the radial base it spends them on learning to pass noise through (docs/results.md).
_PERCEPTRON = {
    "energy": "mlp",
    "energy.width": 1024,
    "energy.base": "radial",
    "fit.steps": 12_000,
    "fit.beta2": 0.95,
    "fit.warmup": 50,
    "fit.ema": 0.999,
    "fit.learning_rate": 1e-3,
    "fit.checkpoint_every": 1000,
}
_PAPER = {
    "energy": "resnet",
    "fit.batch_size": 128,
    "fit.beta2": 0.95,
    "fit.learning_rate": 5e-5,
    "fit.final_learning_rate": 1e-6,
    "fit.ema": 0.0,
    "fit.checkpoint_every": 5000,
}

PRESETS: dict[str, dict[str, Any]] = {
    "digits": {
        "fit.steps": 3000,
        "fit.learning_rate": 1.5e-3,
        "sampler.hold": 200,
        "sampler.anneal": 1000,
        "sampler.cool": 100,
    },
    "stacked-digits": {
        "fit.steps": 4000,
        "fit.learning_rate": 1.5e-3,
        "sampler.hold": 200,
        "sampler.anneal": 1000,
        "sampler.cool": 100,
    },
    "points": {"energy.width": 128, "energy.depth": 3, "objective.sigma_max": 3.0, "fit.steps": 4000},
    "table": {"energy.width": 256, "fit.steps": 3000, "fit.weight_decay": 1e-4},
    "image": dict(_MIXER),
    "mnist": {**_PERCEPTRON, **_MNIST_LADDER},
    "fashion-mnist": {**_PERCEPTRON, **_MNIST_LADDER},
    "stacked-mnist": {**_PERCEPTRON, **_MNIST_LADDER},
    "notmnist": {**_PERCEPTRON, **_MNIST_LADDER},
    "cifar10": dict(_MIXER),
    "mnist-res12": {**_PAPER, **_MNIST_LADDER, "preprocess": "pad:2", "fit.steps": 100_000},
    "cifar10-res18": {
        **_PAPER,
        **_CIFAR_LADDER,
        "energy.layers": 18,
        "energy.width": 128,
        "fit.steps": 300_000,
    },
    "celeba-res18": {
        **_PAPER,
        **_CIFAR_LADDER,
        "preprocess": "flip",
        "energy.layers": 18,
        "energy.width": 128,
        "fit.steps": 300_000,
    },
}

OF_OBJECTIVES: dict[str, dict[str, Any]] = {"multigrid-cd": {"fit.learning_rate": 2e-4}}
"""What an objective changes in any preset. Chains of tens of steps are thrown off where an energy moves as
far in an update as score matching lets it: on the digits 1.5e-3 diverged within a hundred updates."""


def preset_name(data: str, kind: str) -> str:
    """Return the preset for a data set: its own if it has one, else that of its kind."""
    return data if data in PRESETS else kind


def changes(name: str, objective: str | None = None) -> dict[str, Any]:
    """Return what a preset changes where that objective trains (None: its own)."""
    own = PRESETS[check_choice("configuration", "preset", name, PRESETS)]
    if objective not in (None, "multiscale") and own.get("energy.base") == "radial":
        # The base is what multiscale denoising wants: others train the mixer.
        own = {k: v for k, v in own.items() if k not in _PERCEPTRON} | _MIXER
    return own | OF_OBJECTIVES.get(str(objective), {})


def preset(name: str, data: str) -> RunConfig:
    """Return the configuration of a preset for a data set.

    "<data>-res12" and "<data>-res18" are the paper's own networks and settings, meant for a
    GPU.
    """
    return replace(RunConfig(data=data), changes(name))
