r"""The residual network of MDSM (Li, Chen & Sommer 2019, appendix D), exactly.

Pre-activation blocks without any normalisation, widths doubling at each of three mean-pooled
stages, and the quadratic head of eq. 12 on the flattened last features:

    block(x) = shortcut(x) + conv(φ(conv(φ(x)))),     down: both paths mean-pooled, conv first.

The shortcut is a 1×1 convolution also where nothing is resampled, as in the authors' code.
"""

from __future__ import annotations

import equinox as eqx
import jax

from energax.checks import check, check_event_shape, check_integer
from energax.energies.base import Energy
from energax.energies.layers import Conv, LinearHead, QuadraticHead, make_activation, make_head, mean_pool
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["ResNet"]

BLOCKS_PER_STAGE = {6: 1, 12: 2, 18: 3}


class ResidualBlock(eqx.Module):
    """Two 3×3 convolutions around a 1×1 shortcut; `down` halves the image at the end."""

    first: Conv
    second: Conv
    shortcut: Conv
    down: bool = eqx.field(static=True)
    activation: str = eqx.field(static=True)

    def __init__(self, channels_in: int, channels_out: int, *, down: bool, activation: str, key: Key):
        first, second, shortcut = jax.random.split(key, 3)
        self.first = Conv(channels_in, channels_in, 3, bias=False, key=first)
        self.second = Conv(channels_in, channels_out, 3, key=second)
        self.shortcut = Conv(channels_in, channels_out, 1, key=shortcut)
        self.down = down
        self.activation = activation

    def __call__(self, x: Float[Array, "h w cin"]) -> Float[Array, "h2 w2 cout"]:
        """Return the block's output for one image of features."""
        phi = make_activation(self.activation)
        main = self.second(phi(self.first(phi(x))))
        if self.down:
            return self.shortcut(mean_pool(x)) + mean_pool(main)
        return self.shortcut(x) + main


class ResNet(Energy):
    """MDSM's residual network over one image (H, W, C).

    Parameters
    ----------
    event_shape
        (H, W, C), H and W multiples of 8 (the paper pads MNIST to 32 × 32).
    layers
        6, 12 or 18 convolutional layers: one, two or three blocks in each of three stages.
    width
        Channels after the first convolution; they double in each stage. The paper takes 64
        for MNIST (12 layers) and 128 for CIFAR-10 (18 layers).
    head
        "quadratic" (MDSM eq. 12) or "linear".
    activation
        "elu" in the paper.
    key
        Key of the initial weights.
    """

    stem: Conv
    blocks: tuple[ResidualBlock, ...]
    head: LinearHead | QuadraticHead
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        layers: int = 12,
        width: int = 64,
        head: str = "quadratic",
        activation: str = "elu",
        key: Key,
    ):
        self.event_shape = shape = check_event_shape("ResNet", event_shape)
        check(len(shape) == 3, "ResNet", "event_shape", "(height, width, channels)", shape)
        height, breadth, channels = shape
        eights = height % 8 == 0 and breadth % 8 == 0
        check(eights, "ResNet", "event_shape", "of height and width divisible by 8", shape)
        check(layers in BLOCKS_PER_STAGE, "ResNet", "layers", "6, 12 or 18", layers)
        check_integer("ResNet", "width", width, at_least=1)
        stem_key, head_key, *keys = jax.random.split(key, 2 + 3 * BLOCKS_PER_STAGE[layers])
        self.stem = Conv(channels, width, 3, key=stem_key)
        blocks = []
        for stage in range(3):
            wide = width * 2 ** (stage + 1)
            for i in range(BLOCKS_PER_STAGE[layers]):
                narrow = wide // 2 if i == 0 else wide
                blocks.append(
                    ResidualBlock(narrow, wide, down=i == 0, activation=activation, key=keys[len(blocks)])
                )
        self.blocks = tuple(blocks)
        self.head = make_head(head, 8 * width * (height // 8) * (breadth // 8), activation, key=head_key)

    def __call__(self, x: Float[Array, "h w c"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h.ravel())
