"""Exact and sliced score matching lead to the density; their papers' connections hold."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import Score, score
from energax.objectives import Batch, DenoisingScoreMatching, ScoreMatching, SlicedScoreMatching
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture

from . import mutants

EXACT = [ScoreMatching("forward"), ScoreMatching("chunked")]
SLICED = [
    SlicedScoreMatching(),
    SlicedScoreMatching(3, "gaussian"),
    SlicedScoreMatching(1, "sphere", variance_reduced=False),
]


@pytest.mark.parametrize("objective", [*EXACT, *SLICED], ids=lambda o: f"{type(o).__name__}")
def test_it_leads_to_the_density(objective, key):
    check_objective(objective, key=key)


@pytest.mark.parametrize(
    "objective", [ScoreMatching(), SlicedScoreMatching()], ids=lambda o: type(o).__name__
)
def test_a_field_that_is_no_gradient_is_led_there_too(objective, key):
    check_objective(objective, key=key, as_field=True)


@pytest.mark.parametrize(
    "mutant",
    [mutants.PrintedSign, mutants.TraceOverD, mutants.UnitSphere, mutants.ProbeReused],
)
def test_the_checker_rejects_each_mutant(mutant, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(), key=key)


def test_a_skewed_density_in_four_dimensions(key):
    for objective in (EXACT[1], SLICED[0]):
        check_objective(objective, key=key, data=ex.energies.GeneralizedLogistic([0.5, 1.0, 2.0, 4.0]))


def network(d=6, **settings):
    return ex.energies.MLP((d,), width=8, depth=2, key=jax.random.key(3), **settings)


@eqx.filter_jit
def value_and_gradient(model, objective, batch, key):
    return eqx.filter_value_and_grad(lambda m: objective.loss(m, None, None, batch, key)[0])(model)


def test_both_ways_to_the_trace_agree_to_rounding(key):
    batch = Batch(jax.random.normal(key, (16, 6)))
    (a, da), (b, db) = (value_and_gradient(network(), o, batch, key) for o in EXACT)
    np.testing.assert_allclose(a, b, rtol=1e-5)
    for u, v in zip(jax.tree.leaves(da), jax.tree.leaves(db), strict=True):
        np.testing.assert_allclose(u, v, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("objective", SLICED)
def test_slices_are_unbiased_for_the_exact_loss(objective, key):
    # On one batch, over directions: value and gradient.
    batch = Batch(jax.random.normal(key, (8, 6)))
    exact, exact_gradient = value_and_gradient(network(), ScoreMatching(), batch, key)

    @jax.jit
    def one(k):
        value, gradient = value_and_gradient(network(), objective, batch, k)
        return value, gradient.layers[0].weight

    values, gradients = jax.lax.map(one, jax.random.split(key, 4096), batch_size=64)
    assert_mean(values.reshape(64, -1).mean(1), exact, "the sliced loss")
    expected = exact_gradient.layers[0].weight
    assert_mean(gradients.reshape(64, 64, *expected.shape).mean(1), expected, "the gradient")


def test_pytree_events_and_conditions_have_the_loss_of_flat_ones(key):
    energy = lambda x, c: jnp.sum(jnp.concatenate([x["a"], x["b"]]) ** 4 * c)  # noqa: E731
    flat = lambda x, c: jnp.sum(x**4 * c)  # noqa: E731
    x, c = jax.random.normal(key, (8, 3)), jax.random.normal(key, (8, 3))
    for objective in EXACT:
        one = objective.loss(energy, None, None, Batch({"a": x[:, :1], "b": x[:, 1:]}, c), key)[0]
        two = objective.loss(flat, None, None, Batch(x, c), key)[0]
        np.testing.assert_allclose(one, two, rtol=1e-5)


def test_the_curvature_penalty_is_a_little_noise():
    # Data N(0, I) within ½a‖x‖²: ½a² − a + λa² is least at a = 1/(1 + 2λ), the smoothed
    # precision for σ² = 2λ, exactly.
    penalty = 0.08
    objective = ScoreMatching(curvature_penalty=penalty)
    x = jax.random.normal(jax.random.key(0), (4096, 3))
    x = x / jnp.sqrt(jnp.mean(x**2))  # second moment one, so that no noise is left

    def loss(a):
        return objective.loss(lambda y: 0.5 * a * jnp.sum(y**2), None, None, Batch(x), None)[0]

    np.testing.assert_allclose(jax.jit(jax.grad(loss))(1 / (1 + 2 * penalty)), 0, atol=1e-5)
    assert abs(jax.jit(jax.grad(loss))(1.0)) > 0.1


def test_the_curvature_penalty_is_the_first_order_of_small_noise():
    # In one dimension, by quadrature and at the truth, for every direction of change of the model:
    # noise adds (σ²/2) E[s′² + (s − s_p) s″]; the penalty is the first term, λ = σ²/2.
    truth = ex.energies.GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], jnp.array([[[0.5]], [[0.3]]]))
    grid = jnp.linspace(-8, 8, 4001)[:, None]
    step = grid[1, 0] - grid[0, 0]
    directions = lambda x: jnp.array([x[0] ** 2, x[0], jnp.tanh(2 * x[0])])  # noqa: E731
    model = lambda theta: lambda x: truth(x) + theta @ directions(x)  # noqa: E731

    def loss(theta, density, objective):
        one = lambda x: objective.loss(model(theta), None, None, Batch(x[None]), None)[0]  # noqa: E731
        return jnp.sum(jax.vmap(one)(grid) * jnp.exp(jax.vmap(density.log_prob)(grid))) * step

    def gradient(density, objective):
        return np.asarray(jax.jit(jax.grad(lambda t: loss(t, density, objective)))(jnp.zeros(3)))

    plain = gradient(truth, ScoreMatching("chunked"))
    np.testing.assert_allclose(plain, 0, atol=2e-4)

    def dropped(theta):
        def one(x):
            s = lambda t, y: -jax.grad(lambda u: model(t)(y.at[0].set(u)))(y[0])  # noqa: E731
            second = jax.grad(jax.grad(lambda u: s(jnp.zeros(3), x.at[0].set(u))))(x[0])
            return s(theta, x) * second

        return jnp.sum(jax.vmap(one)(grid) * jnp.exp(jax.vmap(truth.log_prob)(grid))) * step

    rest = np.asarray(jax.jit(jax.grad(dropped))(jnp.zeros(3)))
    errors = []
    for variance in (0.02, 0.01):
        noisy = gradient(truth.smoothed(variance**0.5), ScoreMatching("chunked"))
        penalised = gradient(truth, ScoreMatching(curvature_penalty=variance / 2))
        errors.append(np.abs(noisy - penalised - variance / 2 * rest).max())
        assert np.abs(noisy).max() > 10 * errors[-1]
        assert np.abs(noisy - penalised).max() > 4 * errors[-1]  # the dropped term is seen
    assert errors[1] < 0.35 * errors[0]  # what is left is second order in the variance


def test_the_control_variate_changes_no_expectation(key):
    check_objective(DenoisingScoreMatching(0.3, control_variate=True), key=key)


def test_denoising_in_four_dimensions(key):
    means = jnp.array([[-1.0, 0.5, 0.0, 0.3], [0.8, -0.3, 0.6, -0.9]])
    mixture = ex.energies.GaussianMixture([0.3, 0.7], means, jnp.diag(jnp.array([0.5, 0.4, 0.8, 0.3])))
    check_objective(DenoisingScoreMatching(0.4), key=key, data=mixture)


def test_the_control_variate_pays_at_small_noise_and_hurts_at_large(key):
    energy = skewed_mixture()
    x = energy.sample(jax.random.key(1), 512)

    def spread(sigma, control):
        objective = DenoisingScoreMatching(sigma, control)
        loss = jax.jit(lambda k: objective.loss(energy, None, None, Batch(x[:1]), k)[0])
        values = jax.vmap(loss)(jax.random.split(key, 20_000))
        return float(jnp.std(values))

    plain = [spread(sigma, False) for sigma in (0.1, 0.01, 0.001)]
    controlled = [spread(sigma, True) for sigma in (0.1, 0.01, 0.001)]
    # Without, the loss's deviation grows as σ⁻² (‖z‖²/2σ²); with, it stays bounded.
    np.testing.assert_allclose(np.array(plain[1:]) / plain[:-1], 100, rtol=0.15)
    assert controlled[2] < 1.5 * controlled[0]
    assert controlled[2] < 1e-4 * plain[2]
    far = DenoisingScoreMatching(3.0), DenoisingScoreMatching(3.0, control_variate=True)

    def gradient_spread(objective):
        def slope(k):
            def loss(a):
                return objective.loss(lambda y: a * energy(y), None, None, Batch(x[:1]), k)[0]

            return jax.grad(loss)(1.0)

        return float(jnp.std(jax.vmap(jax.jit(slope))(jax.random.split(key, 20_000))))

    assert gradient_spread(far[1]) > gradient_spread(far[0])


def test_denoising_is_score_matching_of_the_smoothed_density_up_to_a_constant(key):
    # Vincent (2011): J_DSM(θ) − J_SM,p_σ(θ) is the same for every model.
    sigma = 0.5
    data = skewed_mixture()
    smooth = data.smoothed(sigma)
    dsm, sm = DenoisingScoreMatching(sigma), ScoreMatching("chunked")
    models = [
        ex.energies.Gaussian([0.3, -0.2], [[1.5, 0.3], [0.3, 0.8]]),
        ex.energies.GaussianMixture([0.5, 0.5], [[-1.0, 0], [1.0, 0]], jnp.eye(2)),
        network(2),
    ]

    @jax.jit
    def differences(k):
        k1, k2, k3 = jax.random.split(k, 3)
        left = [dsm.loss(m, None, None, Batch(data.sample(k1, 512)), k2)[0] for m in models]
        right = [sm.loss(m, None, None, Batch(smooth.sample(k3, 512)), k3)[0] for m in models]
        gap = jnp.stack(left) - jnp.stack(right)
        return gap[1:] - gap[0]

    assert_mean(jax.lax.map(differences, jax.random.split(key, 256)), 0.0, "J_DSM − J_SM of p_σ")


@pytest.mark.parametrize("sign", [1, -1])
def test_one_step_langevin_contrastive_divergence_descends_the_fisher_divergence(sign, key):
    # The loss E(x) − E(sg x′) has gradient +(ε²/2)∇D_F + O(ε⁴); for log p it is the negative.
    data, epsilon = skewed_mixture(), 0.02
    base = ex.energies.Gaussian([0.3, -0.2], [[1.5, 0.3], [0.3, 0.8]])
    features = lambda x: jnp.array([x[0] ** 2, x[0] * x[1], jnp.tanh(2 * x[0]), x[1] ** 3 / 6])  # noqa: E731
    model = lambda t: lambda x: base(x) + t @ features(x)  # noqa: E731

    def contrastive(t, x, z):
        moved = x + epsilon**2 / 2 * jax.vmap(lambda y: score(model(t), y))(x) + epsilon * z
        moved = jax.lax.stop_gradient(moved)
        return jnp.mean(jax.vmap(model(t))(x) - jax.vmap(model(t))(moved))

    @jax.jit
    def gap(k):
        k1, k2 = jax.random.split(k)
        x, z = data.sample(k1, 2048), jax.random.normal(k2, (2048, 2))
        # ±z: what is odd in ε, whose mean is zero and whose size is 1/ε too large, cancels.
        g = (jax.grad(contrastive)(jnp.zeros(4), x, z) + jax.grad(contrastive)(jnp.zeros(4), x, -z)) / 2
        fisher = jax.grad(lambda t: ScoreMatching("chunked").loss(model(t), None, None, Batch(x), k)[0])
        return sign * 2 / epsilon**2 * g, fisher(jnp.zeros(4))

    left, right = jax.lax.map(gap, jax.random.split(key, 128))
    allowance = 5 * epsilon**2 * np.abs(right.mean(0)).max()
    if sign == 1:
        assert_mean(left - right, 0.0, "CD-1 against Fisher", allowance=allowance)
        assert np.abs(right.mean(0)).max() > 0.1
    else:
        with pytest.raises(AssertionError):
            assert_mean(left - right, 0.0, "the sign as printed for E", allowance=allowance)


def test_the_relative_de_bruijn_identity():
    # d/dt KL(p_t ‖ q_t) = −D_F(p_t ‖ q_t), the blur having variance t and D_F its ½.
    p = ex.energies.GaussianMixture([0.3, 0.7], [[-1.0], [0.8]], jnp.array([[[0.5]], [[0.3]]]))
    q = ex.energies.GaussianMixture([0.6, 0.4], [[-0.5], [1.0]], jnp.array([[[0.6]], [[0.9]]]))
    grid = np.linspace(-12, 12, 24_001)
    x = jnp.asarray(grid)[:, None]

    def at(t):
        logs, scores = [], []
        for density in (p, q):
            smooth = density.smoothed(t**0.5)
            logs.append(np.asarray(jax.vmap(smooth.log_prob)(x), np.float64))
            scores.append(np.asarray(jax.vmap(lambda y, s=smooth: score(s, y))(x), np.float64)[:, 0])
        weight = np.exp(logs[0]) * (grid[1] - grid[0])
        kl = np.sum(weight * (logs[0] - logs[1]))
        fisher = 0.5 * np.sum(weight * (scores[0] - scores[1]) ** 2)
        return kl, fisher

    h = 0.05
    slope = (at(0.5 + h)[0] - at(0.5 - h)[0]) / (2 * h)
    np.testing.assert_allclose(slope, -at(0.5)[1], rtol=0.01)
    assert abs(slope + at(0.5)[1] / 2) > 0.2 * at(0.5)[1]  # not half of it, as printed


def test_a_vector_field_is_trained_through_fit():
    # tr ∇s of a field that is no gradient: the learned linear field must come out symmetric.
    class Linear(eqx.Module):
        A: jax.Array

        def __call__(self, x, condition=None):
            return self.A @ x

    precision = np.array([[1.2, -0.4], [-0.4, 0.9]])
    x = np.random.default_rng(0).multivariate_normal(np.zeros(2), np.linalg.inv(precision), 20_000)
    start = Score(Linear(jnp.array([[0.0, 1.0], [-1.0, 0.0]])))
    fit = ex.fit(
        start,
        ScoreMatching(),
        x.astype(np.float32),
        key=jax.random.key(0),
        steps=1500,
        batch_size=512,
        learning_rate=1e-2,
        ema=0.99,
    )
    np.testing.assert_allclose(fit.energy.field.A, -np.linalg.inv(np.cov(x.T)), atol=0.03)


def test_binary_data_and_kinks_are_refused_with_a_way_out(key):
    bits = np.random.default_rng(0).integers(0, 2, (50, 4)).astype(np.float32)
    with pytest.raises(ex.InputError, match="for binary data take RatioMatching"):
        ex.fit(network(4), ScoreMatching(), bits, key=key, steps=1)
    w = jnp.ones((4, 4))
    x = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    kinked = {
        "relu": lambda y: jnp.sum(jax.nn.relu(w @ y) ** 2),
        "leaky_relu": lambda y: jnp.sum(jax.nn.leaky_relu(w @ y)),
        "max": lambda y: jnp.sum(jnp.maximum(w @ y, 0)),
        "abs": lambda y: jnp.sum(jnp.abs(w @ y)),
        "elu": network(4, activation="elu"),
    }
    for name, energy in kinked.items():
        for objective in (ScoreMatching(), SlicedScoreMatching()):
            with pytest.raises(ex.InputError, match=f"or take DenoisingScoreMatching.*'{name}'"):
                objective.init(energy, Batch(x), key, 4)
    for name in ("silu", "softplus", "gelu", "tanh"):
        ScoreMatching().init(network(4, activation=name), Batch(x), key, 4)
    with pytest.raises(ex.InputError, match=r"did you mean 'forward'\?"):
        ScoreMatching("foward")
    with pytest.raises(ex.InputError, match="projections must be a whole number of at least 1"):
        SlicedScoreMatching(0)
