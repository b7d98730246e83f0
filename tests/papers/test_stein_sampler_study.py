"""The study of neural samplers judges what it says it judges."""

import jax
import numpy as np
import pytest

from energax.energies import Critic
from energax.papers import stein_sampler as study

from .studied import studied


def test_the_three_traces_have_one_slope(key):
    critic = Critic((3,), width=8, key=key)
    x = jax.random.normal(key, (16, 3))
    closed = study._slope(critic, x, key, 0)
    derived = study._slope(study.Plain(critic), x, key, 0).critic
    for a, b in zip(jax.tree.leaves(closed), jax.tree.leaves(derived), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6)


def test_a_lost_mode_is_counted():
    law = study.ring()
    x = np.asarray(law.sample(jax.random.key(0), 4000))
    assert (study.shares(x, law) > 0.5 / study.MODES).all()
    kept = x[np.linalg.norm(x - np.asarray(law.means)[0], axis=1) > 3]
    assert np.sum(study.shares(kept, law) > 0.5 / study.MODES) == study.MODES - 1


@pytest.mark.study
def test_the_study_of_neural_samplers(tmp_path):
    facts = studied("stein-sampler", tmp_path)
    assert set(facts["judged"]) == {*study.KINDS, "exact draws"}
