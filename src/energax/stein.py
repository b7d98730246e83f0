r"""The Langevin Stein operator, of a critic and under a kernel.

For a law with score s, A f = s·f + tr ∇f has E_p[A f] = 0 for every f that vanishes fast enough; under
another law q it is E_q[(s − s_q)·f]. Applied to both arguments of a kernel k(x, y) = φ(u) with
u = ‖x − y‖², it gives the Stein kernel

    H(x, y) = s(x)·s(y) k + s(x)·∇_y k + s(y)·∇_x k + tr ∇_x∇_y k
            = φ s(x)·s(y) + 2φ′ (s(y) − s(x))·(x − y) − 2d φ′ − 4u φ″,

of which E H(x, y) over independent draws of any law q is the squared kernel Stein discrepancy of q
from p: Liu, Lee & Jordan (2016), Chwialkowski, Strathmann & Gretton (2016). No sample of p, and no
normaliser, enters.

Every test needs only sums over the matrix of H, which is never whole (`energax.blocks`).
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from energax.derivatives import hutchinson_trace, jacobian_trace, tree_dot
from energax.kernels import Kernel, squared_distances
from energax.typing import Array, Event, Float, Key, Scalar

__all__ = ["stein_kernel", "stein_operator", "stein_pairs"]


def stein_operator(
    critic: Callable[[Event], Event], x: Event, s: Event, *, key: Key | None = None, probes: int = 0
) -> tuple[Scalar, Event]:
    """Return A f(x) = s·f(x) + tr ∇f(x), and f(x), at one event.

    Parameters
    ----------
    critic
        x ↦ f(x). If it has `value_and_trace(x, key)`, that is asked (a key lets its units drop out).
    x, s
        An event and the model's score there.
    key
        Decides the probes and what drops out.
    probes
        0 for the exact trace, else how many Gaussian probes estimate it.
    """
    if probes == 0 and hasattr(critic, "value_and_trace"):
        value, trace = critic.value_and_trace(x, key)
    elif probes == 0:
        value, trace = critic(x), jacobian_trace(critic, x)
    else:
        assert key is not None
        value = critic(x)
        trace = hutchinson_trace(critic, x, key=key, probes=probes, distribution="gaussian")
    return tree_dot(s, value) + trace, value


def stein_kernel(
    kernel: Kernel,
    x: Float[Array, "n d"],
    s: Float[Array, "n d"],
    y: Float[Array, "m d"],
    t: Float[Array, "m d"],
) -> Float[Array, "n m"]:
    """Return H for all pairs of rows x (scores s) and y (scores t), about their mean: little cancels."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    u = squared_distances(x, y)
    k, first, second = kernel.profile(u)
    both = jnp.concatenate([x, s], 1) @ jnp.concatenate([t, y], 1).T  # x·t + s·y
    across = both - jnp.sum(s * x, 1)[:, None] - jnp.sum(t * y, 1)
    return k * (s @ t.T) + 2 * first * (across - x.shape[1]) - 4 * u * second


def stein_pairs(
    kernel: Kernel,
    x: Float[Array, "n d"],
    s: Float[Array, "n d"],
    y: Float[Array, "n d"],
    t: Float[Array, "n d"],
) -> Float[Array, " n"]:
    """Return H of each row of x with the same row of y."""
    u = jnp.sum((x - y) ** 2, 1)
    k, first, second = kernel.profile(u)
    across = jnp.sum((t - s) * (x - y), 1)
    return k * jnp.sum(s * t, 1) + 2 * first * (across - x.shape[1]) - 4 * u * second
