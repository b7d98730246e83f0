r"""One jump x̃ − σ₀²∇E(x̃) at a dozen σ, none of them told to the model (MDSM eq. 9).

Its error is that of held-out rows, beside the error of Wiener's filter, which is told σ, on the
same noisy rows; their ratio carries its standard error over rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from energax import tasks
from energax.report.measure.protocol import JUDGED, Protocol
from energax.report.measure.units import Units
from energax.report.wiener import Wiener
from energax.typing import Key, Model

__all__ = ["Denoising", "denoising", "ratio_of_roots"]


@dataclass(frozen=True)
class Denoising:
    """How well one jump removes noise, beside the best linear denoiser.

    Parameters
    ----------
    sigmas
        Noise levels, shape (s,).
    noisy, linear, model
        Root mean square error per coordinate on the same held-out noisy rows, in model units.
    ratio, ratio_error
        model ÷ linear, and its standard error over rows (paired: both saw the same noise).
    rows
        How many held-out rows.
    shown
        Noise levels shown, shape (t,).
    clean, clean_noisy, clean_denoised
        Held-out rows in data units, shape (c, *event); noisy and denoised, shape (t, c, *event).
    """

    sigmas: np.ndarray
    noisy: np.ndarray
    linear: np.ndarray
    model: np.ndarray
    ratio: np.ndarray
    ratio_error: np.ndarray
    rows: int
    shown: np.ndarray
    clean: np.ndarray
    clean_noisy: np.ndarray
    clean_denoised: np.ndarray

    @property
    def verdict(self) -> np.ndarray:
        """1 where the model is better than the linear denoiser by three standard errors, −1 worse, else 0."""
        return np.sign(1 - self.ratio) * (np.abs(1 - self.ratio) > 3 * self.ratio_error)


def ratio_of_roots(above: np.ndarray, below: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return r = √(mean above / mean below) over the last axis and its standard error.

    The rows are paired, so by the delta method the variance of r² is that of
    (above − r² below) / mean below.
    """
    mean = np.maximum(below.mean(axis=-1), 1e-30)
    square = above.mean(axis=-1) / mean
    spread = (above - square[..., None] * below).std(axis=-1) / np.sqrt(above.shape[-1]) / mean
    root = np.sqrt(square)
    return root, spread / np.maximum(2 * root, 1e-30)


def denoising(way: Protocol, model: Model, units: Units, wiener: Wiener, key: Key) -> Denoising | None:
    """Denoise held-out rows; the same noise z at every level, so that levels compare.

    None for a model that knows nothing of noise.
    """
    if len(way.sigmas) == 0:
        return None
    image = units.dataset.kind == "image"
    clean = units.to_model(units.dataset.test[:JUDGED])
    z = np.asarray(jax.random.normal(key, clean.shape))

    def jumps(rows: int, sigmas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noisy = np.stack([clean[:rows] + np.float32(sigma) * z[:rows] for sigma in sigmas])
        flat = noisy.reshape(-1, *units.model_shape)
        if not way.way.told:
            out = tasks.denoise(model, flat, sigma_0=way.sigma_0, event_shape=units.model_shape)
            return noisy, out.reshape(noisy.shape)
        levels = zip(noisy, sigmas, strict=True)
        shape = units.model_shape
        outs = [tasks.denoise(model, x, sigma=float(s), event_shape=shape) for x, s in levels]
        return noisy, np.stack(outs)

    def squares(rows: np.ndarray) -> np.ndarray:
        return np.mean((rows.astype(np.float64) - clean).reshape(len(clean), -1) ** 2, axis=1)

    noisy, denoised = jumps(len(clean), way.sigmas)
    by_model = np.stack([squares(rows) for rows in denoised])
    by_line = np.stack([squares(wiener(rows, s)) for rows, s in zip(noisy, way.sigmas, strict=True)])
    ratio, ratio_error = ratio_of_roots(by_model, by_line)
    count = min(8 if image else JUDGED, len(clean))
    shown_noisy, shown_denoised = jumps(count, way.shown)

    def data(rows: np.ndarray) -> np.ndarray:
        flat = units.to_data(rows.reshape(-1, *units.model_shape))
        return flat.reshape(len(way.shown), count, *flat.shape[1:])

    return Denoising(
        sigmas=way.sigmas,
        noisy=np.sqrt([squares(rows).mean() for rows in noisy]),
        linear=np.sqrt(by_line.mean(axis=1)),
        model=np.sqrt(by_model.mean(axis=1)),
        ratio=ratio,
        ratio_error=ratio_error,
        rows=len(clean),
        shown=way.shown,
        clean=units.dataset.test[:count],
        clean_noisy=data(shown_noisy),
        clean_denoised=data(shown_denoised),
    )
