r"""The losses on record, and what the best linear denoiser would lose at the same noise levels.

At a level σ with the weight σ⁻ᵖ that is σ⁻ᵖ Σ_i λ_i σ² / (λ_i + σ²), where λ are the variances of
the training rows along their principal axes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from energax.checks import check
from energax.config import RunConfig
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.report.wiener import Wiener
from energax.training.rollback import told

__all__ = ["Training", "training"]


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
    rollbacks
        Of each rollback: to which step, the diagnosis, what was seen, what was changed.
    """

    steps: np.ndarray
    loss: np.ndarray
    validation_steps: np.ndarray
    validation: np.ndarray
    levels: np.ndarray
    first: np.ndarray
    last: np.ndarray
    linear: np.ndarray
    rollbacks: tuple[tuple[str, str, str, str], ...] = ()


def training(config: RunConfig, history: Sequence[Mapping[str, Any]], wiener: Wiener) -> Training:
    """Read the records of a fit; those whose loss is missing or not finite are left out."""

    def finite(name: str) -> tuple[np.ndarray, np.ndarray]:
        pairs = [(r["step"], r[name]) for r in history if r.get(name) is not None]
        table = np.asarray([p for p in pairs if np.isfinite(p[1])], np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    empty = np.zeros(0)
    levels = first = last = linear = empty
    groups = [r["loss_by_noise"] for r in history if "loss_by_noise" in r]
    if groups and config.objective in ("multiscale", "noise-conditional"):
        options = config.objective_options
        if config.objective == "multiscale":
            objective = MultiscaleDenoisingScoreMatching(**dataclasses.asdict(options))
            levels = np.asarray(objective.reported_levels(config.fit.batch_size), np.float64)
            scale = levels**-options.weight_power
        else:
            # λ ½ ‖s + z/σ‖² = ½ σ^{w−4} ‖x̂ − x‖², x̂ being the denoised row.
            levels = np.geomspace(options.sigma_max, options.sigma_min, options.levels)
            scale = 0.5 * levels ** (options.weight_power - 4)
        table = np.asarray(groups, np.float64)
        fits = table.shape[1:] == levels.shape
        check(fits, "report", "history", f"records of {len(levels)} noise levels", table.shape[1:])
        first, last = table[0], table[-max(1, len(table) // 20) :].mean(axis=0)
        linear = scale * wiener.squared_error(levels)
    rollbacks = tuple(
        (f"{r['step']:,}", r["diagnosis"], r["sentence"], told(r)) for r in history if "rollback" in r
    )
    return Training(*finite("loss"), *finite("validation_loss"), levels, first, last, linear, rollbacks)
