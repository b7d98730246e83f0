r"""Restoring what a linear look lost: draws of x given y = A x + s n, under a trained energy.

    E(x | y) = E(x) + ‖y − A x‖² / 2s²                             (`energies.Posterior`)

Annealed Langevin on E(· | y) would have to step as short as its steepest direction asks, s²/‖A‖², however
long that makes all others. Dynamics of step η are therefore preconditioned by

    R Rᵀ = (I + 50 η AᵀA/s²)⁻¹,

which leaves unseen directions as they are and lets what is seen add at most 1/50 to η times the curvature:
a bias of a hundredth in variance, as that of MDSM's own step. s → 0 is inpainting where A keeps coordinates.

Chains start from the posterior of their starting law: x₀ ~ N(c, τ²) drawn, then moved by the gain towards y,

    x = x₀ + K(y + s n − A x₀),        K = (AᵀA + (s²/τ²) I)⁻¹ Aᵀ,

an exact draw given y where A is linear, so that what is seen is right from the first step.

An energy trained on noise is that of x + σ₀z: at the end one jump by the prior, as for samples (MDSM eq. 9).
The posterior's draws are as many answers as there are; their mean is the estimate of least squared error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_number
from energax.derivatives import Score
from energax.energies import Energy, Posterior
from energax.samplers import Langevin, Preconditioned, Sampler, annealed_langevin
from energax.tasks.generate import anneal, event_shape_of, jump, start_noise, warn_of_lost_chains
from energax.tasks.operators import Matrix, dense
from energax.typing import Array, ArrayLike, Event, Key, Model

__all__ = ["restore"]

LARGEST = 8192  # numbers of an event up to which A is written out as a matrix
SHARE = 0.02  # of η times the curvature, that the look may add


def restore(
    energy: Model,
    y: ArrayLike,
    operator: Callable[[Event], Array] | ArrayLike,
    *,
    noise: float,
    key: Key,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    sampler: Sampler | None = None,
    center: float | Array = 0.5,
    event_shape: tuple[int, ...] | None = None,
    final_jump: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Draw one x for each observation y, from p(x | y) ∝ exp(−E(x) − ‖y − A x‖²/2s²).

    Parameters
    ----------
    energy
        E, the prior's.
    y
        Observations, shape (n, *what the operator returns).
    operator
        A: a callable on one event (see `tasks.operators`), or a matrix of the flat event.
    noise
        s > 0, the standard deviation of the observations' noise.
    key
        Decides every draw; draw i does not depend on n.
    sigma_0
        σ₀ of the objective: the unit of the energy.
    noise_max
        As in `generate`.
    sampler
        The prior's dynamics; MDSM's annealing if None. Langevin dynamics are preconditioned here, any
        other are used as they are.
    center
        Centre of the starting noise.
    event_shape
        Shape of one event, if the energy does not say.
    final_jump
        Whether to end with x − σ₀²∇E(x) of the prior.
    progress
        As in `samplers.run`.

    Returns
    -------
    numpy.ndarray
        Shape (n, *event), in the units the model sees.

    Raises
    ------
    InputError
        For a vector field or a noise-conditional model, which have no E; for observations that the
        operator does not give.
    """
    owner = "restore"
    allowed = "an energy of the event alone"
    check(not isinstance(energy, Score), owner, "energy", allowed, "a vector field")
    check(not hasattr(energy, "at"), owner, "energy", allowed, "a model that must be told the noise")
    shape = event_shape_of(energy, event_shape, owner)
    check_number(owner, "noise", noise, above=0)
    size = int(np.prod(shape))
    if not callable(operator):
        operator = Matrix(operator)
        columns = operator.matrix.shape[1]
        check(columns == size, owner, "operator", f"a matrix of {size} columns", columns)
    look = jax.eval_shape(operator, jax.ShapeDtypeStruct(shape, jnp.float32))
    seen = jnp.asarray(check_array(owner, "y", y, event_shape=look.shape))
    noise_max = start_noise(sampler, noise_max, sigma_0)
    dynamics = annealed_langevin(sigma_0=sigma_0, noise_max=noise_max) if sampler is None else sampler
    check(size <= LARGEST, owner, "energy", f"of events of at most {LARGEST:,} numbers", size)
    here = jnp.broadcast_to(jnp.asarray(center, jnp.float32), shape)
    matrix = dense(operator, here)
    if isinstance(dynamics, Langevin):
        step = float(dynamics.step_size.values.max())
        dynamics = Preconditioned(dynamics, _root(matrix, step / noise**2))
    start_key, run_key = jax.random.split(key)
    gain = np.linalg.solve(matrix.T @ matrix + (noise / noise_max) ** 2 * np.eye(size), matrix.T)
    start = _start(operator, jnp.asarray(gain, jnp.float32), here, seen, noise_max, noise, start_key)
    drawn = anneal(
        Posterior(cast(Energy, energy), operator, noise),
        len(seen),
        key=run_key,
        sigma_0=sigma_0,
        noise_max=noise_max,
        sampler=dynamics,
        start=start,
        condition=seen,
        event_shape=shape,
        final_jump=False,
        progress=progress,
    ).x
    warn_of_lost_chains(drawn)
    return np.asarray(jump(energy, drawn, jnp.asarray(sigma_0), None) if final_jump else drawn)


def _root(matrix: np.ndarray, steepness: float) -> np.ndarray:
    """Return (I + 50 η AᵀA/s²)^(−1/2) for η/s²; in float64, being nearly singular for a small s."""
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    return (vectors / np.sqrt(1 + steepness * np.maximum(values, 0) / SHARE)) @ vectors.T


@eqx.filter_jit
def _start(
    operator: Callable[[Event], Array],
    gain: Array,
    center: Array,
    seen: Array,
    spread: float,
    noise: float,
    key: Key,
) -> Array:
    """Return a draw of N(center, spread²) given each observation."""

    def one(y, i):
        x_key, y_key = jax.random.split(jax.random.fold_in(key, i))
        x = center + spread * jax.random.normal(x_key, center.shape)
        missed = y + noise * jax.random.normal(y_key, y.shape) - operator(x)
        return x + (gain @ missed.reshape(-1)).reshape(x.shape)

    return jax.vmap(one)(seen, jnp.arange(len(seen)))
