"""A law over three bits whose minibatches can be the whole population: losses without noise."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

import energax as ex
from energax.objectives import Batch

STATES = jnp.array(list(itertools.product([0.0, 1.0], repeat=3)))
COUNTS = np.array([3, 11, 5, 2, 17, 7, 13, 6])  # of 64
ROWS = jnp.repeat(STATES, jnp.asarray(COUNTS), axis=0)
ENERGIES = -jnp.log(jnp.asarray(COUNTS) / COUNTS.sum())


class Table(ex.energies.Energy):
    """E(x) looked up: every law over three bits (or spins), one parameter a state."""

    energies: jax.Array
    spins: bool = eqx.field(static=True)
    event_shape: tuple = eqx.field(static=True)

    def __init__(self, energies, spins=False):
        self.energies, self.spins, self.event_shape = energies, spins, (3,)

    def __call__(self, x, condition=None):
        bits = (x + 1) / 2 if self.spins else x
        return self.energies[jnp.sum(jnp.round(bits) * jnp.array([4, 2, 1])).astype(int)]


class EveryState(eqx.Module):
    """Uniform noise whose draws are all the states in turn: its averages are exact."""

    def log_prob(self, x):
        return jnp.log(1 / 8)

    def sample(self, key, n):
        return jnp.tile(STATES, (-(-n // 8), 1))[:n]


def led_to(objective, rows=ROWS, *, spins=False, start=0.0):
    """Return the energies (shifted to log Z = 0) and what was added where descent from afar ends."""
    batch, key = Batch(rows), jax.random.key(0)
    _, state = objective.init(Table(ENERGIES, spins), batch, key, len(rows))

    def loss(values):
        nuisance = ex.objectives.LogNormalizer(values[8])
        return objective.loss(Table(values[:8], spins), nuisance, state, batch, key)[0]

    value_and_slope, slope, curvature = map(
        jax.jit, (jax.value_and_grad(loss), jax.grad(loss), jax.hessian(loss))
    )

    def in_double(values):
        return tuple(np.asarray(a, np.float64) for a in value_and_slope(jnp.asarray(values, jnp.float32)))

    first = np.concatenate([ENERGIES + start * np.sin(np.arange(8) * 2.0), [0.3]])
    end = minimize(in_double, first, jac=True, method="BFGS", options={"gtol": 1e-4}).x
    for _ in range(3):  # the rest by Newton: a line search ends where float32 no longer tells values apart
        at = jnp.asarray(end, jnp.float32)
        end = at - np.linalg.pinv(np.asarray(curvature(at), np.float64), rcond=1e-5) @ slope(at)
    log_z = np.log(np.exp(-end[:8]).sum())
    return end[:8] + log_z, end[8] - log_z
