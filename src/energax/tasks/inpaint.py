"""Filling in what is missing: annealed Langevin dynamics with the known part clamped."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_choice, check_condition
from energax.samplers import Clamped, Masked, Sampler, annealed_langevin, run
from energax.tasks.generate import check_sampler_given, event_shape_of, jump, start_noise, warn_of_lost_chains
from energax.typing import Array, Condition, Key, Model

__all__ = ["MASKS", "inpaint", "named_mask"]

MASKS = ("left", "right", "top", "bottom", "center")


def named_mask(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a mask of an image that is True where it is known.

    Parameters
    ----------
    name
        What is missing: "left", "right", "top" or "bottom" half, or the "center" (the middle
        half in each direction).
    shape
        (H, W) or (H, W, C).
    """
    check_choice("inpaint", "mask", name, MASKS)
    check(
        len(shape) in (2, 3), "inpaint", "mask", "an array unless events are images", f"{name!r} for {shape}"
    )
    h, w = shape[:2]
    missing = {
        "left": np.s_[:, : w // 2],
        "right": np.s_[:, w - w // 2 :],
        "top": np.s_[: h // 2, :],
        "bottom": np.s_[h - h // 2 :, :],
        "center": np.s_[h // 4 : h - h // 4, w // 4 : w - w // 4],
    }[name]
    known = np.ones(shape, bool)
    known[missing] = False
    return known


def inpaint(
    energy: Model,
    x: np.ndarray,
    known: np.ndarray,
    *,
    key: Key,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    sampler: Sampler | None = None,
    center: float | Array = 0.5,
    condition: Condition | None = None,
    event_shape: tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Return x with its unknown coordinates drawn given the known ones: MDSM §4.

    Parameters
    ----------
    energy
        The energy (or `Score`).
    x
        Rows, shape (n, *event); unknown coordinates are not read (they may hold NaN).
    known
        True where x is known: one mask of the event's shape, or one for each row.
    key
        Decides every draw.
    sigma_0
        σ₀ of the objective.
    noise_max
        As in `generate`.
    sampler
        Dynamics that say what noise their chains carry; MDSM's annealing if None. A
        noise-conditional model needs one that anneals over noise levels.
    center
        Centre of the starting noise of unknown coordinates, as in `generate`.
    condition
        One condition per row, for a conditional energy.
    event_shape
        Shape of one event, if the energy does not say.
    progress
        As in `samplers.run`.

    Returns
    -------
    numpy.ndarray
        Shape of x; known coordinates are those of x, bit for bit.
    """
    shape = event_shape_of(energy, event_shape, "inpaint", x)
    mask = np.asarray(known)
    check(mask.dtype == bool, "inpaint", "known", "an array of booleans", mask.dtype)
    given = np.asarray(x)
    check(given.shape[1:] == shape, "inpaint", "x", f"rows of shape {shape}", f"shape {given.shape}")
    fits = mask.shape in (shape, given.shape)
    check(fits, "inpaint", "known", f"of shape {shape} or {given.shape}", f"shape {mask.shape}")
    mask = np.broadcast_to(mask, given.shape)
    truth = check_array("inpaint", "x", np.where(mask, given, 0), event_shape=shape)
    condition = check_condition("inpaint", condition, len(truth))

    start_key, run_key = jax.random.split(key)
    noise = jax.random.normal(start_key, truth.shape)
    told = hasattr(energy, "at")
    check_sampler_given("inpaint", told, sampler)
    noise_max = start_noise(sampler, noise_max, sigma_0)
    start = jnp.where(mask, truth, center + noise_max * noise)
    chains = Masked(start, jnp.asarray(truth), jnp.asarray(mask))
    dynamics = annealed_langevin(sigma_0=sigma_0, noise_max=noise_max) if sampler is None else sampler
    clamped = Clamped(dynamics, dynamics.noise(sigma_0))
    final = run(clamped, energy, chains, key=run_key, condition=condition, progress=progress).x
    warn_of_lost_chains(final)
    clean = final if told else jump(energy, final, jnp.asarray(sigma_0), condition)
    return np.where(mask, truth, np.asarray(clean))
