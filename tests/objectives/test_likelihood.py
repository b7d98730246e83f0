"""Maximum likelihood by chains: where each member leads, what its pool keeps, what its penalties are."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import energax as ex
from energax.objectives import (
    Batch,
    ContrastiveDivergence,
    Density,
    MaximumLikelihood,
    PersistentContrastiveDivergence,
    ReplayBufferLikelihood,
    ShortRunLikelihood,
)
from energax.objectives.likelihood import independent_draws
from energax.samplers import BlockGibbs, Langevin, Sampler, run
from energax.samplers.pools import FromData, Kept, Persistent, Replay, marginals
from energax.testing import check_objective
from energax.testing.objective import GROUPS, _check_minimum, _Isotropic, _minimum
from energax.testing.statistics import critical_value

from ..samplers.mutants import DroppedRatio, Frozen, Metropolis
from . import mutants

EXACT = Metropolis(0.9)
GAUSSIAN = ex.energies.Gaussian(jnp.zeros(4), jnp.eye(4))
WIDE = ex.energies.Gaussian(jnp.zeros(4), 4 * jnp.eye(4))  # noise of four times the data's variance


class Autoregression(Sampler):
    """x ← r x + √((1 − r²)/a) z: exact for E = ½a‖x‖², and of a variance that can be written down.

    A start's variance s has become q s + (1 − q)/a after k steps, q = r^{2k}.
    """

    r: float = eqx.field(static=True)

    def init(self, model, x, key):
        return x

    def step(self, model, state, key, i):
        noise = jax.random.normal(key, state.shape)
        return self.r * state + jnp.sqrt((1 - self.r**2) / model.a) * noise, {}


def lands(objective, wanted, key, refreshes=1):
    """Fail unless the minimum is at `wanted`, near enough to tell it from the unbiased 1."""
    a, error = _minimum(objective, _Isotropic, wanted, GAUSSIAN, key, refreshes)
    allowed = critical_value(GROUPS) * error
    assert allowed < abs(wanted - 1) / 2
    assert abs(a - wanted) < allowed


def at_first_order(bias, h):
    """Whether a bias halves with h, up to terms of second order."""
    return 1.7 < bias(h) / bias(h / 2) < 2.4


def test_contrastive_divergence_rests_at_the_density(key):
    check_objective(ContrastiveDivergence(EXACT, 3), key=key)


@pytest.mark.parametrize(
    "objective",
    [PersistentContrastiveDivergence(EXACT, 5), ReplayBufferLikelihood(EXACT, 5, size=128, restart=0.0)],
    ids=lambda o: type(o).__name__,
)
def test_persistent_chains_lead_to_the_density(objective, key):
    check_objective(objective, key=key, refreshes=25)


@pytest.mark.parametrize(
    "mutant",
    [
        mutants.ChainsMinusData(EXACT, 3),
        ContrastiveDivergence(DroppedRatio(0.9), 3),
        ContrastiveDivergence(Frozen(0.9), 3),
        mutants.ForgetfulChains(EXACT, 5),
    ],
    ids=["sign", "dropped ratio", "frozen", "forgetful"],
)
def test_the_checker_rejects_each_mutant(mutant, key):
    assert isinstance(mutant.target, Density)
    with pytest.raises(AssertionError):
        check_objective(mutant, key=key, refreshes=20)


@pytest.mark.parametrize("method", [ContrastiveDivergence, PersistentContrastiveDivergence])
def test_unadjusted_chains_have_the_bias_they_declare(method, key):
    # On N(0, I) a Langevin chain of E = ½a‖x‖² has variance 1/(a(1 − ηa/2)): matched at the a that
    # solves a − ηa²/2 = 1, which is where one step from the data leaves their variance, too.
    eta = 0.2
    objective = method(Langevin(eta), 2)
    assert objective.target.order == 1
    biased = (1 - (1 - 2 * eta) ** 0.5) / eta
    _check_minimum(objective, _Isotropic, biased, GAUSSIAN, key, 15)
    with pytest.raises(AssertionError):
        _check_minimum(objective, _Isotropic, 1.0, GAUSSIAN, key, 15)


def test_chains_that_start_anew_bias_at_the_order_of_their_share(key):
    # The ends' variance V = q(ρs + (1 − ρ)V) + (1 − q)/a is that of the data, 1, at this a.
    q, s = 0.25, 4.0
    wanted = lambda share: (1 - q) / (1 - q * (1 + share * (s - 1)))  # noqa: E731
    assert at_first_order(lambda share: wanted(share) - 1, 0.2)
    for share in (0.2, 0.1):
        objective = ReplayBufferLikelihood(Autoregression(0.5), 1, size=256, restart=share, noise=WIDE)
        assert (objective.target.why, objective.target.order) == (
            "the share of chains that start anew at noise",
            1.0,
        )
        lands(objective, wanted(share), key, refreshes=20)
    assert isinstance(ReplayBufferLikelihood(EXACT, 5, restart=0.0).target, Density)
    assert isinstance(PersistentContrastiveDivergence(EXACT, 5, restart=0.1).target, ex.objectives.Biased)


def test_all_that_biases_is_declared_by_what_vanishes_last():
    both = ShortRunLikelihood(Langevin(0.1), 5, gradient_penalty=0.1).target
    assert both.order == 1.0
    for cause in ("a penalty on", "chains of 5 steps that start at noise", "the step size of Langevin"):
        assert cause in both.why


@pytest.mark.parametrize("steps", [1, 2])
def test_a_short_run_of_an_exact_kernel_forgets_geometrically(steps, key):
    # 1 = q s + (1 − q)/a with q = r^{2k}: a − 1 is of the order of q, less than any power of 1/k.
    q, s = 0.4 ** (2 * steps), 4.0
    objective = ShortRunLikelihood(Autoregression(0.4), steps, noise=WIDE)
    assert objective.target.order == float("inf")
    lands(objective, (1 - q) / (1 - q * s), key)


@pytest.mark.parametrize("penalty", ["energy_penalty", "gradient_penalty"])
def test_a_penalty_biases_at_its_first_order(penalty, key):
    # Chains that are independent draws of the model; with d = 4 the slopes in a are 2(1 − 1/a) of the
    # contrast, 12α(a + 1/a) of the squared energies (E‖x‖⁴ = d(d + 2)v²) and 4γa of the squared slopes.
    def wanted(h):
        if penalty == "energy_penalty":
            return ((1 + 12 * h * (2 - 12 * h)) ** 0.5 - 1) / (12 * h)
        return ((1 + 8 * h) ** 0.5 - 1) / (4 * h)

    h = {"energy_penalty": 0.01, "gradient_penalty": 0.05}[penalty]
    assert at_first_order(lambda h: 1 - wanted(h), h)
    for size in (h, h / 2):
        objective = ContrastiveDivergence(Autoregression(0.0), 1, **{penalty: size})
        assert objective.target.order == 1.0
        lands(objective, wanted(size), key)


def test_a_short_run_is_biased_by_what_it_remembers(key):
    # From N(0, s²I), k steps leave r^{2k} of the start's variance, r = 1 − ηa.
    start = 9.0
    noise = ex.energies.Gaussian(jnp.zeros(4), start * jnp.eye(4))
    objective = ShortRunLikelihood(Langevin(0.2), 5, noise=noise)
    assert objective.target.order == 1.0  # the step's, which longer runs keep

    def variance(a):
        r = (1 - 0.2 * a) ** 2
        return r**5 * start + 2 * 0.2 * (1 - r**5) / (1 - r)

    low, high = 0.5, 3.0
    for _ in range(60):  # the variance falls with a
        middle = (low + high) / 2
        low, high = (middle, high) if variance(middle) > 1 else (low, middle)
    assert low > 1.2  # the bias is there to be seen
    _check_minimum(objective, _Isotropic, low, GAUSSIAN, key, 1)


def test_penalties_are_what_they_say(key):
    energy = ex.energies.MLP((3,), width=8, depth=2, key=jax.random.key(1))
    x = jax.random.normal(key, (6, 3))

    def loss(**penalties):
        objective = ContrastiveDivergence(Langevin(0.05), 2, **penalties)
        _, state = objective.init(energy, Batch(x), key, 6)
        state, _ = objective.refresh(energy, None, state, Batch(x[None]), key)
        return objective.loss(energy, None, state, Batch(x), key)[0], state.value.ends.x, objective

    plain, ends, _ = loss()
    up, down = jax.vmap(energy)(x), jax.vmap(energy)(ends)
    np.testing.assert_allclose(plain, up.mean() - down.mean(), rtol=1e-5)
    squares = (up**2).mean() + (down**2).mean()
    value, _, objective = loss(energy_penalty=0.1)
    np.testing.assert_allclose(value, plain + 0.1 * squares, rtol=1e-5)
    assert "penalty" in objective.target.why
    norms = (jax.vmap(jax.grad(energy))(x) ** 2).sum(1).mean()
    np.testing.assert_allclose(loss(gradient_penalty=0.3)[0], plain + 0.15 * norms, rtol=1e-5)


def test_the_gradient_is_that_of_the_energies_alone(key):
    # Nothing flows through the chains: they are constants of the loss.
    energy = ex.energies.MLP((3,), width=8, depth=2, key=jax.random.key(1))
    x = jax.random.normal(key, (6, 3))
    objective = ContrastiveDivergence(Langevin(0.05), 2)
    _, state = objective.init(energy, Batch(x), key, 6)
    state, _ = objective.refresh(energy, None, state, Batch(x[None]), key)
    gradient = eqx.filter_grad(lambda m: objective.loss(m, None, state, Batch(x), key)[0])(energy)
    ends = state.value.ends.x
    wanted = eqx.filter_grad(lambda m: jax.vmap(m)(x).mean() - jax.vmap(m)(ends).mean())(energy)
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_chains_of_a_step_are_those_of_run(key):
    energy = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
    x = jax.random.normal(key, (4, 2))
    objective = ContrastiveDivergence(Langevin(0.1), 7)
    _, state = objective.init(energy, Batch(x), key, 4)
    moved, report = objective.refresh(energy, None, state, Batch(x[None]), key)
    ran = run(Langevin(0.1), energy, x, key=jax.random.split(key)[1], steps=7)
    np.testing.assert_allclose(moved.value.ends.x, ran.x, rtol=1e-5)
    np.testing.assert_allclose(report["score_norm"], ran.info["score_norm"].mean(), rtol=1e-5)
    np.testing.assert_allclose(report["chain_step"], np.sqrt(((ran.x - x) ** 2).mean()), rtol=1e-5)
    # A recovery halves the step: the chains of the tuned objective are those of the halved sampler.
    halved, _ = objective.tuned({"step_size": 0.5}).refresh(energy, None, state, Batch(x[None]), key)
    slow = run(Langevin(0.05), energy, x, key=jax.random.split(key)[1], steps=7)
    np.testing.assert_allclose(halved.value.ends.x, slow.x, rtol=1e-5)


def check_independent_draws(draw, key):
    # Two draws of two coordinates from three rows: 3⁴ outcomes, all equally likely.
    x = jnp.array([[0.0, 10.0], [1.0, 11.0], [2.0, 12.0]])
    drawn = np.asarray(jax.vmap(lambda k: draw(x, k)[:2])(jax.random.split(key, 20_000)))
    rows = (drawn - np.asarray(x[0])).astype(int).reshape(-1, 4)
    assert set(rows.ravel()) == {0, 1, 2}  # every value is one of its own column
    counts = np.bincount(rows @ [27, 9, 3, 1], minlength=81)
    expected = len(rows) / 81
    assert np.sum((counts - expected) ** 2 / expected) < stats.chi2.isf(1e-6, 80)


def test_marginals_are_independent_draws_from_each_column(key):
    check_independent_draws(marginals, key)


@pytest.mark.parametrize("mutant", mutants.MARGINALS, ids=lambda f: f.__name__)
def test_draws_that_hang_together_are_caught(mutant, key):
    with pytest.raises(AssertionError):
        check_independent_draws(mutant, key)


def test_chains_that_never_restart_draw_no_noise(key):
    class Forbidden:
        def sample(self, key, n):
            raise RuntimeError("noise was drawn")

    kept = Kept(jnp.arange(8.0)[:, None], None, jnp.ones(8))
    x = jnp.zeros((8, 1))
    start, _ = Persistent(8, restart=0.0, noise=Forbidden()).draw(kept, x, None, key)
    np.testing.assert_array_equal(start.x, kept.x)
    np.testing.assert_array_equal(start.age, kept.age)
    with pytest.raises(RuntimeError, match="noise was drawn"):
        Persistent(8, restart=0.5, noise=Forbidden()).draw(kept, x, None, key)


def test_a_buffer_moves_distinct_entries_each_equally_often(key):
    pool = Replay(size=50, restart=0.0, chains=16)
    kept = pool.init(jax.random.normal(key, (30, 2)), None, key, 16)
    draw = jax.jit(lambda k: pool.draw(kept, jnp.zeros((16, 2)), None, k)[1])
    drawn = np.stack([np.asarray(draw(jax.random.fold_in(key, i))) for i in range(500)])
    assert all(len(set(row)) == 16 for row in drawn)
    counts = np.bincount(drawn.ravel(), minlength=50)
    assert abs(counts - 160).max() < 6 * np.sqrt(160)


def test_a_buffer_restarts_as_often_as_it_says(key):
    pool = Replay(size=4000, restart=0.25, chains=4000)
    kept = pool.init(jnp.ones((30, 2)), None, key, 16)
    kept = eqx.tree_at(lambda k: k.age, kept, jnp.full(4000, 7.0))
    start, where = pool.draw(kept, 3 * jnp.ones((16, 2)), None, key)
    anew = np.asarray(start.x[:, 0]) == 3
    np.testing.assert_array_equal(np.asarray(start.age), np.where(anew, 0.0, 7.0))
    assert abs(anew.mean() - 0.25) < 5 * np.sqrt(0.25 * 0.75 / 4000)
    back = pool.put(kept, where, start)
    np.testing.assert_array_equal(np.asarray(back.age), np.where(anew, 1.0, 8.0))


def worth(correlation, keep_score, key, n=20_000):
    """Fail unless chains whose step has this correlation are worth n(1 − ρ)/(1 + ρ) draws."""
    one, two = jax.random.normal(key, (2, n, 3))
    start = {"a": 5 * one[:, 0], "b": 2 + one[:, 1:]}  # coordinates of unlike scales and means
    end = jax.tree.map(
        lambda x, z, m: m + correlation * (x - m) + (1 - correlation**2) ** 0.5 * z,
        start,
        {"a": 5 * two[:, 0], "b": two[:, 1:]},
        {"a": 0.0, "b": 2.0},
    )
    anew = jnp.arange(n) < n // 2  # these leapt from far away, and tell nothing of mixing
    start = jax.tree.map(lambda a: jnp.where(anew.reshape(-1, *[1] * (a.ndim - 1)), a + 30, a), start)
    found = keep_score(start, end, ~anew)
    wanted = n / 2 * (1 - correlation) / (1 + correlation)
    # To the sampling error of a mean square over ten thousand chains, mostly of one coordinate.
    assert abs(found / wanted - 1) < 0.1


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.99])
def test_independent_draws_of_a_step(correlation, key):
    worth(correlation, independent_draws, key)


def test_draws_counted_wrongly_are_caught(key):
    with pytest.raises(AssertionError):  # the leaps count as mixing
        worth(0.99, lambda a, b, went_on: independent_draws(a, b, jnp.ones_like(went_on)), key)
    with pytest.raises(AssertionError):  # an autoregression's share is not 1 − ρ
        worth(0.5, mutants.share_without_the_sum, key)


def test_what_chains_are_worth_at_the_edges(key):
    x = jax.random.normal(key, (64, 2))
    on = jnp.ones(64, bool)
    assert float(independent_draws(x, x, on)) == 0  # none moved
    assert float(independent_draws(x, -x, on)) == pytest.approx(64)  # never worth more than there are
    assert float(independent_draws(x, x[::-1], ~on)) > 30  # where all began, all count
    assert float(independent_draws(jnp.zeros((4, 2)), jnp.zeros((4, 2)), on[:4])) == 0


def test_only_chains_that_go_on_are_judged_by_their_mixing(key):
    batch = Batch(jax.random.normal(key, (1, 8, 2)))
    objectives = (ContrastiveDivergence(EXACT, 2), PersistentContrastiveDivergence(EXACT, 2, chains=8))
    for objective, told in zip(objectives, (False, True), strict=True):
        energy = ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))
        _, state = objective.init(energy, Batch(batch.x[0]), key, 8)
        assert ("chain_ess" in objective.refresh(energy, None, state, batch, key)[1]) == told


def test_chains_keep_their_conditions(key):
    # Data with x = c; the chains of E(x, c) = ½(x − c)²/s² must stay with their own conditions.
    energy = lambda x, c: 50 * jnp.sum((x - c) ** 2)  # noqa: E731
    c = jnp.array([[-3.0], [0.0], [3.0]])[jax.random.randint(key, (64,), 0, 3)]
    objective = PersistentContrastiveDivergence(Langevin(0.005), 60, chains=32)
    _, state = objective.init(energy, Batch(c, c), key, 16)
    for i in range(3):
        batch = jax.tree.map(lambda a: a[None, :16], Batch(c, c))
        state, _ = objective.refresh(energy, None, state, batch, jax.random.fold_in(key, i))
    ends = state.value.ends
    np.testing.assert_allclose(ends.x, ends.condition, atol=0.6)
    assert len(np.unique(ends.condition)) == 3


def test_fit_learns_a_mixture_by_persistent_chains(key):
    truth = ex.energies.GaussianMixture([0.3, 0.7], [[-1.5, 0.0], [1.5, 0.5]], 0.3 * jnp.eye(2))
    x = truth.sample(key, 2000)
    start = ex.energies.GaussianMixture([0.5, 0.5], [[-0.5, 0.0], [0.5, 0.0]], jnp.eye(2))
    objective = PersistentContrastiveDivergence(Langevin(0.02), 10, chains=128)
    fit = ex.fit(start, objective, x, key=key, steps=400, learning_rate=0.03, ema=0.98, progress=False)
    held_out = truth.sample(jax.random.fold_in(key, 1), 4000)

    def likelihood(model):
        return float(jax.vmap(model.log_prob)(held_out).mean())

    # Within what 2,000 rows and a step of 0.02 leave open; from 0.6 nats away.
    assert likelihood(truth) - likelihood(start) > 0.5
    assert likelihood(truth) - likelihood(fit.energy) < 0.05
    assert {"energy_gap", "chain_age", "chain_step", "score_norm"} <= set(fit.history[-1])
    assert fit.history[-1]["chain_age"] > 300


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: ContrastiveDivergence(Langevin(0.1), 0),
            "steps must be a whole number of at least 1; got 0",
        ),
        (lambda: ContrastiveDivergence(0.1), "sampler must be a sampler, such as Langevin"),
        (lambda: ReplayBufferLikelihood(Langevin(0.1), restart=1.5), "restart must be .*got 1.5"),
        (lambda: Replay(size=10, chains=20), "chains must be at most the size, 10; got 20"),
        (lambda: ContrastiveDivergence(Langevin(0.1), energy_penalty=-1.0), "energy_penalty must be"),
    ],
)
def test_mistakes_are_named(make, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        make()


def test_a_vector_field_is_refused(key):
    field = ex.Score(lambda x, c=None: -x)
    with pytest.raises(ex.InputError, match="an energy: a vector field has no likelihood"):
        MaximumLikelihood(Langevin(0.1), 1, FromData()).init(field, Batch(jnp.zeros((4, 2))), key, 4)


def test_a_buffer_smaller_than_a_step_is_refused(key):
    with pytest.raises(ex.InputError, match="at least the 16 chains that a step moves; got 8"):
        Replay(size=8).init(jnp.zeros((4, 2)), None, key, 16)
    Persistent(8).init(jnp.zeros((4, 2)), None, key, 16)


def test_data_that_are_no_states_of_the_machine_are_refused(key):
    rbm = ex.energies.BernoulliRBM((3,), 2, key=key)
    objective = PersistentContrastiveDivergence(BlockGibbs())
    with pytest.raises(
        ex.InputError,
        match=r"x must be states of the BernoulliRBM, 0 and 1; .*got entries 0\.25 in row 0",
    ):
        objective.init(rbm, Batch(jnp.full((8, 3), 0.25)), key, 4)
    ising = ex.energies.Ising((2, 2))
    with pytest.raises(ex.InputError, match=r"states of the Ising, -1 and 1; .*got entries 0 in row 3"):
        objective.init(ising, Batch(jnp.ones((5, 2, 2)).at[3, 1, 1].set(0.0)), key, 4)
    bits = jnp.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    with pytest.raises(ex.InputError, match="x must be continuous; for binary data take BlockGibbs"):
        PersistentContrastiveDivergence(Langevin(0.1)).init(rbm, Batch(bits), key, 2)


@pytest.mark.parametrize("made", [PersistentContrastiveDivergence, ContrastiveDivergence])
def test_one_row_among_thousands_that_is_no_state_is_refused(made, key):
    rbm = ex.energies.BernoulliRBM((3,), 2, key=key)
    x = np.zeros((9000, 3), np.float32)
    made(BlockGibbs()).init(rbm, Batch(x), key, 4)
    x[8999, 2] = 0.37
    with pytest.raises(ex.InputError, match=r"got entries 0\.37 in row 8999"):
        made(BlockGibbs()).init(rbm, Batch(x), key, 4)


def test_a_machine_is_learned_from_its_own_draws(key):
    # Enumerated likelihoods: 0.2 nats away at the start, and then within what 4,000 rows leave open.
    truth = ex.energies.BernoulliRBM((6,), 3, scale=1.5, key=key)
    x = truth.sample(key, 4000)
    start = ex.energies.BernoulliRBM((6,), 3, scale=0.1, key=jax.random.fold_in(key, 1))
    objective = PersistentContrastiveDivergence(BlockGibbs(), 2, chains=256)
    fit = ex.fit(start, objective, x, key=key, steps=1500, learning_rate=0.02, ema=0.99, progress=False)
    held_out = truth.sample(jax.random.fold_in(key, 2), 4000)

    def likelihood(model):
        return float(jax.vmap(model.log_prob)(held_out).mean())

    assert likelihood(truth) - likelihood(start) > 0.2
    assert likelihood(truth) - likelihood(fit.energy) < 0.02
