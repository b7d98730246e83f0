"""Multigrid contrastive divergence rests where what its chains remember says, and nowhere else."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import Energy, Multigrid
from energax.objectives import Batch, Biased, MultigridContrastiveDivergence
from energax.samplers import Climb, Langevin, Sampler, climb, multigrid_sample, observers, run
from energax.testing import assert_mean

# Images of 4 × 4 independent pixels N(0, 1), at the scales 1 × 1, 2 × 2 and 4 × 4: variances 1/16, 1/4, 1.
VARIANCES = (1 / 16, 1 / 4, 1.0)
ROWS, GROUPS = 128, 256


class Isotropic(Energy):
    """E(x) = ½ a ‖x‖² of an image."""

    a: jax.Array
    event_shape: tuple = eqx.field(static=True)

    def __init__(self, a, shape):
        self.a, self.event_shape = jnp.asarray(a, jnp.float32), shape

    def __call__(self, x, condition=None):
        return 0.5 * self.a * jnp.sum(x**2)

    def sample(self, key, n):
        return jax.random.normal(key, (n, *self.event_shape)) / jnp.sqrt(self.a)


def model_at(a):
    return Multigrid((Isotropic(a[0], (2, 2, 1)), Isotropic(a[1], (4, 4, 1))))


class Remembers(Sampler):
    """x ← ρx + √((1 − ρ²)/a) z: exact for ½a‖x‖², and keeps the part ρ of what was there."""

    rho: float

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        return self.rho * state + (1 - self.rho**2) ** 0.5 * model.sample(key, 1)[0], {}


def exact_rest(rho, steps):
    """Where the gradient vanishes with `Remembers`: ρ²ᵏ v_{s−1} + (1 − ρ²ᵏ)/a_s = v_s."""
    r = rho ** (2 * steps)
    return [(1 - r) / (v - r * below) for below, v in itertools.pairwise(VARIANCES)]


def langevin_rest(etas, steps):
    """The same with Langevin: per step a variance m becomes (1 − ηa)² m + 2η."""
    found = []
    for eta, (below, v) in zip(etas, itertools.pairwise(VARIANCES), strict=True):

        def end(a, eta=eta, below=below):
            m = below
            for _ in range(steps):
                m = (1 - eta * a) ** 2 * m + 2 * eta
            return m

        low, high = 0.05, 1 / eta  # the variance of the end falls with a
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if end(middle) > v else (low, middle)
        found.append(low)
    return found


def gradients(objective):
    """(a, key) ↦ independent mean gradients in the two factors a."""

    def of(a, state, x, k):
        return objective.loss(model_at(a), None, state, Batch(x), k)[0]

    def group(a, k):
        data_key, move_key, loss_key = jax.random.split(k, 3)
        x = jax.random.normal(data_key, (ROWS, 4, 4, 1))
        _, state = objective.init(model_at(a), Batch(x), data_key, ROWS)
        state, _ = objective.refresh(model_at(a), None, state, Batch(x[None]), move_key)
        return jax.grad(of)(a, state, x, loss_key)

    return jax.jit(lambda a, key: jax.lax.map(lambda k: group(a, k), jax.random.split(key, GROUPS)))


def check_rest(objective, a, key):
    """Fail unless the mean gradient vanishes at a, and points back to it from both sides."""
    a, compute = jnp.asarray(a, jnp.float32), gradients(objective)
    assert_mean(compute(a, key), 0.0, "the gradient where the levels rest")
    assert (compute(1.3 * a, key).mean(0) > 0).all()
    assert (compute(0.7 * a, key).mean(0) < 0).all()


ETAS = (0.05, 0.15)
UNADJUSTED = Langevin(ETAS[0]), Langevin(ETAS[1])


@pytest.mark.parametrize(
    ("sampler", "steps", "rest"),
    [
        (UNADJUSTED, 5, langevin_rest(ETAS, 5)),
        (Remembers(0.8), 2, exact_rest(0.8, 2)),
        (Remembers(0.8), 6, exact_rest(0.8, 6)),
        (Remembers(0.0), 1, [4.0, 1.0]),  # CD-∞: the laws of the levels themselves
    ],
    ids=["langevin", "exact, 2 steps", "exact, 6 steps", "forgets"],
)
def test_it_rests_where_its_chains_remember_to(sampler, steps, rest, key):
    objective = MultigridContrastiveDivergence(sampler, steps)
    assert isinstance(objective.target, Biased)
    check_rest(objective, rest, key)


def test_the_bias_is_seen_and_falls_as_the_chains_forget(key):
    biases = [abs(exact_rest(0.8, k)[0] - 4) for k in (2, 6, 10)]
    assert biases[0] > 1
    np.testing.assert_allclose(biases[2] / biases[1], 0.8**8, rtol=0.1)  # faster than any power of 1/k
    with pytest.raises(AssertionError):
        check_rest(MultigridContrastiveDivergence(Remembers(0.8), 2), [4.0, 1.0], key)


class StartsAtNoise(MultigridContrastiveDivergence):
    """x̃_0 is noise of its own."""

    def refresh(self, model, nuisance, state, batches, key):
        other = Batch(jax.random.normal(key, batches.x.shape).mean((2, 3, 4), keepdims=True))
        other = Batch(jnp.broadcast_to(4 * other.x, batches.x.shape))
        return super().refresh(model, nuisance, state, other, key)


class StartsAtItself(MultigridContrastiveDivergence):
    """Each level's chains start at the observed version there: contrastive divergence, level by level."""

    def refresh(self, model, nuisance, state, batches, key):
        from energax.objectives import Chains
        from energax.samplers import walk

        ends = []
        for s, x in enumerate(jax.vmap(model.versions)(batches.x[-1])):
            k = jax.random.fold_in(key, s)
            ends.append(walk(self.sampler, model.levels[s], x, k, self.steps)[0])
        return Chains((tuple(ends), None)), {}


class SumsBlocks(MultigridContrastiveDivergence):
    """Blocks are summed where they should be averaged."""

    def loss(self, model, nuisance, state, batch, key):
        images, _ = state.value
        observed = jax.vmap(model.versions)(batch.x)
        total = 0.0
        for level, x, ends in zip(model.levels, observed, images, strict=True):
            total += jax.vmap(level)(x * 16 / x[0].size).mean() - jax.vmap(level)(ends).mean()
        return total, {}


class Uphill(MultigridContrastiveDivergence):
    """E(chains) − E(data)."""

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return -value, metrics


class Stale(MultigridContrastiveDivergence):
    """The chains of one level stand for the next: it is trained on them enlarged."""

    def refresh(self, model, nuisance, state, batches, key):
        state, report = super().refresh(model, nuisance, state, batches, key)
        (coarse, _), condition = state.value
        fine = jax.vmap(lambda x: model.enlarged(x, 1))(coarse)
        return eqx.tree_at(lambda s: s.value, state, ((coarse, fine), condition)), report


@pytest.mark.parametrize("mutant", [StartsAtNoise, StartsAtItself, SumsBlocks, Uphill, Stale])
def test_mutants_are_rejected(mutant, key):
    with pytest.raises(AssertionError):
        check_rest(mutant(Remembers(0.8), 2), exact_rest(0.8, 2), key)


def test_moving_without_noise_is_rejected(key):
    # As the released code of the paper moves: gradient descent, which samples no law of E.
    still = tuple(Langevin(eta, temperature=0.0) for eta in ETAS)
    with pytest.raises(AssertionError):
        check_rest(MultigridContrastiveDivergence(still, 5), langevin_rest(ETAS, 5), key)


# The model and its scales.

RGB = Multigrid((Isotropic(1.0, (2, 1, 3)), Isotropic(2.0, (2, 3, 3)), Isotropic(3.0, (4, 6, 3))))


def test_versions_are_means_of_blocks(key):
    x = jax.random.normal(key, (4, 6, 3))
    coarse, middle, fine = RGB.versions(x)
    np.testing.assert_array_equal(fine, x)
    assert coarse.shape == (2, 1, 3)
    np.testing.assert_allclose(middle[1, 2], np.asarray(x)[2:4, 4:6].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(coarse[0, 0], np.asarray(x)[:2].mean((0, 1)), rtol=1e-5)
    np.testing.assert_allclose(RGB.root(x)[0, 0], np.asarray(x).mean((0, 1)), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(RGB(x), 1.5 * (x**2).sum(), rtol=1e-5)
    # Enlarged and shrunk again, a version is what it was; each pixel is repeated where it stood.
    large = RGB.enlarged(middle, 2)
    np.testing.assert_array_equal(large[2:4, 4:6], np.broadcast_to(middle[1, 2], (2, 2, 3)))
    for level, version in ((1, middle), (0, coarse)):
        np.testing.assert_allclose(RGB.versions(RGB.enlarged(version, 2))[level], version, rtol=1e-5)
    np.testing.assert_array_equal(RGB.enlarged(RGB.root(x), 0), np.broadcast_to(RGB.root(x), (2, 1, 3)))


def test_samples_climb_from_the_datas_histogram(key):
    # With chains that stand still, samples are enlarged mean colours of the data, each equally often.
    colours = jnp.arange(8.0)[:, None, None, None]
    data = colours + jnp.zeros((8, 4, 4, 1))
    found = multigrid_sample(model_at([4.0, 1.0]), Remembers(1.0), data, 4000, key=key, steps=1)
    np.testing.assert_array_equal(found, np.broadcast_to(found[:, :1, :1], found.shape))
    counts = np.bincount(np.asarray(found[:, 0, 0, 0]).astype(int), minlength=8)
    assert abs(counts - 500).max() < 6 * 500**0.5
    # At rest, the law of their pixels is that of the data's, and their chains those of training.
    objective = MultigridContrastiveDivergence(Remembers(0.8), 2)
    model = model_at(jnp.asarray(exact_rest(0.8, 2)))
    data = jax.random.normal(key, (5_000, 4, 4, 1))
    found = multigrid_sample(model, Remembers(0.8), data, 5_000, key=key, steps=2)
    assert_mean((found**2).mean((1, 2, 3)), 1.0, "the variance of a pixel")
    pick_key, climb_key = jax.random.split(key)
    picked = data[jax.random.randint(pick_key, (5_000,), 0, 5_000)]
    state, _ = objective.refresh(model, None, None, Batch(picked[None]), climb_key)
    np.testing.assert_allclose(state.value[0][-1], found, rtol=1e-5, atol=1e-6)


def test_a_climb_is_a_chain_that_goes_up_as_training_does(key):
    # Without noise both are one deterministic map; MALA carries energies that must be those of its level.
    data = jax.random.normal(key, (9, 4, 4, 1)) + 2.0
    model, still = model_at([4.0, 1.0]), Langevin(0.1, temperature=0.0)
    found = run(
        Climb(still, 2, 3), model, data, key=key, observers={"x": observers.position}, every=1, progress=None
    )
    roots = jax.vmap(model.root)(data)
    (coarse, fine), _ = climb(model, still, roots, key, 3)
    np.testing.assert_allclose(found.x, fine, rtol=1e-6)
    shown = found.observed["x"]
    np.testing.assert_allclose(shown[0], np.broadcast_to(roots, (9, 4, 4, 1)), rtol=1e-6)
    np.testing.assert_allclose(shown[3], jax.vmap(lambda x: model.enlarged(x, 1))(coarse), rtol=1e-6)


@pytest.mark.parametrize("sampler", [Remembers(0.3), ex.samplers.MALA(0.3)], ids=["exact", "mala"])
def test_the_end_of_a_climb_has_the_law_of_the_finest_scale(sampler, key):
    # The levels differ fourfold in scale: energies or steps of the wrong one would show in the variance.
    steps = 3 if isinstance(sampler, Remembers) else 60
    data = jnp.zeros((4_000, 4, 4, 1))
    found = run(Climb(sampler, 2, steps), model_at([4.0, 1.0]), data, key=key).x
    assert_mean((found**2).mean((1, 2, 3)), 1.0, "the variance of a pixel", allowance=0.005)
    assert_mean((found[:, 0, 0] * found[:, 0, 1]).mean(1), 0.0, "neighbours of one block", allowance=0.005)


def test_a_climb_of_other_levels_is_refused(key):
    x = jnp.zeros((3, 4, 4, 1))
    with pytest.raises(ex.InputError, match="levels must be 2; got 3"):
        run(Climb(Langevin(0.1), 3, 1), model_at([4.0, 1.0]), x, key=key)
    with pytest.raises(ex.InputError, match="a Multigrid; got Isotropic"):
        run(Climb(Langevin(0.1), 1, 1), Isotropic(1.0, (4, 4, 1)), x, key=key)


def test_a_recovery_scales_every_level(key):
    roots = jnp.ones((3, 1, 1, 1))
    for sampler in (Langevin(0.1), (Langevin(0.1), Langevin(0.1))):
        objective = MultigridContrastiveDivergence(sampler, 2).tuned({"step_size": 0.5})
        x = jnp.ones((1, 3, 4, 4, 1))
        state, _ = objective.refresh(model_at([4.0, 1.0]), None, None, Batch(x), key)
        images, _ = climb(model_at([4.0, 1.0]), Langevin(0.05), roots, key, 2)
        for found, wanted in zip(state.value[0], images, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5)
        assert objective.tunables == {"step_size": 1.0}


def test_fit_learns_every_level(key):
    x = jax.random.normal(key, (4000, 4, 4, 1))
    objective = MultigridContrastiveDivergence(UNADJUSTED, 5)
    fit = ex.fit(
        model_at([2.5, 2.0]), objective, x, key=key, steps=300, learning_rate=0.05, ema=0.95, progress=False
    )
    found = [float(level.a) for level in fit.energy.levels]
    np.testing.assert_allclose(found, langevin_rest(ETAS, 5), rtol=0.1)
    assert {"energy_gap_2x2", "energy_gap_4x4", "energy_gap", "score_norm"} <= set(fit.history[-1])


def test_energies_may_take_a_condition(key):
    class Around(Isotropic):
        """½a‖x − c‖²."""

        def __call__(self, x, condition=None):
            return super().__call__(x - condition)

    model = Multigrid((Around(50.0, (2, 2, 1)), Around(50.0, (4, 4, 1))))
    c = jnp.where(jnp.arange(16) % 2, 3.0, -3.0)
    x = c[:, None, None, None] + jnp.zeros((16, 4, 4, 1))
    objective = MultigridContrastiveDivergence(Langevin(0.005), 20)
    _, state = objective.init(model, Batch(x, c), key, 16)
    state, _ = objective.refresh(model, None, state, jax.tree.map(lambda a: a[None], Batch(0 * x, c)), key)
    for images in state.value[0]:
        np.testing.assert_allclose(images.mean((1, 2, 3)), c, atol=0.5)
    value, _ = objective.loss(model, None, state, Batch(x, c), key)
    assert float(value) < 0


def test_mistakes_are_named(key):
    fine, x = Isotropic(1.0, (4, 4, 1)), jnp.zeros((8, 4, 4, 1))
    with pytest.raises(ex.InputError, match=r"dividing the next.*; got \(3, 3, 1\) before \(4, 4, 1\)"):
        Multigrid((Isotropic(1.0, (3, 3, 1)), fine))
    with pytest.raises(ex.InputError, match=r"same channels; got \(2, 2, 3\) before \(4, 4, 1\)"):
        Multigrid((Isotropic(1.0, (2, 2, 3)), fine))
    with pytest.raises(ex.InputError, match=r"from the coarsest.*got \(4, 4, 1\) before \(4, 4, 1\)"):
        Multigrid((fine, fine))
    with pytest.raises(ex.InputError, match=r"energies of images, with event_shape \(H, W, C\); got \(16,\)"):
        Multigrid((Isotropic(1.0, (16,)),))
    with pytest.raises(ex.InputError, match=r"energies: a vector field has no value; got a Score"):
        Multigrid((ex.Score(lambda x: -x),))
    with pytest.raises(ex.InputError, match=r"one image of shape \(4, 4, 1\); got \(16,\)"):
        model_at([4.0, 1.0])(jnp.zeros(16))
    with pytest.raises(ex.InputError, match="levels must be at least one energy; got none"):
        Multigrid(())
    objective = MultigridContrastiveDivergence(UNADJUSTED, 2)
    with pytest.raises(ex.InputError, match="model must be a Multigrid; got Isotropic"):
        objective.init(fine, Batch(x), key, 4)
    with pytest.raises(ex.InputError, match="sampler must be one, or 1: one per level; got 2"):
        objective.init(Multigrid((fine,)), Batch(x), key, 4)
    with pytest.raises(ex.InputError, match="sampler must be samplers, such as Langevin"):
        MultigridContrastiveDivergence((Langevin(0.1), 0.1))
    with pytest.raises(ex.InputError, match="steps must be a whole number of at least 1"):
        MultigridContrastiveDivergence(Langevin(0.1), 0)
    with pytest.raises(ex.InputError, match="model must be a Multigrid; got Isotropic"):
        multigrid_sample(fine, Langevin(0.1), x, 3, key=key, steps=1)
