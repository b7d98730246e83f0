r"""Sums over a symmetric n × n matrix H that is never whole: one block of BLOCK × BLOCK at a time.

Three of them are all that tests of fit and of two samples ask for: Σ_j H_ij for each i, wᵀHw for given
weights w, and wᵀHw for many vectors w of random signs, which is the wild bootstrap.

The last is most of the work where each draw costs n² products, and need not be. Split the rows at random
into m parts, row i being in part k(i). With independent signs u_i and the Hadamard matrix h of order m
(signs whose rows are orthogonal) each of the m vectors

    w_b(i) = u_i h_bk(i)

has independent signs, and all their forms come from one m × m matrix of sums over pairs of parts,

    w_bᵀHw_b = h_bᵀ C h_b,    C_kl = Σ_{i in k, j in l} u_i u_j H_ij,

for the work of one draw. As the parts grow, the m forms become independent of each other, too: with
H = Σ λ vvᵀ the sums Σ_{i in k} u_i v_i tend to independent normal variables of one variance, and a
Hadamard matrix turns a vector of those into another. So a part has at least PART rows, m is 1 where rows are
few, and every m draws have their own u.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from energax.typing import Array, Float, Key

__all__ = ["SignForms", "quadratic_forms", "row_sums", "sign_forms"]

BLOCK = 1024  # rows of a block
PART = 64  # rows, at least, of a part on average
PARTS = 64  # at most


class SignForms(NamedTuple):
    """What the wild bootstrap of a V- or a U-statistic needs, in float64.

    Attributes
    ----------
    total
        Σ_ij H_ij.
    trace
        Σ_i H_ii.
    forms
        Σ_ij w_i w_j H_ij for each draw of signs w.
    """

    total: float
    trace: float
    forms: np.ndarray


def sign_forms(block: Callable[..., Array], rows: tuple[np.ndarray, ...], draws: int, key: Key) -> SignForms:
    """Return Σ_ij w_i w_j H_ij for random signs w (and for ones), H never whole.

    Parameters
    ----------
    block
        (some rows, other rows) ↦ the block of the symmetric H between them; a tuple of arrays each.
    rows
        Arrays along the same leading axis.
    draws
        How many w.
    key
        Decides the signs.
    """
    n = len(rows[0])
    slot_key, sign_key = jax.random.split(key)
    size, padded = _sizes(n)
    m = parts_of(n)
    slots = slots_of(slot_key, padded, n)
    whole = _padded(rows, padded, slots)
    signs = np.zeros((1 + -(-draws // m), padded), np.int8)  # 0 in the slots that hold no row
    signs[0, slots] = 1
    signs[1:, slots] = random_signs(sign_key, len(signs) - 1, n)
    u = jnp.asarray(signs)
    C = np.zeros((len(signs), m, m))
    for i in range(0, padded, size):
        # A row of blocks is under way at once, and waits for nobody.
        row = [
            _block_sums_of_parts(block, whole, u, jnp.asarray(i), jnp.asarray(j), size, m)
            for j in range(i, padded, size)
        ]
        C += sum(np.asarray(part, np.float64) * (1 if part is row[0] else 2) for part in row)
    h = scipy.linalg.hadamard(m)
    forms = np.sum((h @ C[1:]) * h, axis=2)
    trace = float(np.sum(np.asarray(_diagonal(block, whole), np.float64)[slots]))
    return SignForms(float(C[0].sum()), trace, forms.ravel()[:draws])


def parts_of(n: int) -> int:
    """Return m for n rows, a power of two."""
    return min(PARTS, 1 << max(0, (n // PART).bit_length() - 1))


def slots_of(key: Key, padded: int, n: int) -> np.ndarray:
    """Return where the n rows go: at random, so that parts are alike however the rows were ordered."""
    return np.asarray(jax.random.permutation(key, padded))[:n]


def random_signs(key: Key, draws: int, n: int) -> np.ndarray:
    """Return independent signs, shape (draws, n), a bit of randomness each."""
    bits = np.asarray(jax.random.bits(key, (draws, -(-n // 8)), jnp.uint8))
    return 1 - 2 * np.unpackbits(bits, axis=1)[:, :n].astype(np.int8)


def quadratic_forms(
    block: Callable[..., Array],
    rows: tuple[np.ndarray, ...],
    kinds: np.ndarray,
    weights: Float[np.ndarray, " kinds"],
) -> Float[np.ndarray, " forms"]:
    """Return wᵀHw for w_i = weights[kinds[i]], for each row of `kinds`, in float64; see `sign_forms`.

    Parameters
    ----------
    block, rows
        Those of `sign_forms`.
    kinds
        Shape (number of forms, n), int8: a byte of each weight, where there are few.
    weights
        Of each kind.
    """
    n = len(rows[0])
    size, padded = _sizes(n)
    whole = _padded(rows, padded, np.arange(n))
    here = jnp.asarray(np.pad(kinds, [(0, 0), (0, padded - n)], constant_values=len(weights)))
    w = jnp.asarray(np.append(weights, 0), jnp.float32)  # padding counts for nothing
    forms = np.zeros(len(kinds))
    for i, j in _upper(padded, size):
        part = _block_forms(block, whole, here, w, jnp.asarray(i), jnp.asarray(j), size)
        forms += (1 if i == j else 2) * np.asarray(part, np.float64)
    return forms


def row_sums(block: Callable[..., Array], rows: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return (Σ_j H_ij for each i, the diagonal of H) in float64, H never whole; see `sign_forms`."""
    n = len(rows[0])
    size, padded = _sizes(n)
    whole = _padded(rows, padded, np.arange(n))
    there = jnp.asarray(np.arange(padded) < n, jnp.float32)  # padding counts for nothing
    sums = np.zeros(padded)
    for i, j in _upper(padded, size):
        along, down = _block_sums(block, whole, there, jnp.asarray(i), jnp.asarray(j), size)
        sums[i : i + size] += np.asarray(along)
        if i != j:
            sums[j : j + size] += np.asarray(down)
    return sums[:n], np.asarray(_diagonal(block, whole), np.float64)[:n]


def _sizes(n: int) -> tuple[int, int]:
    """Return the rows of a block, a power of two (few programs for all n), and those of all blocks."""
    size = min(BLOCK, 1 << (n - 1).bit_length())
    return size, -(-n // size) * size


def _padded(rows: tuple[np.ndarray, ...], padded: int, slots: np.ndarray) -> tuple[Array, ...]:
    """Return arrays of that many rows with these in the given slots, and the first in the others.

    What stands there counts for nothing, but zeros would lie far from rows with an offset.
    """

    def one(a: np.ndarray) -> Array:
        whole = np.repeat(np.asarray(a)[:1], padded, axis=0)
        whole[slots] = a
        return jnp.asarray(whole)

    return tuple(one(a) for a in rows)


def _upper(padded: int, size: int) -> list[tuple[int, int]]:
    """Return where blocks start: H is symmetric, and one beside the diagonal stands for two."""
    return [(i, j) for i in range(0, padded, size) for j in range(i, padded, size)]


def _block(block: Callable[..., Array], rows: tuple[Array, ...], i: Array, j: Array, size: int) -> Array:
    return block(*(tuple(_part(a, start, size) for a in rows) for start in (i, j)))


def _part(a: Array, start: Array, size: int, axis: int = 0) -> Array:
    return jax.lax.dynamic_slice_in_dim(a, start, size, axis)


@eqx.filter_jit
def _diagonal(block: Callable[..., Array], rows: tuple[Array, ...]) -> Array:
    """Return H_ii of all rows, apart from the blocks: beside their products it took as long as all else."""

    def one(*row: Array) -> Array:
        alone = tuple(a[None] for a in row)
        return block(alone, alone)[0, 0]

    return jax.vmap(one)(*rows)


@eqx.filter_jit
def _block_sums_of_parts(
    block: Callable[..., Array],
    rows: tuple[Array, ...],
    signs: Array,
    i: Array,
    j: Array,
    size: int,
    m: int,
) -> Array:
    H = _block(block, rows, i, j, size)
    left, right = (_part(signs, start, size, 1).astype(H.dtype).reshape(-1, m, size // m) for start in (i, j))
    # Runs of rows are summed by products that read H as it lies, then runs of columns.
    half = jnp.einsum("kpj,gkp->kgj", H.reshape(m, size // m, size), left)
    return jnp.einsum("kglq,glq->gkl", half.reshape(m, -1, m, size // m), right)


@eqx.filter_jit
def _block_forms(
    block: Callable[..., Array],
    rows: tuple[Array, ...],
    kinds: Array,
    weights: Array,
    i: Array,
    j: Array,
    size: int,
) -> Array:
    H = _block(block, rows, i, j, size)
    left, right = (weights[_part(kinds, start, size, 1)] for start in (i, j))
    return jnp.sum((left @ H) * right, axis=1)


@eqx.filter_jit
def _block_sums(
    block: Callable[..., Array], rows: tuple[Array, ...], there: Array, i: Array, j: Array, size: int
) -> tuple[Array, Array]:
    H = _block(block, rows, i, j, size)
    left, right = (_part(there, start, size) for start in (i, j))
    return H @ right, left @ H
