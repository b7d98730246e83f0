"""Telling data from noise leads to the density and to log Z, whatever the divergence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

import energax as ex
from energax.objectives import (
    Batch,
    BregmanNoiseContrastiveEstimation,
    LogNormalizer,
    NoiseContrastiveEstimation,
    classification_log_normalizer,
    importance_log_normalizer,
)
from energax.objectives.noise import draws, fit_noise, log_density
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants
from tests.objectives.tables import ENERGIES, ROWS, STATES, EveryState, Table, led_to


def test_it_leads_to_the_density_and_to_log_z(key):
    check_objective(NoiseContrastiveEstimation(noise_ratio=2.0), key=key)


@pytest.mark.parametrize("divergence", ["exponential", "importance"])
def test_other_divergences_lead_there_too(divergence, key):
    check_objective(BregmanNoiseContrastiveEstimation(divergence, noise_ratio=2.0), key=key)


@pytest.mark.parametrize("mutant", [mutants.UncountedNoise, mutants.NoiseWithoutItsDensity])
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(noise_ratio=2.0), key=key)


def custom(g):
    return (g - 1) ** 2 / (g + 1)


@pytest.mark.parametrize("divergence", ["logistic", "importance", "squared", "exponential", custom])
def test_without_sampling_noise_descent_ends_in_the_truth(divergence):
    objective = BregmanNoiseContrastiveEstimation(divergence, EveryState(), noise_ratio=1.0)
    energies, surplus = led_to(objective, start=0.7)
    np.testing.assert_allclose(energies, ENERGIES, atol=2e-3)
    np.testing.assert_allclose(surplus, 0.0, atol=2e-3)


def test_a_fixed_log_z_makes_the_energy_normalise_itself():
    objective = NoiseContrastiveEstimation(EveryState(), 1.0, log_normalizer="fixed")
    nuisance, _ = objective.init(Table(ENERGIES), Batch(ROWS), jax.random.key(0), 64)
    assert nuisance is None

    slope = jax.grad(lambda e: objective.loss(Table(e), None, None, Batch(ROWS), jax.random.key(0))[0])
    np.testing.assert_allclose(slope(ENERGIES), 0.0, atol=1e-6)
    assert np.abs(slope(ENERGIES + 0.5)).max() > 1e-2  # the same density with another Z is not at rest


ONES = np.asarray(STATES).sum(1)
BITS_ON = jnp.repeat(STATES, jnp.asarray(3**ONES, int), axis=0)  # of 64 rows each bit is on in 48


def self_normalised(objective, learned, start):
    """Return θ and b of E(x) = b − θ Σ x_i where Newton's method ends, or where they start if not learned.

    log Z = 3 log(1 + e^θ) − b, which is 0 at the law of the rows for θ = log 3, b = log 64.
    """

    def loss(v):
        theta, constant = jnp.where(jnp.asarray(learned), v, jnp.asarray(start))
        model = lambda x: constant - theta * jnp.sum(x)  # noqa: E731
        return objective.loss(model, None, None, Batch(BITS_ON), jax.random.key(0))[0]

    def step(v, _):
        curvature = jax.hessian(loss)(v) + jnp.diag(1.0 - jnp.asarray(learned, float))
        return v - jnp.linalg.solve(curvature, jax.grad(loss)(v)), None

    return jax.jit(lambda v: jax.lax.scan(step, v, None, length=30)[0])(jnp.asarray(start))


def log_z_is_zero(objective):
    theta, constant = self_normalised(objective, (True, True), (0.5, 3.0))
    np.testing.assert_allclose([theta, constant], [np.log(3), np.log(64)], atol=2e-3)
    np.testing.assert_allclose(3 * np.log1p(np.exp(theta)) - constant, 0.0, atol=2e-3)


def test_a_self_normalised_energy_ends_at_log_z_zero():
    log_z_is_zero(NoiseContrastiveEstimation(EveryState(), 1.0, log_normalizer="fixed"))


def test_so_is_not_one_that_is_held_elsewhere():
    class Held(NoiseContrastiveEstimation):
        def loss(self, model, nuisance, state, batch, key):
            return super().loss(model, LogNormalizer(jnp.asarray(0.1)), state, batch, key)

    with pytest.raises(AssertionError):
        log_z_is_zero(Held(EveryState(), 1.0, log_normalizer="fixed"))


@pytest.mark.parametrize("ratio", [1.0, 8.0])
def test_without_a_constant_it_is_a_compromise_of_shape_and_mass(ratio):
    objective = NoiseContrastiveEstimation(EveryState(), ratio, log_normalizer="fixed")
    theta = float(self_normalised(objective, (True, False), (0.0, 0.0))[0])
    p = 3.0**ONES / 64

    def slope(t):  # Σ_x (p − e^{−E}) νq/(νq + e^{−E}) Σ x_i
        mass = np.exp(t * ONES)
        return np.sum((p - mass) * ratio / 8 / (ratio / 8 + mass) * ONES)

    assert theta == pytest.approx(brentq(slope, -5, 5), abs=1e-3)
    # Neither the density's log 3 nor a log Z of zero, which no θ has.
    assert theta < np.log(3) - 1
    assert 3 * np.log1p(np.exp(theta)) > 0.5


def test_with_much_noise_the_compromise_of_a_gaussian_is_known():
    # E = ½λx², p = N(0, 1), ν → ∞: log Z = log Z*·2/(d + 2), that is λ = (2π)^{1/3}.
    x = jax.scipy.stats.norm.ppf((jnp.arange(200) + 0.5) / 200)[:, None]

    class Everywhere(eqx.Module):
        def log_prob(self, x):
            return -jnp.log(16.0)

        def sample(self, key, n):
            return jnp.linspace(-8, 8, n)[:, None]

    objective = NoiseContrastiveEstimation(Everywhere(), 1000.0, log_normalizer="fixed")

    @jax.jit
    @jax.grad
    def slope(rate):
        energy = lambda u: 0.5 * rate * jnp.sum(u**2)  # noqa: E731
        return objective.loss(energy, None, None, Batch(x), jax.random.key(0))[0]

    rate = brentq(lambda r: float(slope(r)), 1.0, 3.0, xtol=1e-3)
    assert 0.5 * np.log(2 * np.pi / rate) == pytest.approx(np.log(2 * np.pi) / 3, abs=0.01)


def test_a_constant_is_the_log_z_that_would_be_learned(key):
    noise = ex.energies.Gaussian(jnp.zeros(2), 2.0 * jnp.eye(2))

    def loss(c, way):
        held = NoiseContrastiveEstimation(noise, 2.0, log_normalizer=way)
        if way == "learned":
            return held.loss(skewed_mixture(), LogNormalizer(c), None, Batch(MIXED), key)[0]
        return held.loss(lambda x: skewed_mixture()(x) + c, None, None, Batch(MIXED), key)[0]

    both = jax.jit(lambda c: [jax.value_and_grad(loss)(c, way) for way in ("learned", "fixed")])
    learned, fixed = both(jnp.asarray(0.7))
    np.testing.assert_allclose(learned, fixed, rtol=1e-5)


def test_the_logistic_member_is_the_likelihood_of_the_label(key):
    # With ν noise points a datum, P(data | u) = p/(p + νq): written out, in place of log-odds.
    model, noise = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), fit_noise("test", "gaussian", MIXED)
    objective = NoiseContrastiveEstimation(noise, 3.0)
    value = objective.loss(model, LogNormalizer(jnp.asarray(0.4)), None, Batch(MIXED), key)[0]
    y = draws(noise, key, 3 * len(MIXED), (2,))
    p = lambda u: jnp.exp(-jax.vmap(model)(u) - 0.4)  # noqa: E731
    q = lambda u: jnp.exp(log_density(noise, u))  # noqa: E731
    said = -jnp.mean(jnp.log(p(MIXED) / (p(MIXED) + 3 * q(MIXED))))
    said -= 3 * jnp.mean(jnp.log(3 * q(y) / (p(y) + 3 * q(y))))
    np.testing.assert_allclose(value, said, rtol=1e-5)


MIXED = skewed_mixture().sample(jax.random.key(7), 512)


def rbm():
    made = ex.energies.BernoulliRBM((6,), 4, scale=0.6, key=jax.random.key(3))
    biases = 0.3 * jnp.arange(6) - 0.5, 0.2 * jnp.arange(4) - 0.3
    return eqx.tree_at(lambda m: (m.visible_bias, m.hidden_bias), made, biases)


def truths():
    covariance = jnp.diag(jnp.array([0.3, 0.5, 1.0, 2.0, 3.0])) + 0.2
    return {
        "gaussian": (ex.energies.Gaussian(jnp.arange(5.0) / 3, covariance), "diagonal"),
        "mixture": (skewed_mixture(), "gaussian"),
        "rbm": (rbm(), "bernoulli"),
    }


@pytest.mark.parametrize("name", ["gaussian", "mixture", "rbm"])
def test_log_z_of_a_known_energy_with_an_honest_error(name, key):
    model, noise = truths()[name]
    truth = float(model.log_normalizer())
    n, repeats = 2000, 48
    x = model.sample(key, n * repeats).reshape(repeats, n, -1)
    keys = jax.random.split(jax.random.fold_in(key, 1), repeats)
    found = [
        classification_log_normalizer(model, x[i], noise, key=keys[i], noise_ratio=4.0)
        for i in range(repeats)
    ]
    values, errors = np.array([f.value for f in found]), np.array([f.standard_error for f in found])
    assert_mean(
        values, truth, f"log Z of a {name}", allowance=errors.mean() ** 2
    )  # its bias is of that order
    standard = (values - truth) / errors
    assert_mean(standard**2, 1.0, "mean square of the standardised error")
    # A large sample, as a user takes it.
    large = classification_log_normalizer(
        model, x.reshape(n * repeats, -1)[:40_000], noise, key=key, noise_ratio=4.0
    )
    assert abs(large.value - truth) < 0.05
    assert large.standard_error < 0.02


def test_log_z_by_importance_sampling_asks_nothing_of_the_data(key):
    model = truths()["mixture"][0]
    truth = float(model.log_normalizer())
    noise = ex.energies.Gaussian(jnp.zeros(2), 1.5 * jnp.eye(2))
    keys = jax.random.split(key, 48)
    found = [importance_log_normalizer(model, noise, (2,), key=k, draws=4096) for k in keys]
    values, errors = np.array([f.value for f in found]), np.array([f.standard_error for f in found])
    assert_mean(values, truth, "log Z", allowance=errors.mean() ** 2)
    assert_mean(((values - truth) / errors) ** 2, 1.0, "mean square of the standardised error")
    # What the weights are worth: mean(w)²/mean(w²) of the draws, by another way.
    y = noise.sample(key, 200_000)
    w = jnp.exp(-jax.vmap(model)(y) - jax.vmap(noise.log_prob)(y))
    np.testing.assert_allclose(
        np.mean([f.effective for f in found]) / 4096, w.mean() ** 2 / (w**2).mean(), rtol=0.05
    )
    # Rows that are not the model's: the log Z fitted to them can flatter them, this one cannot.
    x = 2.0 * model.sample(key, 20_000)
    fitted = classification_log_normalizer(model, x, noise, key=key).value
    flattered, honest = (-jax.vmap(model)(x).mean() - z for z in (fitted, values.mean()))
    assert float(flattered - honest) > 0.05


def test_fit_learns_energy_and_log_z_together(key):
    truth = truths()["gaussian"][0]
    x = truth.sample(key, 20_000)
    start = ex.energies.Gaussian(jnp.zeros(5), jnp.eye(5))
    objective = NoiseContrastiveEstimation(noise_ratio=5.0)
    found = ex.fit(
        start, objective, x, key=key, steps=1500, batch_size=256, learning_rate=0.03, ema=0.99, progress=False
    )
    learned, said = found.energy, float(found.density.log_z)
    assert abs(said - float(learned.log_normalizer())) < 0.05
    test = truth.sample(jax.random.fold_in(key, 9), 20_000)
    gap = jax.vmap(truth.log_prob)(test) - jax.vmap(found.density.log_prob)(test)
    assert abs(float(gap.mean())) < 0.05
    # The average of the energy's parameters comes with the average of its log Z.
    last = found.state.nuisance.value
    assert float(last) != said


def test_density_needs_an_objective_that_learns_log_z(key):
    found = ex.fit(
        ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)),
        ex.objectives.ScoreMatching(),
        MIXED,
        key=key,
        steps=1,
        progress=False,
    )
    with pytest.raises(ex.InputError, match=r"^Fit.density: the objective must be one that learns log Z"):
        _ = found.density


def test_fitted_noise_has_the_datas_moments(key):
    x = truths()["gaussian"][0].sample(key, 4000)
    full, diagonal = (fit_noise("test", kind, x) for kind in ("gaussian", "diagonal"))
    np.testing.assert_allclose(
        full.scale_tril @ full.scale_tril.T, jnp.cov(x.T, ddof=0), rtol=0.02, atol=0.02
    )
    np.testing.assert_allclose(diagonal.scale**2, x.var(0), rtol=1e-5)
    assert [a.shape for a in jax.tree.leaves(diagonal)] == [(5,), (5,)]  # of images a matrix is large
    assert_mean(diagonal.sample(key, 64 * 500).reshape(64, 500, 5).mean(1), diagonal.mean, "mean of draws")
    np.testing.assert_allclose(full.mean, x.mean(0), atol=1e-5)
    bits = fit_noise("test", "auto", ROWS)
    np.testing.assert_allclose(jax.nn.sigmoid(bits.logits), (ROWS.sum(0) + 0.5) / 65, rtol=1e-5)
    assert isinstance(fit_noise("test", "auto", x), ex.energies.Gaussian)


def test_events_of_any_shape(key):
    x = jax.random.normal(key, (64, 3, 2)) * jnp.arange(1.0, 7).reshape(3, 2)
    noise = fit_noise("test", "diagonal", x)
    y = draws(noise, key, 50, (3, 2))
    assert y.shape == (50, 3, 2)
    flat = jax.scipy.stats.norm.logpdf(y.reshape(50, 6), noise.mean, x.reshape(64, 6).std(0)).sum(1)
    np.testing.assert_allclose(log_density(noise, y), flat, rtol=1e-4)


def test_distributions_of_flowjax_are_taken_as_they_are(key):
    from flowjax.distributions import Normal

    x = jax.random.normal(key, (256, 2))
    objective = NoiseContrastiveEstimation(Normal(jnp.zeros(2), 2.0), 1.0)
    _, state = objective.init(skewed_mixture(), Batch(x), key, 64)
    assert state is None
    y = draws(objective.noise, key, 4096, (2,))
    assert_mean(jnp.square(y).reshape(64, 64, 2).mean((1, 2)), 4.0, "variance of flowjax's draws")
    expected = jax.scipy.stats.norm.logpdf(x, 0.0, 2.0).sum(1)
    np.testing.assert_allclose(log_density(objective.noise, x), expected, rtol=1e-5)


def test_distributions_of_numpyro_too(key):
    import numpyro.distributions as dist

    covariance = np.array([[2.0, 0.6], [0.6, 1.0]], np.float32)
    noise = dist.MultivariateNormal(np.ones(2, np.float32), covariance)
    x = jax.random.normal(key, (256, 2))
    objective = NoiseContrastiveEstimation(noise, 2.0)
    c, state = objective.init(skewed_mixture(), Batch(x), key, 64)
    expected = -jax.vmap(ex.energies.Gaussian(np.ones(2), covariance))(x)
    expected -= np.log(2 * np.pi) + 0.5 * np.log(np.linalg.det(covariance))
    np.testing.assert_allclose(log_density(objective.noise, x), expected, rtol=1e-4, atol=1e-4)
    y = draws(objective.noise, key, 4096, (2,))
    assert_mean((y[:, 0] - 1) * (y[:, 1] - 1), 0.6, "covariance of numpyro's draws")
    loss = eqx.filter_jit(objective.loss)(skewed_mixture(), c, state, Batch(x), key)[0]
    same = NoiseContrastiveEstimation(ex.energies.Gaussian(np.ones(2), covariance), 2.0)
    values = [
        jax.vmap(lambda k, o=o: o.loss(skewed_mixture(), c, state, Batch(x), k)[0])(jax.random.split(key, 64))
        for o in (objective, same)
    ]
    assert abs(loss - values[1].mean()) < 6 * values[1].std()
    assert_mean(np.asarray(values[0]), float(values[1].mean()), "loss", allowance=float(values[1].std()) / 2)
    many = NoiseContrastiveEstimation(dist.Normal(np.zeros(2, np.float32), 1.0))
    with pytest.raises(ex.InputError, match=r"noise must be with one log_prob for a whole row.*shape \(2,\)"):
        many.init(skewed_mixture(), Batch(x), key, 64)


def test_constant_columns_are_refused(key):
    x = jax.random.normal(key, (100, 4)).at[:, 2].set(1.0)
    with pytest.raises(ex.InputError, match=r"free of constant columns.*got 1 of 4 columns constant \(2\)"):
        NoiseContrastiveEstimation().init(skewed_mixture(), Batch(x), key, 10)


def test_thin_data_get_widened_noise_and_a_word(key):
    z = jax.random.normal(key, (1000, 2))
    x = jnp.concatenate([z, z @ jnp.array([[1.0], [2.0]])], 1)
    with pytest.warns(UserWarning, match="next to no variance along 1 of 3 directions"):
        noise = fit_noise("NoiseContrastiveEstimation", "gaussian", x)
    assert bool(jnp.isfinite(log_density(noise, x)).all())


def test_noise_that_misses_data_is_refused_with_its_share(key):
    from flowjax.distributions import Uniform

    x = jnp.linspace(-1, 3, 400)[:, None].repeat(2, 1)
    with pytest.raises(
        ex.InputError, match=r"noise must be with a density above zero.*misses 75.00% of the rows"
    ):
        NoiseContrastiveEstimation(Uniform(-jnp.ones(2), jnp.zeros(2))).init(
            skewed_mixture(), Batch(x), key, 10
        )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            {"noise": object()},
            r"noise must be a distribution with log_prob.*got a object without log_prob and sample",
        ),
        ({"noise": "gausian"}, r"noise must be one of .*did you mean 'gaussian'"),
        ({"noise_ratio": 0}, r"noise_ratio must be a finite number above 0; got 0"),
        ({"noise_ratio": -1.0}, r"noise_ratio must be a finite number above 0; got -1.0"),
        ({"log_normalizer": "free"}, r"log_normalizer must be one of 'learned', 'fixed'"),
    ],
)
def test_bad_arguments_are_refused_in_one_sentence(arguments, sentence):
    with pytest.raises(ex.InputError, match=f"^NoiseContrastiveEstimation: {sentence}"):
        NoiseContrastiveEstimation(**arguments)


def test_conditions_are_refused(key):
    with pytest.raises(ex.InputError, match="condition must be None: log Z would change with it"):
        NoiseContrastiveEstimation().init(skewed_mixture(), Batch(MIXED, jnp.ones(512)), key, 10)
