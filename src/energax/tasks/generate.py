"""Drawing samples: annealed Langevin dynamics from noise, and one denoising jump at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_condition, check_integer
from energax.derivatives import bind
from energax.samplers import (
    Observer,
    Run,
    Sampler,
    annealed_langevin,
    denoising_jump,
    run,
)
from energax.samplers.diagnostics import check_acceptance
from energax.typing import Array, ArrayLike, Condition, Key, Model

__all__ = [
    "anneal",
    "check_sampler_given",
    "event_shape_of",
    "generate",
    "jump",
    "picked",
    "start_noise",
    "starts",
    "warn_of_lost_chains",
]


def event_shape_of(
    energy: Model, event_shape: tuple[int, ...] | None, owner: str, rows: ArrayLike | None = None
) -> tuple[int, ...]:
    """Return the event shape that was given, or the library energy's own, or that of the rows."""
    shape = event_shape if event_shape is not None else getattr(energy, "event_shape", None)
    if shape is None and rows is not None:
        shape = np.shape(rows)[1:]
    check(shape is not None, owner, "event_shape", "given for a model that has none", None)
    ok = isinstance(shape, tuple | list) and all(isinstance(size, int) for size in shape)
    allowed = "a tuple of whole numbers (events of several arrays: fit and samplers.run take them)"
    check(ok, owner, "event_shape", allowed, shape)
    assert shape is not None
    return tuple(shape)


@eqx.filter_jit
def jump(model: Model, x: Array, sigma_0: Array, condition: Condition | None) -> Array:
    """X − σ₀²∇E(x) of every row: MDSM eq. 9."""
    return jax.vmap(lambda x, c: denoising_jump(bind(model, c), x, sigma_0))(x, condition)


def check_sampler_given(owner: str, told: bool, sampler: Sampler | None) -> None:
    """Refuse a noise-conditional model without a sampler: its levels are the caller's to know."""
    needed = "given for a noise-conditional model, as samplers.AnnealedNoiseLangevin(sigmas)"
    check(sampler is not None or not told, owner, "sampler", needed, None)


def start_noise(sampler: Sampler | None, noise_max: float | None, sigma_0: float) -> float:
    """Return the noise to start from: as asked, else where the sampler's levels start, else 10 σ₀."""
    own = None if sampler is None else sampler.start_noise
    return noise_max if noise_max is not None else 10 * sigma_0 if own is None else own


def starts(key: Key, n: int, shape: tuple[int, ...], center: float | Array, noise_max: float) -> Array:
    """Return where chains start: row i is the same for every n."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    return center + noise_max * jax.vmap(lambda k: jax.random.normal(k, shape))(keys)


def picked(rows: int, n: int, key: Key) -> np.ndarray:
    """Return n numbers of rows, with replacement; the i-th does not depend on n."""
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    return np.asarray(jax.vmap(lambda k: jax.random.randint(k, (), 0, rows))(keys))


def warn_of_lost_chains(x: Array | np.ndarray) -> None:
    """Warn if chains ran away to values that are not finite; they are returned as they are."""
    finite = np.isfinite(np.asarray(x)).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        warnings.warn(
            f"{int((~finite).sum())} of {len(x)} chains left the region the energy was trained on and are "
            "not finite; a smaller noise_max, below the ladder's largest sigma, keeps them.",
            stacklevel=3,
        )


def anneal(
    energy: Model,
    n: int,
    *,
    key: Key,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    sampler: Sampler | None = None,
    start: ArrayLike | None = None,
    center: float | Array = 0.5,
    condition: Condition | None = None,
    event_shape: tuple[int, ...] | None = None,
    final_jump: bool | None = None,
    observers: Mapping[str, Observer] | None = None,
    every: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Run:
    """Draw n samples as `generate` does, and keep what the observers saw on the way.

    Chains that ran away are returned as they ended, without a warning. Of replicas at several temperatures
    between which next to nothing passes there is one.

    Parameters
    ----------
    energy
        The energy (or `Score`).
    n
        How many.
    key
        Decides every draw; sample i does not depend on n.
    sigma_0
        σ₀ of the objective: the unit of the energy, from which temperatures and steps follow.
    noise_max
        Standard deviation of the starting noise, and √T σ₀ at the start of the default
        sampler. If None, where the sampler's own noise levels start, or 10 σ₀. Keep it below
        the ladder's largest σ: beyond what it was trained on, a quadratic head may be unbounded
        below.
    sampler
        Any sampler with a horizon; MDSM's 2,700 annealed steps for this σ₀ if None. A
        noise-conditional model needs one that anneals over noise levels.
    start
        Where the chains start, shape (n, *event); drawn if None.
    center
        Centre of the starting noise.
    condition
        One condition per sample, for a conditional energy.
    event_shape
        Shape of one event, if the energy does not say.
    final_jump
        Whether to end with the denoising jump x − σ₀²∇E(x); if None, unless the model is
        noise-conditional (whose samplers denoise at their last level).
    observers, every, progress
        As in `samplers.run`.

    Returns
    -------
    Run
        `.x` holds the samples, shape (n, *event).

    Raises
    ------
    InputError
        For bad arguments, or if a sampler's proposals are all but always refused.
    """
    check_integer("anneal", "n", n, at_least=1)
    shape = event_shape_of(energy, event_shape, "anneal")
    start_key, run_key = jax.random.split(key)
    told = hasattr(energy, "at")
    check_sampler_given("anneal", told, sampler)
    noise_max = start_noise(sampler, noise_max, sigma_0)
    if start is None:
        start = starts(start_key, n, shape, center, noise_max)
    else:
        start = jnp.asarray(check_array("anneal", "start", start, event_shape=shape))
        check(len(start) == n, "anneal", "start", f"of {n} rows", len(start))
    condition = check_condition("anneal", condition, n)
    if sampler is None:
        sampler = annealed_langevin(sigma_0=sigma_0, noise_max=noise_max)
    result = run(
        sampler,
        energy,
        start,
        key=run_key,
        condition=condition,
        observers=observers,
        every=every,
        progress=progress,
        warn=False,  # refused below
    )
    if "acceptance" in result.info:
        check_acceptance(result)
    for trouble in sampler.troubles(result.info):  # others than that
        warnings.warn(f"anneal: {trouble}.", stacklevel=2)
    if not (not told if final_jump is None else final_jump):
        return result
    return result._replace(x=jump(energy, result.x, jnp.asarray(sigma_0), condition))


def generate(energy: Model, n: int, *, key: Key, sigma_0: float = 0.1, **settings: Any) -> np.ndarray:
    """Draw n samples of an energy trained by multiscale denoising score matching.

    MDSM §3.2 and appendix D: start from noise of standard deviation 10 σ₀, anneal the
    temperature by Langevin dynamics (eq. 8), end with one denoising jump (eq. 9).

    Parameters
    ----------
    energy
        The energy (or `Score`).
    n
        How many.
    key
        Decides every draw; sample i does not depend on n.
    sigma_0
        σ₀ of the objective: the unit of the energy, from which temperatures and steps follow.
    **settings
        Any other argument of `anneal`: noise_max, sampler, start, center, condition, …

    Returns
    -------
    numpy.ndarray
        Shape (n, *event), in the units the model sees.
    """
    samples = np.asarray(anneal(energy, n, key=key, sigma_0=sigma_0, **settings).x)
    warn_of_lost_chains(samples)
    return samples
