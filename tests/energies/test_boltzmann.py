"""Boltzmann machines against enumeration: energies, scores, conditionals, log Z and draws."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

import energax as ex
from energax.energies import (
    BernoulliRBM,
    GaussianBernoulliRBM,
    Ising,
    IsingGraph,
    all_bits,
    enumerate_log_normalizer,
)
from energax.energies.enumeration import draw_states, log_weights
from energax.testing import check_energy
from tests.energies.states import bits, chi_squared, random_grid, random_parameters, spins


def joint_log_weights(machine, xs, hs):
    """−E(x, h) in double precision from the definition, entry (x, h)."""
    W, b, c = (
        np.asarray(a, np.float64) for a in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    return (xs @ b)[:, None] + (hs @ c)[None] + xs @ W @ hs.T


KEY = jax.random.key(0)
TALL = random_parameters(BernoulliRBM((2, 2), 3, key=KEY))
WIDE = random_parameters(BernoulliRBM((2,), 5, key=KEY))
GAUSSIAN = random_parameters(GaussianBernoulliRBM((2,), 3, key=KEY), scale=0.7)


# Enumeration.


def test_states_are_all_there_in_order():
    np.testing.assert_array_equal(all_bits(3), bits(3))
    assert all_bits(0).shape == (1, 0)
    # More than one chunk of 4,096.
    index = np.arange(2**14)
    np.testing.assert_allclose(log_weights(lambda s: s @ 2.0 ** jnp.arange(13, -1, -1), 14), index)


def test_draws_from_enumerated_states_have_their_law(key):
    weights = jnp.asarray(np.random.default_rng(1).standard_normal(32), jnp.float32)
    drawn = np.asarray(draw_states(key, weights, 40_000))
    chi_squared(bits(5), drawn, np.exp(np.asarray(weights, np.float64)))
    with pytest.raises(AssertionError, match="χ²"):
        chi_squared(bits(5)[:, ::-1], drawn, np.exp(np.asarray(weights, np.float64)))


def test_any_energy_over_bits_or_spins_is_enumerated():
    J = jnp.array([[0.0, 0.7, -0.3], [0.7, 0.0, 0.5], [-0.3, 0.5, 0.0]])
    energy = lambda x: -0.5 * x @ J @ x + x[0]  # noqa: E731
    for values in [(0.0, 1.0), (-1.0, 1.0)]:
        states = np.array(list(itertools.product(values, repeat=3)))
        wanted = scipy.special.logsumexp([-float(energy(jnp.asarray(s))) for s in states])
        np.testing.assert_allclose(enumerate_log_normalizer(energy, (3,), values=values), wanted, rtol=1e-6)


def test_a_gradient_through_enumeration_is_the_mean_over_states():
    # 13 units: two chunks, recomputed in the reverse pass.
    b = jnp.asarray(np.random.default_rng(2).standard_normal(13), jnp.float32)
    gradient = jax.grad(lambda b: jax.nn.logsumexp(log_weights(lambda s: s @ b, 13)))(b)
    np.testing.assert_allclose(gradient, jax.nn.sigmoid(b), rtol=2e-5)


# Bernoulli.


@pytest.mark.parametrize("machine", [TALL, WIDE], ids=["tall", "wide"])
def test_the_free_energy_and_log_z_are_sums_over_hidden_states(machine):
    n, m = machine.weights.shape
    xs, hs = bits(n), bits(m)
    table = joint_log_weights(machine, xs, hs)
    events = xs.reshape(-1, *machine.event_shape)
    joint = jax.vmap(lambda x: jax.vmap(lambda h: machine.joint(x, h))(jnp.asarray(hs)))(events)
    np.testing.assert_allclose(joint, -table, rtol=1e-5, atol=1e-5)
    free = scipy.special.logsumexp(table, axis=1)
    np.testing.assert_allclose(jax.vmap(machine)(events), -free, rtol=1e-5, atol=1e-5)
    log_z = scipy.special.logsumexp(table)
    np.testing.assert_allclose(machine.log_normalizer(), log_z, rtol=1e-6)
    np.testing.assert_allclose(enumerate_log_normalizer(machine), log_z, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(machine.log_prob)(events), free - log_z, rtol=1e-5, atol=1e-5)


def test_conditionals_are_those_of_the_enumerated_joint():
    table = np.exp(joint_log_weights(TALL, bits(4), bits(3)))
    h_given_x = table @ bits(3) / table.sum(1, keepdims=True)
    x_given_h = table.T @ bits(4) / table.sum(0)[:, None]
    got = jax.nn.sigmoid(jax.vmap(TALL.hidden_logits)(bits(4).reshape(-1, 2, 2)))
    np.testing.assert_allclose(got, h_given_x, rtol=1e-5)
    got = jax.nn.sigmoid(jax.vmap(TALL.visible_logits)(bits(3)))
    np.testing.assert_allclose(got.reshape(-1, 4), x_given_h, rtol=1e-5)


def test_the_score_of_a_machine_of_bits_is_the_slope_of_its_enumerated_energy():
    # Between the bits, where a derivative in x is taken though no state lies there.
    x, h = np.array([0.3, 0.9, -0.4, 1.2]), 1e-5
    free = lambda x: -scipy.special.logsumexp(joint_log_weights(TALL, x[None], bits(3)))  # noqa: E731
    slope = [-(free(x + h * e) - free(x - h * e)) / (2 * h) for e in np.eye(4)]
    point = jnp.asarray(x, jnp.float32).reshape(2, 2)
    np.testing.assert_allclose(ex.score(TALL, point).ravel(), slope, rtol=1e-4)
    linear = TALL.visible_bias + TALL.weights @ TALL.hidden_logits(point)  # the sigmoid forgotten
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(linear, slope, rtol=0.05)


@pytest.mark.parametrize("machine", [TALL, WIDE], ids=["tall", "wide"])
def test_exact_draws_have_the_enumerated_law(machine, key):
    n, m = machine.weights.shape
    weights = np.exp(scipy.special.logsumexp(joint_log_weights(machine, bits(n), bits(m)), axis=1))
    drawn = np.asarray(machine.sample(key, 40_000))
    assert drawn.shape == (40_000, *machine.event_shape)
    chi_squared(bits(n), drawn.reshape(-1, n), weights)


def test_a_tempered_machine_has_its_joint_energy_divided():
    xs, hs = bits(4), bits(3)
    table = joint_log_weights(TALL, xs, hs) / 2.5
    hot = TALL.tempered(2.5)
    free = jax.vmap(hot)(xs.reshape(-1, 2, 2))
    np.testing.assert_allclose(free, -scipy.special.logsumexp(table, axis=1), rtol=1e-5, atol=1e-5)
    # … which is not its free energy divided, and T may be traced.
    assert float(jnp.abs(free - jax.vmap(TALL)(xs.reshape(-1, 2, 2)) / 2.5).max()) > 0.1
    log_z = jax.jit(jax.vmap(lambda t: TALL.tempered(t).log_normalizer()))(jnp.array([1.0, 2.5]))
    wanted = [TALL.log_normalizer(), scipy.special.logsumexp(table)]
    np.testing.assert_allclose(log_z, wanted, rtol=1e-6)


def test_the_gradient_of_log_z_is_the_mean_of_the_model():
    xs = bits(4)
    p = scipy.special.softmax(scipy.special.logsumexp(joint_log_weights(TALL, xs, bits(3)), axis=1))
    hidden = scipy.special.expit(xs @ np.asarray(TALL.weights) + np.asarray(TALL.hidden_bias))
    gradient = jax.grad(lambda m: m.log_normalizer())(TALL)
    np.testing.assert_allclose(gradient.weights, (p[:, None] * xs).T @ hidden, rtol=1e-4)
    np.testing.assert_allclose(gradient.visible_bias, p @ xs, rtol=1e-4)
    np.testing.assert_allclose(gradient.hidden_bias, p @ hidden, rtol=1e-4)


def test_the_visible_biases_start_at_the_datas_log_odds():
    rows = np.array([[0, 1, 1], [0, 1, 0], [0, 1, 0], [0, 1, 0]], np.float32)
    machine = BernoulliRBM.from_data(rows, 2, scale=0.0, key=KEY)
    np.testing.assert_allclose(jax.nn.sigmoid(machine.visible_bias), [1 / 6, 5 / 6, 2 / 6], rtol=1e-6)
    gaussian = GaussianBernoulliRBM.from_data(rows, 2, key=KEY)
    np.testing.assert_allclose(gaussian.visible_bias, rows.mean(0), rtol=1e-6)


# Gaussian–Bernoulli.


def gaussian_log_weights(machine, x, hs, temperature=1.0):
    """−E(x, h)/T of every hidden state, in double precision from the paper's density."""
    B, b, c = (
        np.asarray(a, np.float64) for a in (machine.weights, machine.visible_bias, machine.hidden_bias)
    )
    return (0.5 * x @ B @ hs.T + x @ b + hs @ c - 0.5 * x @ x) / temperature


SPINS = spins(3)
POINT = np.array([0.8, -1.3])


def test_the_gaussian_free_energy_is_a_sum_over_spins():
    joint = jax.vmap(lambda h: GAUSSIAN.joint(jnp.asarray(POINT, jnp.float32), h))(SPINS)
    np.testing.assert_allclose(joint, -gaussian_log_weights(GAUSSIAN, POINT, SPINS), rtol=1e-5, atol=1e-6)
    wanted = -scipy.special.logsumexp(gaussian_log_weights(GAUSSIAN, POINT, SPINS))
    np.testing.assert_allclose(GAUSSIAN(jnp.asarray(POINT, jnp.float32)), wanted, rtol=1e-5)


def printed_score(machine, x, half=1.0):
    """The score of Grathwohl et al. §7.1 as printed; with half = ½, as its density implies."""
    B = machine.weights
    return machine.visible_bias - x + half * B @ jnp.tanh(half * B.T @ x + machine.hidden_bias)


def test_the_score_has_both_halves_that_the_paper_does_not_print():
    def free(x):
        return -scipy.special.logsumexp(gaussian_log_weights(GAUSSIAN, x, SPINS))

    h = 1e-5
    slope = [-(free(POINT + h * e) - free(POINT - h * e)) / (2 * h) for e in np.eye(2)]
    x = jnp.asarray(POINT, jnp.float32)
    np.testing.assert_allclose(ex.score(GAUSSIAN, x), slope, rtol=1e-4)
    np.testing.assert_allclose(printed_score(GAUSSIAN, x, 0.5), slope, rtol=1e-4)
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(printed_score(GAUSSIAN, x), slope, rtol=0.05)


def test_a_gaussian_machine_is_the_mixture_it_says(key):
    check_energy(GAUSSIAN, key=key)
    grid = np.linspace(-9, 9, 361)
    points = np.stack(np.meshgrid(grid, grid), -1).reshape(-1, 2)
    for machine in (GAUSSIAN, GAUSSIAN.tempered(2.0)):
        energies = np.asarray(jax.jit(jax.vmap(machine))(jnp.asarray(points, jnp.float32)), np.float64)
        wanted = scipy.special.logsumexp(-energies) + 2 * np.log(grid[1] - grid[0])
        np.testing.assert_allclose(machine.log_normalizer(), wanted, rtol=1e-5)


class OneHalfMissing(GaussianBernoulliRBM):
    def __call__(self, x, condition=None):
        a = x @ self.weights + self.hidden_bias  # ½Bᵀx without its half
        return 0.5 * x @ x - self.visible_bias @ x - jnp.sum(jnp.logaddexp(a, -a))


def test_the_checker_rejects_a_missing_half(key):
    mutant = eqx.tree_at(
        lambda m: (m.weights, m.visible_bias, m.hidden_bias),
        OneHalfMissing((2,), 3, key=KEY),
        (GAUSSIAN.weights, GAUSSIAN.visible_bias, GAUSSIAN.hidden_bias),
    )
    with pytest.raises(AssertionError):
        check_energy(mutant, key=key)


def test_a_tempered_gaussian_machine_has_its_joint_energy_divided():
    hot = GAUSSIAN.tempered(2.0).tempered(1.5)
    x = jnp.asarray(POINT, jnp.float32)
    table = gaussian_log_weights(GAUSSIAN, POINT, SPINS, 3.0)
    np.testing.assert_allclose(hot(x), -scipy.special.logsumexp(table), rtol=1e-5)
    up = SPINS.T @ scipy.special.softmax(table)
    np.testing.assert_allclose(2 * jax.nn.sigmoid(hot.hidden_logits(x)) - 1, up, rtol=1e-5)
    # x | h keeps its mean and has variance T.
    h = jnp.asarray(SPINS[5])
    np.testing.assert_allclose(hot.visible_mean(h), GAUSSIAN.visible_mean(h), rtol=1e-6)
    np.testing.assert_allclose(hot.variance, 3.0)
    assert GAUSSIAN.variance is None, "a parameter that a fit would train"


def test_the_known_log_z_of_another_library():
    """PyDeep's two-dimensional example: σ and bits there, unit variance and spins here.

    There −E(v, h) = −½‖v/σ‖² + c·h + (v/σ²)ᵀWh, h ∈ {0,1}, b = 0. With x = v/σ and h = (1 + s)/2:
    B = W/σ, b = ½B1, c′ = ½c, and log Z gains Σ log σ + ½Σc.
    """
    W = np.array([[-2.1356, -0.7122, 0.6484, 2.1788], [0.7584, -2.1398, 2.0991, -0.6472]])
    c = np.array([-7.8779, -7.6060, -7.7394, -7.7228])
    sigma = np.array([0.7424, 0.7310])
    B = W / sigma[:, None]
    machine = GaussianBernoulliRBM((2,), 4, key=KEY)
    values = [jnp.asarray(a, jnp.float32) for a in (B, B.sum(1) / 2, c / 2)]
    machine = eqx.tree_at(lambda m: (m.weights, m.visible_bias, m.hidden_bias), machine, values)
    got = float(machine.log_normalizer()) + np.log(sigma).sum() + c.sum() / 2
    np.testing.assert_allclose(got, 1.40423, atol=1e-4)  # the parameters are printed to four decimals


# Ising.


def grid_energies(grid, states):
    """E of many grids of spins in double precision, edge by edge."""
    H, W = grid.event_shape
    right = np.broadcast_to(np.asarray(grid.horizontal, np.float64), (H, W - 1))
    below = np.broadcast_to(np.asarray(grid.vertical, np.float64), (H - 1, W))
    total = (np.asarray(grid.field, np.float64) * states).sum((1, 2))
    for r in range(H):
        for c in range(W):
            if c + 1 < W:
                total += right[r, c] * states[:, r, c] * states[:, r, c + 1]
            if r + 1 < H:
                total += below[r, c] * states[:, r, c] * states[:, r + 1, c]
    return -total


@pytest.mark.parametrize("shape", [(3, 2), (2, 4), (1, 4), (3, 1)])
def test_a_grid_is_summed_by_its_transfer_matrix(shape):
    grid = random_grid(*shape)
    states = spins(shape[0] * shape[1]).reshape(-1, *shape)
    energies = grid_energies(grid, states)
    np.testing.assert_allclose(jax.vmap(grid)(states), energies, rtol=1e-5, atol=1e-5)
    log_z = scipy.special.logsumexp(-energies)
    np.testing.assert_allclose(grid.log_normalizer(), log_z, rtol=1e-6)
    np.testing.assert_allclose(enumerate_log_normalizer(grid, values=(-1.0, 1.0)), log_z, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(grid.log_prob)(states), -energies - log_z, rtol=1e-4, atol=1e-5)
    hot = scipy.special.logsumexp(-energies / 1.7)
    np.testing.assert_allclose(grid.tempered(1.7).log_normalizer(), hot, rtol=1e-6)


def test_grids_beyond_enumeration_have_the_closed_forms_they_must():
    chains = Ising((60, 11), vertical=0.8)  # eleven chains of sixty
    wanted = 11 * (np.log(2) + 59 * np.log(2 * np.cosh(0.8)))
    np.testing.assert_allclose(chains.log_normalizer(), wanted, rtol=1e-6)
    lying = Ising((11, 60), horizontal=0.8)
    np.testing.assert_allclose(lying.log_normalizer(), wanted, rtol=1e-6)
    # Couplings and fields shared as numbers are what they are when written out edge by edge.
    shared = Ising((4, 3), horizontal=0.3, vertical=-0.5, field=0.2)
    edges = Ising(
        (4, 3), horizontal=np.full((4, 2), 0.3), vertical=np.full((3, 3), -0.5), field=np.full((4, 3), 0.2)
    )
    np.testing.assert_allclose(shared.log_normalizer(), edges.log_normalizer(), rtol=1e-6)
    gradient = jax.grad(lambda m: m.log_normalizer())
    for name in ("horizontal", "vertical", "field"):
        whole = jnp.sum(getattr(gradient(edges), name))
        np.testing.assert_allclose(getattr(gradient(shared), name), whole, rtol=1e-4)


def test_the_gradient_of_a_grids_log_z_is_the_mean_of_its_edges():
    grid = random_grid(2, 3)
    states = spins(6).reshape(-1, 2, 3)
    p = scipy.special.softmax(-grid_energies(grid, states))
    gradient = jax.grad(lambda m: m.log_normalizer())(grid)
    np.testing.assert_allclose(gradient.field, np.tensordot(p, states, 1), rtol=1e-4, atol=1e-6)
    edges = states[:, :, :-1] * states[:, :, 1:]
    np.testing.assert_allclose(gradient.horizontal, np.tensordot(p, edges, 1), rtol=1e-4, atol=1e-6)
    edges = states[:, :-1] * states[:, 1:]
    np.testing.assert_allclose(gradient.vertical, np.tensordot(p, edges, 1), rtol=1e-4, atol=1e-6)


def grid_as_graph(grid):
    """The same model as a graph: J from the second differences of E."""
    d = grid.event_shape[0] * grid.event_shape[1]
    E = lambda y: float(grid(jnp.asarray(y, jnp.float32).reshape(grid.event_shape)))  # noqa: E731
    J = np.zeros((d, d))
    for i, j in itertools.combinations(range(d), 2):
        signs = [
            (a, b, E(np.where(np.arange(d) == i, a, np.where(np.arange(d) == j, b, 1))))
            for a in (-1, 1)
            for b in (-1, 1)
        ]
        J[i, j] = J[j, i] = -sum(a * b * e for a, b, e in signs) / 4
    return IsingGraph(np.round(J, 6), grid.field.ravel(), event_shape=grid.event_shape)


def test_a_graph_is_enumerated_and_agrees_with_its_grid():
    grid = random_grid(2, 3)
    graph = grid_as_graph(grid)
    states = spins(6).reshape(-1, 2, 3)
    J, b = np.asarray(graph.matrix, np.float64), np.asarray(graph.field, np.float64)
    flat = states.reshape(-1, 6)
    energies = -0.5 * np.einsum("ni,ij,nj->n", flat, J, flat) - flat @ b
    np.testing.assert_allclose(jax.vmap(graph)(states), energies, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(energies, grid_energies(grid, states), atol=1e-4)
    np.testing.assert_allclose(graph.log_normalizer(), scipy.special.logsumexp(-energies), rtol=1e-6)
    np.testing.assert_allclose(
        graph.tempered(2.0).log_normalizer(), scipy.special.logsumexp(-energies / 2), rtol=1e-6
    )


@pytest.mark.parametrize("model", ["grid", "graph"])
def test_local_fields_are_the_enumerated_conditionals(model):
    grid = random_grid(2, 3)
    model = grid if model == "grid" else grid_as_graph(grid)
    y = jnp.asarray([[1.0, -1.0, -1.0], [1.0, 1.0, -1.0]])
    for r, c in itertools.product(range(2), range(3)):
        odds = float(model(y.at[r, c].set(-1.0)) - model(y.at[r, c].set(1.0)))
        np.testing.assert_allclose(2 * model.local_field(y)[r, c], odds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 2), (2, 3)])
def test_exact_draws_of_spins_have_the_enumerated_law(shape, key):
    grid = random_grid(*shape).tempered(2.5)
    states = spins(6).reshape(-1, *shape)
    p = np.exp(-grid_energies(grid, states))
    for model in (grid, grid_as_graph(grid)):
        drawn = np.asarray(eqx.filter_jit(lambda m, k: m.sample(k, 40_000))(model, key))
        chi_squared(states.reshape(-1, 6), drawn.reshape(-1, 6), p)


# Bad input.


def test_a_graph_starts_as_the_independent_law_of_its_data():
    shares = np.array([0.1, 0.5, 0.8, 0.35])
    rows = np.where(np.arange(1000)[:, None] < 1000 * shares, 1.0, -1.0).reshape(1000, 2, 2)
    graph = IsingGraph.from_data(rows)
    assert graph.event_shape == (2, 2)
    assert not np.any(graph.matrix)
    exact = jax.nn.sigmoid(2 * graph.local_field(jnp.ones((2, 2)))).ravel()
    np.testing.assert_allclose(exact, (1000 * shares + 1) / 1002, rtol=1e-5)
    with pytest.raises(ex.InputError, match=r"IsingGraph.from_data: x must be spins, -1 and 1; got an entry"):
        IsingGraph.from_data((rows + 1) / 2)


def test_mistakes_are_named(key):
    with pytest.raises(
        ex.InputError, match=r"x must be one event of shape \(2, 2\), 4 units; got shape \(3,\)"
    ):
        TALL(jnp.zeros(3))
    with pytest.raises(ex.InputError, match=r"x must be one event of shape \(2,\); got shape \(2, 2\)"):
        GAUSSIAN.log_prob(jnp.zeros((2, 2)))
    with pytest.raises(ex.InputError, match=r"h must be one event of shape \(3,\); got shape \(4,\)"):
        TALL.visible_logits(jnp.zeros(4))
    large = BernoulliRBM((784,), 500, key=key)
    with pytest.raises(
        ex.InputError, match=r"\(784 visible, 500 hidden\) must be at most 20 units.*got 500 units"
    ):
        large.log_normalizer()
    with pytest.raises(ex.InputError, match=r"hidden layer must be at most 20 units.*got 21 units"):
        GaussianBernoulliRBM((2,), 21, key=key).sample(key, 3)
    with pytest.raises(ex.InputError, match=r"an event must be at most 20 units.*got 30 units"):
        enumerate_log_normalizer(lambda x: x.sum(), (5, 6))
    with pytest.raises(ex.InputError, match="event_shape must be given for an energy without one"):
        enumerate_log_normalizer(lambda x: x.sum())
    with pytest.raises(ex.InputError, match="hidden must be a whole number of at least 1"):
        BernoulliRBM((4,), 0, key=key)
    with pytest.raises(
        ex.InputError, match=r"visible_bias must be a number or of shape \(4,\); got shape \(3,\)"
    ):
        BernoulliRBM((4,), 2, visible_bias=np.zeros(3), key=key)
    with pytest.raises(ex.InputError, match=r"x must be within \[0, 1\]; got -1 to 1"):
        BernoulliRBM.from_data(np.array([[-1.0], [1.0]]), 2, key=key)
    with pytest.raises(
        ex.InputError, match=r"vertical must be a number or of shape \(1, 3\); got shape \(2, 3\)"
    ):
        Ising((2, 3), vertical=np.zeros((2, 3)))
    with pytest.raises(ex.InputError, match=r"event_shape must be \(height, width\); got \(4,\)"):
        Ising((4,))
    with pytest.raises(
        ex.InputError, match=r"shorter side of the grid must be at most 20 units.*got 28 units"
    ):
        Ising((28, 28)).log_normalizer()
    with pytest.raises(ex.InputError, match="symmetric with a zero diagonal"):
        IsingGraph(np.eye(3))
    with pytest.raises(ex.InputError, match=r"couplings must be a square matrix; got shape \(3,\)"):
        IsingGraph(np.zeros(3))
    with pytest.raises(ex.InputError, match=r"an event must be at most 20 units.*got 21 units"):
        IsingGraph(np.zeros((21, 21))).log_normalizer()
    with pytest.raises(ex.InputError, match=r"event_shape must be of 4 spins; got \(3, 2\)"):
        IsingGraph(np.zeros((4, 4)), event_shape=(3, 2))
