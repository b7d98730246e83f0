"""The exact MDSM objective: its weights, its minimum, and what a minibatch's normalisation does."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch, MultiscaleDenoisingScoreMatching
from energax.objectives.posterior import (
    importance_weights,
    nearest,
    parzen_score,
    posterior_mean,
    squared_distances,
)
from energax.testing import assert_mean, check_objective

POINTS = np.array(
    [[-1.0, 0.2], [-0.6, -0.9], [0.1, 0.8], [0.5, 0.4], [0.9, -0.3], [1.1, 0.9], [0.3, -0.8], [-0.2, 0.1]],
    np.float32,
)


class Points:
    """A data set of eight points, drawn equally often; smoothed, a Gaussian mixture."""

    def sample(self, key, n):
        return jax.random.permutation(key, jnp.tile(POINTS, (n // 8, 1)))

    def smoothed(self, sigma):
        return ex.energies.GaussianMixture(np.ones(8), POINTS, sigma**2 * jnp.eye(2))


class OverPoints(MultiscaleDenoisingScoreMatching):
    """Keeps each of the eight points once: copies of a point share its weight."""

    def init(self, model, data, key, rows):
        return None, jnp.asarray(POINTS)


SETTINGS = {"sigma_min": 0.3, "sigma_max": 0.9, "sigma_0": 0.5, "levels": 4}


@pytest.mark.parametrize("power", [2.0, 0.0])
@pytest.mark.parametrize("weighting", ["importance", "posterior"])
def test_it_leads_to_the_parzen_density(weighting, power, key):
    objective = OverPoints(**SETTINGS, weighting=weighting, weight_power=power)
    check_objective(objective, key=key, data=Points())


def test_few_neighbours_lead_there_too(key):
    check_objective(OverPoints(**SETTINGS, weighting="importance", neighbours=3), key=key, data=Points())


class Unweighted(OverPoints):
    """The paper's approximation, declared to be exact."""

    def loss(self, model, nuisance, state, batch, key):
        plain = MultiscaleDenoisingScoreMatching(**SETTINGS)
        return plain.loss(model, nuisance, None, batch, key)


class OfTheBatch(OverPoints):
    """Normalises over the minibatch instead of the data set."""

    def loss(self, model, nuisance, state, batch, key):
        few = batch.x[:6]  # six draws of eight points
        return MultiscaleDenoisingScoreMatching.loss(self, model, nuisance, few, batch, key)


class LevelsUnweighted(OverPoints):
    """π_M without l(σ), as the appendix prints it, beside a loss with l(σ) = 1/σ²."""

    def loss(self, model, nuisance, state, batch, key):
        from energax.objectives.denoising import add_noise, squared_norms

        sigma = jnp.tile(self.ladder(len(batch)), len(batch) // 4)
        noisy, z = add_noise(batch.x, sigma, key)
        s = jax.vmap(lambda x: ex.score(model, x))(noisy)
        losses = squared_norms(sigma[:, None] * z + self.sigma_0**2 * s) / sigma**2
        own, ladder = sigma**2 * squared_norms(z), self.ladder(4)
        w = importance_weights(noisy, own, state, self.sigma_0, ladder, jnp.ones(4))
        return jnp.mean(w * losses), {}


@pytest.mark.parametrize(
    ("mutant", "weighting"),
    [(Unweighted, "importance"), (OfTheBatch, "posterior"), (LevelsUnweighted, "importance")],
)
def test_the_checker_rejects_each_mutant(mutant, weighting, key):
    with pytest.raises(AssertionError):
        check_objective(mutant(**SETTINGS, weighting=weighting), key=key, data=Points())


def test_the_weights_have_mean_one_at_every_noisy_point(key):
    # Σ_j π_M(j | x̃) w_j = Σ_j π_σ₀(j | x̃) = 1, by listing j.
    ladder, sigma_0 = jnp.array([0.3, 0.6, 0.9]), 0.5
    weights = ladder**-2.0
    noisy = jax.random.normal(key, (20, 2))
    distances = squared_distances(noisy, jnp.asarray(POINTS))
    scale = (jnp.log(weights) - 2 * jnp.log(ladder))[:, None, None]
    log_mixture = jax.nn.logsumexp(scale - distances / (2 * ladder[:, None, None] ** 2), axis=0)
    pi_M = jax.nn.softmax(log_mixture, axis=1)
    w = jnp.stack(
        [
            importance_weights(noisy, distances[:, j], jnp.asarray(POINTS), sigma_0, ladder, weights)
            for j in range(8)
        ],
        axis=1,
    )
    np.testing.assert_allclose(jnp.sum(pi_M * w, axis=1), 1, rtol=1e-4)
    assert float(jnp.std(w)) > 0.1


LADDER = jnp.array([0.3, 0.9, 2.0])
RNG = np.random.default_rng(0)
MANY = np.asarray(RNG.normal(size=(40, 3)) * [1.0, 0.5, 2.0] + RNG.gamma(0.5, size=(40, 1)), np.float32)
NOISY = np.asarray(MANY[::2] + RNG.normal(size=(20, 3)), np.float32)
TO_MANY = np.sum((NOISY[:, None].astype(float) - MANY) ** 2, -1)
MANY, NOISY = jnp.asarray(MANY), jnp.asarray(NOISY)


def posteriors():
    """π_σ₀ and π_M over forty points at twenty noisy ones, by listing, in double precision."""
    spread = np.asarray(LADDER, float)[:, None, None]
    q_0, q_M = np.exp(-TO_MANY / 0.32), np.sum(spread**-5 * np.exp(-TO_MANY / (2 * spread**2)), 0)
    return q_0 / q_0.sum(1, keepdims=True), q_M / q_M.sum(1, keepdims=True)


@partial(jax.jit, static_argnames="k")
def weights_of_all(k, key):
    """w at every noisy point, had it been drawn from each of the forty."""
    one = lambda own: importance_weights(  # noqa: E731
        NOISY, own, MANY, 0.4, LADDER, LADDER**-2.0, neighbours=k, key=key
    )
    return jax.vmap(one, 1, 1)(jnp.asarray(TO_MANY, jnp.float32))


def test_all_neighbours_are_the_whole_data_set(key):
    np.testing.assert_allclose(weights_of_all(40, key), weights_of_all(None, key), rtol=2e-4)
    whole = posterior_mean(NOISY, MANY, 0.4)
    np.testing.assert_allclose(posterior_mean(NOISY, MANY, 0.4, neighbours=40), whole, rtol=1e-4, atol=1e-5)


def test_the_posterior_mean_of_few_neighbours_is_off_by_no_more_than_what_is_cut_off():
    pi_0, _ = posteriors()
    whole, diameter = pi_0 @ MANY, np.sqrt(np.max(squared_distances(MANY, MANY)))
    order, errors = np.argsort(TO_MANY, axis=1), []
    for k in (1, 5, 25):
        np.testing.assert_array_equal(np.sort(nearest(NOISY, MANY, k)[0]), np.sort(order[:, :k]))
        error = np.linalg.norm(posterior_mean(NOISY, MANY, 0.4, neighbours=k) - whole, axis=1)
        cut = 1 - np.take_along_axis(pi_0, order[:, :k], 1).sum(1)
        assert np.all(error <= cut * diameter + 1e-4)
        errors.append(error.mean())
    assert errors[0] > 0.1
    assert errors[-1] < 1e-4


def minimum(w):
    """Where the weighted loss has its minimum: Σ_i π_M w x_i / Σ_i π_M w, at every noisy point."""
    share = posteriors()[1] * w
    return share @ MANY / share.sum(1, keepdims=True)


def itself_too(k):
    """The mutant: sums over the neighbours of x̃ and i itself, a set that depends on i."""
    q_0, q_M = posteriors()
    inside = np.argsort(np.argsort(TO_MANY, axis=1), axis=1) < k
    sums = [np.where(inside, q, 0).sum(1, keepdims=True) + np.where(inside, 0, q) for q in (q_0, q_M)]
    return (q_0 / sums[0]) / (q_M / sums[1])


def around_its_own(k):
    """The mutant: sums over the neighbours of x_i, and i itself."""
    q_0, q_M = posteriors()
    table = np.argsort(squared_distances(MANY, MANY), axis=1)[:, : k + 1]
    return np.stack(
        [(q_0[:, i] / q_0[:, t].sum(1)) / (q_M[:, i] / q_M[:, t].sum(1)) for i, t in enumerate(table)], 1
    )


def test_few_neighbours_leave_the_minimum_of_the_importance_weights_where_it_is(key):
    truth = posteriors()[0] @ MANY
    for k, mutants in {1: (itself_too, around_its_own), 10: (around_its_own,)}.items():
        np.testing.assert_allclose(minimum(weights_of_all(k, key)), truth, atol=1e-4)
        for mutant in mutants:
            assert np.abs(minimum(mutant(k)) - truth).max() > 0.1


def test_few_neighbours_weigh_every_place_alike_in_the_mean(key):
    # Σ_j π_M w = 1/π_σ₀(S | x̃) in the mean over the rows that stand for the rest.
    pi_0, pi_M = posteriors()
    keys = jax.random.split(key, 64 * 100)
    for k in (3, 10):
        sums = jax.lax.map(lambda key, k=k: jnp.sum(pi_M * weights_of_all(k, key), 1), keys, batch_size=100)
        inside = np.sort(pi_0, axis=1)[:, -k:].sum(1)
        assert_mean(sums.reshape(64, 100, -1).mean(1), 1 / inside, "sum of the weights", allowance=1e-3)
    # Without the rest, far from the data only the neighbours' share of π_M is left of it.
    assert np.sort(pi_M, axis=1)[:, -10:].sum(1).min() < 0.9


def test_importance_and_posterior_are_one_in_the_mean(key):
    # The two losses differ by what no model can change: their gradients agree in the mean.
    model = ex.energies.MLP((2,), width=4, depth=1, key=key)

    @jax.jit
    def gradients(k):
        # Shuffled, as `fit` does: else a point would always meet the same levels.
        rows, out = Points().sample(k, 128), []
        for weighting in ("importance", "posterior"):
            objective = MultiscaleDenoisingScoreMatching(**SETTINGS, weighting=weighting)
            loss = lambda m, o=objective: o.loss(m, None, jnp.asarray(POINTS), Batch(rows), k)[0]  # noqa: E731
            out.append(eqx.filter_grad(loss)(model).layers[0].weight.ravel())
        return jnp.stack(out)

    g = jax.lax.map(gradients, jax.random.split(key, 64 * 32), batch_size=32).reshape(64, 32, 2, -1).mean(1)
    assert_mean(g[:, 0] - g[:, 1], 0.0, "gradient by importance minus by posterior")
    assert np.all(g[:, 1].std(0) < g[:, 0].std(0))  # the twin's variance is lower, entry by entry


def test_the_parzen_score_is_the_mixtures(key):
    x = jax.random.normal(key, (10, 2))
    mixture = Points().smoothed(0.4)
    expected = jax.vmap(lambda y: ex.score(mixture, y))(x)
    np.testing.assert_allclose(parzen_score(x, jnp.asarray(POINTS), 0.4), expected, rtol=1e-4, atol=1e-5)


def test_it_runs_in_fit_and_resumes_with_its_data(tmp_path):
    x = np.random.default_rng(0).standard_normal((100, 2)).astype(np.float32)
    objective = MultiscaleDenoisingScoreMatching(**SETTINGS, weighting="posterior")
    network = ex.energies.MLP((2,), width=4, depth=1, key=jax.random.key(0))
    settings = {"steps": 6, "batch_size": 16, "checkpoint_every": 3, "log_every": 3, "progress": False}
    whole = ex.fit(network, objective, x, key=jax.random.key(1), checkpoints=tmp_path, **settings)
    np.testing.assert_allclose(whole.state.state, x)
    assert np.isfinite(whole.history[-1]["loss"])


def test_mistakes_are_named():
    with pytest.raises(ex.InputError, match=r"did you mean 'posterior'\?"):
        MultiscaleDenoisingScoreMatching(weighting="posteriour")
    with pytest.raises(
        ex.InputError, match="neighbours must be left out where the weighting is 'none'; got 5"
    ):
        MultiscaleDenoisingScoreMatching(neighbours=5)
    with pytest.raises(ex.InputError, match="neighbours must be a whole number of at least 1; got 0"):
        MultiscaleDenoisingScoreMatching(weighting="posterior", neighbours=0)
