"""The fields of scores that MDSM's importance weights lead to, exact, set to one, or by a minibatch.

What they are is derived in `mdsm_importance_weights`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.objectives.posterior import importance_weights, posterior_mean, squared_distances
from energax.typing import Array, Float

__all__ = [
    "LEVELS", "SIGMA_0", "SIGMA_MAX", "SIGMA_MIN", "ladder", "ladder_score", "minibatch_scores",
    "weighted_score",
]  # fmt: skip

SIGMA_0 = 0.1
SIGMA_MIN, SIGMA_MAX, LEVELS = 0.05, 2.0, 16


def ladder() -> tuple[Array, Array]:
    """Return σ_k and l_k = σ_k⁻²."""
    sigmas = jnp.geomspace(SIGMA_MIN, SIGMA_MAX, LEVELS)
    return sigmas, sigmas**-2.0


def ladder_score(x: Float[Array, "m d"], data: Float[Array, "n d"]) -> Float[Array, "m d"]:
    """(Σ_j π_M(j | x) x_j − x)/σ₀²: the minimum with w = 1, on a data set."""
    sigmas, weights = ladder()
    d2 = squared_distances(x, data)

    def level(total, k):
        term = jnp.log(weights[k]) - data.shape[1] * jnp.log(sigmas[k]) - d2 / (2 * sigmas[k] ** 2)
        return jnp.logaddexp(total, term), None

    log_mass, _ = jax.lax.scan(level, jnp.full(d2.shape, -jnp.inf), jnp.arange(LEVELS))
    return (jax.nn.softmax(log_mass, axis=1) @ data - x) / SIGMA_0**2


def weighted_score(x: Float[Array, "m d"], data: Float[Array, "n d"]) -> Float[Array, "m d"]:
    """Σ_j π_M(j | x) w_j (x_j − x)/σ₀², with the weights of the importance objective; cost m n² levels."""
    sigmas, weights = ladder()
    d2 = squared_distances(x, data)
    scale = jnp.log(weights) - data.shape[1] * jnp.log(sigmas)
    log_mass = jax.nn.logsumexp(scale - d2[..., None] / (2 * sigmas**2), axis=-1)
    share = jax.nn.softmax(log_mass, axis=1)
    rows = jnp.repeat(x, len(data), axis=0)
    w = importance_weights(rows, d2.ravel(), data, SIGMA_0, sigmas, weights).reshape(d2.shape)
    return jnp.einsum("mn,mnd->md", share * w, data - x[:, None]) / SIGMA_0**2


def minibatch_scores(
    x: Float[Array, "m d"], data: Float[Array, "n d"], rows: Float[Array, "r b"]
) -> tuple[Float[Array, "m d"], Float[Array, "m d"]]:
    """The mean over minibatches that the mistake leads to, and the field of the first one alone."""
    sigmas, weights = ladder()

    def one(row):
        batch = data[row]
        d2 = squared_distances(x, batch)
        scale = jnp.log(weights) - data.shape[1] * jnp.log(sigmas)
        log_density = jax.nn.logsumexp(scale - d2[..., None] / (2 * sigmas**2), axis=(1, 2))
        return log_density, posterior_mean(x, batch, SIGMA_0)

    log_density, means = jax.lax.map(one, rows)
    mean = jnp.einsum("rm,rmd->md", jax.nn.softmax(log_density, axis=0), means)
    return (mean - x) / SIGMA_0**2, (means[0] - x) / SIGMA_0**2
