"""Held-out images completed, the known part clamped and noised with the temperature (MDSM §4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax import tasks
from energax.report.measure.progress import Progress, tenths
from energax.report.measure.protocol import Protocol
from energax.report.measure.reach import Reach
from energax.report.measure.units import Units
from energax.typing import Key, Model

__all__ = ["Inpainting", "inpainting"]

MASKS = ("left", "center")


@dataclass(frozen=True)
class Inpainting:
    """Completions of held-out images under one mask.

    Parameters
    ----------
    name
        What was missing.
    known
        True where the image was known, shape of an event in data units.
    truth, completed
        Data units, shape (c, *event); NaN where a chain was lost.
    """

    name: str
    known: np.ndarray
    truth: np.ndarray
    completed: np.ndarray


def inpainting(
    way: Protocol, model: Model, units: Units, reach: Reach, key: Key, progress: Progress
) -> tuple[Inpainting, ...]:
    """Complete held-out images, all masks in one run; none if the model knows nothing of noise."""
    if way.way.sigma_0 is None:
        return ()
    shape = units.dataset.image_shape
    assert shape is not None
    truth = units.dataset.test[:6]
    masks = [tasks.named_mask(name, shape).reshape(units.dataset.event_shape) for name in MASKS]
    known = np.concatenate([np.broadcast_to(units.known(m), (len(truth), *units.model_shape)) for m in masks])
    x = np.concatenate([units.to_model(truth)] * len(masks))
    progress("inpainting")
    out = tasks.inpaint(
        model,
        x,
        known,
        key=key,
        sigma_0=way.sigma_0,
        noise_max=way.noise_max,
        sampler=way.way.sampler,
        center=reach.center,
        event_shape=units.model_shape,
        progress=tenths("inpainting", progress),
    )
    data = units.to_data(out)
    data[~reach.holds(out)] = np.nan
    completed = np.split(data, len(masks))
    return tuple(Inpainting(n, m, truth, c) for n, m, c in zip(MASKS, masks, completed, strict=True))
