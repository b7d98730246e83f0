r"""A residual multilayer perceptron as an energy, and as a vector field.

h₀ = φ(W₀x + b₀),    h_{l+1} = h_l + φ(W_l h_l + b_l),    E(x) = head(h_L)  or  f(x) = A h_L + a.

A field need not be the gradient of anything. As a model of a score it is wrapped, `Score(field)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_event_shape, check_integer
from energax.energies.base import Energy
from energax.energies.layers import (
    LinearHead,
    QuadraticHead,
    condition_vector,
    linear,
    make_activation,
    make_head,
)
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["MLP", "MLPField"]


class MLP(Energy):
    """A residual multilayer perceptron over a flattened event.

    Parameters
    ----------
    event_shape
        Shape of one event; it is flattened.
    width
        Hidden units in each layer.
    depth
        Hidden layers, at least one.
    head
        "quadratic" (MDSM eq. 12) or "linear".
    activation
        "silu", "elu", "softplus", "gelu" or "tanh".
    condition_size
        Length of a condition vector, appended to the event; 0 for none.
    key
        Key of the initial weights.
    """

    layers: tuple[eqx.nn.Linear, ...]
    head: LinearHead | QuadraticHead
    event_shape: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    condition_size: int = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        width: int = 512,
        depth: int = 4,
        head: str = "quadratic",
        activation: str = "silu",
        condition_size: int = 0,
        key: Key,
    ):
        self.event_shape = check_event_shape("MLP", event_shape)
        *layer_keys, head_key = _keys(key, depth)
        self.layers = _layers(self.event_shape, width, condition_size, layer_keys)
        self.head = make_head(head, width, activation, key=head_key)
        self.activation = activation
        self.condition_size = condition_size

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return E(x), or E(x, c) with c of shape (condition_size,)."""
        return self.head(_features(self, x, condition))


class MLPField(eqx.Module):
    """A residual multilayer perceptron x ↦ f(x) or (x, c) ↦ f(x, c), of the shape of one event.

    Parameters
    ----------
    event_shape
        Shape of one event; it is flattened inside.
    width, depth
        Hidden units in each layer, and hidden layers.
    activation
        "silu", "elu", "softplus", "gelu" or "tanh".
    condition_size
        Length of a condition vector, appended to the event; 0 for none.
    key
        Key of the initial weights.
    """

    layers: tuple[eqx.nn.Linear, ...]
    last: eqx.nn.Linear
    event_shape: tuple[int, ...] = eqx.field(static=True)
    activation: str = eqx.field(static=True)
    condition_size: int = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        width: int = 512,
        depth: int = 4,
        activation: str = "silu",
        condition_size: int = 0,
        key: Key,
    ):
        self.event_shape = check_event_shape("MLPField", event_shape)
        *layer_keys, last_key = _keys(key, depth)
        self.layers = _layers(self.event_shape, width, condition_size, layer_keys)
        self.last = eqx.nn.Linear(width, math.prod(self.event_shape), key=last_key)
        self.activation = activation
        self.condition_size = condition_size

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Array:
        """Return f(x), or f(x, c) with c of shape (condition_size,)."""
        return self.last(_features(self, x, condition)).reshape(x.shape)


def _keys(key: Key, depth: int) -> Array:
    return jax.random.split(key, check_integer("MLP", "depth", depth, at_least=1) + 1)


def _layers(
    event_shape: tuple[int, ...], width: int, condition_size: int, keys: Sequence[Key]
) -> tuple[eqx.nn.Linear, ...]:
    check_integer("MLP", "width", width, at_least=1)
    check_integer("MLP", "condition_size", condition_size, at_least=0)
    sizes = [math.prod(event_shape) + condition_size, *[width] * len(keys)]
    return tuple(linear(m, n, key=k) for m, n, k in zip(sizes[:-1], sizes[1:], keys, strict=True))


def _features(network: MLP | MLPField, x: Array, condition: Condition | None) -> Float[Array, " width"]:
    phi = make_activation(network.activation)
    told = condition_vector("MLP", network.condition_size, condition)
    h = phi(network.layers[0](jnp.concatenate([x.ravel(), told])))
    for layer in network.layers[1:]:
        h = h + phi(layer(h))
    return h
