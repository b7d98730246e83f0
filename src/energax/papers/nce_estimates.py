r"""Noise-contrastive estimates of small models: what their errors tend to, and what they are on samples.

Let ν noise points y ~ q come with each of N rows x ~ p, p ∝ e^{−E_θ} at some θ. With g = ∇_(θ,c) (−E − c),
c in the place of log Z, and P = νq/(p + νq),

    N Cov(θ̂, ĉ) → J⁻¹ − (1 + 1/ν) e_c e_cᵀ,        J = E_p[P g gᵀ],

the term subtracted touching c alone, as c is one of the parameters: J e_c = −E_p[P g]. Gutmann & Hyvärinen
(2012), theorem 3. Averages are over draws of p and q. An estimate is Newton's method on
`NoiseContrastiveEstimation`'s own loss, the draws of noise held fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.objectives import Batch, NoiseContrastiveEstimation
from energax.typing import Array, ArrayLike, Float, Key

__all__ = ["Efficiency", "at_rest", "efficiencies", "estimates", "informations"]

STEPS = (1.0, 0.5, 0.2, 0.05)  # shares of Newton's step, of which the best is taken
ITERATIONS = 25
REST = 3e-4  # of a gradient's largest entry, at which an estimate rests
FLATTEST = 1e-3  # of the Hessian's largest eigenvalue


class Efficiency(NamedTuple):
    """N times squared errors: of θ (summed) and of c."""

    theta: float
    log_normalizer: float


@eqx.filter_jit
def informations(model: Any, noise: Any, ratios: Array, n: int, key: Key) -> tuple[Array, Array, Array]:
    """Return J for each ν, E_p[∇_θ(−E)] and its covariance under p.

    Parameters
    ----------
    model
        The truth, with exact draws and `log_prob`.
    noise
        q.
    ratios
        Values of ν.
    n
        Draws of p and q each.
    key
        Decides them.
    """
    p_key, q_key = jax.random.split(key)
    x = jnp.concatenate([model.sample(p_key, n), noise.sample(q_key, n)])
    flat, unravel = ravel_pytree(model)
    slopes = jax.vmap(jax.grad(lambda v, u: -unravel(v)(u)), (None, 0))(flat, x)
    g = jnp.concatenate([slopes, -jnp.ones((2 * n, 1))], axis=1)
    log_ratio = jax.vmap(noise.log_prob)(x) - jax.vmap(model.log_prob)(x)
    weight = 2 * jax.nn.sigmoid(-log_ratio) / (2 * n)  # of a draw from (p + q)/2, for an average over p

    def information(ratio):
        P = jax.nn.sigmoid(log_ratio + jnp.log(ratio))
        return (g * (weight * P)[:, None]).T @ g

    mean = weight @ slopes
    return (
        jax.lax.map(information, ratios),
        mean,
        (slopes * weight[:, None]).T @ slopes - jnp.outer(mean, mean),
    )


def efficiencies(
    model: Any, noise: Any, ratios: Sequence[float], draws: int, key: Key
) -> tuple[list[Efficiency], Efficiency]:
    """Return what N times the squared errors tend to, for each ν, and for maximum likelihood.

    Parameters
    ----------
    model
        The truth, with exact draws and `log_prob`.
    noise
        q.
    ratios
        Values of ν.
    draws
        Of p and q each.
    key
        Decides them.
    """
    found, mean, fisher = (
        np.asarray(a, np.float64)
        for a in informations(model, noise, jnp.asarray(ratios, jnp.float32), draws, key)
    )
    inverse = np.linalg.inv(fisher)
    exact = Efficiency(float(np.trace(inverse)), float(mean @ inverse @ mean))
    nce = []
    for ratio, J in zip(ratios, found, strict=True):
        variances = np.diag(np.linalg.inv(J))
        nce.append(Efficiency(float(variances[:-1].sum()), float(variances[-1] - (1 + 1 / ratio))))
    return nce, exact


@eqx.filter_jit
def estimates(
    objective: NoiseContrastiveEstimation,
    truth: Any,
    start: tuple[Any, Any],
    rows: int,
    keys: Key,
    iterations: int = ITERATIONS,
) -> tuple[Float[Array, "r p"], Float[Array, " r"]]:
    """Return the estimate from each of several samples, flat, and the largest slope where it ended.

    Parameters
    ----------
    objective
        With noise that is given.
    truth
        What is sampled.
    start
        (model, nuisance) that Newton's method starts from, and of whose parameters the estimates are.
    rows
        Of a sample.
    keys
        One for each sample; it decides its rows and its noise.
    iterations
        Of Newton's method, at most.
    """
    first, unravel = ravel_pytree(start)

    def one(key):
        data_key, loss_key = jax.random.split(key)
        batch = Batch(truth.sample(data_key, rows))

        def loss(v):
            at, nuisance = unravel(v)
            return objective.loss(at, nuisance, None, batch, loss_key)[0]

        def step(carry):
            i, v, slope = carry
            values, axes = jnp.linalg.eigh(jax.hessian(loss)(v))
            curvature = jnp.maximum(jnp.abs(values), FLATTEST * jnp.abs(values).max())
            newton = -axes @ ((axes.T @ slope) / curvature)
            tried = v + jnp.asarray(STEPS)[:, None] * newton
            values = jax.lax.map(loss, tried)
            v = tried[jnp.nanargmin(values)]
            return i + 1, v, jax.grad(loss)(v)

        going = lambda carry: (carry[0] < iterations) & (jnp.abs(carry[2]).max() > 0.1 * REST)  # noqa: E731
        _, v, slope = jax.lax.while_loop(going, step, (0, first, jax.grad(loss)(first)))
        return v, jnp.abs(slope).max()

    return jax.lax.map(one, keys)


def at_rest(slopes: ArrayLike, ratio: float) -> np.ndarray:
    """Return which of the estimates have come to rest, of their slopes and ν."""
    return np.asarray(slopes) < REST * max(1.0, ratio)
