"""Sums over a matrix that is never whole are those over the whole; random signs are drawn rightly."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from energax import blocks
from energax.blocks import parts_of, quadratic_forms, row_sums, sign_forms
from energax.evaluation.kernel_tests import SteinBlock
from energax.kernels import IMQ, RBF
from energax.testing import FALSE_ALARM
from tests.stein_matrix import stein_matrix

KERNELS = pytest.mark.parametrize("kernel", [RBF(1.0), IMQ(0.8, 0.3)], ids=["rbf", "imq"])


@pytest.mark.parametrize("n", [7, 1024, 1500])
@KERNELS
def test_quadratic_forms_are_double_sums_over_any_number_of_blocks(n, kernel, key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, n, 2)))
    kinds = np.asarray(jax.random.randint(key, (5, n), 0, 3), np.int8)
    weights = np.array([-1.0, 0.5, 2.0])
    forms = quadratic_forms(SteinBlock(kernel), (x, s), kinds, weights)
    w = weights[kinds]
    wanted = np.einsum("wi,ij,wj->w", w, stein_matrix(kernel, x, s), w)
    np.testing.assert_allclose(forms, wanted, rtol=1e-4, atol=1e-3 * n)


@pytest.mark.parametrize("n", [7, 1500])
@KERNELS
def test_row_sums_are_those_of_the_matrix(n, kernel, key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, n, 2)))
    H = stein_matrix(kernel, x, s)
    sums, diagonal = row_sums(SteinBlock(kernel), (x, s))
    np.testing.assert_allclose(sums, H.sum(1), rtol=1e-4, atol=1e-5 * n)
    np.testing.assert_allclose(diagonal, np.diag(H), rtol=1e-4)


@pytest.mark.parametrize("n", [7, 200, 1500])
@KERNELS
def test_sign_forms_are_double_sums_of_the_signs_they_name(n, kernel, key):
    x, s = (np.asarray(a) for a in jax.random.normal(key, (2, n, 2)))
    H, draws = stein_matrix(kernel, x, s), 21
    found = sign_forms(SteinBlock(kernel), (x, s), draws, key)
    m, (size, padded) = parts_of(n), blocks._sizes(n)
    slot_key, sign_key = jax.random.split(key)
    slots = blocks.slots_of(slot_key, padded, n)
    u = blocks.random_signs(sign_key, -(-draws // m), n)
    h = scipy.linalg.hadamard(m)[:, slots % size // (size // m)]
    w = (u[:, None] * h).reshape(-1, n)[:draws]
    assert set(np.unique(w)) == {-1, 1}
    np.testing.assert_allclose(found.forms, np.einsum("wi,ij,wj->w", w, H, w), rtol=1e-4, atol=1e-3 * n)
    np.testing.assert_allclose(found.total, H.sum(), rtol=1e-4, atol=1e-3 * n)
    np.testing.assert_allclose(found.trace, np.trace(H), rtol=1e-4)


def test_few_rows_are_not_split_and_many_have_parts_of_64():
    assert [parts_of(n) for n in (2, 100, 128, 1000, 4095, 4096, 10**6)] == [1, 1, 2, 8, 32, 64, 64]


class Weighted(eqx.Module):
    """H_ij = c_i c_j exp(−|x_i − x_j|²/2)."""

    def __call__(self, here, there):
        (x, c), (y, e) = here, there
        return c[:, None] * e * jnp.exp(-0.5 * (x[:, None] - y) ** 2)


def spread_of_tail_counts(key, keys=80, draws=640, n=4096):
    """Return (Σ (count − mean)²/variance of independent draws, its degrees of freedom), counts over keys.

    Rows come sorted, the heavy ones first.
    """
    c = np.exp(-8 * np.arange(n, dtype=np.float32) / n)
    x = np.asarray(jax.random.normal(key, (n,)))
    forms = np.array([sign_forms(Weighted(), (x, c), draws, k).forms for k in jax.random.split(key, keys)])
    above = (forms > np.quantile(forms, 0.95)).sum(1)
    return float(np.sum((above - above.mean()) ** 2) / (draws * 0.05 * 0.95)), keys - 1


def heavy_together(key, padded, n):
    """Return slots that put sorted rows into one part after the other."""
    return np.argsort(np.arange(padded) % 1024 // 16, kind="stable")[:n]


class TestDrawsThatShareSigns:
    """Draws of one group come from the same signs, and are yet as good as independent ones."""

    def test_tails_scatter_as_those_of_independent_draws(self, key):
        found, degrees = spread_of_tail_counts(key)
        assert scipy.stats.chi2.sf(found, degrees) > FALSE_ALARM, found / degrees
        assert scipy.stats.chi2.cdf(found, degrees) > FALSE_ALARM, found / degrees

    def test_one_group_for_all_draws_is_found_out(self, key, monkeypatch):
        real = blocks.random_signs
        monkeypatch.setattr(
            blocks, "random_signs", lambda k, draws, n: np.repeat(real(k, 1, n), draws, axis=0)
        )
        found, degrees = spread_of_tail_counts(key)
        assert scipy.stats.chi2.sf(found, degrees) < FALSE_ALARM

    def test_parts_that_are_not_alike_are_found_out(self, key, monkeypatch):
        monkeypatch.setattr(blocks, "slots_of", heavy_together)
        found, degrees = spread_of_tail_counts(key)
        assert scipy.stats.chi2.sf(found, degrees) < FALSE_ALARM


def test_moments_of_the_bootstrap_are_those_of_signs(key):
    # E wᵀHw = tr H and Var wᵀHw = 2 Σ_{i≠j} H_ij² for independent signs; 20 groups a key are independent.
    x = np.asarray(jax.random.normal(key, (300,)))
    c = np.ones(300, np.float32)
    H = np.exp(-0.5 * (x[:, None] - x).astype(np.float64) ** 2)
    assert parts_of(300) == 4
    forms = np.concatenate(
        [sign_forms(Weighted(), (x, c), 400, k).forms.reshape(-1, 4) for k in jax.random.split(key, 40)]
    )
    variance = 2 * (np.sum(H**2) - np.sum(np.diag(H) ** 2))
    groups = forms.mean(1)
    z = (groups.mean() - np.trace(H)) / (groups.std(ddof=1) / np.sqrt(len(groups)))
    assert abs(z) < scipy.stats.norm.isf(FALSE_ALARM / 2)
    squares = ((forms - np.trace(H)) ** 2).mean(1)
    z = (squares.mean() - variance) / (squares.std(ddof=1) / np.sqrt(len(squares)))
    assert abs(z) < scipy.stats.norm.isf(FALSE_ALARM / 2)
    between = np.corrcoef(forms.T)[np.triu_indices(4, 1)]
    assert np.all(np.abs(between) < 5.5 / np.sqrt(len(forms))), between
