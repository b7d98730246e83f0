r"""A patch mixer as an energy: images by matrix products alone.

The image is cut into patches (which may overlap), each is embedded, and blocks mix by turns
over positions and over channels,

    H ← H + A₂ φ(A₁ H),      H ← H + φ(H B₁) B₂,      E(x) = head(H),

with H of shape (positions, width). On a CPU, XLA's matrix products are far faster than its
convolutions under the double differentiation of score matching. The architecture is that of
Tolstikhin et al. (2021), "MLP-Mixer", without normalisation layers.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies.base import Energy
from energax.energies.layers import (
    LinearHead,
    QuadraticHead,
    he_uniform,
    linear,
    make_activation,
    make_head,
    uniform_init,
)
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["PatchMixer"]


class MixerBlock(eqx.Module):
    """One exchange between positions and one between channels, each residual."""

    positions_in: Float[Array, "q p"]
    positions_out: Float[Array, "p q"]
    channels_in: Float[Array, "c e"]
    channels_out: Float[Array, "e c"]
    bias_positions: Float[Array, "q 1"]
    bias_channels: Float[Array, " e"]
    activation: str = eqx.field(static=True)

    def __init__(self, positions: int, width: int, expansion: int, activation: str, *, key: Key):
        keys = jax.random.split(key, 6)
        q, e = expansion * positions, expansion * width
        self.positions_in = he_uniform(keys[0], (q, positions), positions)
        self.positions_out = uniform_init(keys[1], (positions, q), q)
        self.channels_in = he_uniform(keys[2], (width, e), width)
        self.channels_out = uniform_init(keys[3], (e, width), e)
        self.bias_positions = uniform_init(keys[4], (q, 1), positions)
        self.bias_channels = uniform_init(keys[5], (e,), width)
        self.activation = activation

    def __call__(self, h: Float[Array, "p c"]) -> Float[Array, "p c"]:
        """Return the mixed features."""
        phi = make_activation(self.activation)
        h = h + self.positions_out @ phi(self.positions_in @ h + self.bias_positions)
        return h + phi(h @ self.channels_in + self.bias_channels) @ self.channels_out


class PatchMixer(Energy):
    """A patch mixer over one image (H, W, C).

    Parameters
    ----------
    event_shape
        (H, W, C).
    patch
        Side of a square patch, in pixels.
    stride
        Pixels between neighbouring patches; patch if None (no overlap). The image is padded
        with zeros so that every pixel is covered.
    width
        Channels of each position.
    depth
        Mixer blocks.
    expansion
        Hidden units of each mixing network, as a multiple of what it mixes.
    head
        "quadratic" (MDSM eq. 12) or "linear".
    activation
        "silu", "elu", "softplus", "gelu" or "tanh".
    key
        Key of the initial weights.
    """

    embedding: eqx.nn.Linear
    position: Float[Array, "p c"]
    blocks: tuple[MixerBlock, ...]
    head: LinearHead | QuadraticHead
    event_shape: tuple[int, ...] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        patch: int = 4,
        stride: int | None = None,
        width: int = 128,
        depth: int = 4,
        expansion: int = 2,
        head: str = "quadratic",
        activation: str = "silu",
        key: Key,
    ):
        check(len(event_shape) == 3, "PatchMixer", "event_shape", "(height, width, channels)", event_shape)
        for name, value in {"patch": patch, "width": width, "depth": depth, "expansion": expansion}.items():
            check_integer("PatchMixer", name, value, at_least=1)
        self.event_shape = tuple(event_shape)
        self.patch = patch
        self.stride = patch if stride is None else check_integer("PatchMixer", "stride", stride, at_least=1)
        check(self.stride <= patch, "PatchMixer", "stride", "at most patch", self.stride)
        rows, columns, _ = self._grid()
        positions = rows * columns
        embedding_key, position_key, head_key, *block_keys = jax.random.split(key, depth + 3)
        pixels = patch * patch * event_shape[2]
        self.embedding = linear(pixels, width, key=embedding_key)
        self.position = uniform_init(position_key, (positions, width), width)
        self.blocks = tuple(MixerBlock(positions, width, expansion, activation, key=k) for k in block_keys)
        self.head = make_head(head, positions * width, activation, key=head_key)

    def _grid(self) -> tuple[int, int, tuple[tuple[int, int], ...]]:
        counts, padding = [], []
        for side in self.event_shape[:2]:
            count = max(1, -(-(side - self.patch) // self.stride) + 1)
            missing = (count - 1) * self.stride + self.patch - side
            counts.append(count)
            padding.append((missing // 2, missing - missing // 2))
        return counts[0], counts[1], (*padding, (0, 0))

    def __call__(self, x: Float[Array, "h w c"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        rows, columns, padding = self._grid()
        x = jnp.pad(x, padding)
        # Strided slices, one per pixel of a patch: a gather's derivative is a scatter, which is
        # many times slower on a CPU.
        offsets = [(i, j) for i in range(self.patch) for j in range(self.patch)]
        ends = (rows - 1) * self.stride + 1, (columns - 1) * self.stride + 1
        pixels = [
            x[i : i + ends[0] : self.stride, j : j + ends[1] : self.stride].reshape(rows * columns, -1)
            for i, j in offsets
        ]
        patches = jnp.concatenate(pixels, axis=1)  # (positions, patch² C)
        assert self.embedding.bias is not None  # for the type checker
        h = patches @ self.embedding.weight.T + self.embedding.bias + self.position
        for block in self.blocks:
            h = block(h)
        return self.head(h.ravel())
