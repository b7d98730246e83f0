r"""One energy per scale of an image: the model of multigrid sampling.

An image x of H × W × C has a version x_s at each scale s, the means of its blocks, the last being x
itself, and one of 1 × 1, its mean colour. A multigrid model holds an energy for each scale, each
the model of a law of its own, p_s(x_s) ∝ exp(−E_s(x_s)). The law of images is that of the finest.

The coarser ones are there for sampling: from the 1 × 1 version upwards, each scale's chain starts
at the version below, enlarged (`samplers.climb`).

Source: Gao, Lu, Zhou, Zhu & Wu (2018), "Learning generative ConvNets via multi-grid modeling and
sampling".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp

from energax.checks import check
from energax.derivatives import Score, evaluate
from energax.energies.base import Energy
from energax.typing import Array, Condition, Float, Model, Scalar

__all__ = ["Multigrid"]


class Multigrid(Energy):
    """Energies of an image at several scales; E(x) is that of the finest.

    Parameters
    ----------
    levels
        One energy per scale, from the coarsest, each with an `event_shape` (H_s, W_s, C) whose
        height and width divide those of the next. In the paper 4 × 4, 16 × 16 and 64 × 64.
    """

    levels: tuple[Model, ...]
    shapes: tuple[tuple[int, int, int], ...] = eqx.field(static=True)

    def __init__(self, levels: Sequence[Model]):
        self.levels = tuple(levels)
        check(len(self.levels) > 0, "Multigrid", "levels", "at least one energy", "none")
        self.shapes = tuple(_image_shape(level) for level in self.levels)
        for small, large in itertools.pairwise(self.shapes):
            divides = large[0] % small[0] == 0 and large[1] % small[1] == 0 and small[2] == large[2]
            grows = large[0] * large[1] > small[0] * small[1]
            wanted = "from the coarsest, each height and width dividing the next, with the same channels"
            check(divides and grows, "Multigrid", "levels", wanted, f"{small} before {large}")

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one image, (H, W, C)."""
        return self.shapes[-1]

    def __call__(self, x: Float[Array, "H W C"], condition: Condition | None = None) -> Scalar:
        """Return the energy of the finest scale at one image."""
        return evaluate(self.levels[-1], self._image(x), condition)

    def root(self, x: Float[Array, "H W C"]) -> Float[Array, "1 1 C"]:
        """Return the 1 × 1 version of one image, its mean colour."""
        return _shrunk(self._image(x), (1, 1, self.event_shape[2]))

    def versions(self, x: Float[Array, "H W C"]) -> tuple[Array, ...]:
        """Return one image at every scale, from the coarsest: the means of its blocks."""
        return tuple(_shrunk(self._image(x), shape) for shape in self.shapes)

    def enlarged(self, x: Float[Array, "h w C"], level: int) -> Float[Array, "H W C"]:
        """Return a smaller version, each pixel repeated, in the size of that level."""
        H, W, _ = self.shapes[level]
        return jnp.repeat(jnp.repeat(x, H // x.shape[0], axis=0), W // x.shape[1], axis=1)

    def _image(self, x: Float[Array, "H W C"]) -> Float[Array, "H W C"]:
        given = getattr(x, "shape", None)
        check(given == self.event_shape, "Multigrid", "x", f"one image of shape {self.event_shape}", given)
        return x


def _image_shape(level: Model) -> tuple[int, int, int]:
    """Return the shape of an energy's images, refusing what is no energy of images."""
    field = isinstance(level, Score)
    check(not field, "Multigrid", "levels", "energies: a vector field has no value", "a Score")
    shape: Any = getattr(level, "event_shape", None)
    image = shape is not None and len(shape) == 3
    check(image, "Multigrid", "levels", "energies of images, with event_shape (H, W, C)", shape)
    assert shape is not None
    return tuple(shape)


def _shrunk(x: Float[Array, "H W C"], shape: tuple[int, int, int]) -> Float[Array, "h w C"]:
    """Return the means of the blocks of an image."""
    H, W, C = x.shape
    h, w, _ = shape
    return x.reshape(h, H // h, w, W // w, C).mean((1, 3))
