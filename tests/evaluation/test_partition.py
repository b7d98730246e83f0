"""log Z by annealing: brackets around known values, weights without bias, intervals that cover, mutants."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from blackjax.mcmc import hmc, integrators

import energax as ex
from energax.checks import InputError
from energax.energies import (
    BernoulliRBM,
    CopiedRBM,
    DeepBoltzmannMachine,
    Flow,
    Gaussian,
    GaussianBernoulliRBM,
    GaussianMixture,
    GeneralizedLogistic,
    IndependentBernoulli,
    Ising,
    IsingGraph,
    LinearICA,
    Normalised,
    TruncatedGaussian,
    Uniform,
)
from energax.energies.enumeration import LIMIT
from energax.evaluation import (
    annealed_importance_sampling,
    bennett_acceptance_ratio,
    bracket,
    importance,
    log_normalizer,
    plan_annealing,
    reverse_annealed_importance_sampling,
)
from energax.evaluation.bases import fitted_base
from energax.evaluation.far import falls_far_out
from energax.evaluation.importance import AnnealedWeights
from energax.evaluation.partition import _ends, _without_chains
from energax.evaluation.paths import path_between
from energax.samplers import HMC, MALA, BitGibbs, Langevin
from energax.testing import assert_mean
from energax.testing.statistics import FALSE_ALARM, StatisticalError

SURE = 1 - FALSE_ALARM
STRETCH = 1.2  # sixty-four chains' standard error has a spread of its own
SIGMAS = float(scipy.stats.norm.isf(FALSE_ALARM / 2))
SKEWED = GeneralizedLogistic(np.array([0.5, 3.0]), np.array([1.0, -1.0]), np.array([0.7, 1.5]))
WIDE = Gaussian(np.zeros(2), 9 * np.eye(2))


# PyDeep's worked machine: reals of noise σ and four hidden bits, energy x²/2σ² − c·h − xᵀWh/σ².
WEIGHTS = np.array([[-2.1356, -0.7122, 0.6484, 2.1788], [0.7584, -2.1398, 2.0991, -0.6472]])
HIDDEN = np.array([-7.8779, -7.6060, -7.7394, -7.7228])
SIGMA = np.array([0.7424, 0.7310])
WORKED = 1.404218


def worked():
    """Return the machine for x/σ and spins ±1 in place of bits, and log Z of the original less its own."""
    scaled = WEIGHTS / SIGMA[:, None]
    machine = GaussianBernoulliRBM.from_parameters(scaled, scaled.sum(1) / 2, HIDDEN / 2)
    return machine, HIDDEN.sum() / 2 + np.log(SIGMA).sum()


def wide_gaussian(d=100):
    factor = np.random.default_rng(0).normal(size=(d, d)) / np.sqrt(d)
    return Gaussian(np.ones(d), factor @ factor.T + 0.2 * np.eye(d))


def mixture():
    return GaussianMixture([0.3, 0.7], [[-3.0, 0.0], [3.0, 1.0]], [np.eye(2) / 2, np.eye(2)])


def graph(spins):
    upper = np.triu(np.random.default_rng(3).normal(size=(spins, spins)), 1)
    return IsingGraph(upper + upper.T, 0.2)


class Funnel(Normalised):
    """v ~ N(0, 1), three more ~ N(0, e^v): Neal (2003), less deep."""

    event_shape: tuple[int, ...] = (4,)

    def __call__(self, x, condition=None):
        return 0.5 * (x[0] ** 2 + 3 * x[0] + jnp.sum(x[1:] ** 2) * jnp.exp(-x[0]))

    def log_normalizer(self):
        return 2 * jnp.log(2 * jnp.pi)

    def sample(self, key, n):
        z = jax.random.normal(key, (n, 4))
        return z.at[:, 1:].multiply(jnp.exp(z[:, :1] / 2))


def isotropic(d):
    return Gaussian(np.zeros(d), 2 * np.eye(d))


def rbm(visible, hidden):
    return BernoulliRBM((visible,), hidden, scale=0.7, key=jax.random.key(1))


CASES = {
    "gaussian of 100": (wide_gaussian, isotropic(100), {"temperatures": 300}),
    "mixture": (mixture, WIDE, {}),
    "funnel": (Funnel, isotropic(4), {}),
    "box": (
        lambda: TruncatedGaussian([1.7, -0.4], [0.6, 1.5], -1.0, 2.0),
        Uniform(np.full(2, -1.0), np.full(2, 2.0)),
        {},
    ),
    "flow": (lambda: SKEWED, Flow.coupling(2, layers=2, width=8, kind="affine", key=jax.random.key(4)), {}),
    "ica": (lambda: LinearICA(0.5 * np.eye(4) + 0.2, "logistic"), "data", {"transition": MALA(0.1)}),
    "langevin": (lambda: SKEWED, WIDE, {"transition": Langevin(0.1), "moves": 2, "temperatures": 300}),
    "rbm": (lambda: rbm(10, 5), None, {}),
    "bits": (lambda: rbm(4, 6), IndependentBernoulli(np.full(4, 0.5)), {"transition": BitGibbs()}),
    "dbm": (lambda: DeepBoltzmannMachine((6,), (5, 4), scale=0.7, key=jax.random.key(2)), None, {}),
    "gaussian rbm": (lambda: worked()[0], None, {}),
    "ising": (lambda: Ising((3, 4), horizontal=0.4, vertical=0.3, field=0.1), None, {}),
}


def around(found, exact, shift=0.0):
    return found.lower + shift < exact < found.upper + shift


LONG = {"gaussian of 500": (lambda: wide_gaussian(500), isotropic(500), {"temperatures": 1000})}


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(n, marks=pytest.mark.study) for n in LONG)])
def test_the_ends_are_around_the_exact_value(name, key):
    make, base, settings = (CASES | LONG)[name]
    model = make()
    exact = float(model.log_normalizer())
    data = model.sample(jax.random.fold_in(key, 1), 500) if base == "data" else None
    settings = {"temperatures": 200, "chains": 64, "confidence": SURE, "exact": False, **settings}
    settings |= {"base": None if base == "data" else base, "data": data}
    found = log_normalizer(model, key=key, **settings)
    assert around(found, exact)
    # A mutant that forgets the base's log Z is nowhere near.
    single = model.bipartite() if name == "dbm" else model
    log_base = path_between("test", single, settings["base"], data, None).log_base()
    assert log_base == 0 or not around(found, exact, -log_base)
    if name == "gaussian rbm":
        assert around(found, WORKED, worked()[1])
    if "gaussian of" not in name:
        assert found.converged
        assert found.status == "converged"
        assert abs(found.estimate - exact) < STRETCH * SIGMAS * found.standard_error
    if name == "mixture":
        # The same programs, too few temperatures: said to be so, whatever the width.
        short = log_normalizer(model, key=key, **settings | {"temperatures": 3, "width": 1e6})
        assert not short.converged
        assert short.status.startswith("not converged: sd(log w) = ")
        assert around(short, exact)


class Unfinished(HMC):
    """A mutant: leapfrog steps without their last half kick."""

    def transition(self, log_p, start, key, i):
        def integrator(logdensity, kinetic):
            def step(state, size):
                momentum = state.momentum + 0.5 * size * state.logdensity_grad
                x = state.position + size * momentum
                value, gradient = jax.value_and_grad(logdensity)(x)
                return integrators.IntegratorState(x, momentum, value, gradient)

            return step

        kernel = hmc.build_kernel(integrator=integrator)
        mass = jnp.ones(start.position.size)
        end, info = kernel(key, start, log_p, self.step_size(i), mass, self.leapfrog_steps)
        return end, {"acceptance": info.acceptance_rate}


def weights(transition, key, chains=8000):
    plan_key, forward_key, draw_key, reverse_key = jax.random.split(key, 4)
    annealing = plan_annealing(SKEWED, WIDE, transition=transition, temperatures=40, key=plan_key)
    forward = annealed_importance_sampling(annealing, chains, key=forward_key)
    ends = SKEWED.sample(draw_key, chains)
    return forward, reverse_annealed_importance_sampling(annealing, ends, key=reverse_key)


def test_weights_are_unbiased_in_both_directions(key):
    forward, reverse = weights(HMC(0.5, 3), key)
    exact = float(SKEWED.log_normalizer())
    w, u = (a.log_base + a.log_weights - exact for a in (forward, reverse))
    assert_mean(np.exp(w), 1.0, "e^w")
    assert_mean(np.exp(-u), 1.0, "e^-u")
    assert forward.mean < exact < reverse.mean
    assert abs(forward.log_mean_exp - exact) < 0.2
    assert abs(reverse.log_mean_exp - exact) < 0.2
    with pytest.raises(StatisticalError):  # a mutant that averages e^u in reverse
        assert_mean(np.exp(u), 1.0)


def test_a_leapfrog_without_its_last_half_kick_is_found_out(key):
    forward, _ = weights(Unfinished(0.5, 3), key)
    exact = float(SKEWED.log_normalizer())
    with pytest.raises(StatisticalError):
        assert_mean(np.exp(forward.log_base + forward.log_weights - exact), 1.0)


class Unpaid(Langevin):
    """A mutant: steps that owe nothing for leaving no law invariant."""

    def log_ratio(self, model, start, end, i):
        return jnp.zeros(())


def test_langevin_steps_of_any_size_are_paid_for(key):
    exact, chains = float(SKEWED.log_normalizer()), 20_000
    plan_key, forward_key, draw_key, reverse_key = jax.random.split(key, 4)
    plan = plan_annealing(SKEWED, WIDE, transition=Langevin(0.3), moves=2, temperatures=5, key=plan_key)
    # Steps that MALA would refuse one in twelve of: what they leave invariant is far from the path's laws.
    plan = plan._replace(factors=np.ones(5, np.float32))
    ends = SKEWED.sample(draw_key, chains)
    found = {}
    for kind in (Langevin, Unpaid):
        large = plan._replace(transition=kind(1.5))
        forward = annealed_importance_sampling(large, chains, key=forward_key)
        reverse = reverse_annealed_importance_sampling(large, ends, key=reverse_key)
        w, u = (a.log_base + a.log_weights - exact for a in (forward, reverse))
        between = bennett_acceptance_ratio(w, u)
        found[kind] = np.exp(w), np.exp(-u), between.estimate / between.standard_error
    *paid, gap = found[Langevin]
    for name, w in zip(("e^w", "e^-u"), paid, strict=True):
        assert_mean(w, 1.0, name)
    assert abs(gap) < SIGMAS
    *unpaid, gap = found[Unpaid]
    for w in unpaid:
        with pytest.raises(StatisticalError):
            assert_mean(w, 1.0)
    assert abs(gap) > SIGMAS


def test_the_estimates_interval_covers(key):
    model = Ising((3, 3), horizontal=0.5, vertical=0.6, field=0.2)
    plan_key, forward_key, draw_key, reverse_key = jax.random.split(key, 4)
    annealing = plan_annealing(model, temperatures=6, key=plan_key)
    repeats, chains = 100, 40
    forward = annealed_importance_sampling(annealing, repeats * chains, key=forward_key)
    ends = model.sample(draw_key, repeats * chains)
    reverse = reverse_annealed_importance_sampling(annealing, ends, key=reverse_key)
    assert max(forward.deviation, reverse.deviation) < 1.2
    exact = float(model.log_normalizer())
    covered = 0
    for w, u in zip(*(a.log_weights.reshape(repeats, chains) for a in (forward, reverse)), strict=True):
        found = bennett_acceptance_ratio(w, u)
        covered += abs(forward.log_base + found.estimate - exact) < 1.96 * found.standard_error
    assert covered >= 82


def gaussian_work(sd, n, key, c=1.5):
    """Return log weights that satisfy Crooks's relation exactly: normal ones, of means c ∓ sd²/2."""
    w, u = np.asarray(jax.random.normal(key, (2, n)), np.float64) * sd
    return w + c - sd**2 / 2, u + c + sd**2 / 2


def test_bennetts_estimate_on_normal_work(seed):
    keys = jax.random.split(jax.random.key(seed), 1000)
    found = [bennett_acceptance_ratio(w, u[:50]) for w, u in (gaussian_work(1.0, 80, k) for k in keys)]
    estimates, errors = np.array(found).T
    assert_mean(estimates, 1.5, "Bennett's estimate", allowance=2e-3)
    covered = int(np.sum(np.abs(estimates - 1.5) < 1.96 * errors))
    low, high = scipy.stats.binom.interval(SURE, 1000, 0.945)
    assert low <= covered <= high


def test_the_verdict_asks_for_both(key):
    def verdict(sd, **settings):
        w, u = gaussian_work(sd, 2000, key)
        parts = (AnnealedWeights(a, 0.0, None, 1.0, b) for a, b in ((w, False), (u, True)))
        return bracket(*parts, **settings)

    assert verdict(0.5).converged
    near = verdict(0.5, width=0.1)
    assert not near.converged
    assert "0.1 asked for" in near.status
    wide = verdict(1.5, width=10)
    assert not wide.converged
    assert "sd(log w)" in wide.status
    crossed = bracket(*(AnnealedWeights(np.arange(9) / 9 + c, 0.0, None, 1.0, c < 1) for c in (5, 0)))
    assert not crossed.converged
    assert "cross" in crossed.status


def test_paths_begin_and_end_where_they_say(key):
    x = {True: jnp.asarray([1.0, 0.0, 1.0, 1.0]), False: jnp.asarray([1.0, -1.0, 1.0, 1.0])}
    real = GaussianBernoulliRBM((4,), 3, scale=1.0, visible_bias=np.full(4, 0.4), key=key).tempered(1.7)
    square = Ising((2, 2), horizontal=0.4, vertical=-0.3, field=0.1)
    for model in (rbm(4, 3), real, square, graph(4)):
        event = x[isinstance(model, BernoulliRBM)].reshape(model.event_shape)
        path = path_between("test", model, None, np.stack([event, event, 0 * event]), None)
        first, last = path.at(jnp.asarray(0.0)), path.at(jnp.asarray(1.0))
        np.testing.assert_allclose(path.log_base(), first.log_normalizer(), rtol=1e-5)
        np.testing.assert_allclose(last(event), model(event), rtol=1e-5)
        moved = path.at(jnp.asarray(0.6))(event) - path.at(jnp.asarray(0.3))(event)
        np.testing.assert_allclose(path.increment(event, 0.3, 0.6), moved, rtol=1e-4, atol=1e-5)
        assert not np.allclose(first(event), last(event))


def test_a_small_step_of_a_free_energy_loses_no_digits():
    machine = BernoulliRBM.from_parameters(np.full((3, 50), 8.0), np.zeros(3), np.full(50, -3.0))
    step = 2.0**-20
    found = path_between("test", machine, None, None, None).increment(jnp.ones(3), 0.5, 0.5 + step)
    a = 21.0
    exact = -50 * (np.logaddexp(0, (0.5 + step) * a) - np.logaddexp(0, 0.5 * a))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@pytest.mark.parametrize("model", [Ising((1, 3), horizontal=0.8, field=0.5), graph(3)])
def test_a_sweep_backwards_is_a_sweep_with_time_reversed(model, key):
    spins = (2 * ex.energies.all_bits(3) - 1).reshape(8, *model.event_shape)
    p = np.exp(-np.asarray(jax.vmap(model)(spins)) - float(model.log_normalizer()))
    n = 80_000

    def flows(sweep, key):
        keys = jax.random.split(key, (8, n))
        ends = jax.jit(jax.vmap(jax.vmap(sweep, (None, 0))))(spins, keys).reshape(8, n, 3)
        index = np.asarray((ends > 0) @ np.array([4, 2, 1]))
        return p[:, None] * np.stack([np.bincount(row, minlength=8) for row in index]) / n

    def distance(one, other):
        flow, back = flows(one, key), flows(other, jax.random.fold_in(key, 1)).T
        error = np.sqrt((p[:, None] * flow + p[None, :] * back) / n + (5 / n) ** 2)
        return np.max(np.abs(flow - back) / error)

    assert distance(model.sweep, model.sweep_back) < 6
    assert distance(model.sweep, model.sweep) > 12


def test_one_program_for_any_number_of_temperatures_and_the_host_agrees(seed, key, monkeypatch):
    seen, chains = [], 17 + seed  # a program of this seed's own
    inner = importance._all
    monkeypatch.setattr(importance, "_all", lambda *a: seen.append(0) or inner(*a))
    few = plan_annealing(SKEWED, WIDE, transition=MALA(0.2), temperatures=5, key=key)
    first = annealed_importance_sampling(few, chains, key=key)
    traced = len(seen)
    assert traced > 0
    many = few._replace(betas=np.linspace(0, 1, 301, dtype=np.float32), factors=np.ones(300, np.float32))
    annealed_importance_sampling(many, chains, key=key)
    back = reverse_annealed_importance_sampling(few, SKEWED.sample(key, chains), key=key)
    assert len(seen) == traced
    monkeypatch.setattr(importance, "compiles_loop", lambda *a: False)
    again = annealed_importance_sampling(few, chains, key=key)
    back_again = reverse_annealed_importance_sampling(few, SKEWED.sample(key, chains), key=key)
    np.testing.assert_allclose(again.log_weights, first.log_weights, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(back_again.log_weights, back.log_weights, rtol=1e-4, atol=1e-4)


def test_schedules_rise_from_zero_to_one(key):
    for schedule in ("linear", "sigmoid", "exponential", "adaptive"):
        betas = plan_annealing(
            SKEWED, WIDE, transition=MALA(0.2), temperatures=40, schedule=schedule, key=key
        ).betas
        assert (betas[0], betas[-1], len(betas)) == (0, 1, 41)
        assert np.all(np.diff(betas) > 0)
    assert betas[1] < 0.02  # where the base is wide, weights of the first steps vary most


def test_a_base_is_fitted_to_the_data(key):
    rows = np.asarray(mixture().sample(key, 400))
    base = fitted_base("test", rows)
    np.testing.assert_allclose(base.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(base.scale_tril @ base.scale_tril.T, np.cov(rows.T), rtol=1e-4)
    pictures = fitted_base("test", rows[:10].reshape(5, 2, 2) * [[1, 1], [0, 1]])
    assert pictures.variance.shape == (2, 2)
    assert float(pictures.variance[1, 0]) > 0  # a constant column is not taken at its word
    assert isinstance(fitted_base("test", rows > 0), IndependentBernoulli)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"transition": ex.samplers.Reflected(Langevin(0.1), 0.0, 1.0)},
            "leaves each law of the path invariant",
        ),
        ({"transition": Langevin(0.1, temperature=2.0)}, "at temperature 1"),
        ({"transition": BitGibbs()}, "BitGibbs for a base of bits"),
        ({"transition": ex.samplers.BlockGibbs()}, "for Gibbs sampling"),
        ({"base": None}, "base or data must be given"),
        ({"base": ex.energies.MLP(event_shape=(2,), key=jax.random.key(0))}, "log_normalizer"),
        ({"base": Gaussian(np.zeros(3), np.eye(3))}, "over events of"),
        ({"energy": ex.Score(lambda x: -x)}, "no value to weigh by"),
        ({"schedule": "adaptative"}, "did you mean 'adaptive'"),
        ({"energy": lambda x: jnp.log(-jnp.abs(x[0]))}, "of 64 values at"),
    ],
)
def test_what_cannot_be_weighed_is_refused(arguments, words, key):
    settings = {"energy": SKEWED, "base": WIDE, "transition": MALA(0.2), **arguments}
    with pytest.raises(InputError, match=words):
        plan_annealing(settings.pop("energy"), key=key, temperatures=2, **settings)


BITS, REALS = IndependentBernoulli(np.zeros((2, 3))), Gaussian(np.zeros(4), np.eye(4))


@pytest.mark.parametrize(
    ("energy", "base", "settings"),
    [
        # Unrefused, a sum over bits converges at 6.4; over spins it is 5.7.
        (Ising((2, 3), horizontal=0.5, vertical=0.6, field=0.2), BITS, {}),
        (Ising((2, 3)), None, {"transition": BitGibbs(), "data": np.eye(6).reshape(6, 2, 3)}),
        (Ising((2, 3)), None, {"transition": MALA(0.1), "data": 2 * np.eye(6).reshape(6, 2, 3) - 1}),
        (graph(4), REALS, {}),
        (rbm(4, 3), REALS, {}),
        (rbm(4, 3), Uniform(np.zeros(4), np.ones(4)), {}),
        (CopiedRBM(rbm(4, 3), 2), REALS, {}),
        (worked()[0], IndependentBernoulli(np.zeros(worked()[0].event_shape)), {}),
    ],
)
def test_a_base_of_other_states_is_refused(energy, base, settings, key):
    said = "base must be independent bits for a machine of bits, .*; got .* for " + type(energy).__name__
    with pytest.raises(InputError, match=said):
        plan_annealing(energy, base, key=key, temperatures=2, **settings)


def test_a_machine_of_reals_is_not_summed_over_bits_that_it_was_fitted_to(key):
    machine = GaussianBernoulliRBM((4,), LIMIT + 1, key=key)  # too many hidden units to sum over those
    bits = np.vstack([np.eye(4), 1 - np.eye(4)])
    assert _without_chains(machine, None, bits, key) is None
    found = _without_chains(lambda x: machine(x), None, bits, key)
    assert found.status == "exact, by enumeration"


def test_what_the_reverse_chains_start_from_is_told(key):
    with pytest.raises(InputError, match="reverse chains start from it"):
        log_normalizer(lambda x: jnp.sum(x**2), WIDE, exact=False, key=key)
    assert _ends(SKEWED, None, 20, key)[1] == "exact draws"
    rows = np.asarray(SKEWED.sample(key, 30))
    # A machine has `sample`, but one this large cannot be enumerated.
    large = BernoulliRBM((30,), 30, key=key)
    assert _ends(large, np.zeros((40, 30)), 20, key)[1] == "40 rows of data"
    with pytest.raises(InputError, match="bipartite"):
        plan_annealing(DeepBoltzmannMachine((3,), (2,), key=key), key=key)
    starts, told = _ends(lambda x: jnp.sum(x**2), rows, 20, key)
    assert len(np.unique(starts, axis=0)) == 20
    assert told == "30 rows of data"
    assert _ends(lambda x: jnp.sum(x**2), rows, 40, key)[1] == "30 rows of data taken more than once"
    w, u = gaussian_work(0.5, 2000, key)
    parts = (AnnealedWeights(a, 0.0, None, 1.0, b) for a, b in ((w, False), (u, True)))
    assert "converged (heuristic upper end" in bracket(*parts, heuristic=told).status
    assert log_normalizer(mixture(), key=key).status == "exact"


class Normal(eqx.Module):
    """N(0, I) within 20 of the origin; beyond, along one direction, it falls, or rises, by (v·x − 20)²."""

    sign: float

    def __call__(self, x, condition=None):
        return 0.5 * jnp.sum(x**2) + self.sign * jax.nn.relu(jnp.sum(x) / jnp.sqrt(x.size) - 20) ** 2


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_fall_far_from_the_data_is_found_by_descent(sign, key):
    x = np.random.default_rng(0).standard_normal((200, 30)).astype(np.float32)
    assert falls_far_out(Normal(jnp.asarray(sign)), x, key) == (sign < 0)
    # No random direction shows it.
    u = np.random.default_rng(1).standard_normal((1000, 30))
    far = 1000 * u / np.linalg.norm(u, axis=1, keepdims=True)
    assert float(jax.vmap(Normal(sign))(far).min()) > 0


@pytest.mark.study
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_fall_far_from_the_data_is_the_verdict(sign, key):
    x = np.random.default_rng(0).standard_normal((500, 5)).astype(np.float32)
    found = log_normalizer(Normal(jnp.asarray(sign)), data=x, temperatures=100, width=2.0, key=key)
    assert around(found, 2.5 * np.log(2 * np.pi))  # of what the chains saw
    assert found.converged == (sign > 0)
    assert found.status.startswith("not log Z: far from the data" if sign < 0 else "converged")
    assert "converged (heuristic upper end" in found.status
