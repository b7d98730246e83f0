"""The studies of learning by contrast run whole, in small; what they rest on holds at any size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from jax.scipy.integrate import trapezoid

from energax.energies import Gaussian
from energax.objectives import ExactMaximumLikelihood
from energax.papers import (
    cnce_models,
    ica_baselines,
    nce_densities,
    nce_estimates,
    nce_noise,
    nce_self_normalised_fits,
)
from energax.papers.fixed_sample import minimise
from energax.testing import assert_mean

from .studied import studied


def test_a_fixed_sample_is_descended_on_to_the_estimate_in_closed_form():
    truth = cnce_models.case("gaussian", 0).truth
    x = truth.sample(jax.random.key(0), 600).reshape(-1, 100, 5)
    for blocks in (2, 6):
        start = nce_densities.Quadratic(0.5 * np.eye(5))
        end = minimise(ExactMaximumLikelihood(), start, x, blocks, key=jax.random.key(1))
        rows = np.asarray(x[:blocks], np.float64).reshape(-1, 5)
        exact = np.linalg.inv(rows.T @ rows / len(rows))
        np.testing.assert_allclose(end.model.precision, exact, atol=0.01)
        best = minimise(
            ExactMaximumLikelihood(), nce_densities.Quadratic(exact), x, blocks, key=jax.random.key(1)
        )
        assert end.loss == pytest.approx(best.loss, abs=1e-5)


def test_the_ring_knows_its_log_z_and_draws_what_it_says(key):
    ring = nce_densities.Ring(2.0, 4.0, 2)
    u = jnp.linspace(-12, 12, 1_001)
    plane = jnp.stack(jnp.meshgrid(u, u), -1)
    density = jnp.exp(-jax.vmap(jax.vmap(ring))(plane))
    assert float(ring.log_normalizer()) == pytest.approx(
        float(jnp.log(trapezoid(trapezoid(density, u), u))), abs=1e-4
    )
    x = ring.sample(key, 20_000)
    # d/dγ of log Z is −E[½(‖x‖ − μ)²].
    slope = eqx.filter_grad(lambda r: r.log_normalizer())(ring).gamma
    assert_mean(0.5 * (jnp.linalg.norm(x, axis=1) - 4.0) ** 2, -slope)
    assert_mean(x[:, 0], 0.0)


def test_rows_are_compared_up_to_order_and_sign():
    rng = np.random.default_rng(0)
    B = rng.standard_normal((5, 5))
    turned = B[rng.permutation(5)] * rng.choice([-1, 1], (5, 1))
    assert cnce_models.unmixed_error(turned, B) < 1e-6
    off = turned.copy()
    off[2, 3] += 0.01
    assert cnce_models.unmixed_error(off, B) == pytest.approx(0.01, rel=1e-3)


def test_slopes_are_those_of_the_medians():
    noise = np.random.default_rng(0).lognormal(0, 0.3, 400)
    errors = {"half": {str(N): (noise / np.sqrt(N)).tolist() for N in (300, 1_000, 5_000)}}
    slope, error = cnce_models.slopes(errors)["half"]
    assert slope == pytest.approx(-0.5, abs=1e-6)
    assert error < 1e-6


@pytest.mark.study
def test_the_study_of_three_models(tmp_path):
    facts = studied("cnce-models", tmp_path)
    (ica,) = facts["results"].values()
    for by_rows in ica["errors"].values():
        few, many = (np.median(by_rows[N]) for N in by_rows)
        assert many < few
    assert np.median(ica["errors"]["ML"]["800"]) < 0.2


@pytest.mark.parametrize("target", nce_noise.TARGETS)
def test_the_model_draws_its_law_and_knows_its_log_z(target, key):
    model = nce_densities.truth(target)
    mean, covariance = nce_densities._moments(model)
    law = nce_densities.noise_law(model, 1.0, 0.0)
    x = model.sample(key, 20_000)
    np.testing.assert_allclose(jax.vmap(law.log_prob)(x[:50]), jax.vmap(model.log_prob)(x[:50]), atol=2e-4)
    assert_mean(x, mean)
    wide = nce_densities.noise_law(model, 2.0, 1.0).sample(key, 20_000)
    along = jnp.linalg.eigh(covariance)[1][:, -1]
    spread = jnp.sqrt(along @ covariance @ along)
    assert_mean((wide - mean) @ along, spread)
    assert_mean(((wide - mean) @ along - spread) ** 2, 4 * spread**2)


def test_predicted_errors_are_those_of_one_unknown_in_closed_form(key):
    # E = ½ λx² at λ = 1: ML's N var is 2λ², and as ν grows NCE's is no other.
    model = nce_densities.Quadratic([[1.0]])
    noise = Gaussian([0.0], [[4.0]])
    (few, many), exact = nce_estimates.efficiencies(model, noise, [1.0, 1e4], 100_000, key)
    assert exact.theta == pytest.approx(2.0, rel=0.05)
    assert exact.log_normalizer == pytest.approx(0.5, rel=0.05)  # (d log Z/dλ)² · 2
    assert many.theta == pytest.approx(exact.theta, rel=0.01)
    assert few.theta > 1.2 * exact.theta
    # By quadrature, at ν = 1.
    u = np.linspace(-12, 12, 20_001)
    p, q = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi), np.exp(-(u**2) / 8) / np.sqrt(8 * np.pi)
    g = np.stack([-0.5 * u**2, -np.ones_like(u)])
    J = (g * (p * q / (p + q))) @ g.T * (u[1] - u[0])
    assert few.theta == pytest.approx(np.linalg.inv(J)[0, 0], rel=0.05)
    assert few.log_normalizer == pytest.approx(np.linalg.inv(J)[1, 1] - 2, rel=0.1)


@pytest.mark.study
def test_the_study_of_noise(tmp_path):
    facts = studied("nce-noise", tmp_path)
    for r in facts["results"].values():
        rows = {row["noise"]: row for row in r["rows"]}
        near, far = rows["the data's law"], rows["s = 3"]
        assert near["not at rest"] == 0
        assert np.mean(near["measured"]["θ"]) < np.mean(far["measured"]["θ"])
        # Errors are never below what maximum likelihood's tend to.
        curves = np.array(list(r["curves"]["scale"].values()))
        assert (curves > 0.99).all()


def test_the_spread_of_a_self_normalised_log_z_by_quadrature(key):
    # E = ½ λx² at λ = 1, as above: zero if the noise is the data's law, mᵀJ⁻¹m − 2 at ν = 1 if twice as wide.
    model = nce_densities.Quadratic([[1.0]])
    spreads = [
        nce_self_normalised_fits.spread(model, Gaussian([0.0], [[v]]), 1.0, 100_000, key) for v in (1.0, 4.0)
    ]
    u = np.linspace(-12, 12, 20_001)
    p, q = np.exp(-0.5 * u**2) / np.sqrt(2 * np.pi), np.exp(-(u**2) / 8) / np.sqrt(8 * np.pi)
    g = np.stack([-0.5 * u**2, -np.ones_like(u)])
    J, m = (g * (p * q / (p + q))) @ g.T * (u[1] - u[0]), g @ p * (u[1] - u[0])
    assert spreads == pytest.approx([0.0, m @ np.linalg.inv(J) @ m - 2], rel=0.05, abs=0.01)


def test_a_gaussians_divergence_is_exact_at_its_few_points():
    truth = nce_densities.truth("gaussian")
    other = nce_densities.Quadratic(truth.precision + 0.1 * np.eye(5) + 0.05)
    start = nce_self_normalised_fits.started(nce_self_normalised_fits.SHIFTED, truth)
    found = ravel_pytree((nce_self_normalised_fits.Shifted(other, 2.0), None))[0][None]
    log_z, divergence = (float(a[0]) for a in nce_self_normalised_fits._judged(start, truth, found))
    product = np.linalg.solve(truth.precision, other.precision)
    exact = 0.5 * (np.trace(product) - 5 - np.log(np.linalg.det(product)))
    assert divergence == pytest.approx(exact, abs=1e-5)
    assert log_z == pytest.approx(float(other.log_normalizer()) - 2, abs=1e-5)


@pytest.mark.study
def test_the_study_of_self_normalised_energies(tmp_path):
    facts = studied("nce-self-normalised", tmp_path)
    for row in facts["results"]:
        near, far = (np.abs(row["found"][way]["log Z"]) for way in ("self-normalised, with a constant",
                                                                    "self-normalised, without"))  # fmt: skip
        assert near.mean() < 0.1 < 1.0 < far.mean()


def test_matrices_have_condition_numbers_below_their_size():
    rng = np.random.default_rng(0)
    assert all(np.linalg.cond(ica_baselines.mixing(rng, 8)) < 8 for _ in range(10))


def test_ranks_put_what_is_no_number_last():
    assert ica_baselines.ranks({"a": float("nan"), "b": -3.0, "c": -1.0}) == ["c", "b", "a"]
    assert ica_baselines.paper_gap("NCE", 20) == pytest.approx(-4.04)
    assert np.isnan(ica_baselines.paper_gap("SM", 40))


@pytest.mark.study
def test_the_study_of_ica(tmp_path):
    facts = studied("ica-baselines", tmp_path)
    (found,) = facts["results"].values()
    best = np.mean(found["truth"]["test"])
    for name in ica_baselines.SIZES["smoke"].names:
        assert best - 0.3 < np.mean(found[name]["test"]) < best + 0.02
    assert np.abs(found["NCE"]["learned log Z − log Z"]).max() < 0.3
