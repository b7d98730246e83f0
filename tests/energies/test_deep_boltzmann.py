"""Deep Boltzmann machines against enumeration of all layers; how a stack of RBMs becomes one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

import energax as ex
from energax.energies import BernoulliRBM, CopiedRBM, DeepBoltzmannMachine, VisibleLayer
from energax.samplers import VisibleGibbs, run
from tests.energies.states import bits, chi_squared, random_parameters

KEY = jax.random.key(0)
# Both parities as the smaller half, two and three hidden layers, and one: a plain RBM.
MACHINES = {
    "odd": random_parameters(DeepBoltzmannMachine((2, 2), (2, 2), key=KEY), scale=0.7),
    "even": random_parameters(DeepBoltzmannMachine((1,), (3, 1, 2), key=KEY), scale=0.7),
    "shallow": random_parameters(DeepBoltzmannMachine((3,), (2,), key=KEY), scale=0.7),
}
machines = pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES)
TWO = MACHINES["odd"]


def sizes(machine):
    return [b.size for b in machine.biases]


def as_event(machine, rows):
    """Rows of bits, all layers beside one another, as events."""
    layers = np.split(rows, np.cumsum(sizes(machine))[:-1], axis=1)
    return (layers[0].reshape(-1, *machine.event_shape), *layers[1:])


def log_weights(machine, rows):
    """−E in double precision from the definition."""
    layers = [np.asarray(a, np.float64) for a in np.split(rows, np.cumsum(sizes(machine))[:-1], axis=1)]
    own = sum(a @ np.asarray(b, np.float64) for a, b in zip(layers, machine.biases, strict=True))
    for W, below, above in zip(machine.weights, layers[:-1], layers[1:], strict=True):
        own = own + np.einsum("ni,ij,nj->n", below, np.asarray(W, np.float64), above)
    return own


def visible_log_weights(machine):
    """log Σ_h exp(−E(x, h)) of every x."""
    rows = bits(sum(sizes(machine)))
    n = sizes(machine)[0]
    return scipy.special.logsumexp(log_weights(machine, rows).reshape(2**n, -1), axis=1)


@machines
def test_the_energy_and_log_z_are_those_of_all_states(machine):
    rows = bits(sum(sizes(machine)))
    wanted = log_weights(machine, rows)
    np.testing.assert_allclose(jax.vmap(machine)(as_event(machine, rows)), -wanted, rtol=1e-4, atol=1e-5)
    log_z = scipy.special.logsumexp(wanted)
    np.testing.assert_allclose(machine.log_normalizer(), log_z, rtol=1e-6)
    hot = scipy.special.logsumexp(wanted / 2)
    np.testing.assert_allclose(machine.tempered(2.0).log_normalizer(), hot, rtol=1e-6)
    got = jax.vmap(machine.log_prob)(as_event(machine, rows[:5]))
    np.testing.assert_allclose(got, wanted[:5] - log_z, rtol=1e-4, atol=1e-5)


@machines
def test_the_probability_of_the_visible_layer_is_the_sum_over_the_others(machine):
    n = sizes(machine)[0]
    wanted = visible_log_weights(machine)
    xs = bits(n).reshape(-1, *machine.event_shape)
    got = jax.vmap(machine.log_prob_visible)(xs)
    np.testing.assert_allclose(got, wanted - scipy.special.logsumexp(wanted), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(jnp.sum(jnp.exp(got)), 1, rtol=1e-5)


@machines
def test_exact_draws_have_the_law_of_all_states(machine, key):
    rows, machine = bits(sum(sizes(machine))), machine.tempered(2.0)
    drawn = eqx.filter_jit(lambda m, k: m.sample(k, 60_000))(machine, key)
    assert drawn[0].shape == (60_000, *machine.event_shape)
    counted = np.concatenate([np.asarray(a).reshape(60_000, -1) for a in drawn], axis=1)
    chi_squared(rows, counted, np.exp(log_weights(machine, rows)))


def test_one_hidden_layer_is_an_rbm():
    machine = MACHINES["shallow"]
    rbm = BernoulliRBM.from_parameters(machine.weights[0], *machine.biases)
    np.testing.assert_allclose(machine.log_normalizer(), rbm.log_normalizer(), rtol=1e-6)
    x = jnp.array([1.0, 0.0, 1.0])
    np.testing.assert_allclose(machine.log_prob_visible(x), rbm.log_prob(x), rtol=1e-5)
    # Mean field is exact: the hidden units are independent given x.
    bound = machine.variational_bound(x, machine.log_normalizer())
    np.testing.assert_allclose(bound, rbm.log_prob(x), rtol=1e-5)


@pytest.mark.parametrize("name", ["odd", "even"])
def test_the_mean_field_bound_holds_rises_and_is_tight_where_ties_are_weak(name):
    machine = MACHINES[name]
    xs = bits(sizes(machine)[0]).reshape(-1, *machine.event_shape)

    @eqx.filter_jit
    def gaps(machine, iterations):
        log_z = machine.log_normalizer()
        bound = jax.vmap(lambda x: machine.variational_bound(x, log_z, iterations=iterations))(xs)
        return jax.vmap(machine.log_prob_visible)(xs) - bound

    rounds = np.stack([gaps(machine, i) for i in (0, 1, 2, 30)])
    assert (rounds > 1e-3).all(), "a bound that is not below, or a machine too easy to tell"
    assert (np.diff(rounds, axis=0) <= 1e-5).all(), "a round of mean field lowered the bound"
    # The gap is of second order in what ties the hidden units to each other.
    weak = eqx.tree_at(lambda m: m.weights[1:], machine, tuple(w / 100 for w in machine.weights[1:]))
    assert np.abs(gaps(weak, 30)).max() < rounds[-1].max() / 1000 + 1e-5


def test_mean_field_solves_its_equations():
    x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    one, two = TWO.mean_field(x, iterations=60)
    W1, W2 = TWO.weights
    np.testing.assert_allclose(one, jax.nn.sigmoid(TWO.biases[1] + x.ravel() @ W1 + W2 @ two), rtol=1e-5)
    np.testing.assert_allclose(two, jax.nn.sigmoid(TWO.biases[2] + one @ W2), rtol=1e-5)


def test_the_energy_of_means_is_the_mean_energy():
    """Multilinear: E(x, μ) = Σ_h Π q(h) E(x, h)."""
    x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    means = TWO.mean_field(x)
    mu = np.concatenate([np.asarray(m, np.float64) for m in means])
    hidden = bits(4)
    q = np.prod(np.where(hidden == 1, mu, 1 - mu), axis=1)
    rows = np.concatenate([np.broadcast_to(np.asarray(x).ravel(), (16, 4)), hidden], axis=1)
    np.testing.assert_allclose(TWO((x, *means)), -q @ log_weights(TWO, rows), rtol=1e-5)


def test_the_bounds_gradient_is_that_of_the_whole():
    """The means are held constant: at the best ones that is the gradient all the same."""
    x = jnp.array([[1.0, 0.0], [1.0, 1.0]])
    machine = TWO
    gradient = jax.jit(jax.grad(lambda m: m.variational_bound(x, m.log_normalizer(), iterations=60)))(machine)

    def bound(w):
        moved = eqx.tree_at(lambda m: m.weights[1], machine, machine.weights[1].at[0, 1].add(w))
        return float(moved.variational_bound(x, moved.log_normalizer(), iterations=60))

    slope = (bound(0.02) - bound(-0.02)) / 0.04
    np.testing.assert_allclose(gradient.weights[1][0, 1], slope, rtol=5e-3)


# Pretraining.


def test_copies_of_a_layer_are_tied():
    rbm = random_parameters(BernoulliRBM((2,), 2, key=KEY))
    copied = CopiedRBM(rbm, visible=2, hidden=2)
    W, b, c = (np.asarray(a, np.float64) for a in (rbm.weights, rbm.visible_bias, rbm.hidden_bias))
    rows = bits(4).reshape(-1, 2, 2)  # two copies of two units, visible or hidden
    table = np.array([[(x @ b).sum() + (h @ c).sum() + (x @ W @ h.T).sum() for h in rows] for x in rows])
    free = scipy.special.logsumexp(table, axis=1)
    assert copied.event_shape == (2, 2)
    np.testing.assert_allclose(jax.vmap(copied)(rows), -free, rtol=1e-5)
    np.testing.assert_allclose(copied.log_normalizer(), scipy.special.logsumexp(table), rtol=1e-6)
    np.testing.assert_allclose(
        copied.tempered(2.0).log_normalizer(), scipy.special.logsumexp(table / 2), rtol=1e-6
    )
    # A gradient reaches the one set of parameters there is.
    gradient = jax.grad(lambda m: m(jnp.asarray(rows[3])))(copied)
    assert gradient.rbm.weights.shape == (2, 2)


def test_a_stack_trained_with_doubled_inputs_composes_to_the_mean_of_its_parts():
    """p(h¹ | x, h²) is the normalised geometric mean of the two machines'; the ends are as they were."""
    first = random_parameters(BernoulliRBM((3,), 2, key=KEY), seed=1)
    second = random_parameters(BernoulliRBM((2,), 2, key=KEY), seed=2)
    stack = [CopiedRBM.in_stack(r, l, 2) for l, r in enumerate((first, second), 1)]
    assert [(c.visible, c.hidden) for c in stack] == [(2, 1), (1, 2)]
    machine = DeepBoltzmannMachine.from_rbms(stack)
    hs = bits(2)

    for x in bits(3):
        for top in bits(2):
            low, high = stack[0].expanded, stack[1].expanded
            below = np.array([-low.joint(stack[0].event(jnp.asarray(x)), jnp.asarray(h)) for h in hs])
            above = np.array([-high.joint(jnp.asarray(h), jnp.tile(top, 2)) for h in hs])
            geometric = scipy.special.softmax((below + above) / 2)
            deep = np.array([-machine((jnp.asarray(x), jnp.asarray(h), jnp.asarray(top))) for h in hs])
            np.testing.assert_allclose(scipy.special.softmax(deep), geometric, rtol=1e-4)
    # What the data get from h¹, and the top layer from it, is undoubled in all of them.
    s = [jnp.asarray(bits(3)[5]), jnp.asarray(hs[2]), jnp.asarray(hs[1])]
    np.testing.assert_allclose(machine._input(s, 0), first.visible_logits(s[1]), rtol=1e-6)
    np.testing.assert_allclose(machine._input(s, 2), second.hidden_logits(s[1]), rtol=1e-6)
    means = jax.nn.sigmoid(first.hidden_bias + 2 * s[0] @ first.weights)
    np.testing.assert_allclose(stack[0].hidden_means(s[0]), means, rtol=1e-6)


def test_a_middle_machine_is_doubled_on_both_sides():
    rbm = BernoulliRBM((3,), 2, key=KEY)
    copies = [CopiedRBM.in_stack(rbm, l, 3) for l in (1, 2, 3)]
    assert [(c.visible, c.hidden) for c in copies] == [(2, 1), (2, 2), (1, 2)]
    alone = CopiedRBM.in_stack(rbm, 1, 1)
    assert (alone.visible, alone.hidden) == (1, 1)
    np.testing.assert_allclose(alone.log_normalizer(), rbm.log_normalizer())


def test_the_visible_biases_start_at_the_datas_log_odds():
    rows = np.array([[0, 1], [0, 1], [0, 0]], np.float32)
    machine = DeepBoltzmannMachine.from_data(rows, (2, 3), scale=0.0, key=KEY)
    np.testing.assert_allclose(jax.nn.sigmoid(machine.biases[0]), [1 / 5, 3 / 5], rtol=1e-6)
    assert [b.size for b in machine.biases] == [2, 2, 3]


@machines
def test_the_even_layers_are_a_restricted_machine(machine):
    single = machine.bipartite()
    rows = bits(sum(sizes(machine)))
    even = np.asarray(jax.vmap(machine.even_layers)(as_event(machine, rows)))
    states = bits(even.shape[1])
    together = (even[:, None] == states).all(2)
    logs = log_weights(machine, np.asarray(rows))
    summed = [scipy.special.logsumexp(logs[together[:, i]]) for i in range(len(states))]
    np.testing.assert_allclose(-jax.vmap(single)(jnp.asarray(states)), summed, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(single.log_normalizer(), machine.log_normalizer(), rtol=1e-5)


def test_mistakes_are_named():
    x = jnp.zeros((2, 2))
    with pytest.raises(
        ex.InputError, match=r"x must be a tuple of layers \(x, h¹, …\), 3 of them; got 2 layers"
    ):
        TWO((x, jnp.zeros(2)))
    with pytest.raises(ex.InputError, match=r"a tuple of layers \(x, h¹, …\), 3 of them; got \w*Array"):
        TWO(x)
    with pytest.raises(
        ex.InputError, match=r"hidden layer 2 must be one event of shape \(2,\); got shape \(3,\)"
    ):
        TWO((x, jnp.zeros(2), jnp.zeros(3)))
    with pytest.raises(
        ex.InputError, match=r"x must be one event of shape \(2, 2\), 4 units; got shape \(4,\)"
    ):
        TWO.log_prob_visible(jnp.zeros(4))
    with pytest.raises(ex.InputError, match="hidden must be a sequence of at least one layer"):
        DeepBoltzmannMachine((2,), (), key=KEY)
    with pytest.raises(ex.InputError, match="hidden must be a sequence of at least one layer"):
        DeepBoltzmannMachine((2,), 3, key=KEY)
    large = DeepBoltzmannMachine((784,), (500, 1000), key=KEY)
    with pytest.raises(ex.InputError, match=r"\(1784 even, 500 odd units\) must be at most 20 units"):
        large.log_normalizer()
    a, b = BernoulliRBM((3,), 2, key=KEY), BernoulliRBM((4,), 2, key=KEY)
    with pytest.raises(
        ex.InputError, match="visible units are the 2 hidden ones of the machine below; got 4"
    ):
        DeepBoltzmannMachine.from_rbms([a, b])
    with pytest.raises(ex.InputError, match="layers must be a whole number of at least 3"):
        CopiedRBM.in_stack(a, 3, 2)


@machines
def test_the_visible_layer_has_the_bounds_energy_and_its_chains_the_machines_law(machine, key):
    law = VisibleLayer(machine, iterations=100)
    assert law.event_shape == machine.event_shape
    rows = bits(int(np.prod(machine.event_shape))).reshape(-1, *machine.event_shape)
    bound = np.asarray(jax.vmap(law)(rows))
    log_p = np.asarray(jax.vmap(machine.log_prob_visible)(rows))
    free = -log_p - float(machine.log_normalizer())
    assert (bound >= free - 1e-5).all()
    if len(sizes(machine)) == 2:  # one hidden layer: independent given x
        np.testing.assert_allclose(bound, free, rtol=1e-5, atol=1e-5)
    else:
        assert (bound - free).max() > 1e-4
    # Chains that forgot their hidden layers, drawn anew upwards at each step, would have another law.
    n = 4_000
    x = run(VisibleGibbs(), law, jnp.full((n, *machine.event_shape), 0.5), key=key, steps=60).x
    assert x.shape == (n, *machine.event_shape)
    states = x.reshape(n, -1).astype(int) @ (1 << np.arange(x[0].size))
    codes = np.asarray(rows).reshape(len(rows), -1).astype(int) @ (1 << np.arange(x[0].size))
    counts = np.bincount(np.asarray(states), minlength=len(rows))[codes]
    p = np.exp(log_p.astype(np.float64))
    assert scipy.stats.chisquare(counts, n * p / p.sum()).pvalue > 1e-4


def test_the_score_of_a_visible_layer_holds_its_means():
    # The best means leave no slope of their own; means after one round would.
    x, h = jnp.array([[0.3, 0.9], [-0.4, 1.2]]), 1e-2
    machine = random_parameters(DeepBoltzmannMachine((2, 2), (3, 2), key=KEY), scale=1.0)

    @jax.jit
    def error(law):
        shifts = h * jnp.eye(4).reshape(4, 2, 2)
        slope = -(jax.vmap(law)(x + shifts) - jax.vmap(law)(x - shifts)) / (2 * h)
        return jnp.max(jnp.abs(slope - ex.score(law, x).ravel()))

    assert error(VisibleLayer(machine, iterations=100)) < 2e-4  # of float32 and h²; the slopes are of 1 to 5
    assert error(VisibleLayer(machine, iterations=1)) > 2e-3


def test_no_visible_layer_of_another_model():
    with pytest.raises(ex.InputError, match="a DeepBoltzmannMachine; got BernoulliRBM"):
        VisibleLayer(BernoulliRBM((2,), 2, key=KEY))
