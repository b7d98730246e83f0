r"""The posterior over data points given a noisy one, over the whole data set.

    π_σ(j | x̃) = softmax_j log q_σ(x̃ | x_j),      log q_σ(x̃ | x_j) = −‖x̃ − x_j‖²/2σ² − d log σ + const.

Its mean gives the score of the Parzen density p̂_σ: ∇log p̂_σ(x̃) = (Σ_j π_σ(j | x̃) x_j − x̃)/σ².
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.typing import Array, Float, Scalar

__all__ = ["importance_weights", "parzen_score", "posterior_mean", "squared_distances"]


def squared_distances(a: Float[Array, "m d"], b: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """‖a_i − b_j‖² by one matrix product, centred on b so that little cancels."""
    centre = b.mean(0)
    a, b = a - centre, b - centre
    distances = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
    return jnp.maximum(distances, 0)


def posterior_mean(
    noisy: Float[Array, "m d"], data: Float[Array, "n d"], sigma: float | Scalar
) -> Float[Array, "m d"]:
    """Σ_j π_σ(j | x̃) x_j for each noisy row."""
    return jax.nn.softmax(-squared_distances(noisy, data) / (2 * sigma**2), axis=1) @ data


def parzen_score(
    x: Float[Array, "m d"], data: Float[Array, "n d"], sigma: float | Scalar
) -> Float[Array, "m d"]:
    """∇log p̂_σ(x), the score of the data set's Parzen density with Gaussian kernel σ."""
    return (posterior_mean(x, data, sigma) - x) / sigma**2


def importance_weights(
    noisy: Float[Array, "m d"],
    own: Float[Array, " m"],
    data: Float[Array, "n d"],
    sigma_0: float | Scalar,
    sigmas: Float[Array, " K"],
    level_weights: Float[Array, " K"],
) -> Float[Array, " m"]:
    """π_σ₀(i | x̃)/π_M(i | x̃) for the x_i that x̃ was drawn from: MDSM appendix A, equation (*).

    Parameters
    ----------
    noisy
        x̃, one row each.
    own
        ‖x̃ − x_i‖² to the row it was drawn from.
    data
        The whole data set.
    sigma_0, sigmas, level_weights
        σ₀, the ladder σ_k and the weight l_k its levels have in the loss.
    """
    distances = squared_distances(noisy, data)
    d = data.shape[1]
    log_pi_0 = -own / (2 * sigma_0**2) - jax.nn.logsumexp(-distances / (2 * sigma_0**2), axis=1)

    def level(carry, k):
        mine, all_ = carry
        scale = jnp.log(level_weights[k]) - d * jnp.log(sigmas[k])
        mine = jnp.logaddexp(mine, scale - own / (2 * sigmas[k] ** 2))
        every = scale + jax.nn.logsumexp(-distances / (2 * sigmas[k] ** 2), axis=1)
        return (mine, jnp.logaddexp(all_, every)), None

    nothing = jnp.full(noisy.shape[0], -jnp.inf)
    (mine, all_), _ = jax.lax.scan(level, (nothing, nothing), jnp.arange(sigmas.shape[0]))
    return jnp.exp(log_pi_0 - mine + all_)
