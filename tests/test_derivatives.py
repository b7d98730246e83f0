"""score, Laplacian and trace agree with hand-made derivatives, and their estimators are unbiased."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import (
    Score,
    bind,
    energy_and_score,
    hessian_vector_product,
    hutchinson_laplacian,
    hutchinson_trace,
    jacobian_trace,
    laplacian,
    probe,
    score,
)
from energax.testing import StatisticalError, assert_mean

A = jnp.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])


def quadratic(x):
    return 0.5 * x @ A @ x


def test_score_and_hessian_of_a_quadratic():
    x, v = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.1, -1.0])
    np.testing.assert_allclose(score(quadratic, x), -A @ x, rtol=1e-6)
    value, s = energy_and_score(quadratic, x)
    assert value == quadratic(x)
    np.testing.assert_array_equal(s, score(quadratic, x))
    np.testing.assert_allclose(hessian_vector_product(quadratic, x, v), A @ v, rtol=1e-5)


@pytest.mark.parametrize("chunk", [None, 1, 2, 3, 5])
def test_laplacian_is_the_trace_of_the_hessian_for_every_chunk(chunk):
    energy = ex.energies.MLP((7,), width=16, key=jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (7,))
    exact = jnp.trace(jax.jit(jax.hessian(lambda x: energy(x)))(x))
    np.testing.assert_allclose(eqx.filter_jit(laplacian)(energy, x, chunk=chunk), exact, rtol=1e-4, atol=1e-6)
    assert abs(exact) > 1e-3


def test_chunked_laplacian_differentiates_in_the_parameters():
    energy = ex.energies.MLP((5,), width=8, key=jax.random.key(0))
    x = jnp.ones(5)

    a = eqx.filter_jit(eqx.filter_grad(lambda e: laplacian(e, x)))(energy)
    b = eqx.filter_jit(eqx.filter_grad(lambda e: laplacian(e, x, chunk=2)))(energy)
    for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5)


def test_pytree_events():
    energy = lambda x: jnp.sum(x["a"] ** 2) + 3 * jnp.sum(x["b"] ** 2) / 2  # noqa: E731
    x = {"a": jnp.ones(2), "b": jnp.ones((3, 1))}
    np.testing.assert_allclose(score(energy, x)["a"], -2.0)
    np.testing.assert_allclose(laplacian(energy, x), 2 * 2 + 3 * 3)


def test_a_score_is_not_differentiated_and_conditions_bind():
    field = Score(lambda x, c=None: -x if c is None else c - x)
    x, c = jnp.array([1.0, 2.0]), jnp.array([5.0, 5.0])
    np.testing.assert_array_equal(score(field, x), -x)
    np.testing.assert_array_equal(score(bind(field, c), x), c - x)
    energy = ex.energies.LinearGaussian(jnp.eye(2), scale=2.0)
    np.testing.assert_allclose(score(bind(energy, c), x), (c - x) / 4)
    assert jacobian_trace(lambda y: score(bind(field, c), y), x) == -2


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian", "sphere"])
def test_probes_have_unit_second_moment(distribution, key):
    v = jax.vmap(lambda k: probe(distribution, jnp.zeros(3), k))(jax.random.split(key, 64 * 512))
    second = jnp.einsum("gni,gnj->gij", *(v.reshape(64, 512, 3),) * 2) / 512
    assert_mean(second, np.eye(3), f"E[vvᵀ] of {distribution} probes")


@pytest.mark.parametrize("distribution", ["rademacher", "gaussian", "sphere"])
def test_hutchinson_is_unbiased_and_the_mutant_trace_over_d_is_caught(distribution, key):
    x = jnp.array([1.0, -2.0, 0.5])

    def estimates(scale):
        def one(k):
            return scale * hutchinson_laplacian(quadratic, x, key=k, probes=2, distribution=distribution)

        return jax.vmap(one)(jax.random.split(key, 20_000)).reshape(100, -1).mean(1)

    assert_mean(estimates(1.0), jnp.trace(A), "Hutchinson's Laplacian")
    with pytest.raises(StatisticalError):
        assert_mean(estimates(1 / 3), jnp.trace(A), "trace divided by d")


def test_rademacher_probes_are_exact_on_a_diagonal_hessian(key):
    field = lambda y: -jnp.array([1.0, 2.0, 3.0]) * y  # noqa: E731
    assert hutchinson_trace(field, jnp.ones(3), key=key) == -6


def test_bad_arguments_are_named():
    with pytest.raises(ex.InputError, match="distribution must be one of"):
        probe("rademacherr", jnp.zeros(2), jax.random.key(0))
    with pytest.raises(ex.InputError, match="probes must be a whole number of at least 1"):
        hutchinson_trace(lambda y: y, jnp.ones(2), key=jax.random.key(0), probes=0)
