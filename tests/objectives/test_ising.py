"""Couplings are learned from clean images: by the exact likelihood, and by persistent chains the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Ising
from energax.energies.units import draw_spins
from energax.objectives import ExactMaximumLikelihood, PersistentContrastiveDivergence
from energax.samplers import BlockGibbs
from energax.testing.statistics import critical_value

TRUTH = np.array([0.45, 0.25, 0.1])  # J→, J↓, b: nothing alike, nothing zero
ROWS, CHAINS = 1024, 256


@pytest.fixture(scope="module")
def images():
    grid = Ising((6, 6), horizontal=TRUTH[0], vertical=TRUTH[1], field=TRUTH[2])
    return np.asarray(grid.sample(jax.random.key(0), ROWS))


def statistics(y):
    """What the parameters multiply: Σ y y′ rightwards, Σ y y′ downwards, Σ y."""
    right, below = y[:, :, 1:] * y[:, :, :-1], y[:, 1:] * y[:, :-1]
    return np.stack([right.sum((1, 2)), below.sum((1, 2)), y.sum((1, 2))], axis=1)


def learned(start, objective, x):
    settings = {"steps": 300, "batch_size": ROWS, "learning_rate": 0.02, "ema": 0.9}
    found = ex.fit(start, objective, x, key=jax.random.key(1), progress=False, **settings).energy
    return np.array([found.horizontal, found.vertical, found.field])


def check_couplings(found, x, chains=None):
    """Fail unless estimates are the truth, to the precision of that many images (and of the chains).

    An exponential family: the covariance of the estimates is the inverse of the statistics', over
    n; a mean over m chains in place of the expectation adds at most as much over m.
    """
    one = np.linalg.inv(np.cov(statistics(x).T))
    error = np.sqrt(np.diag(one) * (1 / len(x) + (1 / chains if chains else 0)))
    bound = critical_value(len(x), len(TRUTH)) * error
    assert (np.abs(found - TRUTH) < bound).all(), f"{found} is not {TRUTH} ± {bound}"


def test_the_exact_likelihood_leads_to_the_couplings(images):
    found = learned(Ising((6, 6)), ExactMaximumLikelihood(), images)
    check_couplings(found, images)
    # At the maximum the model's expectations are the images' means: ∇ log Z = mean of the statistics.
    grad = jax.grad(lambda p: Ising((6, 6), horizontal=p[0], vertical=p[1], field=p[2]).log_normalizer())
    expected = np.asarray(grad(jnp.asarray(found, jnp.float32)))
    np.testing.assert_allclose(expected, statistics(images).mean(0), atol=0.05)
    # The check tells right from below, and the sign of the field.
    for mutant in (found[[1, 0, 2]], found * [1, 1, -1], found / 2):
        with pytest.raises(AssertionError, match="is not"):
            check_couplings(mutant, images)


def test_persistent_chains_lead_there_too(images):
    objective = PersistentContrastiveDivergence(BlockGibbs(), chains=CHAINS)
    check_couplings(learned(Ising((6, 6)), objective, images), images, CHAINS)


class HalfLogits(Ising):
    """Every spin drawn with σ(L) in place of σ(2L)."""

    def sweep(self, x, key):
        colour = np.indices(self.event_shape).sum(0) % 2
        for now, k in enumerate(jax.random.split(key)):
            x = jnp.where(colour == now, draw_spins(self.local_field(x), k), x)
        return x


def test_chains_of_another_law_lead_elsewhere(images):
    objective = PersistentContrastiveDivergence(BlockGibbs(), chains=CHAINS)
    with pytest.raises(AssertionError, match="is not"):
        check_couplings(learned(HalfLogits((6, 6)), objective, images), images, CHAINS)
