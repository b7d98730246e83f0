"""Energax: energy-based models, p(x) ∝ exp(−E(x)), trained without the normalising constant.

    import jax, energax as ex

    x = ex.data.digits().train
    energy = ex.energies.MLP(event_shape=(64,), head="quadratic", key=jax.random.key(0))
    fit = ex.fit(energy, ex.objectives.MultiscaleDenoisingScoreMatching(), x, steps=3000,
                 key=jax.random.key(1))
    samples = ex.tasks.generate(fit.energy, 64, key=jax.random.key(2))

Names are looked up when they are first used, so that importing the package is immediate.
"""

import importlib
from typing import Any

from energax._version import __version__
from energax._xla import keep_sums_right

keep_sums_right()

_MODULES = (
    "checks",
    "config",
    "data",
    "derivatives",
    "energies",
    "evaluation",
    "objectives",
    "papers",
    "report",
    "samplers",
    "tasks",
    "testing",
    "training",
)
_NAMES = {
    "Batch": "objectives",
    "DivergenceError": "training",
    "Fit": "training",
    "FitConfig": "config",
    "InputError": "checks",
    "RunConfig": "config",
    "Score": "derivatives",
    "fit": "training",
    "load": "training.modelfile",
    "save": "training.modelfile",
    "score": "derivatives",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"energax.{name}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"energax.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'energax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
