r"""Linear looks at an event, by name: what `restore` is told of how an image was lost.

    blur:S         Gaussian blur of standard deviation S pixels, edges reflected
    downsample:K   means over K × K pixels
    project:M      M random projections, y = G x with G_ij ~ N(0, 1/M): compressed sensing
    FILE.npy       a matrix, rows (m, d), of the flat event

Each is a callable from one event to an array, linear in the event.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import InputError, check, check_array, check_integer, check_number
from energax.typing import Array, ArrayLike, Event, Float

__all__ = ["Blur", "Downsample", "Matrix", "linear_operator", "projections"]

OWNER = "restore"


class Matrix(eqx.Module):
    """x ↦ M x of the flat event.

    Parameters
    ----------
    matrix
        M, shape (m, d).
    """

    matrix: Float[Array, "m d"]

    def __init__(self, matrix: ArrayLike):
        self.matrix = jnp.asarray(check_array(OWNER, "the matrix", matrix), jnp.float32)
        check(self.matrix.ndim == 2, OWNER, "the matrix", "of shape (m, d)", f"shape {self.matrix.shape}")

    def __call__(self, x: Event) -> Array:
        """Return M x."""
        return self.matrix @ x.reshape(-1)


class Blur(eqx.Module):
    """Convolution of an image with a Gaussian, edges reflected.

    Parameters
    ----------
    sigma
        Standard deviation in pixels.
    shape
        (H, W, C) of the image; events may be flat.
    """

    rows: Float[Array, "H H"]
    columns: Float[Array, "W W"]
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, sigma: float, shape: tuple[int, int, int]):
        check_number(OWNER, "blur", sigma, above=0, at_most=float(min(shape[:2])))
        self.shape = shape
        self.rows, self.columns = (jnp.asarray(_gaussian(side, sigma), jnp.float32) for side in shape[:2])

    def __call__(self, x: Event) -> Array:
        """Return the blurred image, of the event's own shape."""
        image = x.reshape(self.shape)
        return jnp.einsum("ij,jkc,lk->ilc", self.rows, image, self.columns).reshape(x.shape)


class Downsample(eqx.Module):
    """Means over squares of `factor` pixels.

    Parameters
    ----------
    factor
        Side of a square; divides height and width.
    shape
        (H, W, C) of the image; events may be flat.
    """

    factor: int = eqx.field(static=True)
    shape: tuple[int, int, int] = eqx.field(static=True)

    def __init__(self, factor: int, shape: tuple[int, int, int]):
        check_integer(OWNER, "downsample", factor, at_least=2)
        whole = shape[0] % factor == shape[1] % factor == 0
        check(whole, OWNER, "downsample", f"a divisor of height and width, {shape[0]} and {shape[1]}", factor)
        self.factor, self.shape = factor, shape

    def __call__(self, x: Event) -> Array:
        """Return the small image, shape (H/k, W/k, C)."""
        h, w, c = self.shape
        k = self.factor
        return x.reshape(h // k, k, w // k, k, c).mean((1, 3))


def projections(m: int, size: int, seed: int = 0) -> Matrix:
    """Return m random projections of an event of `size` numbers, G_ij ~ N(0, 1/m)."""
    check_integer(OWNER, "project", m, at_least=1)
    return Matrix(np.random.default_rng(seed).normal(size=(m, size)) / math.sqrt(m))


def linear_operator(
    spelled: str, event_shape: tuple[int, ...], image_shape: tuple[int, int, int] | None, seed: int = 0
) -> Blur | Downsample | Matrix:
    """Return the operator that a name says, for events of a data set.

    Parameters
    ----------
    spelled
        "blur:S", "downsample:K", "project:M", or a .npy file with a matrix.
    event_shape, image_shape
        Of the data's events; None where they are no images.
    seed
        Of random projections.

    Raises
    ------
    InputError
        For another name, a wrong number, a matrix that does not fit, or images asked of a table.
    """
    size = math.prod(event_shape)
    if spelled.endswith(".npy"):
        try:
            matrix = Matrix(np.load(Path(spelled), allow_pickle=False))
        except (OSError, ValueError, EOFError) as error:
            if isinstance(error, InputError):
                raise
            reason = getattr(error, "strerror", None) or "it is no plain NumPy array"
            raise InputError(f"{OWNER}: --operator {spelled} cannot be read: {reason}.") from None
        fits = matrix.matrix.shape[1] == size
        check(fits, OWNER, "--operator", f"a matrix of {size} columns", f"{matrix.matrix.shape[1]}")
        return matrix
    name, _, number = spelled.partition(":")
    allowed = "blur:S, downsample:K, project:M or a .npy file with a matrix"
    check(name in ("blur", "downsample", "project"), OWNER, "--operator", allowed, repr(spelled))
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    whole = name == "blur" or value == math.floor(value) if math.isfinite(value) else False
    check(whole, OWNER, "--operator", allowed, repr(spelled))
    if name == "project":
        return projections(int(value), size, seed)
    check(
        image_shape is not None,
        OWNER,
        "--operator",
        "project:M or a matrix for rows that are no images",
        spelled,
    )
    assert image_shape is not None
    return Blur(value, image_shape) if name == "blur" else Downsample(int(value), image_shape)


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """Return the matrix that blurs a line of pixels, what falls off an edge being reflected back."""
    kernel = np.zeros((side, side))
    reach = math.ceil(4 * sigma)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    for i in range(side):
        for offset, weight in zip(range(-reach, reach + 1), weights / weights.sum(), strict=True):
            j = (i + offset) % (2 * side)
            kernel[i, j if j < side else 2 * side - 1 - j] += weight
    return kernel


def dense(operator: Callable[[Event], Array], x: Event) -> np.ndarray:
    """Return the matrix of an operator (its Jacobian at x, which is the same everywhere if it is linear)."""
    basis = jnp.eye(x.size, dtype=x.dtype).reshape(-1, *x.shape)
    return np.asarray(_columns(operator, x, basis), np.float64).T


@eqx.filter_jit
def _columns(operator: Callable[[Event], Array], x: Event, basis: Array) -> Array:
    return jax.vmap(lambda v: jax.jvp(operator, (x,), (v,))[1].reshape(-1))(basis)
