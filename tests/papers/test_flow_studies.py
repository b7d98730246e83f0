"""The studies of probability flow and learned noise run whole, in small; what they rest on holds anyway."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.energies import Gaussian, GaussianMixture, WithLogNormalizer, all_bits
from energax.objectives import Batch, CompositeLikelihood
from energax.papers import fce_2d, mpf_ising, nce_table, rbm_comparison

from .studied import studied


def test_couplings_of_bits_are_those_of_spins_and_the_demonstrations_prefer_no_side():
    d = 5
    J = np.random.default_rng(0).standard_normal((d, d))
    J = J + J.T
    model, x = mpf_ising.graph(J), np.asarray(all_bits(d))
    bits = np.einsum("ni,ij,nj->n", x, J, x)
    spins = np.asarray(jax.vmap(model)(jnp.asarray(2 * x - 1)))
    np.testing.assert_allclose(spins - spins[0], bits - bits[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(mpf_ising.of_graph(model), J, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(mpf_ising.graph(mpf_ising.couplings(d, 0)).field, 0, atol=1e-6)


@pytest.mark.study
def test_the_blocks_of_rows_add_up_to_the_loss_and_its_slope():
    d = 4
    x = np.where(np.random.default_rng(0).random((2 * mpf_ising.BLOCK, d)) < 0.3, 1.0, -1.0).astype(
        np.float32
    )
    found = mpf_ising.learned(CompositeLikelihood(), x, 100)
    model = mpf_ising.graph(found.J)
    slope = jax.grad(
        lambda m: CompositeLikelihood().loss(
            m, None, jnp.zeros(()), Batch(jnp.asarray(x)), jax.random.key(0)
        )[0]
    )(model)
    # At the minimum over all rows, found from sums over blocks of them.
    assert max(float(jnp.abs(a).max()) for a in jax.tree.leaves(slope)) < 1e-3


@pytest.mark.study
def test_mean_field_knows_weak_couplings_and_the_fields():
    truth = 0.1 * mpf_ising.couplings(6, 0) + np.diag(np.linspace(-1, 1, 6))
    x = np.asarray(mpf_ising.graph(truth).sample(jax.random.key(0), 100_000))
    found = mpf_ising.errors(mpf_ising.mean_field(x).J, truth)
    assert found["correlation"] > 0.98
    assert found["diagonal"] < 0.1


@pytest.mark.study
def test_the_study_of_couplings(tmp_path):
    facts = studied("mpf-ising", tmp_path)
    for name in (mpf_ising.FLOW, mpf_ising.PSEUDO):
        few, many = (facts["errors"][name][f"{n}"] for n in mpf_ising.SIZES["smoke"].rows)
        for before, after in zip(few, many, strict=True):
            assert after["pairs"] < before["pairs"]
            assert after["correlation"] > 0.98
    assert f"N^({facts['slopes'][mpf_ising.FLOW][0]:.2f}" in facts["verdict"]


def test_a_slope_is_that_of_the_logarithms():
    rows = (100, 1_000, 10_000)
    mean, error = mpf_ising.slope(rows, [[3 / np.sqrt(n), 5 / np.sqrt(n)] for n in rows])
    assert mean == pytest.approx(-0.5)
    assert error == pytest.approx(0, abs=1e-12)


def test_the_decay_is_the_gradient_of_half_the_squares():
    x = Batch(jnp.asarray(np.random.default_rng(0).integers(0, 2, (8, 4)).astype(np.float32)))
    model = rbm_comparison.random_machine(4, 2.0, jax.random.key(0))

    def slope(objective):
        _, state = objective.init(model, x, jax.random.key(0), 8)
        return jax.grad(lambda m: objective.loss(m, None, state, x, jax.random.key(0))[0])(model)

    plain = CompositeLikelihood()
    found = jax.tree.map(jnp.subtract, slope(rbm_comparison.Decayed(plain, 0.3)), slope(plain))
    for got, theta in zip(jax.tree.leaves(found), jax.tree.leaves(model), strict=True):
        np.testing.assert_allclose(got, 0.3 * theta, rtol=1e-3, atol=1e-5)


def test_the_divergence_is_what_the_likelihoods_of_many_draws_differ_by():
    truth, model = (rbm_comparison.random_machine(5, s, jax.random.key(1)) for s in (4.0, 1.0))
    assert float(rbm_comparison.divergence(truth, truth)) == pytest.approx(0, abs=1e-5)
    x = truth.sample(jax.random.key(2), 50_000)
    gaps = np.asarray(jax.vmap(truth.log_prob)(x) - jax.vmap(model.log_prob)(x)) / np.log(2)
    off = float(rbm_comparison.divergence(truth, model)) - gaps.mean()
    assert abs(off) < 5 * gaps.std() / np.sqrt(len(gaps))
    own = np.asarray(jax.vmap(truth.log_prob)(x)).mean() / np.log(2)
    assert float(rbm_comparison.bits(truth, x)) == pytest.approx(own, rel=1e-4)


@pytest.mark.study
def test_the_study_of_small_machines(tmp_path):
    facts = studied("rbm-comparison", tmp_path)
    for name in rbm_comparison.methods():
        for decay, ends in facts["divergences"][name].items():
            assert all(0 < end < start for end, start in zip(ends, facts["start"], strict=True))
            # The penalty keeps the samples' likelihood down.
            assert np.mean(facts["gains"][name][decay]) <= np.mean(facts["gains"][name]["0"])
    exact = np.mean(facts["gains"]["exact"]["0"])
    assert exact == pytest.approx(np.mean(facts["gains"]["CD-10"]["0"]), abs=0.05)


def test_a_log_density_is_judged_by_its_shape_and_its_mass():
    truth = fce_2d.eight_gaussians()
    test = truth.sample(jax.random.key(0), 1_000)
    exact = fce_2d.judged(truth, truth, test, 120)
    assert all(abs(v) < 1e-3 for v in exact.values())
    # Too large by a factor: the error is of log Z alone, and normalised there is none.
    off = fce_2d.judged(WithLogNormalizer(truth, truth.log_normalizer() - 0.5), truth, test, 120)
    assert off["log mass"] == pytest.approx(0.5, abs=1e-3)
    assert off[fce_2d.GRID] == pytest.approx(0.25, abs=1e-3)
    assert abs(off["divergence"]) < 1e-3
    assert abs(off[fce_2d.JS]) < 1e-3
    # Nothing in common: JS is log 2. The square holds both.
    far = fce_2d.judged(Gaussian([0.0, 0.0], 1e-2 * np.eye(2)), truth, test, 120)
    assert far[fce_2d.JS] == pytest.approx(np.log(2), abs=1e-3)


@pytest.mark.study
def test_the_study_of_eight_gaussians(tmp_path):
    facts = studied("fce-2d", tmp_path)
    assert tuple(facts["errors"]) == fce_2d.FEW
    for name, errors in facts["errors"].items():
        for e in errors:
            assert 0 < e[fce_2d.JS] < np.log(2)
            # A flow has no log Z to be wrong about; what little is missing is outside the square.
            assert name == fce_2d.FCE or -0.5 < e["log mass"] < 0.01
    assert all(end["FCE, loss"] < 2 * np.log(2) + 0.5 for end in facts["ends"])


def test_rows_are_parted_once_and_whitened_by_those_of_training():
    rows = np.random.default_rng(0).normal(size=(400, 3)) @ [
        [2.0, 1.0, 0.0],
        [0.0, 1.0, 0.5],
        [0.0, 0.0, 3.0],
    ]
    parts = nce_table.parts(rows, 0)
    assert [len(part) for part in parts] == [240, 40, 40, 80]
    np.testing.assert_allclose(parts.train.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(np.cov(parts.train.T, bias=True), np.eye(3), atol=1e-4)
    # One affine map for all: distances under the training rows' covariance are kept, each row is there once.
    whole = np.concatenate(parts)
    inverse = np.linalg.inv(np.cov(rows[np.random.default_rng(0).permutation(400)[:240]].T, bias=True))
    order = np.random.default_rng(0).permutation(400)
    for i, j in ((0, 399), (100, 250)):
        apart = rows[order[i]] - rows[order[j]]
        assert np.sum((whole[i] - whole[j]) ** 2) == pytest.approx(apart @ inverse @ apart, rel=1e-3)


def test_the_importance_log_z_and_what_its_draws_are_worth():
    wide = GaussianMixture([1.0], [[0.0, 0.0]], 4 * np.eye(2)[None])
    model = Gaussian([0.5, 0.0], np.eye(2))
    value, worth = nce_table.importance_log_normalizer(model, wide, 20_000, jax.random.key(0))
    error = np.sqrt(1 / worth - 1 / 20_000)
    assert abs(value - np.log(2 * np.pi)) < 5 * error
    # (E w)²/E w² in closed form: each axis has √7/4 of it, and exp(−m²/7) for a mean m.
    assert worth / 20_000 == pytest.approx(7 / 16 * np.exp(-0.25 / 7), rel=0.05)
    itself, all_of_them = nce_table.importance_log_normalizer(wide, wide, 5_000, jax.random.key(1))
    assert itself == pytest.approx(float(wide.log_normalizer()), abs=1e-4)
    assert all_of_them == pytest.approx(5_000, rel=1e-4)


@pytest.mark.study
def test_the_study_of_tables(tmp_path):
    facts = studied("nce-table", tmp_path)
    found = facts["likelihoods"][nce_table.BUNDLED]
    assert tuple(found) == (*nce_table.ALL[:3], *nce_table.FEW)
    (detail,) = facts["details"][nce_table.BUNDLED]
    energy = detail[nce_table.NCE_GAUSSIAN]
    # Held-out likelihood is that by the importance log Z, whose draws are not many here.
    assert found[nce_table.NCE_GAUSSIAN] == [energy["test"]]
    assert 1 < energy["worth"] < nce_table.SIZES["smoke"].draws
    assert energy["classified error"] > 0
    # It began near the Gaussian it is told from, 200 updates do not lead far, and the log Z agree roughly.
    assert abs(energy["test"] - found[nce_table.GAUSSIAN][0]) < 1
    assert max(abs(energy["learned"]), abs(energy["classified"])) < 0.6


def test_a_table_that_is_not_there_is_named_and_one_that_comes_along_taken(monkeypatch):
    monkeypatch.delenv("ENERGAX_DATA", raising=False)
    told = []
    tables, missing = nce_table.found_tables(("adbench/41_Waveform",), told.append)
    assert missing == ["adbench/41_Waveform"]
    assert list(tables) == [nce_table.BUNDLED]
    assert "adbench" in told[0]
    assert nce_table.BUNDLED in told[0]
