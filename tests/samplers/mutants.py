"""Samplers broken on purpose, and a small exact one that the checker must accept."""

import jax
import jax.numpy as jnp

from energax.derivatives import score
from energax.samplers import Langevin, Sampler


class Metropolis(Sampler):
    """Random-walk Metropolis, exact: the checker's exact branch needs something true."""

    scale: float

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        proposal_key, accept_key = jax.random.split(key)
        proposal = state + self.scale * jax.random.normal(proposal_key, state.shape)
        return jnp.where(self.accepts(model, state, proposal, accept_key), proposal, state), {}

    def accepts(self, model, x, proposal, key):
        return jnp.log(jax.random.uniform(key)) < model(x) - model(proposal)


class DroppedRatio(Metropolis):
    """Accepts everything."""

    def accepts(self, model, x, proposal, key):
        return True


class Frozen(Metropolis):
    """Accepts nothing: it leaves every law invariant."""

    def accepts(self, model, x, proposal, key):
        return False


class ClaimsExactness(Langevin):
    """Unadjusted, but says it is exact."""

    @property
    def bias_order(self):
        return None


class WeakNoise(Langevin):
    """√η z where √(2η) z should be: samples at half the temperature."""

    def step(self, model, state, key, i):
        eta = self.step_size(i)
        z = jax.random.normal(key, state.shape)
        return state + eta * score(model, state) + jnp.sqrt(eta) * z, {}


class UphillDrift(Langevin):
    """The sign of the drift."""

    def step(self, model, state, key, i):
        eta = self.step_size(i)
        z = jax.random.normal(key, state.shape)
        return state - 0.1 * eta * score(model, state) + jnp.sqrt(2 * eta) * z, {}


class ReusedNoise(Langevin):
    """The same noise at every step."""

    def step(self, model, state, key, i):
        return super().step(model, state, jax.random.key(0), i)
