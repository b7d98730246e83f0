r"""Invertible preprocessing that accounts for the volume it changes.

A model of z = f(x) is a model of x through

    log p_X(x) = log p_Z(f(x)) + log|det ∂f/∂x|(x),

so each transform knows f (`forward`), f⁻¹ (`inverse`) and the last term (`log_det`), for ONE
event; batches go through `jax.vmap`. Training may add randomness before f (`perturb`): noise
within a pixel's quantisation cell, a mirror image. `training` is both in their order.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_integer, check_number

__all__ = [
    "Affine",
    "Binarise",
    "Dequantise",
    "HorizontalFlip",
    "Logit",
    "Pad",
    "Pipeline",
    "Reshape",
    "Transform",
]


class Transform(eqx.Module):
    """An invertible map of one event."""

    @abc.abstractmethod
    def forward(self, x: jax.Array) -> jax.Array:
        """Return z = f(x), from data to model units."""

    @abc.abstractmethod
    def inverse(self, z: jax.Array) -> jax.Array:
        """Return x = f⁻¹(z), from model to data units."""

    @abc.abstractmethod
    def log_det(self, x: jax.Array) -> jax.Array:
        """Return log|det ∂f/∂x| at x, a scalar, in nats."""

    def perturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return x with the randomness of training, applied before `forward`; here x itself."""
        return x

    def training(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return the event to train on: f of the perturbed x."""
        return self.forward(self.perturb(x, key))


def _leaf(argument: str, value: Any) -> jax.Array:
    """Return a number or an array as a finite float32 leaf."""
    array = check_array("Affine", argument, np.atleast_1d(value))
    return jnp.asarray(array.reshape(np.shape(value)), jnp.float32)


class Affine(Transform):
    """Shift and scale each entry: z = (x − shift) / scale.

    log|det| = −Σ log|scale|, over the entries of the event.

    Parameters
    ----------
    shift, scale
        Numbers, or arrays that broadcast to one event; scale without zeros.

    Raises
    ------
    InputError
        If an entry is not finite, or scale has a zero.
    """

    shift: jax.Array
    scale: jax.Array

    def __init__(self, shift: Any, scale: Any):
        self.shift = _leaf("shift", shift)
        self.scale = _leaf("scale", scale)
        check(bool((self.scale != 0).all()), "Affine", "scale", "nowhere zero", "a zero")

    @classmethod
    def standardise(cls, rows: Any, *, shifted: bool = True) -> Affine:
        """Give each entry of the event mean 0 and standard deviation 1 over the rows.

        An entry that never varies is only shifted (scale 1), since it has no scale of its own.

        Parameters
        ----------
        rows
            Array-like (n, *event).
        shifted
            If False the mean is left as it is scaled, and zero stays zero.
        """
        rows = check_array("Affine.standardise", "rows", rows)
        # Sums in double precision: a large mean must not eat the spread.
        scale = np.std(rows, axis=0, dtype=np.float64)
        # By comparison, since a constant's rounded mean leaves a spread that is not quite zero.
        varies = rows.max(axis=0) > rows.min(axis=0)
        mean = np.mean(rows, axis=0, dtype=np.float64)
        return cls(mean if shifted else 0.0, np.where(varies, scale, 1.0))

    @classmethod
    def ranges(cls, rows: Any) -> Affine:
        """Map each entry's own range over the rows to [0, 1]; an entry that never varies to 0.

        Parameters
        ----------
        rows
            Array-like (n, *event).
        """
        rows = check_array("Affine.ranges", "rows", rows)
        low, width = rows.min(axis=0), np.ptp(rows, axis=0)
        return cls(low, np.where(width > 0, width, 1.0))

    @classmethod
    def unit_interval(cls, rows: Any = None, low: float | None = None, high: float | None = None) -> Affine:
        """Map the range [low, high], one for the whole event, to [0, 1].

        Parameters
        ----------
        rows
            Array-like (n, *event), whose smallest and largest entry stand in for a bound that
            is not given; not needed if both are.
        low, high
            The range in the data's units.
        """
        owner = "Affine.unit_interval"
        if low is None or high is None:
            check(rows is not None, owner, "rows", "given unless low and high are", "None")
            rows = check_array(owner, "rows", rows)
            low = float(rows.min()) if low is None else low
            high = float(rows.max()) if high is None else high
        low = check_number(owner, "low", low)
        high = check_number(owner, "high", high, above=low)
        # Subtracted in float32 as `forward` does, so that `high` becomes exactly 1 and not above it.
        return cls(low, np.float32(high) - np.float32(low))

    def forward(self, x: jax.Array) -> jax.Array:
        """Return (x − shift) / scale."""
        return (x - self.shift) / self.scale

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return z · scale + shift."""
        return z * self.scale + self.shift

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return −Σ log|scale| over the entries of x."""
        return -jnp.sum(jnp.broadcast_to(jnp.log(jnp.abs(self.scale)), jnp.shape(x)))


class Pad(Transform):
    """Put a frame of zeros, `width` pixels wide, around an image event (H, W, C).

    The image of the map is a subspace, on which the map is an isometry: log|det| = 0. The
    inverse crops.

    Parameters
    ----------
    width
        Width of the frame in pixels, at least 1.

    Raises
    ------
    InputError
        If width is not a whole number of at least 1.
    """

    width: int = eqx.field(static=True)

    def __init__(self, width: int):
        self.width = check_integer("Pad", "width", width, at_least=1)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return the framed event (H + 2 width, W + 2 width, C)."""
        return jnp.pad(x, ((self.width, self.width), (self.width, self.width), (0, 0)))

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return the event without its frame."""
        return z[self.width : -self.width, self.width : -self.width]

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return 0."""
        return jnp.zeros((), jnp.result_type(float))


class Dequantise(Transform):
    """Spread each of L grey levels over its cell of [0, 1].

    Levels come as x = k/(L−1), k = 0…L−1. z = x (L−1)/L + 1/(2L) puts them in the middle of
    their cells [k/L, (k+1)/L); in training z = x (L−1)/L + U/L with U uniform on [0, 1). A
    density p of z then bounds the probability it gives the levels of an event of D entries:
    log P(k) ≥ E_U log p(z) − D log L. log|det| = D log((L−1)/L).

    Parameters
    ----------
    levels
        The number of levels L, at least 2: 256 for bytes, 17 for scikit-learn's digits.

    Raises
    ------
    InputError
        If levels is not a whole number of at least 2.

    References
    ----------
    Theis, van den Oord and Bethge, A note on the evaluation of generative models, ICLR 2016.
    """

    levels: int = eqx.field(static=True)

    def __init__(self, levels: int = 256):
        self.levels = check_integer("Dequantise", "levels", levels, at_least=2)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return x (L−1)/L + 1/(2L)."""
        return x * ((self.levels - 1) / self.levels) + 0.5 / self.levels

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return (z − 1/(2L)) L/(L−1)."""
        return (z - 0.5 / self.levels) * (self.levels / (self.levels - 1))

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return D log((L−1)/L)."""
        return jnp.asarray(jnp.size(x) * math.log1p(-1.0 / self.levels), jnp.result_type(float))

    def perturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return x + (U − ½)/(L−1), which `forward` turns into noise U/L within the cell."""
        return x + (jax.random.uniform(key, x.shape, x.dtype) - 0.5) / (self.levels - 1)


class Binarise(Transform):
    """One bit of each entry: z = 1 where x > threshold, else 0.

    Not invertible: `inverse` returns the bits, as the brightest and the darkest value of [0, 1].
    What is modelled is a probability of bits, no density, so that no volume enters a likelihood.

    Parameters
    ----------
    threshold
        Above it an entry is 1; None to draw each entry, in [0, 1], as a bit of that probability
        whenever training takes it (and by ½ elsewhere).
    """

    threshold: float = eqx.field(static=True)
    drawn: bool = eqx.field(static=True)

    def __init__(self, threshold: float | None = 0.5):
        self.drawn = threshold is None
        self.threshold = check_number("Binarise", "threshold", 0.5 if threshold is None else threshold)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return the bits."""
        return jnp.where(x > self.threshold, 1.0, 0.0)

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return the bits as they are."""
        return z

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return 0: bits have no volume."""
        return jnp.zeros(())

    def perturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return x, or bits drawn with probability x."""
        return jax.random.bernoulli(key, x).astype(x.dtype) if self.drawn else x


class Logit(Transform):
    """Stretch [0, 1] over the real line: z = logit(s), s = α + (1 − 2α) x.

    log|det| = Σ log(1 − 2α) − log s − log(1 − s).

    Parameters
    ----------
    alpha
        Distance α in (0, ½) kept from the ends, so that 0 and 1 stay finite.

    Raises
    ------
    InputError
        If alpha is not in (0, ½).

    References
    ----------
    Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, ICLR 2017, section 4.1.
    """

    alpha: float = eqx.field(static=True)

    def __init__(self, alpha: float = 1e-6):
        alpha = check_number("Logit", "alpha", alpha, above=0)
        check(alpha < 0.5, "Logit", "alpha", "below 0.5", alpha)
        self.alpha = alpha

    def _logs(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return log s and log(1 − s), the latter from 1 − x: near 1, float32 loses 1 − s."""
        return (
            jnp.log(self.alpha + (1 - 2 * self.alpha) * x),
            jnp.log(self.alpha + (1 - 2 * self.alpha) * (1 - x)),
        )

    def forward(self, x: jax.Array) -> jax.Array:
        """Return logit(α + (1 − 2α) x)."""
        log_s, log_rest = self._logs(x)
        return log_s - log_rest

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return (sigmoid(z) − α) / (1 − 2α)."""
        return (jax.nn.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha)

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return Σ log(1 − 2α) − log s − log(1 − s)."""
        log_s, log_rest = self._logs(x)
        return jnp.sum(math.log1p(-2 * self.alpha) - log_s - log_rest)


def _shape(argument: str, value: Any) -> tuple[int, ...]:
    sides = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    return tuple(check_integer("Reshape", argument, side, at_least=1) for side in sides)


class Reshape(Transform):
    """Lay the entries of an event out in another shape, row-major; log|det| = 0.

    Parameters
    ----------
    from_shape, to_shape
        Shapes with equally many entries.

    Raises
    ------
    InputError
        If the numbers of entries differ.
    """

    from_shape: tuple[int, ...] = eqx.field(static=True)
    to_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, from_shape: tuple[int, ...], to_shape: tuple[int, ...]):
        self.from_shape = _shape("from_shape", from_shape)
        self.to_shape = _shape("to_shape", to_shape)
        entries = math.prod(self.from_shape)
        fits = math.prod(self.to_shape) == entries
        check(fits, "Reshape", "to_shape", f"of {entries} entries, like {self.from_shape}", self.to_shape)

    def forward(self, x: jax.Array) -> jax.Array:
        """Return x in `to_shape`."""
        return jnp.reshape(x, self.to_shape)

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return z in `from_shape`."""
        return jnp.reshape(z, self.from_shape)

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return 0."""
        return jnp.zeros((), jnp.result_type(float))


class HorizontalFlip(Transform):
    """Mirror every other training image (H, W, C), left to right; otherwise the identity."""

    def forward(self, x: jax.Array) -> jax.Array:
        """Return x."""
        return x

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return z."""
        return z

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return 0."""
        return jnp.zeros((), jnp.result_type(float))

    def perturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return x or its mirror image, each with probability ½."""
        return jnp.where(jax.random.bernoulli(key), x[:, ::-1], x)


class Pipeline(Transform):
    """Transforms one after the other; log-determinants add.

    Parameters
    ----------
    transforms
        The first is applied first. Empty: the identity.

    Raises
    ------
    InputError
        If a member is not a `Transform`.
    """

    transforms: tuple[Transform, ...]

    def __init__(self, transforms: tuple[Transform, ...] | list[Transform] = ()):
        self.transforms = tuple(transforms)
        for t in self.transforms:
            check(isinstance(t, Transform), "Pipeline", "transforms", "a tuple of transforms", repr(t))

    def forward(self, x: jax.Array) -> jax.Array:
        """Return x after all transforms."""
        for t in self.transforms:
            x = t.forward(x)
        return x

    def inverse(self, z: jax.Array) -> jax.Array:
        """Return z before all transforms."""
        for t in reversed(self.transforms):
            z = t.inverse(z)
        return z

    def log_det(self, x: jax.Array) -> jax.Array:
        """Return Σᵢ log|det| of transform i at the event that reaches it."""
        total = jnp.zeros((), jnp.result_type(float))
        for t in self.transforms:
            total = total + t.log_det(x)
            x = t.forward(x)
        return total

    def training(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return the event to train on: each transform perturbs, then maps, in turn."""
        for i, t in enumerate(self.transforms):
            x = t.training(x, jax.random.fold_in(key, i))
        return x

    def perturb(self, x: jax.Array, key: jax.Array) -> jax.Array:
        """Return the training event in the data's own units, f⁻¹(training(x, key)).

        What a later transform adds to the frame of a `Pad` has no place in those units and is
        lost; `training` keeps it.
        """
        return self.inverse(self.training(x, key))
