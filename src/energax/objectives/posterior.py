r"""The posterior over data points given a noisy one, over the whole data set.

    π_σ(j | x̃) = softmax_j log q_σ(x̃ | x_j),      log q_σ(x̃ | x_j) = −‖x̃ − x_j‖²/2σ² − d log σ + const.

Its mean gives the score of the Parzen density p̂_σ: ∇log p̂_σ(x̃) = (Σ_j π_σ(j | x̃) x_j − x̃)/σ².

Sums over all of a large data set may be cut to S(x̃), the k rows nearest to x̃: the k largest terms,
at every σ at once. It is x̃ that chooses them and not the x_i it was drawn from. Then S is the
same whatever i is, so that Σ_i π_M(i | x̃) w_i x_i is still in proportion to Σ_i π_σ₀(i | x̃) x_i, and
the minimum stays where it is. Neighbours of x_i (a table that could be made beforehand) and i
itself would normalise each i differently and move it far: large noise takes x̃ where other
rows are near. S and i itself moves it too, by little.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.checks import check
from energax.typing import Array, Float, Key, Scalar

__all__ = ["importance_weights", "nearest", "parzen_score", "posterior_mean", "squared_distances"]


def squared_distances(a: Float[Array, "m d"], b: Float[Array, "n d"]) -> Float[Array, "m n"]:
    """‖a_i − b_j‖² by one matrix product, centred on b so that little cancels."""
    centre = b.mean(0)
    a, b = a - centre, b - centre
    distances = jnp.sum(a**2, 1)[:, None] + jnp.sum(b**2, 1) - 2 * a @ b.T
    return jnp.maximum(distances, 0)


def nearest(
    noisy: Float[Array, "m d"], data: Float[Array, "n d"], neighbours: int
) -> tuple[Array, Float[Array, "m k"]]:
    """Return the k rows of the data nearest to each noisy one, as indices, and their squared distances.

    k is `neighbours`, or n if that is less.
    """
    _, rows = jax.lax.top_k(-squared_distances(noisy, data), min(neighbours, data.shape[0]))
    # Of so few, by differences, which lose nothing.
    return rows, jax.lax.map(lambda a: jnp.sum((a[0] - data[a[1]]) ** 2, -1), (noisy, rows), batch_size=16)


def posterior_mean(
    noisy: Float[Array, "m d"],
    data: Float[Array, "n d"],
    sigma: float | Scalar,
    *,
    neighbours: int | None = None,
) -> Float[Array, "m d"]:
    """Σ_j π_σ(j | x̃) x_j for each noisy row; over its nearest rows only if `neighbours` says how many.

    What is cut off moves it by at most π_σ(not in S | x̃) times the data's diameter.
    """
    if neighbours is None:
        return jax.nn.softmax(-squared_distances(noisy, data) / (2 * sigma**2), axis=1) @ data
    rows, distances = nearest(noisy, data, neighbours)
    weights = jax.nn.softmax(-distances / (2 * sigma**2), axis=1)
    return jax.lax.map(lambda a: a[0] @ data[a[1]], (weights, rows), batch_size=16)


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
    *,
    neighbours: int | None = None,
    key: Key | None = None,
) -> Float[Array, " m"]:
    """π_σ₀(i | x̃)/π_M(i | x̃) for the x_i that x̃ was drawn from: MDSM appendix A, equation (*).

    With neighbours, the sum of π_σ₀ is over S(x̃) and that of π_M, which is wider, over S(x̃) and an
    unbiased estimate of the rest, n/k Σ_{j ∈ R∖S} from k rows R drawn anew. Neither depends on i: the
    minimum is the same. Σ_j π_M w = 1 becomes 1/π_σ₀(S | x̃), in the mean over R.

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
    neighbours
        k, or None for sums over the whole data set. The estimate's relative variance is at most
        n/k²: let k be √n or more.
    key
        Decides R; required with neighbours.
    """
    n, d = data.shape
    if neighbours is None:
        near = squared_distances(noisy, data)
        distances, share = near, jnp.zeros((1, n))
    else:
        check(key is not None, "importance_weights", "key", "given with neighbours", None)
        assert key is not None
        rows, near = nearest(noisy, data, neighbours)
        drawn = jax.random.randint(key, near.shape[1:], 0, n)
        inside = (rows[:, :, None] == drawn).any(1)
        rest = jnp.where(inside, -jnp.inf, jnp.log(n / near.shape[1]))
        distances = jnp.concatenate([near, squared_distances(noisy, data[drawn])], 1)
        share = jnp.concatenate([jnp.zeros(near.shape), rest], 1)
    log_pi_0 = -own / (2 * sigma_0**2) - jax.nn.logsumexp(-near / (2 * sigma_0**2), axis=1)

    def level(carry, k):
        mine, all_ = carry
        scale = jnp.log(level_weights[k]) - d * jnp.log(sigmas[k])
        mine = jnp.logaddexp(mine, scale - own / (2 * sigmas[k] ** 2))
        every = scale + jax.nn.logsumexp(share - distances / (2 * sigmas[k] ** 2), axis=1)
        return (mine, jnp.logaddexp(all_, every)), None

    nothing = jnp.full(noisy.shape[0], -jnp.inf)
    (mine, all_), _ = jax.lax.scan(level, (nothing, nothing), jnp.arange(sigmas.shape[0]))
    return jnp.exp(log_pi_0 - mine + all_)
