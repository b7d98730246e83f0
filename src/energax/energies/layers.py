"""The parts networks are made of: activations, NHWC convolution, pooling, output heads.

A network that is trained by score matching is differentiated twice in x and once in its
parameters, so every activation offered is twice differentiable (ReLU's second derivative is
zero almost everywhere and is not offered). Images are (H, W, C): on CPU this layout is two
to four times faster than channels-first under double backward.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_choice
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = [
    "ACTIVATIONS",
    "HEADS",
    "Conv",
    "LinearHead",
    "QuadraticHead",
    "condition_vector",
    "he_uniform",
    "linear",
    "make_activation",
    "make_head",
    "mean_pool",
    "uniform_init",
]

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "elu": jax.nn.elu,
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "tanh": jnp.tanh,
}


def make_activation(name: str) -> Callable[[Array], Array]:
    """Return the activation of that name."""
    return ACTIVATIONS[check_choice("network", "activation", name, ACTIVATIONS)]


def uniform_init(key: Key, shape: tuple[int, ...], fan_in: int) -> Array:
    """Uniform on ±1/√fan_in, PyTorch's default, which the MDSM code trains from."""
    bound = fan_in**-0.5
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def he_uniform(key: Key, shape: tuple[int, ...], fan_in: int) -> Array:
    """Uniform on ±√(6/fan_in): unit gain through a rectifier-like activation (He et al. 2015).

    Score matching sees a network only through its gradient in x, which small initial weights
    make small: see `benchmarks/choices.py` for what it costs.
    """
    return 6**0.5 * uniform_init(key, shape, fan_in)


def linear(size_in: int, size_out: int, *, key: Key) -> eqx.nn.Linear:
    """Return a linear layer with `he_uniform` weights and `uniform_init` offsets."""
    layer = eqx.nn.Linear(size_in, size_out, key=key)
    return eqx.tree_at(lambda l: l.weight, layer, he_uniform(key, (size_out, size_in), size_in))


def condition_vector(owner: str, size: int, condition: Condition | None) -> Float[Array, " k"]:
    """Return the condition as a vector of `size` numbers, checked; an empty one if size is 0."""
    if size == 0:
        check(condition is None, owner, "condition", "None unless condition_size is set", "one")
        return jnp.zeros(0)
    c = jnp.ravel(jnp.asarray(jnp.zeros(0) if condition is None else condition, jnp.float32))
    got = "none" if condition is None else f"shape {c.shape}"
    check(c.shape == (size,), owner, "condition", f"a vector of {size} numbers", got)
    return c


class Conv(eqx.Module):
    """A same-size k×k convolution of one (H, W, C) event, by stride s to (H/s, W/s, C′).

    Parameters
    ----------
    channels_in, channels_out, kernel
        C, C′ and k (odd).
    stride
        s; H and W are zero-padded by (k − 1)/2 on each side.
    bias
        Whether an offset per output channel is learned.
    """

    weight: Float[Array, "k k cin cout"]
    bias: Float[Array, " cout"] | None
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        *,
        stride: int = 1,
        bias: bool = True,
        key: Key,
    ):
        weight_key, bias_key = jax.random.split(key)
        fan_in = channels_in * kernel * kernel
        self.weight = uniform_init(weight_key, (kernel, kernel, channels_in, channels_out), fan_in)
        self.bias = uniform_init(bias_key, (channels_out,), fan_in) if bias else None
        self.stride = stride

    def __call__(self, x: Float[Array, "h w cin"]) -> Float[Array, "h2 w2 cout"]:
        """Return the convolution of one event."""
        if self.weight.shape[:2] == (1, 1) and self.stride == 1:
            y = x @ self.weight[0, 0]
        else:
            pad = (self.weight.shape[0] - 1) // 2
            y = jax.lax.conv_general_dilated(
                x[None],
                self.weight,
                (self.stride, self.stride),
                [(pad, pad), (pad, pad)],
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )[0]
        return y if self.bias is None else y + self.bias


def mean_pool(x: Float[Array, "h w c"]) -> Float[Array, "h2 w2 c"]:
    """2×2 mean-pooling of one event; H and W even."""
    h, w, c = x.shape
    return x.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))


class LinearHead(eqx.Module):
    """h ↦ a·φ(h) + b, after one more activation φ."""

    a: Float[Array, " h"]
    b: Scalar
    activation: str = eqx.field(static=True)

    def __init__(self, size: int, activation: str, *, key: Key):
        a_key, b_key = jax.random.split(key)
        self.a = uniform_init(a_key, (size,), size)
        self.b = uniform_init(b_key, (), size)
        self.activation = activation

    def __call__(self, h: Float[Array, " h"]) -> Scalar:
        """Return the energy of one vector of features."""
        return self.a @ make_activation(self.activation)(h) + self.b


class QuadraticHead(eqx.Module):
    """h ↦ (a·h + b₁)(c·h + b₂) + d·(h∘h) + b₃: MDSM (Li, Chen & Sommer 2019), eq. 12.

    Suits denoising score matching, whose energy grows as the square of the noise.
    """

    a: Float[Array, " h"]
    c: Float[Array, " h"]
    d: Float[Array, " h"]
    b: Float[Array, " 3"]

    def __init__(self, size: int, activation: str, *, key: Key):
        del activation  # the features enter as they are
        keys = jax.random.split(key, 4)
        self.a, self.c, self.d = (uniform_init(k, (size,), size) for k in keys[:3])
        self.b = uniform_init(keys[3], (3,), size)

    def __call__(self, h: Float[Array, " h"]) -> Scalar:
        """Return the energy of one vector of features."""
        return (self.a @ h + self.b[0]) * (self.c @ h + self.b[1]) + self.d @ (h * h) + self.b[2]


HEADS: dict[str, type] = {"quadratic": QuadraticHead, "linear": LinearHead}


def make_head(name: str, size: int, activation: str, *, key: Key) -> LinearHead | QuadraticHead:
    """Return an output head of that name over `size` features."""
    return HEADS[check_choice("network", "head", name, HEADS)](size, activation, key=key)
