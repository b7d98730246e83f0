"""log Z without chains: known values within the stated error, and energies that have none."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.checks import InputError
from energax.energies import Gaussian, GaussianMixture, IndependentBernoulli, WithGaussianBase
from energax.energies.mlp import MLP
from energax.evaluation import log_normalizer, quadrature_log_normalizer


def funnel(x):
    """v ~ N(0, 9), each other coordinate ~ N(0, e^v): scales from 10⁻⁵ to 10⁵."""
    v, rest = x[0], x[1:]
    return v**2 / 18 + 0.5 * jnp.sum(rest**2) * jnp.exp(-v) + 0.5 * rest.size * v


def mixture():
    return GaussianMixture([0.3, 0.7], [[-30.0, 0.0], [3.0, 1.0]], [np.eye(2) / 20, np.eye(2)])


LOG_2PI = math.log(2 * math.pi)
CASES = {
    "funnel": (funnel, (2,), LOG_2PI + math.log(3)),
    "mixture": (mixture(), (2,), LOG_2PI),
    "gaussian of 3": (Gaussian(np.arange(3), np.eye(3) + 0.3), (3,), None),
    "narrow and far": (Gaussian([33.0], [[1e-4]]), (1,), None),
    "heavy tails": (lambda x: jnp.log1p(x[0] ** 2), (1,), math.log(math.pi)),
    "a kink": (lambda x: jnp.sum(jnp.abs(x - 0.3)), (2, 1), 2 * math.log(2)),
}


@pytest.mark.parametrize("name", CASES)
def test_known_values_are_within_the_error(name):
    energy, shape, exact = CASES[name]
    exact = float(energy.log_normalizer()) if exact is None else exact
    found = quadrature_log_normalizer(energy, shape)
    assert found.error < 1e-4
    assert abs(found.log_z - exact) < found.error
    # A mutant that forgets the change of units.
    scaled = quadrature_log_normalizer(energy, shape, scale=2.0)
    assert abs(scaled.log_z - exact) < scaled.error
    assert abs(scaled.log_z - math.prod(shape) * math.log(2) - exact) > scaled.error


@pytest.mark.parametrize(
    ("energy", "shape"),
    [
        (lambda x: 0 * x[0], (1,)),
        (lambda x: jnp.log1p(jnp.abs(x[0])), (1,)),
        (lambda x: x[0] ** 2 - 1e-3 * x[1] ** 2, (2,)),
        (lambda x: x[0] ** 2 + x[1] ** 2, (3,)),
        (lambda x: jnp.sum(x) * jnp.nan, (1,)),
    ],
)
def test_an_energy_without_log_z_is_refused(energy, shape, key):
    allowed = "finite" if shape == (1,) and np.isnan(energy(np.ones(1))) else "rises at infinity"
    with pytest.raises(InputError, match=allowed):
        quadrature_log_normalizer(energy, shape)
    with pytest.raises(InputError, match=allowed):
        log_normalizer(energy, data=np.random.default_rng(0).normal(size=(50, *shape)), key=key)


def test_it_is_taken_where_it_serves_and_says_when_it_does_not(key):
    # Wiggles of a hundredth in a plane: more cells than can be had, so the error is not below the bound.
    rough = lambda x: jnp.sum(x**2) + 3 * jnp.sum(jnp.sin(300 * x))  # noqa: E731
    assert quadrature_log_normalizer(rough, (3,)).error > 0.01
    network = WithGaussianBase(MLP((2,), width=8, depth=1, head="linear", key=key))
    rows = np.asarray(Gaussian(np.zeros(2), np.eye(2)).sample(key, 200))
    found = log_normalizer(network, data=rows, key=key)
    assert found.exact
    assert found.status == "exact, by quadrature"
    chains = log_normalizer(network, data=rows, exact=False, temperatures=100, chains=64, key=key)
    assert not chains.exact
    assert chains.lower < found.estimate < chains.upper


def test_an_event_may_be_a_number(key):
    rows = np.asarray(jax.random.normal(key, (200,)))
    found = log_normalizer(lambda x: 0.5 * x**2, data=rows, key=key)
    assert found.exact
    assert found.estimate == pytest.approx(0.5 * np.log(2 * np.pi), abs=1e-4)


def test_few_bits_are_enumerated(key):
    bits = IndependentBernoulli([0.3, -1.0, 2.0])
    energy = lambda x: bits(x) - x[0] * x[2]  # noqa: E731
    rows = np.asarray(bits.sample(key, 40))
    for given in ({"data": rows}, {"base": bits}):
        found = log_normalizer(energy, key=jax.random.key(1), **given)
        assert found.status == "exact, by enumeration"
        b = np.array([0.3, -1.0, 2.0])
        states = (np.arange(8)[:, None] >> np.arange(3)) & 1
        assert found.estimate == pytest.approx(np.log(np.exp(states @ b + states[:, 0] * states[:, 2]).sum()))
