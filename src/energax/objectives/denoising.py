r"""Denoising score matching with one noise level (Vincent 2011).

With x̃ = x + σz, z ~ N(0, I), the score of q_σ(x̃ | x) is −(x̃ − x)/σ² = −z/σ, and

    J(θ) = ½ E ‖s_θ(x̃) + (x̃ − x)/σ²‖² = ½ E ‖s_θ(x̃) + z/σ‖².

Its minimum is the score of the σ-smoothed density p_σ = p * N(0, σ²I): Song & Kingma (2021),
§4.2; Li, Chen & Sommer (2019), eq. 2 (without the ½).

As σ → 0 the variance of one draw grows as 1/σ². Two terms of known mean cancel what grows
(Wang et al. 2020; Song & Kingma eq. 11–14, both terms under the ½), which leaves

    ½ [‖s(x̃)‖² + (2/σ) z·(s(x̃) − s(x)) + d/σ²].

Subtracted are s(x)·z/σ, whose mean is zero since x knows nothing of z, and (‖z‖² − d)/2σ², so
the expectation and every gradient's expectation stay as they were. In this form nothing of
size 1/σ² is subtracted in floating point. At large σ, where s(x) says little of s(x̃), the
extra term is noise: `energax reproduce dsm-control-variate` shows both sides.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.checks import check_number
from energax.derivatives import score, tree_dot
from energax.objectives.base import Batch, Objective
from energax.objectives.requirements import require_smooth
from energax.objectives.targets import Smoothed
from energax.typing import Array, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["DenoisingScoreMatching", "add_noise", "squared_norms"]

KINKED = "NoiseContrastiveEstimation, which takes no derivative in x"


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
    control_variate
        Whether to cancel the variance that grows as 1/σ² (Song & Kingma eq. 14), at the cost
        of a second score per row. Pays at σ far below the data's finest detail, hurts above it.
    """

    sigma: Array
    control_variate: bool = eqx.field(static=True)

    def __init__(self, sigma: float, control_variate: bool = False):
        self.sigma = jnp.asarray(check_number("DenoisingScoreMatching", "sigma", sigma, above=0))
        self.control_variate = bool(control_variate)

    @property
    def target(self) -> Smoothed:
        """The σ-smoothed density."""
        return Smoothed(self.sigma)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse energies whose first derivative jumps."""
        require_smooth(type(self).__name__, model, data.x, data.condition, order=1, instead=KINKED)
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""
        noisy, z = add_noise(batch.x, jnp.broadcast_to(self.sigma, (len(batch),)), key)
        s = jax.vmap(lambda x, c: score(model, x, c))(noisy, batch.condition)
        if not self.control_variate:
            residual = jax.tree.map(lambda s, z: s + z / self.sigma, s, z)
            return 0.5 * jnp.mean(squared_norms(residual)), {}
        clean = jax.vmap(lambda x, c: score(model, x, c))(batch.x, batch.condition)
        change = jax.vmap(tree_dot)(z, jax.tree.map(jnp.subtract, s, clean))
        d = sum(leaf[0].size for leaf in jax.tree.leaves(batch.x))
        return 0.5 * jnp.mean(squared_norms(s) + 2 * change / self.sigma) + 0.5 * d / self.sigma**2, {}
