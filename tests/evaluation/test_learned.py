"""The learned Stein discrepancy: its critic, its value against theory, its test, and mutants."""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.derivatives import jacobian_trace, score
from energax.energies import ConvolutionalCritic, Critic
from energax.energies.layers import Conv
from energax.evaluation import (
    CriticTraining,
    OptimalCritic,
    compare,
    critics,
    learned_stein_discrepancy,
    lsd_test,
    stein_discrepancy,
)
from energax.evaluation import learned as module
from energax.evaluation.constraints import directions, within_unit_norm
from energax.stein import stein_operator
from energax.testing import assert_mean
from energax.testing.objective import skewed_mixture

from .calibration import assert_level, assert_power, p_values

SMALL = CriticTraining(width=32, dropout=0.0, steps=40, check_every=20, learning_rate=1e-2)
STRONG = {"training": replace(SMALL, steps=100, check_every=25), "split": (0.4, 0.1, 0.5)}
FINDING = CriticTraining(
    width=128, dropout=0.0, weight_decay=0.0, steps=1000, check_every=100, batch_size=256, learning_rate=2e-3
)
N, SPLIT = 700, (1 / 7, 1 / 7, 5 / 7)  # 500 rows are tested on


def normal(d, n=N, shift=0.0, spread=1.0):
    return lambda key: shift + spread * jax.random.normal(key, (n, d))


def lsd(x, key, **settings):
    settings = {"training": SMALL, "split": SPLIT, "draws": 300, **settings}
    return lsd_test(x, scores=-x, key=key, progress=False, **settings)


def strong(x, key):
    return lsd(x, key, **STRONG)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_critics_trace_is_exact_and_drops_the_same_units(dropout, key):
    critic = Critic((2, 3), width=20, dropout=dropout, key=key)
    critic = eqx.tree_at(lambda c: c.betas, critic, replace=(jnp.full(20, 0.7), jnp.full(20, 1.9)))
    x = jax.random.normal(key, (2, 3))
    trace = critic.value_and_trace(x)[1]
    np.testing.assert_allclose(trace, jacobian_trace(critic, x), rtol=1e-5, atol=1e-6)
    dropped = lambda y: critic.value_and_trace(y, key)[0]  # noqa: E731
    trace = critic.value_and_trace(x, key)[1]
    np.testing.assert_allclose(trace, jacobian_trace(dropped, x), rtol=1e-5, atol=1e-6)
    assert bool(jnp.allclose(dropped(x), critic(x))) == (dropout == 0)


@pytest.mark.parametrize("dropout", [0.3, 0.5])
def test_a_dropped_unit_is_made_up_for_by_the_others(dropout, key):
    # Masks of mean one keep the mean of what is linear in them; units drop out each by itself.
    critic = Critic((4,), width=50, dropout=dropout, key=key)
    masks = np.asarray(jax.vmap(critic._masks)(jax.random.split(key, 20_000)))
    kept = masks > 0
    np.testing.assert_allclose(masks[kept], 1 / (1 - dropout), rtol=0.01)
    assert_mean(masks.reshape(20_000, -1), np.ones(100), "masks")
    together = np.corrcoef(kept.reshape(20_000, -1).T) - np.eye(100)
    assert np.abs(together).max() < 6 / np.sqrt(20_000)


def test_probes_are_unbiased_for_the_operator(key):
    critic = ConvolutionalCritic((4, 4, 1), channels=4, key=key)
    x, s = jax.random.normal(key, (2, 4, 4, 1))
    exact, value = stein_operator(critic, x, s)
    np.testing.assert_allclose(exact, jnp.sum(s * value) + jacobian_trace(critic, x), rtol=1e-5)
    probed = jax.vmap(lambda k: stein_operator(critic, x, s, key=k, probes=1)[0])
    assert_mean(probed(jax.random.split(key, 20_000)), float(exact), "probed operator")


def test_with_the_best_critic_it_is_the_fisher_divergence(key):
    model, truth = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), skewed_mixture()
    x = truth.sample(key, 20_000)
    difference = jax.vmap(lambda x: score(model, x) - score(truth, x))(x)
    fisher = np.sum(np.asarray(difference) ** 2, 1)
    for penalty in (0.5, 2.0):
        found = stein_discrepancy(x, model, critic=OptimalCritic(model, truth, penalty))
        gap = found.terms - fisher / (2 * penalty)
        assert_mean(gap, 0.0, "stein terms against ‖s − s_p‖²/2λ")
        np.testing.assert_allclose(found.standard_error, found.terms.std(ddof=1) / 20_000**0.5, rtol=1e-6)
    itself = stein_discrepancy(x, truth, critic=OptimalCritic(model, truth))
    assert_mean(itself.terms, 0.0, "stein terms of the truth")


def gaussians(case, d):
    """Return (the scores of the model, those of the truth, a sampler of the truth), fig. 3's two cases."""
    if case == "means":
        return (lambda x: -x), (lambda x: -(x - 0.5)), lambda key, n: 0.5 + jax.random.normal(key, (n, d))
    return (lambda x: -x), (lambda x: -x / 2.0), lambda key, n: 2.0**0.5 * jax.random.normal(key, (n, d))


@pytest.mark.parametrize("case", ["means", "scales"])
def test_the_critic_nears_the_best_one_in_a_hundred_dimensions(case, key):
    d = 100
    model, truth, draw = gaussians(case, d)
    x = np.asarray(draw(key, 20_000))
    found = learned_stein_discrepancy(
        x, scores=np.asarray(model(x)), training=FINDING, split=(0.8, 0.1, 0.1), key=key, progress=False
    )
    fresh = draw(jax.random.fold_in(key, 1), 2000)
    best = OptimalCritic(ex.Score(model), ex.Score(truth))
    f, wanted = jax.vmap(found.settings["critic"])(fresh), jax.vmap(best)(fresh)
    cosine = jnp.sum(f * wanted) / jnp.linalg.norm(f) / jnp.linalg.norm(wanted)
    assert cosine > 0.95
    theory = float(jnp.mean(jnp.sum((model(fresh) - truth(fresh)) ** 2, 1)))
    assert 0.9 * theory < found.estimate < 1.05 * theory + 5 * found.standard_error


def test_it_tracks_the_theory_as_an_rbm_is_perturbed(key):
    # LSD fig. 6: rows of one RBM, models whose couplings are off by more and more.
    keys = jax.random.split(key, 6)
    couplings = jax.random.rademacher(keys[0], (20, 8), jnp.float32)
    b, c = jax.random.normal(keys[1], (20,)), jax.random.normal(keys[2], (8,))
    truth = ex.energies.GaussianBernoulliRBM.from_parameters(couplings, b, c)
    x = np.asarray(truth.sample(keys[3], 10_000))
    noise = jax.random.normal(keys[4], couplings.shape)
    scores = eqx.filter_jit(lambda m, x: jax.vmap(lambda x: score(m, x))(x))
    found, theory = [], []
    for level in (0.0, 0.1, 0.25):
        model = ex.energies.GaussianBernoulliRBM.from_parameters(couplings + level * noise, b, c)
        s = np.asarray(scores(model, x))
        theory.append(float(np.mean(np.sum((s - np.asarray(scores(truth, x))) ** 2, 1))))
        found.append(learned_stein_discrepancy(x, scores=s, training=FINDING, key=keys[5], progress=False))
    values = [f.estimate for f in found]
    assert values[0] < values[1] < values[2]
    assert abs(values[0]) < 5 * found[0].standard_error
    for value, exact, f in zip(values[1:], theory[1:], found[1:], strict=True):
        assert 0.6 * exact < value < exact + 5 * f.standard_error


@pytest.mark.parametrize("d", [2, 10, 50])
def test_the_test_has_its_level(d, key):
    # Of any critic that has not seen the rows it is tested on, trained much or little.
    quick = {"training": replace(SMALL, steps=20, check_every=10)}
    assert_level(p_values(lambda x, k: lsd(x, k, **quick), normal(d), key, 400))  # 2,000: test_level_study.py


def test_a_critic_tested_on_the_rows_that_trained_it_has_not(key, monkeypatch):
    real = module._split

    def again(*args):
        (first, second, _), rest = real(*args)
        return (first, second, first), rest

    monkeypatch.setattr(module, "_split", again)
    with pytest.raises(AssertionError):
        assert_level(p_values(lambda x, k: lsd(x, k, split=(5 / 7, 1 / 7, 1 / 7)), normal(10), key, 100))


def test_power_rises_with_the_perturbation(key):
    powers = []
    for i, shift in enumerate((0.05, 0.15, 0.4)):
        p = p_values(strong, normal(2, 1000, shift=shift), jax.random.fold_in(key, i), 100)
        powers.append(np.mean(p <= 0.05))
    assert powers[0] < powers[1] < powers[2]
    assert_power(p, 0.9)


def test_another_spread_is_found(key):
    assert_power(p_values(strong, normal(10, 1000, spread=1.2), key, 60), 0.9)


@pytest.mark.parametrize("mutant", ["frozen", "flipped"])
def test_there_is_no_power_with_a_critic_that_is(mutant, key, monkeypatch):
    real = module.train_critic

    def broken(critic, train, validation, how, **settings):
        found = real(critic, train, validation, how, **settings)
        if mutant == "frozen":
            return found._replace(critic=critic)
        flip = lambda l: eqx.tree_at(lambda l: (l.weight, l.bias), l, (-l.weight, -l.bias))  # noqa: E731
        layers = found.critic.layers
        return found._replace(
            critic=eqx.tree_at(lambda c: c.layers, found.critic, (*layers[:2], flip(layers[2])))
        )

    monkeypatch.setattr(module, "train_critic", broken)
    with pytest.raises(AssertionError):
        assert_power(p_values(strong, normal(10, 1000, spread=1.2), key, 60), 0.9)


def test_the_bootstrap_is_level_where_the_normal_is_not(key):
    # Of the critic f(x) = x of one coordinate h = 1 − x² is skewed, E h = 0, and forty rows are few. Learned
    # critics: `test_level_study.py`.
    def rejected(null):
        def one(x, k):
            h = np.asarray(1 - x[:, 0] ** 2, np.float64)
            t = module._studentised(h[None])[0]
            if null == "normal":
                return float(module.scipy.stats.norm.sf(t))
            return module.bootstrap_p_value(t, module._bootstrap(h, 300, k))

        keys = jax.random.split(key, 2000)
        x = np.asarray(jax.random.normal(key, (2000, 40, 1)))
        return np.mean([one(a, k) <= 0.05 for a, k in zip(x, keys, strict=True)])

    bootstrap, plain = rejected("bootstrap"), rejected("normal")
    assert abs(bootstrap - 0.05) < abs(plain - 0.05)
    assert plain > 0.075


def test_its_status_names_what_makes_the_level_approximate(key):
    # A hundred rows; five hundred; and a critic with a spike at one row, so that few of many decide.
    few = lsd(np.asarray(normal(2)(key)), key, split=(3 / 7, 3 / 7, 1 / 7))
    assert few.status.startswith("few rows to test on (100 of 500, the last share of the split)")
    rows = np.asarray(normal(2)(key))
    assert lsd(rows, key, training=replace(SMALL, steps=0)).status == "ok"
    spike = lambda x: x * jnp.exp(-50 * jnp.sum((x - rows[0]) ** 2))  # noqa: E731
    h = module.terms(spike, module.Rows(rows, -rows), probes=0)
    assert module._status(h).startswith("few rows decide (700 count as ")


def norms(critic, event_shape):
    """Return the spectral norm of every layer's map, of the whole matrix that it is."""
    if isinstance(critic, Critic):
        return [float(np.linalg.norm(layer.weight, 2)) for layer in critic.layers]
    found = []
    for name, sides in (("enter", 1), ("down", 1), ("deep", 2), ("up", 1), ("leave", 1)):
        conv = getattr(critic, name)
        x = jnp.zeros((event_shape[0] // sides, event_shape[1] // sides, conv.weight.shape[2]))
        found.append(float(np.linalg.norm(jax.jacobian(conv)(x).reshape(-1, x.size), 2)))
    return found


def largest(critic):
    """Return the largest weight or offset of every layer."""
    layers = jax.tree.leaves(critic, is_leaf=lambda a: isinstance(a, eqx.nn.Linear | Conv))
    return [max(float(jnp.abs(w).max()) for w in jax.tree.leaves(a)) for a in layers if hasattr(a, "weight")]


def held(constraint, event_shape, key, *, rows=2000, gain=1.0, **settings):
    """Return what a constrained critic finds in rows whose mean is off, started with weights times `gain`."""
    x = np.asarray(0.5 + jax.random.normal(key, (rows, *event_shape)))
    how = CriticTraining(dropout=0.0, constraint=constraint, clip=0.1, **settings)
    start = jax.tree.map(lambda w: gain * w if w.ndim > 1 else w, how.critic(event_shape, key))
    return learned_stein_discrepancy(x, scores=-x, critic=start, training=how, key=key, progress=False)


def obeys(critic, constraint, event_shape):
    """Whether the constraint holds; the power iteration's 2% over."""
    if constraint == "clipping":
        return max(largest(critic)) <= np.float32(0.1)
    return max(norms(critic, event_shape)) < 1.02


def assert_free(betas):
    """β is no weight: it learns, and stays about 1."""
    for beta in betas:
        assert 0.1 < float(beta.min()) < float(beta.max()) < 2.0


@pytest.mark.parametrize("constraint", ["clipping", "spectral"])
def test_a_constraint_holds_where_it_is_asked_for(constraint, key):
    found = held(constraint, (5,), key, width=32, steps=200, batch_size=256)
    critic = found.settings["critic"]
    assert found.estimate > 5 * found.standard_error
    assert found.settings["step"] > 0
    assert obeys(critic, constraint, (5,))
    # It binds, which is that weights would be larger without it.
    assert max(largest(critic)) > 0.099 if constraint == "clipping" else max(norms(critic, (5,))) > 0.98
    assert_free(critic.betas)
    assert bool(jnp.any(critic.betas[0] != 1.0))


def test_to_clip_whatever_is_learned_is_found_out(key, monkeypatch):
    everything = lambda net, most: jax.tree.map(lambda w: jnp.clip(w, -most, most), net)  # noqa: E731
    monkeypatch.setattr(critics, "clipped", everything)
    with pytest.raises(AssertionError):
        assert_free(held("clipping", (5,), key, width=16, steps=0).settings["critic"].betas)


IMAGES = (6, 4, 2)


def held_on_images(constraint, key, **settings):
    small = {"rows": 100, "width": 3, "check_every": 1, "judging_probes": 1, "gain": 4.0}
    found = held(constraint, IMAGES, key, architecture="convolutional", **small, **settings)
    return found.settings["critic"]


@pytest.mark.parametrize("constraint", ["clipping", "spectral"])
@pytest.mark.parametrize("steps", [0, 3])
def test_images_are_held_from_the_first_look_on(constraint, steps, key):
    critic = held_on_images(constraint, key, steps=steps)
    assert obeys(critic, constraint, IMAGES)
    # The kernels as matrices are smaller than what they do to an image: to divide by theirs is not enough.
    if constraint == "spectral":
        kernels = [getattr(critic, name).weight for name in ("enter", "deep", "up", "leave")]
        assert max(np.linalg.norm(w.reshape(-1, w.shape[-1]), 2) for w in kernels) < 0.9


def test_a_penalty_holds_no_weights(key):
    critic = held_on_images("l2", key, steps=0)
    assert not any(obeys(critic, constraint, IMAGES) for constraint in ("clipping", "spectral"))


def test_the_norm_of_a_layer_of_zeros_is_found_once_it_is_none(key):
    net = eqx.nn.Linear(4, 3, key=key)
    zeros = jax.tree.map(jnp.zeros_like, net)
    _, toward = within_unit_norm(zeros, directions(zeros, (4,)))
    large = eqx.tree_at(lambda a: a.weight, net, 30 * net.weight)
    for _ in range(50):
        large, toward = within_unit_norm(large, toward)
    np.testing.assert_allclose(np.linalg.norm(large.weight, 2), 1.0, rtol=1e-3)


def test_probes_that_judge_add_spread_and_no_mean(key):
    model, truth = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)), skewed_mixture()
    x, critic = truth.sample(key, 4000), OptimalCritic(model, truth)
    exact = stein_discrepancy(x, model, critic=critic)
    probed = stein_discrepancy(x, model, critic=critic, probes=2, key=key)
    assert_mean(probed.terms - exact.terms, 0.0, "probed against exact terms")
    assert probed.standard_error > exact.standard_error


def test_images_have_a_critic_of_their_own(key):
    # Means that are off in one half: a convolutional critic finds them, its trace being probed (100 numbers).
    x = np.asarray(jax.random.normal(key, (400, 10, 10, 1)))
    s = -(x - np.where(np.arange(10) < 5, 0.5, 0.0)[:, None, None]).astype(np.float32)
    how = CriticTraining(
        "convolutional", width=4, steps=20, check_every=10, batch_size=64, learning_rate=1e-2
    )
    found = learned_stein_discrepancy(
        x, scores=s, training=how, split=(0.5, 0.25, 0.25), key=key, progress=False
    )
    assert found.settings["step"] > 0
    assert found.estimate > 5 * found.standard_error
    assert found.estimate < 50 * 0.25 + 5 * found.standard_error


@pytest.mark.parametrize("selection", ["objective", "mean-sd"])
def test_an_overfitted_critic_is_seen_through(selection, key):
    # LSD fig. 10: a hundred rows of N(0, I) in ten dimensions, the model N(1, I), whose discrepancy is 10.
    x = np.asarray(normal(10, 100)(key))
    how = CriticTraining(
        width=100, dropout=0.0, weight_decay=0.0, steps=600, check_every=50, selection=selection
    )
    found = learned_stein_discrepancy(
        x, scores=1.0 - x, training=how, split=(0.6, 0.2, 0.2), key=key, progress=False
    )
    curve, chosen = found.settings["curve"], found.settings["step"]
    assert curve["train_mean"][-1] > 100.0
    assert curve["validation_sd"][-1] > 100.0
    assert 0 < chosen <= 150
    assert abs(found.estimate - 10.0) < 5 * found.standard_error + 2.0


def test_a_small_discrepancy_is_found_by_the_objective_and_not_by_the_papers_rule(key):
    x = np.asarray(normal(5, 4000, shift=0.2)(key))
    chosen = []
    for selection in ("objective", "mean-sd"):
        how = CriticTraining(
            width=32, dropout=0.0, steps=100, check_every=25, learning_rate=3e-3, selection=selection
        )
        found = learned_stein_discrepancy(
            x, scores=-x, training=how, split=(0.5, 0.25, 0.25), key=key, progress=False
        )
        chosen.append(found)
    assert chosen[1].settings["step"] == 0
    assert chosen[1].status.startswith("the untrained critic was the best")
    assert chosen[0].settings["step"] > 0
    assert abs(chosen[0].estimate - 5 * 0.04) < 5 * chosen[0].standard_error


def test_models_are_ranked_on_the_same_rows(key):
    x = np.asarray(normal(3, 4000)(key))
    models = {
        "far": ex.energies.Gaussian(jnp.zeros(3), 2.0 * jnp.eye(3)),
        "true": ex.energies.Gaussian(jnp.zeros(3), jnp.eye(3)),
        "near": -(x - 0.3),
    }
    ranked = compare(models, x, training=FINDING, split=(0.5, 0.25, 0.25), key=key, progress=False)
    assert ranked.names == ("true", "near", "far")
    assert ranked.differences[0, 1] < -4 * ranked.errors[0, 1]
    np.testing.assert_allclose(
        ranked.differences[0, 2], ranked.found[0].estimate - ranked.found[2].estimate, rtol=1e-6
    )
    alone = learned_stein_discrepancy(
        x, scores=models["near"], training=FINDING, split=(0.5, 0.25, 0.25), key=key, progress=False
    )
    assert alone.estimate == ranked.found[1].estimate


def test_a_constant_column_is_refused_where_the_supremum_is_infinite(key):
    x = np.asarray(normal(3, 400)(key)).copy()
    x[:, 1] = 0.7
    # Why: of f = K(x₁ − 0.7) e₁ nothing is seen but the slope, which the penalty on ‖f‖ does not bound.
    steep = lambda x: jnp.array([0.0, 1e4, 0.0]) * (x - 0.7)  # noqa: E731
    found = stein_discrepancy(x, scores=-x, critic=steep)
    assert found.estimate == pytest.approx(1e4, rel=1e-4)
    sentence = r"x must be free of constant columns.*; got 1 of 3 columns constant \(1\)\."
    how = {"training": SMALL, "key": key, "progress": False}
    with pytest.raises(ex.InputError, match=f"^learned_stein_discrepancy: {sentence}"):
        learned_stein_discrepancy(x, scores=-x, **how)
    with pytest.raises(ex.InputError, match=f"^compare: {sentence}"):
        compare({"a": -x, "b": -x}, x, **how)
    # A critic whose own slope is bounded has a supremum, and a test has an answer.
    module._check_bounded("test", module.Rows(x, -x), replace(SMALL, constraint="spectral"))
    assert lsd(x, key).p_value < 0.05


def test_units_of_columns_do_not_matter_where_they_are_taken_out(key):
    x = np.asarray(normal(3, 1000, spread=1.2)(key))
    mean, scale = np.array([170.0, 0.0, -3.0]), np.array([10.0, 1.0, 0.05])
    how = replace(SMALL, standardise=True, steps=100)
    plain = lsd(x, key, training=how)
    other = lsd_test(
        mean + scale * x, scores=-x / scale, training=how, split=SPLIT, draws=500, key=key, progress=False
    )
    np.testing.assert_allclose(other.statistic, plain.statistic, rtol=2e-2)
    assert other.p_value < 0.05
    # The critic is one of rows in their own units: its operator there is what was measured.
    critic, row = other.settings["critic"], jnp.asarray((mean + scale * x)[0], jnp.float32)
    np.testing.assert_allclose(
        critic.value_and_trace(row)[1], jacobian_trace(critic, row), rtol=1e-3, atol=1e-4
    )


SAMPLE = np.random.default_rng(0).standard_normal((60, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda k: lsd_test(SAMPLE, scores=-SAMPLE, key=k),
            r"x must be so many rows that each part of the split \(0.8, 0.1, 0.1\) holds at least 10; got 60",
        ),
        (lambda k: lsd_test(SAMPLE, scores=-SAMPLE, split=(0.5, 0.5, 0.1), key=k), "three positive shares"),
        (lambda k: lsd_test(SAMPLE, scores=-SAMPLE, null="t", key=k), "null must be one of 'bootstrap'"),
        (lambda k: CriticTraining(constraint="lipschitz"), "constraint must be one of 'l2', 'clipping'"),
        (
            lambda k: stein_discrepancy(SAMPLE, scores=-SAMPLE, critic=lambda x: x, probes=1),
            "key must be given with probes",
        ),
        (lambda k: CriticTraining(judging_probes=-1), "judging_probes must be a whole number of at least 0"),
        (
            lambda k: lsd_test(
                np.repeat(SAMPLE, 2, 0),
                scores=np.repeat(-SAMPLE, 2, 0),
                critic=OptimalCritic(ex.Score(lambda x: -x), ex.Score(lambda x: -x)),
                training=CriticTraining(constraint="clipping"),
                key=k,
            ),
            "critic must be made of eqx.nn.Linear and energies.layers.Conv, .* got one with neither",
        ),
        (lambda k: CriticTraining(steps=-1), "steps must be a whole number of at least 0"),
        (lambda k: compare({"one": -SAMPLE}, SAMPLE, key=k), "models must be a mapping of two or more"),
        (
            lambda k: lsd_test(
                SAMPLE,
                scores=-SAMPLE,
                split=(0.4, 0.3, 0.3),
                training=CriticTraining(architecture="convolutional"),
                key=k,
            ),
            r"event_shape must be \(H, W, C\) with even sides; got \(2,\)",
        ),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence, key):
    with pytest.raises(ex.InputError, match=sentence):
        call(key)
