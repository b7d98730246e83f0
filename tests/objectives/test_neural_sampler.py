"""Generators are trained for a given energy: the slopes are the divergences', and the draws its law."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax import stein
from energax.derivatives import score
from energax.energies import Generator
from energax.kernels import IMQ
from energax.objectives import (
    Batch,
    FisherNeuralSampler,
    KernelNeuralSampler,
    LearnedSteinDiscrepancy,
    Player,
)
from energax.stein import stein_pairs
from energax.testing import assert_mean

ENERGY = ex.energies.Gaussian(jnp.array([1.0, -0.5]), jnp.array([[1.5, 0.4], [0.4, 0.8]]))


class Affine(eqx.Module):
    """x = A z + b, whose law is known."""

    matrix: jax.Array
    shift: jax.Array

    def __call__(self, z):
        return self.matrix @ z + self.shift

    @property
    def law(self):
        return ex.energies.Gaussian(self.shift, self.matrix @ self.matrix.T)


START = Affine(jnp.array([[1.3, 0.0], [0.5, 0.7]]), jnp.array([0.2, 0.3]))


class Best(eqx.Module):
    """f* = (s − s_q)/2λ of the generator where it stood."""

    law: ex.energies.Gaussian
    penalty: float = eqx.field(static=True)

    def __call__(self, x):
        return (score(ENERGY, x) - score(self.law, x)) / (2 * self.penalty)


def fisher(generator, z, penalty):
    """E_q‖s − s_q‖²/4λ over fixed latents, for a generator whose law moves with it."""
    x = jax.vmap(generator)(z)
    law = generator.law
    gap = jax.vmap(lambda x: jnp.sum((score(ENERGY, x) - score(law, x)) ** 2))(x)
    return jnp.mean(gap) / (4 * penalty)


class WithoutItsPenalty(FisherNeuralSampler):
    """The generator descends the discrepancy alone."""

    def loss(self, model, nuisance, state, batch, key):
        value, report = super().loss(model, nuisance, state, batch, key)
        f = jax.vmap(lambda z: self.critic.learned_critic(state)(model(z)))(batch.x)
        return value + self.critic.penalty * jnp.mean(jnp.sum(f**2, 1)), report


def slope_at_the_best_critic(made, key, penalty=0.7):
    z = jax.random.normal(key, (200_000, 2))
    best = Best(START.law, penalty)
    objective = made(ENERGY, LearnedSteinDiscrepancy(best, penalty, probes=0), kernel_weight=0)
    state = Player(eqx.filter(best, eqx.is_inexact_array), None)
    found = eqx.filter_grad(lambda g: objective.loss(g, None, state, Batch(z), key)[0])(START)
    return found, eqx.filter_grad(lambda g: fisher(g, z, penalty))(START)


def test_at_the_best_critic_the_slope_is_the_fisher_divergences(key):
    found, exact = slope_at_the_best_critic(FisherNeuralSampler, key)
    np.testing.assert_allclose(found.matrix, exact.matrix, atol=0.03)
    np.testing.assert_allclose(found.shift, exact.shift, atol=0.03)


def test_without_the_penalty_it_is_another(key):
    found, exact = slope_at_the_best_critic(WithoutItsPenalty, key)
    assert np.abs(found.matrix - exact.matrix).max() > 0.2


class Bent(eqx.Module):
    """A critic whose Jacobian is neither constant nor symmetric: its trace has a slope of its own."""

    weight: jax.Array

    def __call__(self, x):
        return jnp.tanh(self.weight @ x) * jnp.array([1.0, 2.0])


def probed(key, keys=4000):
    """Return (loss, slope in matrix and shift) with one probe for each key, and the exact ones."""
    z = jax.random.normal(key, (16, 2))
    bent = Bent(jnp.array([[0.8, -0.5], [0.7, 1.2]]))
    state = Player(eqx.filter(bent, eqx.is_inexact_array), None)

    def found(probes, k):
        critic = LearnedSteinDiscrepancy(bent, 0.7, probes=probes)
        objective = FisherNeuralSampler(ENERGY, critic, kernel_weight=0)
        loss = lambda g: objective.loss(g, None, state, Batch(z), k)[0]  # noqa: E731
        value, slope = eqx.filter_value_and_grad(loss)(START)
        return jnp.concatenate([value[None], slope.matrix.ravel(), slope.shift])

    return jax.jit(jax.vmap(lambda k: found(1, k)))(jax.random.split(key, keys)), found(0, key)


def test_probes_keep_the_mean_of_the_loss_and_of_its_slope(key):
    some, exact = probed(key)
    assert float(some.std(0).min()) > 1e-3
    assert_mean(some, exact, "loss and slope with one probe")


def test_probes_whose_trace_is_over_d_are_found_out(key, monkeypatch):
    real = stein.hutchinson_trace
    monkeypatch.setattr(stein, "hutchinson_trace", lambda f, x, **how: real(f, x, **how) / x.size)
    with pytest.raises(AssertionError):
        assert_mean(*probed(key), "loss and slope with one probe")


def test_the_kernels_loss_is_the_discrepancy_of_independent_draws(key):
    objective = KernelNeuralSampler(ENERGY, "imq", 1.2)
    z = jax.random.normal(key, (64, 128, 2))
    values = jax.vmap(lambda z: objective.loss(START, None, None, Batch(z), key)[0])(z)
    a, b = (START.law.sample(k, 400_000) for k in jax.random.split(jax.random.fold_in(key, 1)))
    s = jax.vmap(lambda x: score(ENERGY, x))
    exact = stein_pairs(IMQ(1.2), a, s(a), b, s(b)).mean()
    assert_mean(values, exact, "mean over pairs of draws", allowance=2e-3)


class TowardsThePairsOfEachDraw(KernelNeuralSampler):
    """A V-statistic read as U: small minibatches pull draws to where H(x, x) is small."""

    def loss(self, model, nuisance, state, batch, key):
        n = len(batch)
        value, report = super().loss(model, nuisance, state, batch, key)
        x = jax.vmap(model)(batch.x)
        s = jax.vmap(lambda x: score(self.energy, x))(x)
        return value + jnp.mean(stein_pairs(IMQ(self.bandwidth), x, s, x, s)) / (n - 1), report


def fitted(objective, key, batch_size=128, **settings):
    z = jax.random.normal(key, (20_000, 2))
    how = {"steps": 1500, "learning_rate": 5e-3, "ema": 0.99, "progress": False, **settings}
    return ex.fit(START, objective, z, key=key, batch_size=batch_size, **how).energy


def critic(key):
    # Between Gaussians the best critic is affine.
    return LearnedSteinDiscrepancy(
        eqx.nn.Linear(2, 2, key=key), 0.5, critic_learning_rate=5e-3, critic_steps=3, probes=0
    )


@pytest.mark.parametrize("kind", ["fisher", "kernel"])
def test_the_generator_ends_in_the_law(kind, key):
    made = FisherNeuralSampler(ENERGY, critic(key)) if kind == "fisher" else KernelNeuralSampler(ENERGY)
    found = fitted(made, key)
    np.testing.assert_allclose(found.shift, [1.0, -0.5], atol=0.08)
    np.testing.assert_allclose(found.matrix @ found.matrix.T, [[1.5, 0.4], [0.4, 0.8]], atol=0.12)


def test_small_minibatches_do_no_harm_and_a_v_statistic_does(key):
    right = fitted(KernelNeuralSampler(ENERGY), key, batch_size=8).law
    wrong = fitted(TowardsThePairsOfEachDraw(ENERGY), key, batch_size=8).law
    spread = [float(jnp.linalg.det(law.scale_tril)) for law in (right, wrong, ENERGY)]
    assert abs(spread[0] / spread[2] - 1) < 0.15
    assert spread[1] / spread[2] < 0.75


SPREAD = jnp.broadcast_to(0.5 * jnp.eye(2), (2, 2, 2))
MODES = ex.energies.GaussianMixture([0.5, 0.5], [[-2.0, 0.0], [2.0, 1.0]], SPREAD)


def drawn(objective, key):
    """Return draws of a network before and after training, and of the mixture itself."""
    start = Generator((2,), latent=3, width=64, scale=2.0, activation="silu", key=key)
    how = {"steps": 1500, "batch_size": 128, "learning_rate": 1e-3, "ema": 0.99, "progress": False}
    found = ex.fit(start, objective, start.latents(key, 20_000), key=key, **how).energy
    return start.sample(key, 4000), found.sample(key, 4000), MODES.sample(jax.random.fold_in(key, 1), 4000)


def gap(x, y, key):
    return ex.evaluation.mmd_test(x[:1000], y[:1000], draws=1, key=key).statistic


def test_a_network_draws_from_a_mixture(key):
    before, x, truth = drawn(KernelNeuralSampler(MODES), key)
    assert abs(np.mean(np.asarray(x[:, 0] > 0)) - 0.5) < 0.15
    height = [float(jnp.mean(jax.vmap(MODES)(rows))) for rows in (before, x, truth)]
    assert abs(height[1] - height[2]) < 0.15 * abs(height[0] - height[2])
    assert gap(x, truth, key) < 0.05 * gap(before, truth, key)


@pytest.mark.study
def test_the_fisher_divergence_alone_does_not_miss_a_mode_it_lost(key):
    shares = []
    for weight in (0.0, 2.0):
        _, x, _ = drawn(FisherNeuralSampler(MODES, kernel_weight=weight), key)
        right = np.mean(np.asarray(x[:, 0] > 0))
        shares.append(min(right, 1 - right))
    assert shares[0] < 0.1 < 0.2 < shares[1]


@pytest.mark.parametrize("made", [FisherNeuralSampler, KernelNeuralSampler])
def test_a_law_with_an_edge_is_refused(made, key):
    gamma = ex.energies.Gamma([2.0, 2.0], [1.0, 1.0])
    sentence = (
        f"^{made.__name__}: energy must be on all of ℝᵈ: where a density ends at an edge, Stein's identity "
        "fails; take samplers.Reflected, .*; got "
    )
    for law in (gamma, ex.Score(gamma), gamma + ENERGY):
        with pytest.raises(ex.InputError, match=f"{sentence}a {type(law).__name__}"):
            made(law)
    # One that says nothing: draws are beyond the edge, or near it.
    positive = lambda z: START(z) ** 2  # noqa: E731
    for generator, said in [(START, "an energy of nan at row"), (positive, "an energy of nan where entry")]:
        with pytest.raises(ex.InputError, match=f"{sentence}{said}"):
            made(lambda x: gamma(x)).init(generator, Batch(jax.random.normal(key, (200, 2))), key, 64)


def test_a_generator_has_the_shape_of_an_event(key):
    made = Generator((4, 4, 1), latent=3, width=8, shift=0.5, key=key)
    assert made.sample(key, 5).shape == (5, 4, 4, 1)
    # Scale and shift are where the law of the draws starts.
    wide = eqx.tree_at(lambda g: (g.scale, g.shift), made, (3 * made.scale, made.shift + 1))
    z = made.latents(key, 1)[0]
    np.testing.assert_allclose(wide(z) - 1.5, 3 * (made(z) - 0.5), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda k: FisherNeuralSampler(3.0), "energy must be an energy or a Score; got float"),
        (lambda k: FisherNeuralSampler(ENERGY, 3.0), "critic must be a LearnedSteinDiscrepancy, or None"),
        (
            lambda k: FisherNeuralSampler(ENERGY, kernel_weight=-1),
            "kernel_weight must be a finite number at least 0",
        ),
        (lambda k: KernelNeuralSampler(ENERGY, "cosine"), "kernel must be one of 'imq'"),
        (lambda k: KernelNeuralSampler(ENERGY, bandwidth=0), "bandwidth must be a finite number above 0"),
        (
            lambda k: fitted(KernelNeuralSampler(ENERGY), k, batch_size=1, steps=1),
            "batch_size must be at least 2, for pairs; got 1",
        ),
        (
            lambda k: ex.fit(ENERGY, KernelNeuralSampler(ENERGY), jnp.zeros((20, 2)), key=k, steps=1),
            "model must be a generator z ↦ x of the energy's events; got an energy",
        ),
        (
            lambda k: ex.fit(
                Generator((3,), latent=2, key=k),
                KernelNeuralSampler(ENERGY),
                jnp.ones((20, 2)),
                key=k,
                steps=1,
            ),
            r"model must be a generator of events of shape \(2,\); got draws of shape \(3,\)",
        ),
        (lambda k: Generator((2,), latent=0, key=k), "latent must be a whole number of at least 1"),
        (lambda k: Generator((2,), scale=-1.0, key=k), "scale must be a finite number above 0"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(key)
