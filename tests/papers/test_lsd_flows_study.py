"""The study of a flow's checkpoints: its trace is the flow's own, and the verdict counts ranks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from paramax import unwrap

from energax.energies import Gaussian
from energax.papers import lsd_flows as study
from energax.tracing import first_kink

from .studied import studied


def test_the_trace_is_the_scores():
    gaussian = Gaussian(jnp.zeros(3), jnp.diag(jnp.array([1.0, 2.0, 0.5])))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    # Rademacher probes give the trace of a diagonal matrix exactly, whatever they are.
    np.testing.assert_allclose(study._traces(gaussian, x, jax.random.key(0), 1), -3.5, rtol=1e-4)


def test_the_verdict_counts_ranks():
    table = np.array([[10, -5, 0.9, 0.1, -3], [20, -4, 0.5, 0.1, -6], [30, -3, 0.6, 0.1, -5.0]])
    assert study.rank_correlation(table[:, 1], -table[:, 1]) == pytest.approx(-1)
    ranks = {"LSD": study.rank_correlation(table[:, 1], table[:, 2]), "score matching": -0.5}
    text = study.verdict({study.EDGES: ranks}, {study.EDGES: table}, (28, 28))
    assert "LSD -0.50" in text
    assert "above twice its error at 3" in text
    assert "log-likelihood that of step 30, LSD that of step 20" in text
    assert "on images of 28 × 28" in text


def test_no_score_jumps_and_additive_couplings_keep_volume():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4)), jnp.float32)
    for kind in (study.AFFINE, study.ADDITIVE):
        flow = study.flow(kind, 4, study.SIZES["smoke"], jax.random.key(1))
        assert first_kink(flow, x[0], order=2) is None
        inverse = unwrap(flow.distribution).bijection.inverse_and_log_det
        log_dets = jax.jit(jax.vmap(lambda row, inverse=inverse: inverse(row)[1]))(x)
        assert (float(jnp.ptp(log_dets)) == 0) == (kind == study.ADDITIVE)


@pytest.mark.study
def test_the_study_runs_in_small(tmp_path):
    studied("lsd-flows", tmp_path)
