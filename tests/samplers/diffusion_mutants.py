"""Reverse diffusion broken on purpose: each takes a right sampler and returns a wrong one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import score
from energax.samplers import Sampler, Schedule


def _corrects(sampler):
    # Only a corrector leaves the scale alone and has noise.
    return (sampler.stretch.values == 1) & (sampler.kick.values > 0)


def _scaled(sampler, field, factor, where):
    values = getattr(sampler, field).values
    new = Schedule(np.where(where, factor * values, values))
    return eqx.tree_at(lambda s: getattr(s, field), sampler, new)


def half_pull(sampler):
    """½g² before the score, that of the probability flow, with the noise of the reverse SDE."""
    return _scaled(sampler, "step_size", 0.5, ~_corrects(sampler) & (sampler.kick.values > 0))


def forgotten_stretch(sampler):
    """No drift f x: right where it is zero."""
    return _scaled(sampler, "stretch", 1 / sampler.stretch.values, sampler.kick.values > 0)


def weak_kick(sampler):
    """√η z in the corrector where √(2η) z should be."""
    return _scaled(sampler, "kick", 0.5**0.5, _corrects(sampler))


class NormsOfTheChain(Sampler):
    """η = 2 (r‖z‖/‖s‖)² from the norms of one chain: a step that depends on the place and the draw."""

    right: Sampler

    @property
    def horizon(self):
        return self.right.horizon

    def init(self, model, x, key):
        return x

    def step(self, model, x, key, i):
        right, _ = self.right.step(model, x, key, i)
        a, sigma = self.right.scale(i), self.right.level(i)
        s, z = score(model.at(sigma), x / a) / a, jax.random.normal(key, x.shape)
        r = self.right.kick(i) / (2 * a * sigma)
        eta = 2 * r**2 * jnp.sum(z**2) / jnp.sum(s**2)
        return jnp.where(_corrects(self.right)[i], x + eta * s + jnp.sqrt(2 * eta) * z, right), {}
