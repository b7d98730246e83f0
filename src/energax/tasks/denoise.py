"""Removing noise in one step, without being told how much there is."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_condition, check_number
from energax.tasks.generate import event_shape_of, jump
from energax.tasks.rows import map_rows
from energax.typing import Condition, Model

__all__ = ["denoise"]


def denoise(
    energy: Model,
    noisy: np.ndarray,
    *,
    sigma_0: float = 0.1,
    sigma: float | None = None,
    condition: Condition | None = None,
    event_shape: tuple[int, ...] | None = None,
) -> np.ndarray:
    """Return x̃ − σ₀²∇E(x̃) of every row, MDSM eq. 9; of a noise-conditional model x̃ + σ²s(x̃, σ).

    For an energy trained on a ladder of noise levels this estimates E[x | x̃] at each of them,
    with no level given (the empirical Bayes reading: Saremi & Hyvärinen 2019). A noise-conditional
    model gives E[x | x̃] by Tweedie's formula at the level it is told.

    Parameters
    ----------
    energy
        The energy (or `Score`).
    noisy
        Rows of data plus Gaussian noise, shape (n, *event).
    sigma_0
        σ₀ of the objective; not read for a noise-conditional model.
    sigma
        The level of the noise, required for a noise-conditional model and only for one.
    condition
        One condition per row, for a conditional energy.
    event_shape
        Shape of one event, if the energy does not say and the rows are not to say it.

    Returns
    -------
    numpy.ndarray
        Shape of `noisy`.
    """
    check_number("denoise", "sigma_0", sigma_0, above=0)
    told = hasattr(energy, "at")
    allowed = "given for a noise-conditional model" if told else "None for a model that is not told the noise"
    check((sigma is not None) == told, "denoise", "sigma", allowed, sigma)
    shape = event_shape_of(energy, event_shape, "denoise", noisy)
    rows = check_array("denoise", "noisy", noisy, event_shape=shape)
    condition = check_condition("denoise", condition, len(rows))
    if sigma is not None:
        sigma_0 = check_number("denoise", "sigma", sigma, above=0)
        energy = energy.at(jnp.asarray(sigma_0, jnp.float32))
    scale = jnp.asarray(sigma_0, jnp.float32)
    return map_rows(lambda chunk: jump(energy, chunk[0], scale, chunk[1]), (rows, condition))
