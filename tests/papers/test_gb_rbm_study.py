"""The study of machines in logit space runs whole, in small; its log Z is right at any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.energies import GaussianBernoulliRBM
from energax.papers import gb_rbm
from energax.papers.gb_rbm import gram_log_normalizer

from .studied import studied


def test_log_z_by_the_gram_matrix_is_that_of_the_enumeration():
    keys = jax.random.split(jax.random.key(0), 3)
    model = GaussianBernoulliRBM.from_parameters(
        0.7 * jax.random.normal(keys[0], (6, 5)),
        jax.random.normal(keys[1], (6,)),
        jax.random.normal(keys[2], (5,)),
    )
    assert float(gram_log_normalizer(model)) == pytest.approx(float(model.log_normalizer()), rel=1e-5)


@pytest.mark.study
def test_the_study_of_logits(tmp_path):
    facts = studied("gb-rbm", tmp_path)
    found = facts["results"]
    assert len(found) == 2 + 3 * 4
    mean = {case: np.mean(r["test"]) for case, r in found.items()}
    # Factors can do what independent Gaussians can, and more.
    assert mean["factor analysis"] > mean["independent Gaussians"]
    for how in gb_rbm.WAYS:
        assert mean[f"noise of each pixel, {how}"] > mean[f"noise 1, {how}"]
    for unit in gb_rbm.UNITS:
        assert mean[f"{unit}, CD-10, then exact"] > mean[f"{unit}, CD-10"]


def test_units_that_never_change_are_idle():
    bench = object.__new__(gb_rbm.Bench)
    bench.train, bench.scales = np.zeros((10, 2), np.float32), {"noise 1": np.ones(2, np.float32)}
    model = GaussianBernoulliRBM.from_parameters(jnp.zeros((2, 3)), jnp.zeros(2), jnp.array([0.0, 9.0, -9.0]))
    assert bench.idle(model, "noise 1") == 2
