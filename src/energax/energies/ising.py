r"""Ising models: spins y ∈ {−1,1} with pairwise couplings, on a grid and on any graph.

    grid     E(y) = −Σ_{r,c} [J→ y_{r,c} y_{r,c+1} + J↓ y_{r,c} y_{r+1,c} + b y_{r,c}]
    graph    E(y) = −½ yᵀJy − b·y,          J symmetric with zero diagonal

A spin feels the local field L_i = b_i + Σ_j J_ij y_j of its neighbours: p(y_i = 1 | rest) = σ(2L_i).
The grid is a checkerboard: the squares of one colour are independent given the other's, so a
sweep is two half-updates.

log Z of a grid is exact by the transfer matrix, taken a site at a time. With W columns, let
m(s), s ∈ {−1,1}ᵂ, be the log of the sum over all spins before the frontier, the latest W sites. A new
site with spin t takes the place of the spin s above it:

    m′(…, t, …) = b t + J→ t (its left neighbour) + log Σ_s exp(m(…, s, …) + J↓ s t).

That costs W·2ᵂ a row, so the shorter side may have 20 spins and the longer any number. Draws go
back through the rows: given the row t below, p(row = s) ∝ exp(m(s) + Σ_c J↓ s_c t_c).

Sources: Lecture (Zhang 2021), "Ising model"; Kramers & Wannier (1941) for the transfer matrix.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from energax.checks import check, check_event_shape
from energax.energies.base import Normalised
from energax.energies.enumeration import LIMIT, check_enumerable, draw_states, log_weights
from energax.energies.units import draw_spins, flat, log_odds, nearest_spins
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["Ising", "IsingGraph"]

SPINS = (-1.0, 1.0)


class Ising(Normalised):
    """Spins ±1 on a grid: E(y) = −Σ J→ y y′ − Σ J↓ y y′ − Σ b y over neighbours right and below.

    log Z, log p(y) and exact draws by the transfer matrix, if one side is of at most 20.

    Parameters
    ----------
    event_shape
        (H, W), the grid.
    horizontal, vertical
        J→ and J↓: one number shared by all edges, or one for each, shape (H, W − 1) and
        (H − 1, W). Positive ones make neighbours alike. Learnable as given: shared, or per edge.
    field
        b: one number, or one for each site, shape (H, W).
    """

    horizontal: Array
    vertical: Array
    field: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        *,
        horizontal: ArrayLike = 0.0,
        vertical: ArrayLike = 0.0,
        field: ArrayLike = 0.0,
    ):
        self.event_shape = shape = check_event_shape("Ising", event_shape)
        check(len(shape) == 2, "Ising", "event_shape", "(height, width)", shape)
        H, W = shape
        self.horizontal = _number_or("Ising", "horizontal", horizontal, (H, W - 1))
        self.vertical = _number_or("Ising", "vertical", vertical, (H - 1, W))
        self.field = _number_or("Ising", "field", field, shape)

    def __call__(self, x: Float[Array, "H W"], condition: Condition | None = None) -> Scalar:
        """Return E(x) of one grid of spins."""
        y = self._grid(x)
        right = jnp.sum(self.horizontal * y[:, :-1] * y[:, 1:])
        below = jnp.sum(self.vertical * y[:-1] * y[1:])
        return -right - below - jnp.sum(self.field * y)

    def local_field(self, x: Float[Array, "H W"]) -> Float[Array, "H W"]:
        """Return L, so that p(y_i = 1 | rest) = σ(2L_i)."""
        y = self._grid(x)
        H, W = self.event_shape
        right = jnp.broadcast_to(self.horizontal, (H, W - 1))
        below = jnp.broadcast_to(self.vertical, (H - 1, W))
        sideways = jnp.pad(right * y[:, 1:], ((0, 0), (0, 1))) + jnp.pad(right * y[:, :-1], ((0, 0), (1, 0)))
        upright = jnp.pad(below * y[1:], ((0, 1), (0, 0))) + jnp.pad(below * y[:-1], ((1, 0), (0, 0)))
        return self.field + sideways + upright

    def sweep(self, x: Float[Array, "H W"], key: Key) -> Float[Array, "H W"]:
        """Return x after one colour of the checkerboard given the other, and the other given it."""
        return self._sweep(x, key, (0, 1))

    def sweep_back(self, x: Float[Array, "H W"], key: Key) -> Float[Array, "H W"]:
        """Return x after the colours in the other order: `sweep` with time running backwards."""
        return self._sweep(x, key, (1, 0))

    def _sweep(self, x: Float[Array, "H W"], key: Key, order: tuple[int, int]) -> Float[Array, "H W"]:
        colour = np.indices(self.event_shape).sum(0) % 2
        y = self._grid(x)
        for now, k in zip(order, jax.random.split(key), strict=True):
            y = jnp.where(colour == now, draw_spins(2 * self.local_field(y), k), y)
        return y

    def start(self, x: Float[Array, "H W"], key: Key) -> Float[Array, "H W"]:
        """Return the signs of x, a state for a chain to start from."""
        return nearest_spins(self._grid(x))

    def tempered(self, temperature: float | Scalar) -> Ising:
        """Return the model with the energy E(x)/T; T may be traced."""
        return jax.tree.map(lambda a: a / temperature, self)

    def log_normalizer(self) -> Scalar:
        """Return log Z, by the transfer matrix along the shorter side."""
        return jnp.sum(self._messages()[1])

    def sample(self, key: Key, n: int) -> Float[Array, "n H W"]:
        """Return n independent exact draws, row by row back through the transfer matrix."""
        messages, _ = self._messages()
        W = messages.shape[1].bit_length() - 1
        _, vertical, _ = self._rows()

        def row(below, inputs):
            message, couplings, k = inputs
            weights = message.reshape((2,) * W)
            for c in range(W):
                weights = weights + _along(c, W, couplings[c] * below[c] * jnp.asarray(SPINS))
            spins = 2 * draw_states(k, weights.ravel(), 1)[0] - 1
            return spins, spins

        # The last row has nothing below it: a coupling of zero.
        couplings = jnp.concatenate([vertical[1:], jnp.zeros((1, W))])

        def one(k):
            keys = jax.random.split(k, len(messages))
            return jax.lax.scan(row, jnp.zeros(W), (messages, couplings, keys), reverse=True)[1]

        draws = jax.lax.map(one, jax.random.split(key, n), batch_size=max(1, 2 ** (LIMIT - W)))
        return draws if self._upright else jnp.swapaxes(draws, 1, 2)

    @property
    def _upright(self) -> bool:
        """Whether the rows are the shorter side; if not, the grid is taken transposed."""
        return self.event_shape[1] <= self.event_shape[0]

    def _rows(self) -> tuple[Array, Array, Array]:
        """(J→, J↓ to the row above, b) of each row, of the grid with the shorter rows."""
        H, W = self.event_shape
        right = jnp.broadcast_to(self.horizontal, (H, W - 1))
        below = jnp.broadcast_to(self.vertical, (H - 1, W))
        field = jnp.broadcast_to(self.field, (H, W))
        if not self._upright:
            right, below, field, W = below.T, right.T, field.T, H
        return right, jnp.concatenate([jnp.zeros((1, W)), below]), field

    def _messages(self) -> tuple[Float[Array, "rows states"], Float[Array, " rows"]]:
        """After each row m up to a constant, so that exp(m) sums to one; and these constants.

        Their sum is log Z. Kept in m itself, they would drown its digits.
        """
        rows = self._rows()
        W = rows[2].shape[1]
        check_enumerable("Ising", "the shorter side of the grid", W)
        spins = jnp.asarray(SPINS)
        alike = jnp.outer(spins, spins)

        def site(message, c, above, left, field):
            # Axes of a message: the sites left of c, site c, the sites right of it.
            old = message.reshape(2**c, 2, 1, -1)
            new = jax.nn.logsumexp(old + above * alike[:, :, None], axis=1) + field * spins[:, None]
            if left is not None:
                new = new.reshape(-1, 2, 2, new.shape[-1]) + left * alike[:, :, None]
            return new.reshape(message.shape)

        @jax.checkpoint
        def row(message, inputs):
            right, above, field = inputs
            for c in range(W):
                message = site(message, c, above[c], right[c - 1] if c else None, field[c])
            constant = jax.nn.logsumexp(message)
            return message - constant, (message - constant, constant)

        # Above the first row stands one without couplings, whose 2ᵂ states add up to one.
        start = jnp.full(2**W, -W * math.log(2.0))
        return jax.lax.scan(row, start, rows)[1]

    def _grid(self, x: Float[Array, "H W"]) -> Float[Array, "H W"]:
        return flat("Ising", "x", x, self.event_shape).reshape(self.event_shape)


class IsingGraph(Normalised):
    """Spins ±1 with any couplings: E(y) = −½ yᵀJy − b·y. Also known as a Boltzmann machine.

    log Z, log p(y) and exact draws by enumeration, up to 20 spins.

    Parameters
    ----------
    couplings
        J, shape (d, d), symmetric with zero diagonal. Stored, and trained, as its upper triangle.
    field
        b: one number, or shape (d,).
    event_shape
        Shape of one event; (d,) if None.
    """

    couplings: Float[Array, " pairs"]
    field: Array
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        couplings: ArrayLike,
        field: ArrayLike = 0.0,
        *,
        event_shape: tuple[int, ...] | None = None,
    ):
        J = jnp.asarray(couplings, jnp.float32)
        square = J.ndim == 2 and J.shape[0] == J.shape[1]
        check(square, "IsingGraph", "couplings", "a square matrix", f"shape {J.shape}")
        if not isinstance(J, Tracer):
            fair = bool(jnp.allclose(J, J.T)) and not bool(jnp.any(jnp.diagonal(J)))
            check(fair, "IsingGraph", "couplings", "symmetric with a zero diagonal", "a matrix that is not")
        d = J.shape[0]
        self.couplings = J[np.triu_indices(d, 1)]
        self.field = _number_or("IsingGraph", "field", field, (d,))
        self.event_shape = (d,) if event_shape is None else check_event_shape("IsingGraph", event_shape)
        spins = math.prod(self.event_shape)
        check(spins == d, "IsingGraph", "event_shape", f"of {d} spins", self.event_shape)

    @classmethod
    def from_data(cls, x: ArrayLike) -> IsingGraph:
        """Return a graph without couplings whose fields give each spin the data's share of ones.

        The independent law from which learning starts: σ(2b) is the share, with one row of each kind
        added, so that a spin that never turns stays finite.

        Parameters
        ----------
        x
            Rows of spins, shape (n, *event).
        """
        owner, rows = "IsingGraph.from_data", np.asarray(x)
        other = rows[(rows != -1) & (rows != 1)]
        check(other.size == 0, owner, "x", "spins, -1 and 1", f"an entry {other[:1]}")
        b = log_odds(owner, (rows + 1) / 2) / 2
        return cls(np.zeros((b.size, b.size)), b.ravel(), event_shape=b.shape)

    @property
    def matrix(self) -> Float[Array, "d d"]:
        """J, symmetric with zero diagonal."""
        d = math.prod(self.event_shape)
        upper = jnp.zeros((d, d)).at[np.triu_indices(d, 1)].set(self.couplings)
        return upper + upper.T

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return E(x) of one event of spins."""
        y = self._flat(x)
        return -0.5 * y @ self.matrix @ y - jnp.sum(self.field * y)

    def local_field(self, x: Float[Array, "*event"]) -> Float[Array, "*event"]:
        """Return L = b + Jy, so that p(y_i = 1 | rest) = σ(2L_i)."""
        return (self.field + self.matrix @ self._flat(x)).reshape(self.event_shape)

    def sweep(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return x after every spin has been drawn in turn, given all others as they then are."""
        return self._sweep(x, key, reverse=False)

    def sweep_back(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return x after the spins in the opposite order: `sweep` with time running backwards."""
        return self._sweep(x, key, reverse=True)

    def _sweep(self, x: Float[Array, "*event"], key: Key, *, reverse: bool) -> Float[Array, "*event"]:
        y = self._flat(x)
        field = jnp.broadcast_to(self.field, y.shape)

        def visit(y, site):
            i, row, b, k = site
            return y.at[i].set(draw_spins(2 * (b + row @ y), k)), None

        sites = (jnp.arange(y.size), self.matrix, field, jax.random.split(key, y.size))
        return jax.lax.scan(visit, y, sites, reverse=reverse)[0].reshape(self.event_shape)

    def start(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return the signs of x, a state for a chain to start from."""
        return nearest_spins(self._flat(x)).reshape(self.event_shape)

    def tempered(self, temperature: float | Scalar) -> IsingGraph:
        """Return the model with the energy E(x)/T; T may be traced."""
        return jax.tree.map(lambda a: a / temperature, self)

    def log_normalizer(self) -> Scalar:
        """Return log Z, by enumeration."""
        return jax.nn.logsumexp(self._log_weights())

    def sample(self, key: Key, n: int) -> Array:
        """Return n independent exact draws, by enumeration; shape (n, *event)."""
        return (2 * draw_states(key, self._log_weights(), n) - 1).reshape(n, *self.event_shape)

    def _log_weights(self) -> Float[Array, " states"]:
        d = math.prod(self.event_shape)
        check_enumerable("IsingGraph", "an event", d)
        J = self.matrix

        def log_weight(bits):
            y = 2 * bits - 1
            return 0.5 * y @ J @ y + jnp.sum(self.field * y)

        return log_weights(log_weight, d)

    def _flat(self, x: Float[Array, "*event"]) -> Float[Array, " d"]:
        return flat("IsingGraph", "x", x, self.event_shape)


def _number_or(owner: str, name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return an array that is one number or of that shape."""
    array = jnp.asarray(value, jnp.float32)
    fits = array.shape in ((), shape)
    check(fits, owner, name, f"a number or of shape {shape}", f"shape {array.shape}")
    return array


def _along(axis: int, dimensions: int, values: Float[Array, " two"]) -> Array:
    """Return two values along one axis of an array of that many dimensions."""
    return values.reshape([2 if a == axis else 1 for a in range(dimensions)])
