"""A flow trained against the energy: both lead to the density, if the flow can."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import paramax
import pytest
from flowjax.bijections import Affine
from flowjax.distributions import Normal, Transformed

import energax as ex
from energax.energies import Flow
from energax.objectives import (
    AdversarialContrastiveEstimation,
    Batch,
    FlowContrastiveEstimation,
    LogNormalizer,
    NoiseContrastiveEstimation,
)
from energax.testing import assert_mean, check_objective
from energax.testing.objective import skewed_mixture
from tests.objectives import mutants


def affine(location=0.0, scale=1.0, d=1):
    """N(location, scale²) with both to be learned."""
    moved = Affine(jnp.full(d, location), jnp.full(d, scale))
    return Flow(Transformed(paramax.non_trainable(Normal(jnp.zeros(d))), moved))


def small_flow(key):
    return Flow.coupling(2, key=key, layers=2, width=16, kind="affine")


def test_the_energy_leads_to_the_density_whatever_the_flow(key):
    # With noise that is partly fixed; without it, the loss is that of the last test here.
    objective = AdversarialContrastiveEstimation(small_flow(key), warmup=0, flow_steps=2, threshold=0.55)
    check_objective(objective, key=key, data=skewed_mixture(), refreshes=3)


def test_the_checker_rejects_a_mixture_whose_density_is_forgotten(key):
    with pytest.raises(AssertionError):
        check_objective(mutants.UnmixedDensity(small_flow(key), warmup=0), key=key, data=skewed_mixture())


def test_it_leads_there_with_a_flow_that_is_far_off(key):
    objective = FlowContrastiveEstimation(affine(0.3, 1.5, d=2), warmup=0, flow_steps=1, threshold=0.55)
    check_objective(objective, key=key, data=skewed_mixture())


def test_a_coupling_flow_is_normalised_and_draws_what_it_says(key):
    flow = Flow.coupling(2, key=key, layers=3, width=16)
    flow = jax.tree.map(lambda a: a + 0.1 if eqx.is_inexact_array(a) else a, flow)
    axis = jnp.linspace(-9, 9, 400)
    points = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
    density = jnp.exp(jax.vmap(flow.log_prob)(points)) * (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(density.sum(), 1.0, atol=2e-3)
    drawn, said = flow.sample_and_log_prob(key, 64 * 256)
    np.testing.assert_allclose(said, jax.vmap(flow.log_prob)(drawn), atol=1e-3)
    assert_mean(drawn.reshape(64, 256, 2).mean(1), density @ points, "mean of draws", allowance=2e-3)


def test_maximum_likelihood_trains_a_flow_and_leaves_its_base(key):
    x = 3.0 + 2.0 * jax.random.normal(key, (4000, 1))
    objective = ex.objectives.ExactMaximumLikelihood()
    settings = {"steps": 400, "learning_rate": 0.05, "ema": 0.0, "progress": False}
    found = ex.fit(affine(), objective, x, key=key, **settings).energy
    unwrapped = paramax.unwrap(found.distribution)
    np.testing.assert_allclose(unwrapped.bijection.loc, x.mean(0), atol=0.1)
    np.testing.assert_allclose(unwrapped.bijection.scale, x.std(0), atol=0.1)
    np.testing.assert_allclose(unwrapped.base_dist.loc, 0.0)


GRID = jnp.linspace(-14, 14, 4001)[:, None]
STEP = float(GRID[1, 0] - GRID[0, 0])


def value_of(p, q):
    """2 JS(p, q) − log 4 from log-densities on the grid."""
    mean = jnp.logaddexp(p, q) - jnp.log(2.0)
    jensen_shannon = 0.5 * STEP * jnp.sum(jnp.exp(p) * (p - mean) + jnp.exp(q) * (q - mean))
    return float(2 * jensen_shannon - jnp.log(4.0))


def test_at_the_best_energy_the_value_is_the_jensen_shannon_divergence(key):
    data = ex.energies.GaussianMixture([0.3, 0.7], [[-2.0], [1.5]], [[[0.5]], [[1.0]]])
    objective = FlowContrastiveEstimation(affine(0.4, 2.0), warmup=0)
    x = data.sample(key, 64 * 2048).reshape(64, 2048, 1)
    _, state = objective.init(data, Batch(x[0]), key, 128)
    c = LogNormalizer(data.log_normalizer())
    values = jax.vmap(lambda x, k: -objective.loss(data, c, state, Batch(x), k)[0])(
        x, jax.random.split(key, 64)
    )
    p, q = jax.vmap(data.log_prob)(GRID), jax.vmap(objective.flow.log_prob)(GRID)
    assert_mean(values, value_of(p, q), "value of the game")
    # Any other energy, or log Z, has less.
    for other in (LogNormalizer(c.value + 0.5), LogNormalizer(c.value - 0.5)):
        worse = -objective.loss(data, other, state, Batch(x.reshape(-1, 1)), key)[0]
        assert worse < values.mean() - 0.02


def gaps(objective_class, key, moves=60):
    """Return the value of the game above −log 4, the energy the truth, before and after moves of the flow."""
    data = ex.energies.GaussianMixture([1.0], [[1.2]], [[[2.25]]])
    objective = objective_class(affine(-0.5, 0.7), 0.05, threshold=0.53, flow_steps=3, warmup=0)
    c, x = LogNormalizer(data.log_normalizer()), data.sample(key, moves * 512).reshape(moves, 512, 1)
    _, state = objective.init(data, Batch(x[0]), key, 512)

    def move(state, inputs):
        rows, k = inputs
        return objective.refresh(data, c, state, Batch(rows[None]), k)[0], None

    last = jax.lax.scan(move, state, (x, jax.random.split(key, moves)))[0]
    p = jax.vmap(data.log_prob)(GRID)
    q = (jax.vmap(objective.learned_flow(s).log_prob)(GRID) for s in (state, last))
    return [value_of(p, each) + np.log(4.0) for each in q]


def test_moves_of_the_flow_descend_the_divergence(key):
    before, after = gaps(FlowContrastiveEstimation, key)
    assert before > 0.3
    assert after < 0.1 * before


@pytest.mark.parametrize("mutant", [mutants.FrozenFlow, mutants.AscendingFlow])
def test_a_flow_that_stands_or_climbs_is_caught(mutant, key):
    before, after = gaps(mutant, key)
    assert not after < 0.1 * before


def played(data, flow, key, steps):
    """Return what a fit against the flow ends in: (energy with its log Z, flow, value)."""
    objective = FlowContrastiveEstimation(flow, 5e-3, threshold=0.53, flow_steps=3, warmup=0)
    x = data.sample(key, 20_000)
    start = ex.energies.GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], [[[1.0]], [[1.0]]])
    settings = {"steps": steps, "batch_size": 512, "learning_rate": 0.01, "ema": 0.99, "progress": False}
    found = ex.fit(start, objective, x, key=key, **settings)
    learned = objective.learned_flow(found.state.state)
    fresh = data.sample(jax.random.fold_in(key, 1), 40_000)
    value = -objective.loss(found.energy, found.nuisance, found.state.state, Batch(fresh), key)[0]
    return found.density, learned, float(value)


def test_both_reach_the_data_where_the_flow_can(key):
    # The family of the flow holds the data: the game ends at −log 4, energy and flow agree.
    data = ex.energies.GaussianMixture([1.0], [[1.2]], [[[2.25]]])
    density, flow, value = played(data, affine(-0.5, 0.7), key, 800)
    np.testing.assert_allclose(value, -np.log(4.0), atol=0.01)
    p = jax.vmap(data.log_prob)(GRID)
    for learned in (density, flow):
        q = jax.vmap(learned.log_prob)(GRID)
        assert float(STEP * jnp.sum(jnp.exp(p) * (p - q))) < 0.02


def test_the_energy_gets_there_alone_where_the_flow_cannot(key):
    data = ex.energies.GaussianMixture([0.3, 0.7], [[-2.0], [1.5]], [[[0.5]], [[1.0]]])
    density, flow, value = played(data, affine(0.0, 1.0), key, 1500)
    p, q, r = (jax.vmap(m.log_prob)(GRID) for m in (data, density, flow))
    assert float(STEP * jnp.sum(jnp.exp(p) * (p - q))) < 0.02
    # The game's end: the divergence of the data from the best Gaussian, above −log 4.
    reached = value_of(p, r)
    np.testing.assert_allclose(value, reached, atol=0.02)
    assert reached > -np.log(4.0) + 0.05


def test_the_flow_moves_only_while_telling_is_easy(key):
    data = skewed_mixture()
    x = data.sample(key, 512)
    far = Flow.coupling(2, key=key, layers=2, width=16, kind="affine")
    objective = FlowContrastiveEstimation(far, warmup=0, flow_steps=4, threshold=0.6)
    # A wide and empty-handed flow: data are told easily by the true energy.
    wide = eqx.tree_at(lambda o: o.flow, objective, Flow(Normal(jnp.full(2, 3.0), jnp.full(2, 3.0))))
    for made, moves in ((wide, 4.0), (eqx.tree_at(lambda o: o.threshold, wide, jnp.asarray(1.0)), 0.0)):
        c, state = made.init(data, Batch(x), key, 128)
        after, report = made.refresh(data, c, state, Batch(x[None]), key)
        assert report["flow_moves"] == moves
        same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), state.player.net, after.player.net)
        assert all(jax.tree.leaves(same)) == (moves == 0)


def test_the_warm_up_is_maximum_likelihood(key):
    x = 2.0 + 0.5 * jax.random.normal(key, (2000, 1))
    cold, warm = (
        FlowContrastiveEstimation(affine(), 0.03, warmup=w).init(lambda x: jnp.sum(x**2), Batch(x), key, 128)[
            1
        ]
        for w in (0, 300)
    )
    flow = affine()
    score = lambda s: float(jax.vmap(eqx.combine(s.player.net, flow).log_prob)(x).mean())  # noqa: E731
    best = float(-0.5 * np.log(2 * np.pi * np.e * 0.25))
    assert score(cold) < best - 1
    assert score(warm) > best - 0.05


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FlowContrastiveEstimation(None), "flow must be an energies.Flow.*got a NoneType"),
        (
            lambda: FlowContrastiveEstimation(affine(), threshold=0.4),
            "threshold must be a finite number above 0.5",
        ),
        (lambda: AdversarialContrastiveEstimation(affine(), share=1.0), "share must be below 1; got 1.0"),
        (
            lambda: FlowContrastiveEstimation(affine()).init(
                None, Batch(jnp.ones((9, 3))), jax.random.key(0), 3
            ),
            r"flow must be over the 3 coordinates of the data; got one over \(1,\)",
        ),
        (lambda: Flow(object()), "distribution must be a distribution of flowjax.*without log_prob, sample"),
        (lambda: Flow.coupling(1, key=jax.random.key(0)), "d must be a whole number of at least 2; got 1"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(make, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        make()


def test_noise_contrastive_estimation_takes_a_flow_as_noise(key):
    flow = small_flow(key)
    x = skewed_mixture().sample(key, 256)
    objective = NoiseContrastiveEstimation(flow, 1.0)
    c, state = objective.init(skewed_mixture(), Batch(x), key, 256)
    against = FlowContrastiveEstimation(flow, warmup=0)
    opponent = against.init(skewed_mixture(), Batch(x), key, 256)[1]
    values = [
        o.loss(skewed_mixture(), c, s, Batch(x), key)[0] for o, s in ((objective, state), (against, opponent))
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)
