r"""A patch mixer as an energy, and as a vector field: images by matrix products alone.

The image is cut into patches (which may overlap), each is embedded, and blocks mix by turns
over positions and over channels,

    H ← H + A₂ φ(A₁ H),      H ← H + φ(H B₁) B₂,      E(x) = head(H)  or  f(x) = join(H C),

with H of shape (positions, width). On a CPU, XLA's matrix products are far faster than its
convolutions under the double differentiation of score matching. The architecture is that of
Tolstikhin et al. (2021), "MLP-Mixer", without normalisation layers.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_event_shape, check_integer
from energax.energies.base import Energy
from energax.energies.layers import (
    LinearHead,
    QuadraticHead,
    condition_vector,
    he_uniform,
    linear,
    make_activation,
    make_head,
    uniform_init,
)
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["PatchMixer", "PatchMixerField"]


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


class Grid(eqx.Module):
    """How an image (H, W, C) is cut into square patches, zero-padded so that all is covered.

    Parameters
    ----------
    event_shape
        (H, W, C).
    patch, stride
        Side of a patch, and pixels between neighbouring ones, stride ≤ patch.
    """

    event_shape: tuple[int, ...] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    stride: int = eqx.field(static=True)

    def __init__(self, owner: str, event_shape: tuple[int, ...], patch: int, stride: int):
        self.event_shape = check_event_shape(owner, event_shape)
        image = len(self.event_shape) == 3
        check(image, owner, "event_shape", "(height, width, channels)", self.event_shape)
        self.patch = check_integer(owner, "patch", patch, at_least=1)
        self.stride = check_integer(owner, "stride", stride, at_least=1)
        check(self.stride <= patch, owner, "stride", "at most patch", self.stride)

    def _sides(self) -> list[tuple[int, tuple[int, int]]]:
        """Return, for height and width, the number of patches and the padding."""
        sides = []
        for side in self.event_shape[:2]:
            count = max(1, -(-(side - self.patch) // self.stride) + 1)
            missing = (count - 1) * self.stride + self.patch - side
            sides.append((count, (missing // 2, missing - missing // 2)))
        return sides

    @property
    def positions(self) -> int:
        """How many patches."""
        (rows, _), (columns, _) = self._sides()
        return rows * columns

    @property
    def pixels(self) -> int:
        """Numbers in one patch."""
        return self.patch**2 * self.event_shape[2]

    def cut(self, x: Float[Array, "h w c"]) -> Float[Array, "p q"]:
        """Return the patches, one row each, pixel by pixel with all channels of each."""
        (rows, top), (columns, left) = self._sides()
        x = jnp.pad(x, (top, left, (0, 0)))
        # Strided slices, one per pixel of a patch: a gather's derivative is a scatter, which is
        # many times slower on a CPU.
        ends = (rows - 1) * self.stride + 1, (columns - 1) * self.stride + 1
        offsets = [(i, j) for i in range(self.patch) for j in range(self.patch)]
        pixels = [
            x[i : i + ends[0] : self.stride, j : j + ends[1] : self.stride].reshape(rows * columns, -1)
            for i, j in offsets
        ]
        return jnp.concatenate(pixels, axis=1)

    def join(self, patches: Float[Array, "p q"]) -> Float[Array, "h w c"]:
        """Return the image of patches that do not overlap: the inverse of `cut`."""
        (rows, top), (columns, left) = self._sides()
        height, width, channels = self.event_shape
        tiles = patches.reshape(rows, columns, self.patch, self.patch, channels)
        x = tiles.transpose(0, 2, 1, 3, 4).reshape(rows * self.patch, columns * self.patch, channels)
        return x[top[0] : top[0] + height, left[0] : left[0] + width]


class Trunk(eqx.Module):
    """Embedding, position and blocks: an image (and a condition) to features (positions, width)."""

    grid: Grid
    embedding: eqx.nn.Linear
    position: Float[Array, "p c"]
    told: eqx.nn.Linear | None
    blocks: tuple[MixerBlock, ...]
    condition_size: int = eqx.field(static=True)

    def __init__(
        self,
        owner: str,
        grid: Grid,
        *,
        width: int,
        depth: int,
        expansion: int,
        activation: str,
        condition_size: int,
        keys: Any,
    ):
        for name, value in {"width": width, "depth": depth, "expansion": expansion}.items():
            check_integer(owner, name, value, at_least=1)
        self.condition_size = check_integer(owner, "condition_size", condition_size, at_least=0)
        embedding_key, position_key, *block_keys = keys
        self.grid = grid
        self.embedding = linear(grid.pixels, width, key=embedding_key)
        self.position = uniform_init(position_key, (grid.positions, width), width)
        told_key = jax.random.fold_in(embedding_key, 1)
        self.told = linear(condition_size, width, key=told_key) if condition_size else None
        self.blocks = tuple(
            MixerBlock(grid.positions, width, expansion, activation, key=k) for k in block_keys
        )

    def __call__(self, x: Float[Array, "h w c"], condition: Condition | None) -> Float[Array, "p c"]:
        """Return the features of one image."""
        assert self.embedding.bias is not None  # for the type checker
        h = self.grid.cut(x) @ self.embedding.weight.T + self.embedding.bias + self.position
        c = condition_vector("PatchMixer", self.condition_size, condition)
        if self.told is not None:
            h = h + self.told(c)
        for block in self.blocks:
            h = block(h)
        return h


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
    condition_size
        Length of a condition vector, added to every position's embedding; 0 for none.
    key
        Key of the initial weights.
    """

    trunk: Trunk
    head: LinearHead | QuadraticHead

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
        condition_size: int = 0,
        key: Key,
    ):
        grid = Grid("PatchMixer", event_shape, patch, patch if stride is None else stride)
        check_integer("PatchMixer", "depth", depth, at_least=1)
        embedding_key, position_key, head_key, *block_keys = jax.random.split(key, depth + 3)
        self.trunk = Trunk(
            "PatchMixer",
            grid,
            width=width,
            depth=depth,
            expansion=expansion,
            activation=activation,
            condition_size=condition_size,
            keys=(embedding_key, position_key, *block_keys),
        )
        self.head = make_head(head, grid.positions * width, activation, key=head_key)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return self.trunk.grid.event_shape

    @property
    def condition_size(self) -> int:
        """Length of a condition vector; 0 for none."""
        return self.trunk.condition_size

    def __call__(self, x: Float[Array, "h w c"], condition: Condition | None = None) -> Scalar:
        """Return E(x), or E(x, c) with c of shape (condition_size,)."""
        return self.head(self.trunk(x, condition).ravel())


class PatchMixerField(eqx.Module):
    """A patch mixer x ↦ f(x) or (x, c) ↦ f(x, c) from images to images.

    Parameters
    ----------
    event_shape, patch, width, depth, expansion, activation, condition_size, key
        As in `PatchMixer`; the patches do not overlap.
    """

    trunk: Trunk
    last: eqx.nn.Linear

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        patch: int = 4,
        width: int = 128,
        depth: int = 4,
        expansion: int = 2,
        activation: str = "silu",
        condition_size: int = 0,
        key: Key,
    ):
        grid = Grid("PatchMixerField", event_shape, patch, patch)
        check_integer("PatchMixerField", "depth", depth, at_least=1)
        embedding_key, position_key, last_key, *block_keys = jax.random.split(key, depth + 3)
        self.trunk = Trunk(
            "PatchMixerField",
            grid,
            width=width,
            depth=depth,
            expansion=expansion,
            activation=activation,
            condition_size=condition_size,
            keys=(embedding_key, position_key, *block_keys),
        )
        self.last = eqx.nn.Linear(width, grid.pixels, key=last_key)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return self.trunk.grid.event_shape

    @property
    def condition_size(self) -> int:
        """Length of a condition vector; 0 for none."""
        return self.trunk.condition_size

    def __call__(self, x: Float[Array, "h w c"], condition: Condition | None = None) -> Array:
        """Return f(x), or f(x, c) with c of shape (condition_size,)."""
        assert self.last.bias is not None  # for the type checker
        h = self.trunk(x, condition)
        return self.trunk.grid.join(h @ self.last.weight.T + self.last.bias)
