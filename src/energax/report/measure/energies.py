r"""E(x + σ₀z) of rows of several kinds, since E is trained on noisy rows only (MDSM §4).

The constant of E is unknown, so kinds are compared: by differences of means, and by
P(E of a row of the kind > E of a held-out one), the area under the ROC curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax import tasks
from energax.evaluation.outliers import detection
from energax.report.measure.protocol import Protocol
from energax.report.measure.samples import Samples
from energax.report.measure.units import Units
from energax.typing import Model

__all__ = ["Energies", "energies"]

SCORED = 512  # rows of each kind whose energy is measured


@dataclass(frozen=True)
class Energies:
    """E(x + σ₀z) of rows of several kinds, in nats up to one constant.

    Parameters
    ----------
    sigma_0
        The noise added to every row before measuring.
    sigma
        The noise of the kind "noisy".
    values
        Kind → energies: "train", "held out", "samples" (if there are any), "noisy", "uniform".
    auroc
        Kind → chance that a row of that kind has a higher energy than a held-out one.
    """

    sigma_0: float
    sigma: float
    values: dict[str, np.ndarray]
    auroc: dict[str, float]

    @property
    def gap(self) -> tuple[float, float]:
        """Mean energy of held-out less that of training rows, with its standard error."""
        a, b = self.values["held out"], self.values["train"]
        error = np.sqrt(a.var() / len(a) + b.var() / len(b))
        return float(a.mean() - b.mean()), float(error)


def energies(way: Protocol, model: Model, units: Units, samples: Samples, seed: int) -> Energies | None:
    """Measure energies, with noise σ₀ added first (MDSM §4); None for a vector field."""
    energy = way.way.energy(model)
    if energy is None:
        return None
    rng = np.random.default_rng(seed)
    data = units.dataset
    few = rng.permutation(len(data.train))[:SCORED]
    train, held_out = units.to_model(data.train[np.sort(few)]), units.to_model(data.test[:SCORED])
    low, high = (units.low, units.high) if data.kind == "image" else (data.train.min(0), data.train.max(0))
    uniform = rng.uniform(low, high, (len(held_out), *data.event_shape)).astype(np.float32)
    sigma = float(way.shown[len(way.shown) // 2]) if len(way.shown) else float(held_out.std())
    rows = {
        "train": train,
        "held out": held_out,
        "samples": samples.model,
        "noisy": held_out + np.float32(sigma) * rng.standard_normal(held_out.shape, np.float32),
        "uniform": units.to_model(uniform),
    }
    if len(samples.model) == 0:
        del rows["samples"]
    noise = np.float32(way.sigma_0)
    values = {
        name: tasks.score(
            energy, x + noise * rng.standard_normal(x.shape, np.float32), event_shape=units.model_shape
        ).astype(np.float64)
        for name, x in rows.items()
    }
    others = {name: value for name, value in values.items() if name != "held out" and len(value) > 1}
    areas = {name: detection(value, values["held out"]).auroc for name, value in others.items()}
    return Energies(way.sigma_0, sigma, values, areas)
