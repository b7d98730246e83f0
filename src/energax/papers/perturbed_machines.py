r"""Gaussian–Bernoulli machines with random parameters, their draws, and machines whose weights are off.

Grathwohl et al. (2020), B.1, after Liu et al. (2016) and Jitkrittum et al. (2017): the entries of B are ±1, b
and c are standard normal, and the model judged has B + σN, N standard normal, where the rows are from B. With
this score,

    s(x) = b − x + ½B tanh(½Bᵀx + c),

a machine with 40 hidden units of weights ±1 is a spin glass far below its transition: given x, a unit's
log odds are about ±25, so that block Gibbs seldom leaves the pattern of spins it is in. `energies` compares
the mean energy of rows from two starts, which converged chains could not tell apart. Rows here start, as the
paper's code has it, with every spin +1. A chain that stays near few patterns samples a mixture of a few unit
Gaussians N(½Bh + b, I) with weights of its own; the machine's score there is that of the same mixture but for
weights, to which no Stein discrepancy of far modes is sensitive. That is why tests of fit keep their level on
rows that are not the machine's.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.devices import spread
from energax.energies import GaussianBernoulliRBM
from energax.typing import Array, Float, Key

__all__ = ["draws", "energies", "machine", "perturbed"]


def machine(key: Key, visible: int, hidden: int) -> GaussianBernoulliRBM:
    """Return a machine with weights ±1 and standard normal biases."""
    keys = jax.random.split(key, 3)
    return GaussianBernoulliRBM.from_parameters(
        jax.random.rademacher(keys[0], (visible, hidden), jnp.float32),
        jax.random.normal(keys[1], (visible,)),
        jax.random.normal(keys[2], (hidden,)),
    )


def perturbed(model: GaussianBernoulliRBM, level: float, key: Key) -> GaussianBernoulliRBM:
    """Return the machine with standard normal numbers times `level` added to its weights."""
    weights = model.weights + level * jax.random.normal(key, model.weights.shape)
    return GaussianBernoulliRBM.from_parameters(weights, model.visible_bias, model.hidden_bias)


def draws(
    model: GaussianBernoulliRBM, n: int, sweeps: int, key: Key, *, spins: str = "ones"
) -> Float[np.ndarray, "n d"]:
    """Return the ends of n chains of block Gibbs, from spins all +1 ("ones") or at random ("random").

    The chains are split over the devices of the process (`energax.devices`).
    """
    start_key, run_key = jax.random.split(key)
    hidden = model.hidden_bias.size
    h = jnp.ones((n, hidden))
    if spins == "random":
        h = jax.random.rademacher(start_key, (n, hidden), jnp.float32)
    (model, count, run_key), h = spread((model, jnp.asarray(sweeps), run_key), h)
    return np.asarray(_swept(model, h, count, run_key))


@eqx.filter_jit
def _swept(model: GaussianBernoulliRBM, h: Array, sweeps: Array, key: Key) -> Array:
    def sweep(i, x):
        keys = jax.random.split(jax.random.fold_in(key, i), len(x))
        return jax.vmap(model.sweep)(x, keys)

    first = jax.vmap(model.sample_visible)(h, jax.random.split(key, len(h)))
    return jax.lax.fori_loop(1, sweeps, sweep, first)


def energies(model: GaussianBernoulliRBM, n: int, sweeps: int, key: Key) -> dict[str, dict[str, float]]:
    """Return mean energy, its error, and how many patterns of spins are near, of rows from each start."""
    found = {}
    for spins in ("ones", "random"):
        x = jnp.asarray(draws(model, n, sweeps, key, spins=spins))
        energy = np.asarray(jax.vmap(model)(x), np.float64)
        patterns = np.asarray(jax.vmap(model.hidden_logits)(x)) > 0
        error = float(energy.std(ddof=1) / np.sqrt(n))
        found[spins] = {
            "mean": float(energy.mean()),
            "error": error,
            "patterns": len(np.unique(patterns, axis=0)),
        }
    return found
