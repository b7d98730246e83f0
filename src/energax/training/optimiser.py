"""Adam as the configuration describes it, with the learning rate left to the tunables.

The chain is rebuilt from the (hashable, frozen) configuration inside each trace, so that no
optimiser object is ever a cache key. It ends before the learning rate, which is an array in
the fit's state: whatever recovers from a divergence may lower it without compiling anew.
"""

from __future__ import annotations

from typing import Any

import optax

from energax.config import FitConfig
from energax.typing import Array, PyTree

__all__ = ["optimiser", "rate"]


def optimiser(config: FitConfig) -> optax.GradientTransformation:
    """Return the transformation of (model, nuisance) gradients into unscaled descent steps."""

    def chain(weight_decay: float) -> optax.GradientTransformation:
        parts = [optax.scale_by_adam(config.beta1, config.beta2)]
        if weight_decay:
            parts.append(optax.add_decayed_weights(weight_decay))
        return optax.chain(*parts)

    def labels(parameters: tuple[PyTree, PyTree]) -> tuple[str, str]:
        return ("model", "nuisance")

    both = optax.partition({"model": chain(config.weight_decay), "nuisance": chain(0.0)}, labels)
    return optax.chain(optax.clip_by_global_norm(config.clip), both) if config.clip else both


def rate(config: FitConfig, learning_rate: Array, step: Array) -> Any:
    """Return the learning rate of a step: warm-up, then cosine or constant."""
    top = float(config.learning_rate)
    if config.schedule == "constant":
        shape = optax.warmup_constant_schedule(0.0, 1.0, config.warmup) if config.warmup else lambda _: 1.0
    else:
        shape = optax.warmup_cosine_decay_schedule(
            0.0 if config.warmup else 1.0,
            1.0,
            config.warmup,
            max(config.steps, config.warmup + 1),
            config.final_learning_rate / top,
        )
    return learning_rate * shape(step)
