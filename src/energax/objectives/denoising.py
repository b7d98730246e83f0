r"""Denoising score matching with one noise level (Vincent 2011).

With x̃ = x + σz, z ~ N(0, I), the score of q_σ(x̃ | x) is −(x̃ − x)/σ² = −z/σ, and

    J(θ) = ½ E ‖s_θ(x̃) + (x̃ − x)/σ²‖² = ½ E ‖s_θ(x̃) + z/σ‖².

Its minimum is the score of the σ-smoothed density p_σ = p * N(0, σ²I): Song & Kingma (2021),
§4.2; Li, Chen & Sommer (2019), eq. 2 (without the ½).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.checks import check_number
from energax.derivatives import score
from energax.objectives.base import Batch, Objective
from energax.objectives.targets import Smoothed
from energax.typing import Array, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["DenoisingScoreMatching", "add_noise", "squared_norms"]


def add_noise(x: Events, sigma: Float[Array, " n"], key: Key) -> tuple[Events, Events]:
    """Return (x + σz, z): row i of every leaf gets fresh z ~ N(0, I) times σ_i."""
    leaves, structure = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    noise = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
    noisy = [
        leaf + sigma.reshape(-1, *[1] * (leaf.ndim - 1)) * z for leaf, z in zip(leaves, noise, strict=True)
    ]
    return structure.unflatten(noisy), structure.unflatten(noise)


def squared_norms(x: Events) -> Float[Array, " n"]:
    """Return ‖x_i‖² for each row i, summed over all leaves and coordinates."""
    return jax.vmap(lambda event: jnp.sum(ravel_pytree(event)[0] ** 2))(x)


class DenoisingScoreMatching(Objective):
    """J(θ) = ½ E ‖s_θ(x + σz) + z/σ‖²; sum over coordinates, mean over the batch.

    Minimiser: the σ-smoothed density.

    Parameters
    ----------
    sigma
        σ > 0, in the units of the data the model sees.
    """

    sigma: Array

    def __init__(self, sigma: float):
        self.sigma = jnp.asarray(check_number("DenoisingScoreMatching", "sigma", sigma, above=0))

    @property
    def target(self) -> Smoothed:
        """The σ-smoothed density."""
        return Smoothed(self.sigma)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""
        noisy, z = add_noise(batch.x, jnp.broadcast_to(self.sigma, (len(batch),)), key)
        s = jax.vmap(lambda x, c: score(model, x, c))(noisy, batch.condition)
        residual = jax.tree.map(lambda s, z: s + z / self.sigma, s, z)
        return 0.5 * jnp.mean(squared_norms(residual)), {}
