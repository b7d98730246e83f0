"""Two-dimensional densities whose laws are known, drawn independently row by row.

Each function takes a number of points and a NumPy generator and returns float32 points of
shape (n, 2). The exact statements in the docstrings are what the tests check.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from energax.checks import check_choice, check_integer
from energax.data.dataset import Dataset

__all__ = [
    "TOYS",
    "checkerboard",
    "eight_gaussians",
    "pinwheel",
    "rings",
    "swiss_roll",
    "toy",
    "two_moons",
    "two_spirals",
]


def _polar(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def eight_gaussians(n: int, rng: np.random.Generator) -> np.ndarray:
    """Eight equal Gaussians on a circle.

    p = ⅛ Σₖ N(2 (cos kπ/4, sin kπ/4), 0.2² I), so E x = 0 and Cov x = (2 + 0.04) I.
    """
    angle = rng.integers(8, size=n) * (np.pi / 4)
    points = _polar(np.full(n, 2.0), angle) + 0.2 * rng.standard_normal((n, 2))
    return points.astype(np.float32)


def two_moons(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two interleaved half circles of radius 1, with Gaussian noise of standard deviation 0.1.

    With t uniform on [0, π] a fair coin chooses (cos t, sin t) or (1 − cos t, ½ − sin t), so
    E x = (½, ¼), Var x₁ = ¾ + 0.01 and Var x₂ = (5/4 − 2/π)/2 − 1/16 + 0.01.
    """
    t = rng.uniform(0.0, np.pi, n)
    upper = np.stack([np.cos(t), np.sin(t)], axis=1)
    lower = np.stack([1.0 - np.cos(t), 0.5 - np.sin(t)], axis=1)
    moon = np.where(rng.integers(2, size=n)[:, None] == 0, upper, lower)
    return (moon + 0.1 * rng.standard_normal((n, 2))).astype(np.float32)


def pinwheel(n: int, rng: np.random.Generator) -> np.ndarray:
    """Five bent arms: Gaussians stretched along a radius, then rotated by an angle growing with it.

    f ~ N((1, 0), diag(0.3², 0.05²)) is rotated by 2πk/5 + ¼ exp(f₁), k uniform on five arms,
    and doubled. A rotation keeps the length, so E‖x‖² = 4 (1 + 0.09 + 0.0025), and the five
    arms make E x = 0.

    References
    ----------
    Johnson et al., Composing graphical models with neural networks, NeurIPS 2016 (the shape).
    """
    f = rng.standard_normal((n, 2)) * [0.3, 0.05] + [1.0, 0.0]
    angle = rng.integers(5, size=n) * (2 * np.pi / 5) + 0.25 * np.exp(f[:, 0])
    cos, sin = np.cos(angle), np.sin(angle)
    rotated = np.stack([cos * f[:, 0] - sin * f[:, 1], sin * f[:, 0] + cos * f[:, 1]], axis=1)
    return (2.0 * rotated).astype(np.float32)


def checkerboard(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform on the black squares of a 4 × 4 board of unit squares.

    The support is the eight squares [i, i+1) × [j, j+1), −2 ≤ i, j < 2, with i + j even; the
    density there is 1/8.
    """
    i = rng.integers(4, size=n)
    j = 2 * rng.integers(2, size=n) + i % 2
    corner = np.stack([i, j], axis=1) - 2.0
    # float32 could round a draw up to 1 and onto the next, white, square: stay a rounding below.
    inside = np.clip(rng.random((n, 2)), 2.0**-21, 1.0 - 2.0**-21)
    return (corner + inside).astype(np.float32)


def rings(n: int, rng: np.random.Generator) -> np.ndarray:
    """Three concentric rings, equally likely, seen under a uniform angle.

    ‖x‖ = r + 0.1 ε with r uniform on {1, 2, 3} and ε ~ N(0, 1), so E x = 0 and
    E‖x‖² = 14/3 + 0.01.
    """
    radius = rng.integers(1, 4, size=n) + 0.1 * rng.standard_normal(n)
    return _polar(radius, rng.uniform(0.0, 2 * np.pi, n)).astype(np.float32)


def swiss_roll(n: int, rng: np.random.Generator) -> np.ndarray:
    """One spiral of one and a half turns, with Gaussian noise of standard deviation 0.1.

    x = r (cos 3πr/2, sin 3πr/2) + 0.1 ε with r uniform on [1, 3], so E‖x‖² = 13/3 + 0.02.
    """
    radius = rng.uniform(1.0, 3.0, n)
    points = _polar(radius, 1.5 * np.pi * radius) + 0.1 * rng.standard_normal((n, 2))
    return points.astype(np.float32)


def two_spirals(n: int, rng: np.random.Generator) -> np.ndarray:
    """Two spirals from the origin, each the other's reflection, with Gaussian noise 0.1.

    x = ±r (cos 3r, sin 3r) + 0.1 ε with r = π √u, u uniform on [0, 1] and a fair sign, so
    E x = 0 and E‖x‖² = π²/2 + 0.02.
    """
    radius = np.pi * np.sqrt(rng.random(n))
    sign = 1.0 - 2.0 * rng.integers(2, size=n)
    points = sign[:, None] * _polar(radius, 3.0 * radius) + 0.1 * rng.standard_normal((n, 2))
    return points.astype(np.float32)


TOYS: dict[str, Callable[[int, np.random.Generator], np.ndarray]] = {
    "eight-gaussians": eight_gaussians,
    "two-moons": two_moons,
    "pinwheel": pinwheel,
    "checkerboard": checkerboard,
    "rings": rings,
    "swiss-roll": swiss_roll,
    "two-spirals": two_spirals,
}


def toy(name: str, n: int = 10_000, seed: int = 0) -> Dataset:
    """Draw a two-dimensional toy density.

    Parameters
    ----------
    name
        One of ``TOYS``: eight-gaussians, two-moons, pinwheel, checkerboard, rings, swiss-roll,
        two-spirals.
    n
        Training points, at least 1; n // 10 test points (at least one) are drawn from an
        independent stream.
    seed
        Seed of both streams, at least 0.

    Returns
    -------
    Dataset
        Kind ``"points"``, events of shape (2,).

    Raises
    ------
    InputError
        For an unknown name, and for n or seed out of range.
    """
    draw = TOYS[check_choice("toy", "name", name, TOYS)]
    n = check_integer("toy", "n", n, at_least=1)
    seed = check_integer("toy", "seed", seed, at_least=0)
    train, test = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    return Dataset(name, "points", draw(n, train), draw(max(1, n // 10), test))
