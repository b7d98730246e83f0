r"""log Z of an energy over ℝᵈ, d ≤ 3, by adaptive quadrature.

    log Z = log Σ_cells ∫_cell e^{−E(x)} dx,        x = centre + scale · u

Each axis is cut at u = 0 and at ±2^j: cells as wide as they are far off, so that one grid sees the neck and
the mouth of a funnel. The range doubles until its outer shell holds next to nothing. A cell's integral is
Gauss and Legendre's; its 2ᵈ halves are integrated too, and where their sum disagrees, halved in their turn.
The error is the sum of the last disagreements, the outer shell's share, and the rounding of E in float32.

Where the range has doubled to the end and the outer shell still holds mass, there is no log Z: an energy must
rise at infinity, and faster than d times the logarithm. What would be missed is a peak much narrower than
the cell it lies in and far from all nodes: centre and scale should be those of the law.

Source: van Dooren & de Ridder (1976), for the halving of the cells that are worst.
"""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from energax.checks import check, check_array, check_event_shape, check_integer
from energax.derivatives import evaluate
from energax.typing import Array, ArrayLike, Model

__all__ = ["LARGEST_DIMENSION", "Quadrature", "quadrature_log_normalizer"]

OWNER = "quadrature_log_normalizer"
LARGEST_DIMENSION = 3
NODES = {1: 8, 2: 6, 3: 4}  # of a cell, along each axis
NEAREST, FIRST = -3, 5  # the grid begins with edges at ±2^j from the one j to the other
LAST = {1: 40, 2: 30, 3: 16}  # j where doubling ends
ALWAYS = {1: 3, 2: 2, 3: 0}  # how often every cell is halved: a narrow peak may hide between nodes
RISES, PATIENCE = 0.4, 12  # of a constant energy the outer shell has half of all, at every doubling
MOST = 6_000_000  # energies
SHELL = 1e-7  # share of the mass that the outer shell may hold
TOLERANCE = 1e-5  # of the shares of cells, at each round of halving
LARGE = 50.0  # nats; a cell that seemed e⁵⁰ times too large is wrong enough
CHUNKS = 1 << 10, 1 << 14


class Quadrature(NamedTuple):
    """What `quadrature_log_normalizer` returns.

    Parameters
    ----------
    log_z
        log Z, in nats.
    error
        Its estimated error, on the side of caution; large where the evaluations were used up.
    radius
        The range: |x − centre| ≤ radius · scale in each coordinate.
    evaluations
        Energies computed.
    """

    log_z: float
    error: float
    radius: float
    evaluations: int


class Cells(NamedTuple):
    """Boxes in units u, and the log of the integral of e^{−E} over each."""

    low: np.ndarray
    high: np.ndarray
    logs: np.ndarray

    @property
    def total(self) -> float:
        """The log of the sum."""
        return _log_sum(-math.inf, self.logs)


def quadrature_log_normalizer(
    energy: Model, event_shape: tuple[int, ...], *, center: ArrayLike = 0.0, scale: ArrayLike = 1.0
) -> Quadrature:
    """Return log ∫ exp(−E(x)) dx over ℝᵈ, and its error.

    Parameters
    ----------
    energy
        E of one event.
    event_shape
        Of at most three coordinates.
    center, scale
        Where the law is and how wide, broadcast to one event: rows' means and standard deviations.

    Raises
    ------
    InputError
        If there are more coordinates, an energy is NaN or −∞, or the mass has no end: no log Z.
    """
    event_shape = check_event_shape(OWNER, event_shape)
    d = check_integer(OWNER, "the number of coordinates", math.prod(event_shape), at_least=1)
    few = f"at most {LARGEST_DIMENSION}"
    check(d <= LARGEST_DIMENSION, OWNER, "the number of coordinates", few, d)
    middle, width = (
        np.broadcast_to(check_array(OWNER, name, np.atleast_1d(v)).reshape(np.shape(v)), event_shape)
        .ravel()
        .astype(np.float64)
        for name, v in (("center", center), ("scale", scale))
    )
    check(bool(np.all(width > 0)), OWNER, "scale", "positive", width.min())
    rule = Rule(energy, event_shape, middle, width)
    last = FIRST
    cells, share, rising = rule.integrate(*_shell(d, None, last)), 1.0, 0
    while share >= SHELL:
        allowed = "one that rises at infinity (else it has no log Z)"
        got = f"{share:.0%} of the mass within {2.0**last:.2g} scales in the outer half of that range"
        rising = rising + 1 if share > RISES else 0
        check(last < LAST[d] and rising < PATIENCE, OWNER, "energy", allowed, got)
        shell = rule.integrate(*_shell(d, last, last + 1))
        cells, last = Cells(*map(np.concatenate, zip(cells, shell, strict=True))), last + 1
        share = math.exp(shell.total - cells.total)
    log_z, disagreement = _refined(rule, cells, ALWAYS[d])
    rounding = float(np.finfo(np.float32).eps) * (abs(rule.lowest) + d)
    log_z += float(np.log(width).sum())
    return Quadrature(log_z, disagreement + share + rounding, 2.0**last, rule.count)


class Rule:
    """Gauss and Legendre's rule of one energy, on many boxes at once.

    Parameters
    ----------
    energy
        E of one event.
    event_shape
        Of one event.
    center, scale
        x = center + scale · u, shape (d,).
    """

    def __init__(self, energy: Model, event_shape: tuple[int, ...], center: np.ndarray, scale: np.ndarray):
        self.energy, self.shape, self.center, self.scale = energy, event_shape, center, scale
        self.d = len(center)
        nodes, weights = np.polynomial.legendre.leggauss(NODES[self.d])
        self.nodes = _product((nodes + 1) / 2, self.d)
        self.log_weights = np.log(_product(weights / 2, self.d)).sum(1)
        self.count, self.lowest = 0, math.inf  # energies computed, and the lowest

    def integrate(self, low: np.ndarray, high: np.ndarray) -> Cells:
        """Return the boxes between these corners, shape (n, d) each, integrated."""
        u = low[:, None] + (high - low)[:, None] * self.nodes
        energies = self._energies(self.center + self.scale * u.reshape(-1, self.d))
        logs = scipy.special.logsumexp(self.log_weights - energies.reshape(len(low), -1), axis=1)
        return Cells(low, high, logs + np.log(high - low).sum(1))

    def _energies(self, x: np.ndarray) -> np.ndarray:
        """Return E at points of shape (n, d), in float64."""
        n = len(x)
        size = CHUNKS[n > CHUNKS[0]]
        padded = np.concatenate([x, np.repeat(x[-1:], -n % size, axis=0)]).astype(np.float32)
        parts = padded.reshape(-1, size, *self.shape)
        values = np.concatenate([np.asarray(_energies(self.energy, part)) for part in parts])[:n]
        bad = int(np.sum(~(values > -np.inf)))  # NaN, too
        check(bad == 0, OWNER, "energy", "finite, or +∞ where there is nothing", f"{bad} of {n} that are not")
        self.count += n
        self.lowest = min(self.lowest, float(values.min()))
        return values.astype(np.float64)


@eqx.filter_jit
def _energies(energy: Model, x: Array) -> Array:
    return jax.vmap(lambda one: evaluate(energy, one, None))(jnp.asarray(x))


def _product(values: np.ndarray, d: int) -> np.ndarray:
    return np.array(list(itertools.product(values, repeat=d)))


def _shell(d: int, inner: int | None, outer: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of the cells within ±2^outer and, in some coordinate, beyond ±2^inner."""
    positive = 2.0 ** np.arange(NEAREST, outer + 1)
    edges = np.concatenate([-positive[::-1], [0.0], positive])
    low, high = _product(edges[:-1], d), _product(edges[1:], d)
    if inner is None:
        return low, high
    beyond = np.any(np.maximum(np.abs(low), np.abs(high)) > 2.0**inner, axis=1)
    return low[beyond], high[beyond]


def _refined(rule: Rule, cells: Cells, always: int) -> tuple[float, float]:
    """Return the log of the integral, and the sum of the last disagreements as a share of it."""
    halves = _product(np.array([0.0, 0.5]), rule.d)
    each = len(rule.nodes) * len(halves)
    settled, error, level = -math.inf, 0.0, 0
    off = np.exp(cells.logs - cells.total)  # what is not known of a cell: at first all of it
    while True:
        more = np.full(len(off), True) if level < always else off > TOLERANCE / len(off)
        error += float(off[~more].sum())
        settled = _log_sum(settled, cells.logs[~more])
        cells, off, level = Cells(*(a[more] for a in cells)), off[more], level + 1
        if not len(off) or rule.count + each * len(off) > MOST:
            break
        side = (cells.high - cells.low)[:, None]
        low = (cells.low[:, None] + side * halves).reshape(-1, rule.d)
        parts = rule.integrate(low, low + np.repeat(side[:, 0] / 2, len(halves), axis=0))
        sums: Any = scipy.special.logsumexp(parts.logs.reshape(-1, len(halves)), axis=1)
        total = _log_sum(settled, sums)
        off = np.abs(np.exp(sums - total) - np.exp(np.minimum(cells.logs - total, LARGE)))
        cells, off = parts, np.repeat(off / len(halves), len(halves))
    return _log_sum(settled, cells.logs), error + float(off.sum())


def _log_sum(one: float, others: np.ndarray) -> float:
    found: Any = scipy.special.logsumexp(np.append(others, one))
    return float(found)
