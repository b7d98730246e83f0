"""Where a loop runs is read off the program: convolutions on a CPU are driven from the host."""

import jax
import jax.numpy as jnp

import energax as ex
from energax.loops import compiles_loop, contains_convolution, fori


def test_convolutions_are_found_at_any_depth():
    key = jax.random.key(0)
    resnet = ex.energies.ResNet((8, 8, 1), layers=6, width=2, key=key)
    x = jnp.zeros((8, 8, 1))
    nested = lambda x: jax.lax.scan(lambda c, _: (c + jax.grad(resnet)(x), None), x, None, length=2)  # noqa: E731
    assert contains_convolution(resnet, x)
    assert contains_convolution(jax.jit(nested), x)
    assert contains_convolution(
        lambda x: jax.lax.cond(x.sum() > 0, lambda x: resnet(x), lambda x: x.sum(), x), x
    )
    assert not contains_convolution(ex.energies.PatchMixer((8, 8, 1), width=4, depth=1, key=key), x)
    assert not compiles_loop(resnet, x) or jax.default_backend() != "cpu"


def test_fori_carries_what_is_no_array():
    carry = (jnp.zeros(()), "label")
    total, label = fori(0, 5, lambda i, c: (c[0] + i, c[1]), carry)
    assert (total, label) == (10, "label")
