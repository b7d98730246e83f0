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
    jacobian_diagonal,
    jacobian_trace,
    laplacian,
    probe,
    score,
    score_and_product,
    score_and_trace,
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


@pytest.mark.parametrize("method", ["auto", "forward", "chunked"])
def test_score_and_trace_of_energies(method, key):
    cases = {
        "perceptron": ex.energies.MLP((4, 2), width=8, depth=2, key=key),
        "mixture": ex.energies.GaussianMixture([0.3, 0.7], jnp.ones((2, 5)), jnp.eye(5)),
        "mixer": ex.energies.PatchMixer((4, 4, 1), patch=2, width=4, depth=1, key=key),
    }
    for energy in cases.values():
        x = jax.random.normal(key, energy.event_shape)
        s, trace = eqx.filter_jit(score_and_trace)(energy, x, method=method)
        np.testing.assert_allclose(s, score(energy, x), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(trace, -laplacian(energy, x), rtol=1e-4, atol=1e-5)
        assert s.shape == x.shape
    tree = {"a": jnp.ones(2), "b": jnp.ones(3)}
    both = lambda x: jnp.sum(x["a"] ** 2) + jnp.sum(x["b"] ** 4)  # noqa: E731
    s, trace = score_and_trace(both, tree, method=method)
    np.testing.assert_allclose(s["b"], -4 * jnp.ones(3))
    np.testing.assert_allclose(trace, -(2 * 2 + 3 * 12), rtol=1e-6)


def test_score_and_trace_of_a_field_and_of_a_convolution(key):
    field = Score(lambda x, c=None: A @ x + jnp.array([x[1], 0.0, 0.0]))
    x = jnp.array([1.0, -2.0, 0.5])
    s, trace = score_and_trace(field, x)
    np.testing.assert_allclose(s, field(x))
    np.testing.assert_allclose(trace, 6.0, rtol=1e-6)
    np.testing.assert_allclose(jacobian_diagonal(field, x, chunk=2), [2.0, 1.0, 3.0], rtol=1e-6)
    with pytest.raises(ex.InputError, match="method must be 'chunked' for a Score; got forward"):
        score_and_trace(field, x, method="forward")
    resnet = ex.energies.ResNet((8, 8, 1), layers=6, width=1, key=key)
    image = jax.random.normal(key, (8, 8, 1))
    _, trace = eqx.filter_jit(score_and_trace)(resnet, image)  # chunked: no full Hessian per convolution
    np.testing.assert_allclose(trace, -eqx.filter_jit(laplacian)(resnet, image), rtol=1e-4, atol=1e-6)


def test_score_and_product():
    x, v = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.3, 0.1, -1.0])
    s, product = score_and_product(quadratic, x, v)
    np.testing.assert_allclose(s, -A @ x, rtol=1e-6)
    np.testing.assert_allclose(product, -A @ v, rtol=1e-6)


def test_a_condition_is_bound_at_every_noise_level():
    class Model:
        def at(self, sigma):
            return lambda x, c: jnp.sum(x**2) / sigma * c

    bound = bind(Model(), jnp.asarray(3.0))
    np.testing.assert_allclose(bound.at(2.0)(jnp.ones(4)), 6.0)


@pytest.mark.parametrize("loop", ["fori", "scan"])
def test_loops_inside_an_energy_are_no_obstacle(loop):
    def energy(x):
        if loop == "fori":
            return jax.lax.fori_loop(0, 3, lambda i, total: total + x[i] ** 2 * (i + 1), 0.0)
        weights = jnp.arange(1.0, 4.0)
        return jax.lax.scan(lambda total, wx: (total + wx[0] * wx[1] ** 2, None), 0.0, (weights, x))[0]

    x = jnp.array([0.3, -1.0, 0.7])
    s, trace = score_and_trace(energy, x)
    np.testing.assert_allclose(s, -jax.grad(energy)(x), rtol=1e-5)
    np.testing.assert_allclose(trace, -jnp.trace(jax.hessian(energy)(x)), rtol=1e-5)


@pytest.mark.parametrize("method", ["auto", "forward", "chunked"])
def test_an_energy_that_x_does_not_enter_has_no_derivatives(method):
    s, trace = score_and_trace(lambda x: jnp.ones(()), {"a": jnp.ones(2), "b": jnp.ones(())}, method=method)
    assert trace == 0
    np.testing.assert_array_equal(s["a"], 0.0)
    np.testing.assert_array_equal(s["b"], 0.0)
