"""Preconditioned Langevin dynamics: the law is that of any R, and R passes gradient twice, noise once."""

import jax
import jax.numpy as jnp
import pytest

import energax as ex
from energax.samplers import Langevin, Preconditioned
from energax.testing import check_sampler


def test_it_keeps_the_law_at_first_order(key):
    check_sampler(lambda h: Preconditioned(Langevin(h), [[0.8, 0.3], [-0.2, 1.1]]), key=key, step_size=0.1)


def test_its_root_is_not_its_square(key):
    class OneRoot(Preconditioned):
        """Forgets that the noise passes R once and the gradient twice."""

        def step(self, model, state, key, i):
            s, z = ex.score(model, state), jax.random.normal(key, (2,))
            eta = self.langevin.step_size(i)
            return state + self.root @ (eta * s + jnp.sqrt(2 * eta) * z), {}

    def make(h):
        return OneRoot(Langevin(h), [[1.3, 0.0], [0.0, 0.5]])

    with pytest.raises(AssertionError):
        check_sampler(make, key=key, step_size=0.1, steps=30, chains=40_000)
