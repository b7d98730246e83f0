r"""Sums over all states of up to twenty binary units, and exact draws from them.

    log Z = log Σ_{s ∈ {0,1}ᵈ} exp(−E(s)),

in chunks of states, so that memory is that of a chunk and of one number per state; a gradient
through the sum computes the chunks again rather than store them. States stand in
lexicographic order: the first unit is the most significant.

A draw descends a binary tree whose leaves are the states and whose nodes hold the log of the
mass below them: unit i is 1 with probability σ(log mass of the right − log mass of the left). Each of
the d choices is right to rounding, where a cumulative sum over 2²⁰ states would not be.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from energax.checks import check, check_event_shape
from energax.typing import Array, Float, Key, Model, Scalar

__all__ = ["LIMIT", "all_bits", "check_enumerable", "draw_states", "enumerate_log_normalizer", "log_weights"]

LIMIT = 20  # units: a million states
CHUNK = 12  # units: 4,096 states at a time


def check_enumerable(owner: str, what: str, units: int) -> None:
    """Refuse to enumerate more than `LIMIT` units, saying how many there are."""
    allowed = f"at most {LIMIT} units, the {2**LIMIT:,} states that can be enumerated"
    check(units <= LIMIT, owner, what, allowed, f"{units} units")


def all_bits(d: int) -> Float[Array, "states d"]:
    """Return all 2ᵈ states of d bits, in lexicographic order.

    Parameters
    ----------
    d
        How many bits, at most 20.

    Raises
    ------
    InputError
        If d is larger.
    """
    check_enumerable("all_bits", "d", d)
    return _bits(jnp.arange(2**d), d)


def _bits(index: Array, d: int) -> Array:
    """Return the states of those indices, along a new last axis."""
    return (index[..., None] >> jnp.arange(d)[::-1] & 1).astype(jnp.float32)


def log_weights(log_weight: Callable[[Array], Scalar], d: int) -> Float[Array, " states"]:
    """Return log_weight(s) of all 2ᵈ states s of d bits (the caller has checked d)."""
    low = min(d, CHUNK)

    @jax.checkpoint
    def chunk(start):
        return jax.vmap(log_weight)(_bits(start + jnp.arange(2**low), d))

    return jax.lax.map(chunk, jnp.arange(2 ** (d - low)) * 2**low).ravel()


def draw_states(key: Key, weights: Float[Array, " states"], n: int) -> Float[Array, "n d"]:
    """Return n independent states of d bits with probabilities in proportion to exp(weights)."""
    d = weights.size.bit_length() - 1
    masses = [weights]
    for _ in range(d):
        masses.append(jax.nn.logsumexp(masses[-1].reshape(-1, 2), axis=1))
    uniforms = jax.random.uniform(key, (d, n))
    index = jnp.zeros(n, jnp.int32)
    for level, u in zip(reversed(masses[:-1]), uniforms, strict=True):
        right = jax.nn.sigmoid(level[2 * index + 1] - level[2 * index])
        index = 2 * index + (u < right)
    return _bits(index, d)


def enumerate_log_normalizer(
    energy: Model,
    event_shape: tuple[int, ...] | None = None,
    *,
    values: tuple[float, float] = (0.0, 1.0),
) -> Scalar:
    """Return log Z = log Σ exp(−E(x)) over all x whose entries take one of two values.

    Parameters
    ----------
    energy
        Any energy over one array.
    event_shape
        Shape of one event; the energy's own if None.
    values
        The two values: (0, 1) for bits, (−1, 1) for spins.

    Raises
    ------
    InputError
        If an event has more than 20 entries.
    """
    owner = "enumerate_log_normalizer"
    given = event_shape if event_shape is not None else getattr(energy, "event_shape", None)
    check(given is not None, owner, "event_shape", "given for an energy without one", None)
    shape = check_event_shape(owner, given)
    d, (low, high) = math.prod(shape), values
    check_enumerable(owner, "an event", d)
    return jax.nn.logsumexp(log_weights(lambda s: -energy((low + (high - low) * s).reshape(shape)), d))
