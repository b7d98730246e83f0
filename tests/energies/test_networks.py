"""Networks are the networks they say: sizes, formulas, and two differentiations."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import MLP, MLPField, PatchMixer, PatchMixerField, ResNet
from energax.energies.layers import Conv, QuadraticHead, mean_pool
from energax.energies.mixer import Grid
from energax.testing import check_energy

KEY = jax.random.key(0)


def parameters(make):
    return sum(a.size for a in jax.tree.leaves(eqx.filter_eval_shape(make)) if hasattr(a, "size"))


@pytest.mark.parametrize(
    ("shape", "layers", "width", "count"),
    [((32, 32, 3), 18, 128, 62_339_075), ((32, 32, 1), 12, 64, 9_060_483)],
)
def test_resnets_have_the_papers_parameter_counts(shape, layers, width, count):
    assert parameters(lambda: ResNet(shape, layers=layers, width=width, key=KEY)) == count


@pytest.mark.parametrize(
    "make",
    [
        lambda k: MLP((3, 2), width=8, depth=3, key=k),
        lambda k: MLP((4,), width=8, head="linear", activation="softplus", key=k),
        lambda k: PatchMixer((6, 5, 2), patch=3, stride=2, width=4, depth=2, key=k),
        lambda k: PatchMixer((4, 4, 1), patch=2, width=4, depth=1, head="linear", activation="tanh", key=k),
        lambda k: ResNet((8, 8, 2), layers=12, width=2, key=k),
        lambda k: ResNet((8, 16, 1), layers=6, width=2, head="linear", activation="silu", key=k),
    ],
)
def test_networks_keep_the_contract_and_are_differentiated_twice(make, key):
    energy = eqx.filter_jit(make)(key)
    check_energy(energy, key=key)
    x = jax.random.normal(key, energy.event_shape)
    gradient = eqx.filter_jit(eqx.filter_grad(lambda e: jnp.sum(ex.score(e, x) ** 2)))(energy)
    first = jax.tree.leaves(gradient)[0]
    assert bool(jnp.any(first != 0)), "the second derivative vanishes: nothing would be learned"


def test_quadratic_head_is_equation_12(key):
    head = QuadraticHead(5, "silu", key=key)
    h = jax.random.normal(key, (5,))
    a, c, d, b = (np.asarray(v, np.float64) for v in (head.a, head.c, head.d, head.b))
    h64 = np.asarray(h, np.float64)
    wanted = (a @ h64 + b[0]) * (c @ h64 + b[1]) + d @ h64**2 + b[2]
    np.testing.assert_allclose(head(h), wanted, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (5, 2)])
def test_convolution_by_hand(kernel, stride, key):
    conv = Conv(2, 3, kernel, stride=stride, key=key)
    x = np.asarray(jax.random.normal(key, (6, 6, 2)))
    pad = (kernel - 1) // 2
    padded = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    rows = range(0, 6 + 2 * pad - kernel + 1, stride)
    w = np.asarray(conv.weight)
    wanted = np.array(
        [[np.einsum("hwc,hwco->o", padded[i : i + kernel, j : j + kernel], w) for j in rows] for i in rows]
    )
    np.testing.assert_allclose(conv(jnp.asarray(x)), wanted + np.asarray(conv.bias), rtol=1e-4, atol=1e-5)


def test_mean_pool():
    x = jnp.arange(16.0).reshape(4, 4, 1)
    np.testing.assert_array_equal(mean_pool(x)[..., 0], [[2.5, 4.5], [10.5, 12.5]])


def test_overlapping_patches_cover_every_pixel_and_no_other(key):
    energy = PatchMixer((7, 5, 1), patch=3, stride=2, width=4, depth=1, key=key)
    gradient = ex.score(energy, jax.random.normal(key, (7, 5, 1)))
    assert bool(jnp.all(gradient != 0))


def test_conditions_reach_the_network(key):
    energy = MLP((3,), width=8, condition_size=2, key=key)
    x = jnp.ones(3)
    assert energy(x, jnp.array([0.0, 1.0])) != energy(x, jnp.array([1.0, 0.0]))
    with pytest.raises(ex.InputError, match="condition must be a vector of 2 numbers"):
        energy(x)
    with pytest.raises(ex.InputError, match="None unless condition_size is set"):
        MLP((3,), width=8, key=key)(x, jnp.ones(2))


def test_mistakes_are_named(key):
    with pytest.raises(ex.InputError, match=r"did you mean 'quadratic'\?"):
        MLP((3,), head="quadratics", key=key)
    with pytest.raises(ex.InputError, match="of height and width divisible by 8"):
        ResNet((28, 28, 1), key=key)
    with pytest.raises(ex.InputError, match="layers must be 6, 12 or 18"):
        ResNet((32, 32, 1), layers=10, key=key)
    with pytest.raises(ex.InputError, match="stride must be at most patch"):
        PatchMixer((8, 8, 1), patch=2, stride=3, key=key)


@pytest.mark.parametrize(
    "make",
    [
        lambda k: MLPField((3, 2), width=8, depth=2, condition_size=2, key=k),
        lambda k: PatchMixerField((5, 4, 2), patch=2, width=6, depth=1, condition_size=2, key=k),
    ],
)
def test_fields_have_the_shape_of_an_event_and_need_be_no_gradient(make, key):
    field = eqx.filter_jit(make)(key)
    x, c = jax.random.normal(key, field.event_shape), jnp.array([1.0, -1.0])
    out = field(x, c)
    assert out.shape == x.shape
    J = jax.jacfwd(lambda y: field(y.reshape(x.shape), c).ravel())(x.ravel())
    assert float(jnp.abs(J - J.T).max()) > 1e-2 * float(jnp.abs(J).max())
    assert bool(jnp.all(jnp.abs(J).sum(0) > 0)), "a coordinate that is not seen"
    assert bool(jnp.all(jnp.abs(J).sum(1) > 0)), "a coordinate that is not given"
    assert float(jnp.abs(field(x, 2 * c) - out).max()) > 1e-4, "the condition is not heard"
    np.testing.assert_array_equal(ex.score(ex.Score(field), x, c), out)
    with pytest.raises(ex.InputError, match="condition must be a vector of 2 numbers; got none"):
        field(x)


@pytest.mark.parametrize("shape", [(6, 4, 2), (5, 7, 1)])
def test_patches_are_put_back_where_they_were_cut(shape, key):
    x = jax.random.normal(key, shape)
    grid = Grid("test", shape, 3, 3)
    np.testing.assert_array_equal(grid.join(grid.cut(x)), x)


def test_a_mixer_hears_its_condition(key):
    energy = PatchMixer((4, 4, 1), patch=2, width=4, depth=1, condition_size=3, key=key)
    x = jnp.ones((4, 4, 1))
    assert energy(x, jnp.ones(3)) != energy(x, -jnp.ones(3))
