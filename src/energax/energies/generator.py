r"""A generator z ↦ x = a ∘ g(z) + b of draws that have no density: a law given by how it is sampled.

Its latents z ~ N(0, I) are its data: `fit(generator, objective, generator.latents(key, n), …)`.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_event_shape, check_integer, check_number
from energax.energies.mlp import MLPField
from energax.typing import Array, ArrayLike, Float, Key

__all__ = ["Generator"]


class Generator(eqx.Module):
    """A residual multilayer perceptron from latents to events, with a learned scale and shift of the output.

    Parameters
    ----------
    event_shape
        Shape of one event.
    latent
        Coordinates of z.
    width, depth
        Hidden units in each layer, and hidden layers.
    scale, shift
        Where a and b start; numbers, or arrays of an event's shape. The scale wants to be that of the law.
    activation
        "tanh", "silu", "elu", "softplus" or "gelu".
    key
        Key of the initial weights.
    """

    field: MLPField
    scale: Array
    shift: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)
    latent: int = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        latent: int = 5,
        width: int = 200,
        depth: int = 2,
        scale: ArrayLike = 1.0,
        shift: ArrayLike = 0.0,
        activation: str = "tanh",
        key: Key,
    ):
        self.latent = check_integer("Generator", "latent", latent, at_least=1)
        self.event_shape = check_event_shape("Generator", event_shape)
        if jnp.ndim(jnp.asarray(scale)) == 0:
            check_number("Generator", "scale", scale, above=0)
        self.scale = jnp.broadcast_to(jnp.asarray(scale, jnp.float32), self.event_shape)
        self.shift = jnp.broadcast_to(jnp.asarray(shift, jnp.float32), self.event_shape)
        # A field keeps the shape of its input, so it lives on the larger of the two.
        size = max(self.latent, math.prod(self.event_shape))
        self.field = MLPField((size,), width=width, depth=depth, activation=activation, key=key)

    def __call__(self, z: Float[Array, " latent"]) -> Float[Array, "*event"]:
        """Return x of one latent."""
        size = self.field.event_shape[0]
        flat = self.field(jnp.pad(z, (0, size - self.latent)))
        return self.scale * flat[: math.prod(self.event_shape)].reshape(self.event_shape) + self.shift

    def latents(self, key: Key, n: int) -> Float[Array, "n latent"]:
        """Return n latents."""
        return jax.random.normal(key, (n, self.latent))

    def sample(self, key: Key, n: int) -> Array:
        """Return n draws, shape (n, *event_shape)."""
        return jax.vmap(self)(self.latents(key, n))
