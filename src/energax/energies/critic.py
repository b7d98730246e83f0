r"""Critics f: ℝᵈ → ℝᵈ of Stein's operator, and the exact trace of a Jacobian at the price of a value.

With two hidden layers, φ(a) = a σ(βa) unit by unit, and dropout masks m,

    f(x) = W₃ h₂ + b₃,    h_i = m_i ∘ φ(a_i),    a₁ = W₁x + b₁,    a₂ = W₂h₁ + b₂,

the Jacobian is W₃ D₂ W₂ D₁ W₁ with D_i = diag(m_i ∘ φ′(a_i)), so that by the cyclic law of the trace

    tr ∇f(x) = δ₂ᵀ (W₂ ∘ (W₁W₃)ᵀ) δ₁,           δ_i the diagonal of D_i:

one bilinear form of h² products a row, whatever d is, after W₁W₃ once for all rows. Grathwohl et al.
(2020) estimate this trace from a random probe at the price of a second pass; here nothing is random.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_event_shape, check_integer, check_number
from energax.derivatives import jacobian_trace
from energax.energies.layers import Conv
from energax.typing import Array, Event, Float, Key, Scalar

__all__ = ["ConvolutionalCritic", "Critic", "StandardisedCritic"]

LEVELS = 256  # a byte at most decides whether a unit drops out: a quarter of the random bits of a float


class Critic(eqx.Module):
    """The critic of Grathwohl et al. (2020), B.1: two hidden layers, Swish with a learned β in each unit.

    Parameters
    ----------
    event_shape
        Of x and of f(x).
    width
        Hidden units in each of the two layers.
    dropout
        Share of hidden units that are left out when a key is given, to the nearest 1/256.
    key
        Key of the initial weights, uniform on ±1/√fan-in.
    """

    layers: tuple[eqx.nn.Linear, eqx.nn.Linear, eqx.nn.Linear]
    betas: tuple[Array, Array]
    event_shape: tuple[int, ...] = eqx.field(static=True)
    dropout: float = eqx.field(static=True)

    def __init__(self, event_shape: tuple[int, ...], *, width: int = 300, dropout: float = 0.0, key: Key):
        self.event_shape = check_event_shape("Critic", event_shape)
        check_integer("Critic", "width", width, at_least=1)
        rate = check_number("Critic", "dropout", dropout, at_least=0, at_most=0.99)
        d = math.prod(self.event_shape)
        sizes = ((d, width), (width, width), (width, d))
        keys = jax.random.split(key, 3)
        self.layers = tuple(eqx.nn.Linear(m, n, key=k) for (m, n), k in zip(sizes, keys, strict=True))  # type: ignore[assignment]
        self.betas = (jnp.ones(width), jnp.ones(width))
        self.dropout = rate

    def __call__(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """Return f(x)."""
        return self.value_and_trace(x)[0]

    def value_and_trace(
        self, x: Float[Array, "*event"], key: Key | None = None
    ) -> tuple[Float[Array, "*event"], Scalar]:
        """Return f(x) and tr ∇f(x), exactly; with a key, hidden units drop out, the same in both."""
        first, second, last = self.layers
        masks = (None, None) if key is None or self.dropout == 0 else self._masks(key)
        h, slope1 = _hidden(first(x.ravel()), self.betas[0], masks[0])
        h, slope2 = _hidden(second(h), self.betas[1], masks[1])
        around = second.weight * (first.weight @ last.weight).T
        return last(h).reshape(x.shape), slope2 @ (around @ slope1)

    def _masks(self, key: Key) -> Float[Array, "2 width"]:
        """Return both layers' masks, of mean 1, from one draw: a critic is trained on many rows a step."""
        width, kept = self.betas[0].size, round(LEVELS * (1 - self.dropout))
        if 2 * kept == LEVELS:  # a single bit decides
            words = jax.random.bits(key, (2, -(-width // 32)), jnp.uint32)
            bits = (words[..., None] >> jnp.arange(32, dtype=jnp.uint32)) & 1
            left = bits.reshape(2, -1)[:, :width] == 1
        else:
            left = jax.random.bits(key, (2, width), jnp.uint8) < kept
        return left * (LEVELS / kept)


def _hidden(a: Array, beta: Array, mask: Array | None) -> tuple[Array, Array]:
    """Return φ(a) and φ′(a), both times the mask."""
    gate = jax.nn.sigmoid(beta * a)
    value, slope = a * gate, gate * (1 + beta * a * (1 - gate))
    return (value, slope) if mask is None else (mask * value, mask * slope)


class ConvolutionalCritic(eqx.Module):
    """A critic of images (H, W, C): down to half the sides, at depth there, and up again beside the input.

    Parameters
    ----------
    event_shape
        (H, W, C) with even sides.
    channels
        Of the hidden layers; twice as many at half the sides.
    key
        Key of the initial weights.
    """

    enter: Conv
    down: Conv
    deep: Conv
    up: Conv
    leave: Conv
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, event_shape: tuple[int, ...], *, channels: int = 32, key: Key):
        owner = "ConvolutionalCritic"
        self.event_shape = shape = check_event_shape(owner, event_shape)
        even = len(shape) == 3 and shape[0] % 2 == shape[1] % 2 == 0
        check(even, owner, "event_shape", "(H, W, C) with even sides", shape)
        wide = 2 * check_integer(owner, "channels", channels, at_least=1)
        keys = jax.random.split(key, 5)
        self.enter = Conv(shape[-1], channels, 3, key=keys[0])
        self.down = Conv(channels, wide, 3, stride=2, key=keys[1])
        self.deep = Conv(wide, wide, 3, key=keys[2])
        self.up = Conv(wide, channels, 3, key=keys[3])
        self.leave = Conv(2 * channels, shape[-1], 3, key=keys[4])

    def __call__(self, x: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        """Return f(x)."""
        fine = jax.nn.silu(self.enter(x))
        coarse = jax.nn.silu(self.down(fine))
        coarse = coarse + jax.nn.silu(self.deep(coarse))
        back = jnp.repeat(jnp.repeat(coarse, 2, axis=0), 2, axis=1)
        return self.leave(jnp.concatenate([fine, jax.nn.silu(self.up(back))], axis=-1))


class StandardisedCritic(eqx.Module):
    """f(x) = c ∘ g((x − m)/c): a critic g of standardised events, in the units of x; tr ∇f(x) = tr ∇g.

    Parameters
    ----------
    critic
        g.
    mean, scale
        m and c > 0, of an event's shape.
    """

    critic: Any
    mean: Array
    scale: Array

    def __call__(self, x: Event) -> Event:
        """Return f(x)."""
        return self.scale * self.critic((x - self.mean) / self.scale)

    def value_and_trace(self, x: Event, key: Key | None = None) -> tuple[Event, Scalar]:
        """Return f(x) and tr ∇f(x), exactly."""
        z = (x - self.mean) / self.scale
        if hasattr(self.critic, "value_and_trace"):
            value, trace = self.critic.value_and_trace(z, key)
        else:
            value, trace = self.critic(z), jacobian_trace(self.critic, z)
        return self.scale * value, trace
