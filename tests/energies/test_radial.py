"""The radial base gives nearly what multiscale denoising score matching wants of a ball of data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import MLP, Gaussian, WithRadialBase
from energax.testing import check_energy

D, S, SIGMA_0 = 1_024, 0.7, 0.2
MEAN = np.linspace(-1, 1, D, dtype=np.float32)


class Nothing(ex.energies.Energy):
    """E(x) = 0."""

    event_shape: tuple[int, ...] = (D,)

    def __call__(self, x, condition=None):
        return 0.0 * jnp.sum(x)


BASE = WithRadialBase(Nothing(), MEAN, S, sigma_0=SIGMA_0)


def excess(slope, sigma):
    """Return a level's loss (1/σ²)·E‖x − x̃ + σ₀²∇E(x̃)‖² on N(μ, s²I) over its least, d s²/(s² + σ²)."""
    rng = np.random.default_rng(0)
    x = MEAN + S * rng.standard_normal((400, D)).astype(np.float32)
    noisy = x + np.float32(sigma) * rng.standard_normal((400, D)).astype(np.float32)
    loss = np.mean(np.sum((x - noisy + SIGMA_0**2 * slope(noisy)) ** 2, axis=1)) / sigma**2
    return loss / (D * S**2 / (S**2 + sigma**2))


def slope_of(energy):
    return lambda x: np.asarray(jax.jit(jax.vmap(jax.grad(energy)))(x))


def test_its_slope_is_the_formula():
    x = (
        MEAN
        + np.random.default_rng(1).normal(size=(20, D)).astype(np.float32) * np.linspace(0, 3, 20)[:, None]
    )
    r2 = np.mean((x - MEAN) ** 2, axis=1, keepdims=True)
    np.testing.assert_allclose(
        slope_of(BASE)(x), (x - MEAN) / SIGMA_0**2 * r2 / (S**2 + r2), rtol=2e-4, atol=1e-4
    )


def test_one_energy_denoises_a_ball_at_every_large_noise():
    # At noise σ the slope is off by (x̃ − μ) s⁴/(r²(s² + r²)), r² = s² + σ², in high dimension.
    for sigma in (1.4, 2.8, 5.6):
        r2 = S**2 + sigma**2
        off = D * r2 * (S**4 / (r2 * (S**2 + r2))) ** 2 / sigma**2 / (D * S**2 / r2)
        assert excess(slope_of(BASE), sigma) == pytest.approx(1 + off, rel=0.02)
        assert off < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        lambda r2: (r2 + S**2) / r2,  # the sign of the logarithm
        lambda r2: 1.0 + 0 * r2,  # no logarithm: what a quadratic would do
        lambda r2: r2 / (S**4 + r2),  # s² twice squared
    ],
)
def test_other_bases_are_found_out(wrong):
    def slope(x):
        return (x - MEAN) / SIGMA_0**2 * wrong(np.mean((x - MEAN) ** 2, axis=1, keepdims=True))

    assert max(excess(slope, sigma) for sigma in (1.4, 2.8, 5.6)) > 1.06


def test_mean_and_scale_are_learned_and_the_contract_is_kept(key):
    energy = WithRadialBase(MLP((3,), width=8, key=key), np.arange(3.0), 0.5)
    check_energy(energy, key=key)
    slopes = jax.grad(lambda e: e(jnp.ones(3)))(energy)
    assert np.all(np.asarray(slopes.mean)[[0, 2]] != 0)
    assert slopes.log_scale != 0


def test_it_starts_from_rows():
    rows = MEAN + S * np.random.default_rng(2).standard_normal((3_000, D)).astype(np.float32)
    found = WithRadialBase.from_data(Nothing(), rows, sigma_0=SIGMA_0)
    np.testing.assert_allclose(found.mean, MEAN, atol=6 * S / 3_000**0.5)
    np.testing.assert_allclose(np.exp(found.log_scale), S, rtol=0.01)
    assert found.sigma_0 == SIGMA_0
    assert np.isfinite(slope_of(WithRadialBase.from_data(Nothing(), np.ones((4, D))))(rows[:2])).all()


def test_mistakes_are_named():
    normal = Gaussian(jnp.zeros(2), jnp.eye(2))
    with pytest.raises(ex.InputError, match="WithRadialBase: scale must be a finite number above 0; got 0"):
        WithRadialBase(normal, 0.0, 0.0)
    with pytest.raises(ex.InputError, match=r"WithRadialBase: mean must be a number or of shape \(2,\)"):
        WithRadialBase.from_data(normal, np.zeros((5, 3)))
    with pytest.raises(ex.InputError, match="WithRadialBase: sigma_0 must be a finite number above 0"):
        WithRadialBase(normal, sigma_0=-1.0)
