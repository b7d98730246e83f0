"""What the report measures is true where the truth is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.checks import InputError
from energax.config import RunConfig, replace
from energax.data import Affine, Dataset, Logit, Pad, Pipeline, Reshape
from energax.energies import Gaussian
from energax.report import measure as m
from energax.report.wiener import Wiener
from energax.samplers import Langevin, schedules
from tests.report.conftest import QUICK, Smooth

SIGMA = 0.3


def quiet(text):
    pass


def one_level(sigma, steps=30):
    """Return the protocol of a single-level model, denoising at that level alone."""
    way = m.protocol(replace(RunConfig(), {"objective": "denoising", "objective.sigma": sigma}))
    sampler = Langevin.mdsm(0.5 * sigma, schedules.constant(1.0, steps))
    used = dataclasses.replace(way.way, sampler=sampler)
    return dataclasses.replace(way, way=used, sigmas=np.array([sigma]), shown=np.array([sigma]))


# ---- protocol and units ----------------------------------------------------------------------


def test_protocol_follows_the_objective():
    way = m.protocol(replace(RunConfig(), {"objective.sigma_0": 0.2, "objective.sigma_max": 1.2}))
    assert way.sigma_0 == 0.2
    np.testing.assert_allclose(way.shown, [0.1, 0.3, 0.6, 1.0])
    np.testing.assert_allclose(way.sigmas[[0, -1]], [0.05, 1.2])
    np.testing.assert_allclose(way.temperatures[0], (1.0 / 0.2) ** 2)
    assert len(way.temperatures) == 2700

    way = m.protocol(replace(RunConfig(), {"objective": "denoising", "objective.sigma": 0.6}))
    assert way.sigma_0 == way.noise_max == 0.6
    assert set(way.temperatures) == {1.0}


def test_known_part_in_model_units(images):
    data, pipeline = images
    mask = np.zeros((6, 6, 1), bool)
    mask[:, 3:] = True
    known = m.Units(data, pipeline).known(mask)
    np.testing.assert_array_equal(known, np.pad(mask, ((1, 1), (1, 1), (0, 0)), constant_values=True))

    flat = dataclasses.replace(data, train=data.train.reshape(-1, 36), test=data.test.reshape(-1, 36))
    unfold = Pipeline((Reshape((36,), (6, 6, 1)), Pad(1)))
    np.testing.assert_array_equal(m.Units(flat, unfold).known(mask.ravel()), known)


# ---- denoising -------------------------------------------------------------------------------


def test_an_exact_model_is_level_with_wiener(table):
    """On Gaussian data the posterior mean is linear, so no model can beat the filter."""
    data, mean, cov = table
    units, wiener = m.Units(data, None), Wiener.of_rows(data.train)
    way = one_level(SIGMA)
    found = m.denoising(way, Smooth(mean, cov, SIGMA), units, wiener, jax.random.key(0))
    assert found.verdict.tolist() == [0]
    np.testing.assert_allclose(found.ratio, 1, atol=0.02)  # training moments of 1,000 rows
    exact = np.sqrt(Wiener(mean, *np.linalg.eigh(cov)[::-1]).squared_error(SIGMA) / 3)
    # 256 rows of three coordinates: the relative error of an RMSE is about 1/√(2·768).
    np.testing.assert_allclose(found.model, exact, rtol=4.9 / np.sqrt(2 * 768))
    np.testing.assert_allclose(found.noisy, SIGMA, rtol=4.9 / np.sqrt(2 * 768))

    wrong = m.denoising(way, Smooth(mean, cov, 2 * SIGMA), units, wiener, jax.random.key(0))
    assert wrong.verdict.tolist() == [-1]
    moved = m.denoising(way, Smooth(mean + 1, cov, SIGMA), units, wiener, jax.random.key(0))
    assert moved.verdict.tolist() == [-1]


def test_a_model_that_knows_two_clusters_beats_wiener():
    rng = np.random.default_rng(0)
    rows = (rng.integers(0, 2, (600, 1)) * 2.0 - 1 + 0.01 * rng.standard_normal((600, 2))).astype(np.float32)
    units, wiener = (
        m.Units(Dataset("two", "points", rows[:300], rows[300:]), None),
        Wiener.of_rows(rows[:300]),
    )

    def energy(x):
        return -jax.nn.logsumexp(-jnp.array([jnp.sum((x - 1) ** 2), jnp.sum((x + 1) ** 2)]) / (2 * SIGMA**2))

    found = m.denoising(one_level(SIGMA), energy, units, wiener, jax.random.key(0))
    assert found.verdict.tolist() == [1]


def test_ratio_and_its_error(seed):
    """The error is the spread of 400 repetitions; forgetting that rows are paired, it would not be."""
    rng = np.random.default_rng(seed)
    below = rng.exponential(size=(400, 300))
    above = 2 * below + 0.2 * rng.exponential(size=below.shape)
    ratio, error = m.ratio_of_roots(above, below)
    np.testing.assert_allclose(ratio, np.sqrt(above.mean(1) / below.mean(1)), rtol=1e-12)
    # A standard deviation of 400 values is known to 1/√800 of itself; the rest is second order.
    tolerance = 4.9 / np.sqrt(800) + 0.03
    assert abs(error.mean() / ratio.std() - 1) < tolerance
    _, unpaired = m.ratio_of_roots(rng.permuted(above, axis=1), below)
    assert abs(unpaired.mean() / ratio.std() - 1) > tolerance


# ---- sampling --------------------------------------------------------------------------------


def test_samples_follow_the_law(table):
    """At T = 1 on p_σ, then the jump: mean μ, and variance C(C + σ²)⁻¹C."""
    data, mean, cov = table
    way = one_level(SIGMA, 300)
    reach = m.Reach.of_rows(data.train, 1.0, image=False)
    model = Smooth(mean, cov, SIGMA)
    samples, trace = m.sampling(way, model, m.Units(data, None), reach, jax.random.key(0), quiet)
    assert samples.lost == 0
    assert len(samples.data) == 256
    law = cov @ np.linalg.inv(cov + SIGMA**2 * np.eye(3)) @ cov
    error = np.sqrt(np.diag(law) / 256)
    assert np.all(np.abs(samples.data.mean(axis=0) - mean) < 4.9 * error)
    np.testing.assert_allclose(samples.data.var(axis=0), np.diag(law), rtol=4.9 * np.sqrt(2 / 256))
    assert np.isnan(trace.slope)  # T never moved
    assert trace.noisy.shape[1:] == (256, 3)
    assert trace.shown_steps[0] == 0
    assert trace.shown_steps[-1] == 300


def test_energy_of_a_quadratic_rises_with_slope_d_over_two():
    d, sigma_0 = 8, 0.1
    rows = np.zeros((4, d), np.float32)
    data = Dataset("zero", "table", rows, rows, columns=tuple("abcdefgh"))
    way = m.protocol(replace(RunConfig(), {"sampler.hold": 150, "sampler.anneal": 500, "sampler.cool": 50}))
    model = Gaussian(np.zeros(d), sigma_0**2 * np.eye(d))
    reach = m.Reach(0.0, 100.0)
    _, trace = m.sampling(way, model, m.Units(data, None), reach, jax.random.key(0), quiet)
    assert abs(trace.slope - 1) < 0.15  # 256 chains: one mean energy is known to 3 %
    assert trace.temperature[0] == pytest.approx(100)
    assert trace.temperature[-1] == 0


def test_chains_that_leave_are_counted_and_left_out(table):
    data, mean, cov = table
    fine = Smooth(mean, cov, SIGMA)

    def cliff(x):
        return jnp.where(x[0] < mean[0] + 0.5, fine(x), -50 * jnp.sum((x - mean) ** 2))

    way, units = one_level(SIGMA, 400), m.Units(data, None)
    reach = m.Reach.of_rows(data.train, 1.0, image=False)
    samples, trace = m.sampling(way, cliff, units, reach, jax.random.key(0), quiet)
    assert 0 < samples.lost < 256
    assert len(samples.data) == 256 - samples.lost
    assert np.isfinite(samples.data).all()
    assert np.isfinite(trace.energy).all()

    samples, trace = m.sampling(way, lambda x: -50 * jnp.sum(x**2), units, reach, jax.random.key(0), quiet)
    assert samples.lost == 256
    assert trace is None


def test_reach():
    reach = m.Reach(0.0, 2.0)
    rows = np.array([[1, 1], [2, 2], [2, 2.1], [np.nan, 0], [np.inf, 0], [1e30, 0]], np.float32)
    assert reach.holds(rows).tolist() == [True, True, False, False, False, False]


# ---- inpainting, neighbours, energies --------------------------------------------------------


def test_inpainting_keeps_what_is_known(images):
    data, pipeline = images
    config = replace(RunConfig(), QUICK)
    units, model = m.Units(data, pipeline), Smooth(np.full(64, 0.5), np.zeros((64, 64)), 0.1, (8, 8, 1))
    parts = m.inpainting(m.protocol(config), model, units, m.Reach(0.5, 50.0), jax.random.key(0), quiet)
    assert [part.name for part in parts] == ["left", "center"]
    for part in parts:
        known = np.broadcast_to(part.known, part.truth.shape)
        np.testing.assert_allclose(part.completed[known], part.truth[known], atol=1e-3)
        # This energy's only point is mid-grey, and the jump goes there in one step.
        np.testing.assert_allclose(part.completed[~known], 127.5, atol=0.1)


def test_a_copied_row_is_its_own_neighbour(table):
    data, _, _ = table
    copies = data.train[5:17]
    samples = m.Samples(copies, copies, data.test, np.zeros(0), 0)
    found = m.neighbours(samples, m.Units(data, None))
    np.testing.assert_array_equal(found.neighbours[:, 0], copies[:10])
    np.testing.assert_allclose(found.from_samples, 0, atol=1e-5)
    assert found.from_held_out.min() > 0
    assert found.tested is None


def test_copies_are_told_from_new_rows(table):
    data, _, _ = table
    units = m.Units(data, None)
    copied, new = (
        m.Samples(rows, rows, data.test, np.zeros(0), 0) for rows in (data.train[:40], data.test[:40])
    )
    assert m.neighbours(copied, units).tested.p_value < 1e-6
    assert m.neighbours(new, units).tested.p_value > 0.01


def test_noise_is_added_before_energies_are_measured(table):
    """E = ½ (x−μ)ᵀ(C+σ²)⁻¹(x−μ) of rows of N(μ, C) with noise σ is ½χ²₃: mean 3/2, variance 3/2."""
    data, mean, cov = table
    samples = m.Samples(data.test[:50], data.test[:50], data.test, np.zeros(0), 0)
    found = m.energies(one_level(SIGMA), Smooth(mean, cov, SIGMA), m.Units(data, None), samples, seed=0)
    values = found.values["held out"]
    assert abs(values.mean() - 1.5) < 4.9 * np.sqrt(1.5 / len(values))
    clean = 0.5 * np.trace(np.linalg.inv(cov + SIGMA**2 * np.eye(3)) @ cov)
    assert abs(values.mean() - clean) > 4.9 * np.sqrt(1.5 / len(values))  # the test can tell
    gap, error = found.gap
    assert abs(gap) < 4.9 * error
    assert found.auroc["uniform"] > 0.7


def test_landscape_counts_the_volume():
    """−log p_X = E(f(x)) − log|det ∂f/∂x|, where f maps the open unit square to the plane."""
    rng = np.random.default_rng(0)
    rows = rng.uniform(0.01, 0.99, (200, 2)).astype(np.float32)
    pipeline = Pipeline((Logit(0.01), Affine([0.5, 1.0], [2.0, 1.0])))
    units = m.Units(Dataset("square", "points", rows[:100], rows[100:]), pipeline)
    found = m.landscape(Gaussian(np.zeros(2), np.eye(2)), units, points=20)
    x = np.stack(np.meshgrid(found.first, found.second), axis=-1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        s = 0.01 + 0.98 * x
        z = (np.log(s) - np.log(1 - s) - [0.5, 1.0]) / [2.0, 1.0]
        exact = np.sum(0.5 * z**2 + np.log(s) + np.log(1 - s), axis=-1)
    np.testing.assert_array_equal(np.isfinite(found.energy), np.isfinite(exact))
    np.testing.assert_allclose(found.energy, exact - np.nanmin(exact), atol=1e-3)


# ---- training records ------------------------------------------------------------------------


def test_records_without_a_finite_loss_are_left_out():
    history = [
        {"step": 1, "loss": 2.0},
        {"step": 2, "loss": float("nan")},
        {"step": 3, "loss": None},
        {"step": 4},
    ]
    found = m.training(
        replace(RunConfig(), {"objective": "denoising"}), history, Wiener.of_rows(np.zeros((2, 2)))
    )
    assert found.steps.tolist() == [1]
    assert found.loss.tolist() == [2]
    assert len(found.levels) == len(found.validation) == 0
    assert m.training(RunConfig(), [], Wiener.of_rows(np.zeros((2, 2)))).loss.size == 0


def test_rollbacks_are_told_and_are_no_losses():
    back = {
        "step": 1000,
        "rollback": 1,
        "diagnosis": "rejecting",
        "since": 1030,
        "at": 1054,
        "sentence": "0.002 of the chains' proposals were accepted in steps 1030 to 1054",
        "changed": {"step_size": [1.0, 0.5]},
        "fresh_chains": False,
    }
    found = m.training(
        replace(RunConfig(), {"objective": "denoising"}),
        [{"step": 1000, "loss": 2.0}, back, {"step": 1050, "loss": 1.0}],
        Wiener.of_rows(np.zeros((2, 2))),
    )
    assert found.loss.tolist() == [2, 1]
    assert found.rollbacks == (("1,000", "rejecting", back["sentence"], "step size 1 → 0.5, new key"),)


@pytest.mark.parametrize("power", [2.0, 1.0])
def test_linear_loss_is_that_of_the_linear_denoiser(power, table, seed):
    data, _, _ = table
    wiener = Wiener.of_rows(data.train)
    config = replace(
        RunConfig(), {"objective.levels": 3, "objective.weight_power": power, "fit.batch_size": 6}
    )
    found = m.training(config, [{"step": 1, "loss": 1.0, "loss_by_noise": [1.0, 1.0, 1.0]}], wiener)
    options = config.objective_options
    ladder = np.geomspace(options.sigma_min, options.sigma_max, 3)
    np.testing.assert_allclose(found.levels, ladder, rtol=1e-6)
    rng = np.random.default_rng(seed)
    x = np.tile(data.train, (8, 1)).astype(np.float64)
    for sigma, linear in zip(found.levels, found.linear, strict=True):
        denoised = wiener(x + sigma * rng.standard_normal(x.shape), sigma)
        losses = sigma**-power * np.sum((denoised - x) ** 2, axis=1)
        assert abs(losses.mean() - linear) < 4.9 * losses.std() / np.sqrt(len(losses))


def test_levels_that_do_not_fit_the_records_are_refused():
    with pytest.raises(InputError, match="history"):
        m.training(
            RunConfig(), [{"step": 1, "loss": 1.0, "loss_by_noise": [1.0]}], Wiener.of_rows(np.zeros((2, 2)))
        )


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"model": Gaussian(np.zeros(2), np.eye(2))}, r"events \(3,\)"),
        ({"seed": -1}, "seed"),
    ],
)
def test_refusals(change, match, table_arguments):
    arguments = {k: v for k, v in table_arguments.items() if k != "about"}
    with pytest.raises(InputError, match=match):
        m.measure(**{**arguments, "progress": quiet, **change})
