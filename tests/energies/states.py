"""All states of a few binary units, models with nothing symmetric, and the χ² that compares counts."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.energies import Ising
from energax.testing.statistics import FALSE_ALARM


def random_parameters(model, seed=3, scale=0.8):
    """The model with every parameter drawn anew: nothing symmetric, no bias zero."""
    leaves, structure = jax.tree.flatten(model)
    rng = np.random.default_rng(seed)
    drawn = [jnp.asarray(scale * rng.standard_normal(a.shape), jnp.float32) for a in leaves]
    return jax.tree.unflatten(structure, drawn)


def random_grid(H, W, seed=4):
    rng = np.random.default_rng(seed)
    return Ising(
        (H, W),
        horizontal=rng.standard_normal((H, W - 1)),
        vertical=rng.standard_normal((H - 1, W)),
        field=rng.standard_normal((H, W)),
    )


def bits(d):
    return np.array(list(itertools.product([0.0, 1.0], repeat=d)), np.float32)


def spins(d):
    return 2 * bits(d) - 1


def chi_squared(states, counted, weights):
    """Fail unless the counts of all states are those of independent draws in proportion to the weights.

    Parameters
    ----------
    states, counted
        All states, and the draws, as rows.
    """
    place = {tuple(s): i for i, s in enumerate(np.asarray(states, np.float32).tolist())}
    drawn = np.asarray(counted, np.float32).tolist()
    counts = np.bincount([place[tuple(s)] for s in drawn], minlength=len(states))
    expected = np.asarray(weights, np.float64) / np.sum(weights) * len(counted)
    assert expected.min() > 5, f"a state of {expected.min():.2g} expected draws is too rare for the test"
    statistic = ((counts - expected) ** 2 / expected).sum()
    limit = scipy.stats.chi2.isf(FALSE_ALARM, len(states) - 1)
    assert statistic < limit, f"χ² = {statistic:.4g} with {len(states) - 1} degrees of freedom"
