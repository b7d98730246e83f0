r"""The Langevin Stein operator, of a critic and under a kernel, the latter in blocks.

For a law with score s, A f = s·f + tr ∇f has E_p[A f] = 0 for every f that vanishes fast enough; under
another law q it is E_q[(s − s_q)·f]. Applied to both arguments of a kernel k(x, y) = φ(u) with
u = ‖x − y‖², it gives the Stein kernel

    H(x, y) = s(x)·s(y) k + s(x)·∇_y k + s(y)·∇_x k + tr ∇_x∇_y k
            = φ s(x)·s(y) + 2φ′ (s(y) − s(x))·(x − y) − 2d φ′ − 4u φ″,

of which E H(x, y) over independent draws of any law q is the squared kernel Stein discrepancy of q
from p: Liu, Lee & Jordan (2016), Chwialkowski, Strathmann & Gretton (2016). No sample of p, and no
normaliser, enters.

Every test needs only quadratic forms wᵀHw with many weight vectors w. `quadratic_forms` holds one
block of BLOCK × BLOCK of H at a time, and its work is in matrix products.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import hutchinson_trace, jacobian_trace, tree_dot
from energax.kernels import Kernel, squared_distances
from energax.typing import Array, Event, Float, Key, Scalar

__all__ = ["quadratic_forms", "row_sums", "stein_kernel", "stein_operator", "stein_pairs"]

BLOCK = 1024  # rows of a block


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
    """Return H for all pairs of rows x (scores s) and y (scores t)."""
    u = squared_distances(x, y)
    k, first, second = kernel.profile(u)
    across = x @ t.T - jnp.sum(s * x, 1)[:, None] - jnp.sum(t * y, 1) + s @ y.T
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


def quadratic_forms(
    block: Callable[..., Array], rows: tuple[np.ndarray, ...], weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return (wᵀHw for each row w of `weights`, the diagonal of H), H never whole.

    Parameters
    ----------
    block
        (some rows, other rows) ↦ the block of the symmetric H between them; a tuple of arrays each.
    rows
        Arrays along the same leading axis.
    weights
        Shape (number of forms, n); small integers are stored as they come, in a byte each.

    Returns
    -------
    tuple
        In float64: shapes (number of forms,) and (n,).
    """
    n = len(rows[0])
    size, padded, whole = _in_blocks(rows)
    w = jnp.asarray(np.pad(weights, [(0, 0), (0, padded - n)]))
    forms, diagonal = np.zeros(len(weights)), np.zeros(padded)
    for i in range(0, padded, size):
        for j in range(i, padded, size):  # H is symmetric: a block beside the diagonal stands for two
            part, on_diagonal = _block_forms(block, whole, w, jnp.asarray(i), jnp.asarray(j), size)
            forms += (1 if i == j else 2) * np.asarray(part, np.float64)
            if i == j:
                diagonal[i : i + size] = np.asarray(on_diagonal)
    return forms, diagonal[:n]


def row_sums(block: Callable[..., Array], rows: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return (Σ_j H_ij for each i, the diagonal of H) in float64, H never whole; see `quadratic_forms`."""
    n = len(rows[0])
    size, padded, whole = _in_blocks(rows)
    there = jnp.asarray(np.arange(padded) < n, jnp.float32)  # padding counts for nothing
    sums, diagonal = np.zeros(padded), np.zeros(padded)
    for i in range(0, padded, size):
        for j in range(i, padded, size):
            along, down, on_diagonal = _block_sums(block, whole, there, jnp.asarray(i), jnp.asarray(j), size)
            sums[i : i + size] += np.asarray(along)
            if i == j:
                diagonal[i : i + size] = np.asarray(on_diagonal)
            else:
                sums[j : j + size] += np.asarray(down)
    return sums[:n], diagonal[:n]


def _in_blocks(rows: tuple[np.ndarray, ...]) -> tuple[int, int, tuple[Array, ...]]:
    """Return a block's size, the padded number of rows, and the padded rows."""
    n = len(rows[0])
    size = min(BLOCK, 1 << (n - 1).bit_length())  # powers of two: few programs for all numbers of rows
    padded = -(-n // size) * size
    return (
        size,
        padded,
        tuple(jnp.asarray(np.pad(a, [(0, padded - n), *[(0, 0)] * (a.ndim - 1)])) for a in rows),
    )


def _block(block: Callable[..., Array], rows: tuple[Array, ...], i: Array, j: Array, size: int) -> Array:
    def part(a: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice_in_dim(a, start, size)

    return block(tuple(part(a, i) for a in rows), tuple(part(a, j) for a in rows))


@eqx.filter_jit
def _block_sums(
    block: Callable[..., Array], rows: tuple[Array, ...], there: Array, i: Array, j: Array, size: int
) -> tuple[Array, Array, Array]:
    H = _block(block, rows, i, j, size)
    left, right = (jax.lax.dynamic_slice_in_dim(there, start, size) for start in (i, j))
    return H @ right, left @ H, jnp.diagonal(H)


@eqx.filter_jit
def _block_forms(
    block: Callable[..., Array], rows: tuple[Array, ...], weights: Array, i: Array, j: Array, size: int
) -> tuple[Array, Array]:
    H = _block(block, rows, i, j, size)
    left, right = (jax.lax.dynamic_slice_in_dim(weights, start, size, 1).astype(H.dtype) for start in (i, j))
    return jnp.sum((left @ H) * right, axis=1), jnp.diagonal(H)
