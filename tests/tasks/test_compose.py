"""Products and temperatures of models: the law of a product of Gaussians is known."""

import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.checks import InputError
from energax.tasks import compose

FIRST = ex.energies.Gaussian(jnp.array([1.0, 0.0]), jnp.diag(jnp.array([0.5, 2.0])))
SECOND = ex.energies.Gaussian(jnp.array([-1.0, 3.0]), jnp.eye(2))


def test_a_product_is_the_gaussian_of_summed_precisions(key):
    weights, T = (2.0, 0.5), 0.8
    whole = compose([FIRST, SECOND], weights, temperature=T)
    precisions = [2.0 * np.diag([2.0, 0.5]) / T, 0.5 * np.eye(2) / T]
    together = sum(precisions)
    mean = np.linalg.solve(together, precisions[0] @ [1.0, 0.0] + precisions[1] @ [-1.0, 3.0])
    x = np.array([0.3, -0.7])
    np.testing.assert_allclose(ex.score(whole, jnp.asarray(x)), together @ (mean - x), rtol=1e-5)
    # Weights and temperature that are forgotten are another law.
    assert np.abs(ex.score(compose([FIRST, SECOND]), jnp.asarray(x)) - together @ (mean - x)).max() > 0.1


def test_what_cannot_be_composed_is_refused():
    with pytest.raises(InputError, match="2 numbers, one a model"):
        compose([FIRST, SECOND], [1.0])
    with pytest.raises(InputError, match="weights must be"):
        compose([FIRST], [-1.0])
    with pytest.raises(InputError, match="energies of the event alone; got Score"):
        compose([ex.Score(lambda x: -x)])
    with pytest.raises(InputError, match="over events of one shape"):
        compose([FIRST, ex.energies.Gaussian(jnp.zeros(3), jnp.eye(3))])
