r"""Radial kernels k(x, y) = φ(‖x − y‖²), given by their profile and its first two derivatives.

    RBF     φ(u) = exp(−u/2h²)
    IMQ     φ(u) = (1 + u/h²)^{−β},  0 < β < 1

Both are positive definite. With the IMQ a kernel Stein discrepancy that goes to zero implies weak
convergence in any dimension; with the RBF it does not from d = 3 on (Gorham & Mackey 2017), since
its tails forget points that wander off.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_choice, check_number
from energax.typing import Array, ArrayLike, Float, Key

__all__ = [
    "IMQ",
    "NAMES",
    "RBF",
    "Kernel",
    "Profile",
    "kernel_named",
    "median_bandwidth",
    "squared_distances",
]

NAMES = ("imq", "rbf")
MEDIAN_OF = 1000  # points whose distances give the median


class Profile(NamedTuple):
    """φ(u), φ′(u) and φ″(u)."""

    value: Array
    first: Array
    second: Array


class Kernel(eqx.Module):
    """Base of the radial kernels.

    Parameters
    ----------
    bandwidth
        h > 0, in the units of x.
    """

    bandwidth: Array

    def __init__(self, bandwidth: float | Array = 1.0):
        if isinstance(bandwidth, int | float | np.ndarray):
            check_number(type(self).__name__, "bandwidth", bandwidth, above=0)
        self.bandwidth = jnp.asarray(bandwidth, jnp.float32)

    def profile(self, u: Array) -> Profile:
        """Return φ, φ′ and φ″ at squared distances u."""
        raise NotImplementedError

    def __call__(self, x: Float[Array, " d"], y: Float[Array, " d"]) -> Array:
        """Return k(x, y)."""
        return self.profile(jnp.sum((x - y) ** 2)).value


class RBF(Kernel):
    """φ(u) = exp(−u/2h²)."""

    def profile(self, u: Array) -> Profile:
        """Return φ, φ′ and φ″."""
        rate = 0.5 / self.bandwidth**2
        value = jnp.exp(-rate * u)
        return Profile(value, -rate * value, rate**2 * value)


class IMQ(Kernel):
    """φ(u) = (1 + u/h²)^{−β}, the inverse multiquadric; β = ½ unless another is given."""

    exponent: float = eqx.field(static=True)

    def __init__(self, bandwidth: float | Array = 1.0, exponent: float = 0.5):
        super().__init__(bandwidth)
        self.exponent = check_number("IMQ", "exponent", exponent, above=0)
        check(self.exponent < 1, "IMQ", "exponent", "below 1", exponent)

    def profile(self, u: Array) -> Profile:
        """Return φ, φ′ and φ″."""
        rate, beta = 1 / self.bandwidth**2, self.exponent
        base = 1 + rate * u
        if beta == 0.5:  # one root, where a power and divisions cost many times as much
            value = jax.lax.rsqrt(base)
            inverse = value * value
        else:
            value, inverse = base**-beta, 1 / base
        first = -beta * rate * value * inverse
        return Profile(value, first, -(beta + 1) * rate * inverse * first)


def kernel_named(name: str, bandwidth: float | Array) -> Kernel:
    """Return the kernel "imq" or "rbf" of that bandwidth."""
    check_choice("kernel", "name", name, NAMES)
    return {"imq": IMQ, "rbf": RBF}[name](bandwidth)


def squared_distances(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """Return ‖x_i − y_j‖² for all pairs, by one matrix product about the rows' own mean: little cancels."""
    centre = y.mean(0)
    x, y = x - centre, y - centre
    u = jnp.sum(x * x, 1)[:, None] + jnp.sum(y * y, 1) - 2 * x @ y.T
    return jnp.maximum(u, 0.0)


def median_bandwidth(x: ArrayLike, key: Key) -> float:
    """Return the median distance between two different rows, of at most 1,000 drawn ones."""
    rows = np.asarray(x, np.float32)
    if len(rows) > MEDIAN_OF:
        rows = rows[np.asarray(jax.random.choice(key, len(rows), (MEDIAN_OF,), replace=False))]
    rows = rows - rows.mean(0, dtype=np.float64).astype(np.float32)  # an offset would cost the digits of u
    size = np.sum(rows**2, 1)
    u = size[:, None] + size - 2 * rows @ rows.T  # in NumPy: nothing to compile for each number of rows
    median = float(np.sqrt(max(0.0, np.median(u[np.triu_indices(len(rows), 1)]))))
    check(median > 0, "median_bandwidth", "x", "rows of which most differ", "a median distance of 0")
    return median
