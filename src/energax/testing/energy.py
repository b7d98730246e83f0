r"""Holds an energy to its contract.

any energy      E(x) is one finite number; ∇E is the derivative of E (central differences
                in double precision); E is deterministic
a Normalised    its draws have its law: for x ~ p, E[s(x)] = 0 and E[s(x) xᵀ] = −I (Stein),
                and Z = E_q[exp(−E(x))/q(x)] for a heavy-tailed q
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.derivatives import evaluate, score
from energax.energies import Normalised
from energax.testing.statistics import assert_mean
from energax.typing import Condition, Event, Key, Model

__all__ = ["check_energy"]

GROUPS = 64
DRAWS = 4096  # per group


def check_energy(
    energy: Model, *, key: Key, x: Event | None = None, condition: Condition | None = None
) -> None:
    """Raise AssertionError unless the energy keeps its contract.

    Parameters
    ----------
    energy
        The energy to check.
    key
        Decides the points and draws.
    x
        One event to check derivatives at; N(0, I) of `energy.event_shape` if None.
    condition
        Passed to the energy if given.
    """
    point_key, draw_key = jax.random.split(key)
    if x is None:
        x = jax.random.normal(point_key, energy.event_shape)
    compiled = eqx.filter_jit(evaluate)
    value = compiled(energy, x, condition)
    assert jnp.shape(value) == (), f"an energy is one number; got shape {jnp.shape(value)}"
    assert bool(jnp.isfinite(value)), f"the energy of a typical point is {value}"
    assert value == compiled(energy, x, condition), "two calls at one point differ"
    _check_gradient(energy, x, condition, point_key)
    if isinstance(energy, Normalised):
        _check_law(energy, draw_key)


def _check_gradient(energy: Model, x: Event, condition: Any, key: Key) -> None:
    with jax.enable_x64(True):
        double = lambda a: jnp.asarray(np.asarray(a), jnp.float64) if eqx.is_inexact_array(a) else a  # noqa: E731
        energy, x, condition = jax.tree.map(double, (energy, x, condition))
        flat, unravel = ravel_pytree(x)
        direction = jnp.asarray(np.random.default_rng(0).standard_normal(flat.size))
        step = 1e-5

        @eqx.filter_jit
        def slopes(energy, flat, condition):
            rise = evaluate(energy, unravel(flat + step * direction), condition) - evaluate(
                energy, unravel(flat - step * direction), condition
            )
            return rise / (2 * step), -ravel_pytree(score(energy, unravel(flat), condition))[0] @ direction

        slope, claimed = slopes(energy, flat, condition)
        scale = jnp.abs(slope) + jnp.abs(claimed) + 1e-3
        ok = bool(jnp.abs(slope - claimed) <= 1e-5 * scale)
    assert ok, f"∇E·v is {claimed}, but the energy's slope along v is {slope}"


def _check_law(energy: Normalised, key: Key) -> None:
    d = int(np.prod(energy.event_shape))
    sample_key, q_key = jax.random.split(key)

    @jax.jit
    def stein(k):
        x = energy.sample(k, DRAWS)
        s = jax.vmap(lambda x: score(energy, x))(x)
        return s.mean(0), s.T @ x / DRAWS

    first, second = jax.lax.map(stein, jax.random.split(sample_key, GROUPS))
    assert_mean(first, np.zeros(d), "E[s(x)] over the energy's own draws")
    assert_mean(second, -np.eye(d), "E[s(x) xᵀ] over the energy's own draws")

    pilot = np.asarray(energy.sample(sample_key, DRAWS))
    center, spread = jnp.asarray(pilot.mean(0)), jnp.asarray(2 * pilot.std(0))

    @jax.jit
    def ratio(k):
        z = jax.random.logistic(k, (DRAWS, d))
        log_q = jnp.sum(jax.scipy.stats.logistic.logpdf(z) - jnp.log(spread), axis=1)
        log_p = jax.vmap(energy.log_prob)(center + spread * z)
        return jnp.mean(jnp.exp(log_p - log_q))

    total = jax.lax.map(ratio, jax.random.split(q_key, GROUPS))
    assert_mean(total, 1.0, "∫ exp(−E)/Z with the energy's own log_normalizer")
