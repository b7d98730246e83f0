"""Composed energies are the energies of products, mixtures and powers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Gaussian, Mixture, Sum, Tempered, WithGaussianBase
from energax.testing import assert_mean, check_energy

X = jnp.array([0.4, -1.1])


def gaussian(mean, variance):
    return Gaussian(jnp.array(mean), variance * jnp.eye(2))


def test_a_sum_is_the_product_of_densities():
    # N(a, s)·N(b, t) ∝ N(·, 1/(1/s + 1/t)): the gradient has the summed precision.
    product = gaussian([1.0, 0.0], 2.0) + gaussian([0.0, 3.0], 0.5)
    assert isinstance(product, Sum)
    mean = (np.array([1.0, 0.0]) / 2 + np.array([0.0, 3.0]) / 0.5) / 2.5
    np.testing.assert_allclose(ex.score(product, X), -2.5 * (X - mean), rtol=1e-5)


def test_temperature_divides_the_energy(key):
    cold = gaussian([0.0, 0.0], 1.0) / 4.0
    assert isinstance(cold, Tempered)
    np.testing.assert_allclose(cold(X), gaussian([0.0, 0.0], 1.0)(X) / 4)
    # At T = 4 a standard Gaussian has variance 4: Stein's identity holds on N(0, 4).
    x = 2 * jax.random.normal(key, (64, 4000, 2))
    s = jax.vmap(jax.vmap(lambda x: ex.score(cold, x)))(x)
    assert_mean((s * x).mean(1), -1.0, "E[s x] at temperature 4")


def test_a_mixture_of_equal_normalisers_is_the_mixture_of_densities():
    parts = [gaussian([1.0, 0.0], 0.5), gaussian([-1.0, 0.0], 0.5)]
    mixture = Mixture(parts, [1.0, 3.0])
    density = 0.25 * np.exp(parts[0].log_prob(X)) + 0.75 * np.exp(parts[1].log_prob(X))
    got = np.exp(-mixture(X) - parts[0].log_normalizer())
    np.testing.assert_allclose(got, density, rtol=1e-5)


def test_a_base_adds_its_gaussian_and_is_learned():
    energy = ex.energies.MLP((2,), width=8, key=jax.random.key(0))
    based = WithGaussianBase(energy, mean=jnp.array([1.0, 2.0]), scale=0.5)
    np.testing.assert_allclose(based(X) - energy(X), 0.5 * jnp.sum(((X - based.mean) / 0.5) ** 2), rtol=1e-5)
    gradient = jax.grad(lambda m: WithGaussianBase(energy, m, 0.5)(X))(jnp.array([1.0, 2.0]))
    np.testing.assert_allclose(gradient, (based.mean - X) / 0.25, rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda e: Sum((e, e)),
        lambda e: Mixture((e, e)),
        lambda e: Tempered(e, 2.0),
        lambda e: WithGaussianBase(e, 0.5, 2.0),
    ],
)
def test_compositions_keep_the_contract(make, key):
    check_energy(make(ex.energies.MLP((3,), width=8, key=key)), key=key)


def test_mistakes_are_named():
    one, two = gaussian([0.0, 0.0], 1.0), Gaussian(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(ex.InputError, match="energies must be over events of one shape"):
        one + two
    with pytest.raises(ex.InputError, match="temperature must be a finite number above 0"):
        one / 0.0
    shape = r"must be a number or of a shape that broadcasts to \(2,\); got shape"
    for wrong in (jnp.ones(3), jnp.ones((1, 2)), jnp.ones(0)):
        with pytest.raises(ex.InputError, match=f"WithGaussianBase: mean {shape}"):
            WithGaussianBase(one, wrong)
    for wrong in (jnp.ones(3), jnp.ones((1, 2)), jnp.ones(0)):
        with pytest.raises(ex.InputError, match=f"WithGaussianBase: scale {shape}"):
            WithGaussianBase(one, 0.0, wrong)
    assert WithGaussianBase(one, jnp.ones(1), jnp.ones(2)).mean.shape == (2,)
    with pytest.raises(ex.InputError, match="WithGaussianBase: scale must be positive"):
        WithGaussianBase(one, 0.0, jnp.array([1.0, 0.0]))
