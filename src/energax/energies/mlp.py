r"""A residual multilayer perceptron as an energy.

h₀ = φ(W₀x + b₀),    h_{l+1} = h_l + φ(W_l h_l + b_l),    E(x) = head(h_L).
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies.base import Energy
from energax.energies.layers import LinearHead, QuadraticHead, linear, make_activation, make_head
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["MLP"]


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
        check_integer("MLP", "width", width, at_least=1)
        check_integer("MLP", "depth", depth, at_least=1)
        check_integer("MLP", "condition_size", condition_size, at_least=0)
        *layer_keys, head_key = jax.random.split(key, depth + 1)
        sizes = [math.prod(event_shape) + condition_size, *[width] * depth]
        self.layers = tuple(
            linear(m, n, key=k) for m, n, k in zip(sizes[:-1], sizes[1:], layer_keys, strict=True)
        )
        self.head = make_head(head, width, activation, key=head_key)
        self.event_shape = tuple(event_shape)
        self.activation = activation
        self.condition_size = condition_size

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return E(x), or E(x, c) with c of shape (condition_size,)."""
        if self.condition_size == 0:
            check(condition is None, "MLP", "condition", "None unless condition_size is set", "one")
            features = x.ravel()
        else:
            c = jnp.ravel(jnp.asarray(0.0 if condition is None else condition))
            expected = f"a vector of {self.condition_size} numbers"
            check(c.shape == (self.condition_size,), "MLP", "condition", expected, f"shape {c.shape}")
            features = jnp.concatenate([x.ravel(), c])
        phi = make_activation(self.activation)
        h = phi(self.layers[0](features))
        for layer in self.layers[1:]:
            h = h + phi(layer(h))
        return self.head(h)
