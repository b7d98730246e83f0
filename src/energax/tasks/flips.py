r"""Restoring binary images: the posterior of spins of which some were flipped.

Spins y with the law of an Ising grid, p(y) ∝ exp(−E(y)), are seen as x, each flipped independently with
probability f. Since y_i = ±1,

    p(x_i | y_i) = √(f(1 − f)) · exp(h x_i y_i),        h = ½ log((1 − f)/f),

and p(y | x) ∝ p(y) ∏ p(x_i | y_i) is the Ising grid with the same couplings and the field b_i + h x_i.
Three answers to what y was:

    gibbs    sign(E[y_i | x]) of each pixel: the most pixels right that can be expected
    icm      a local mode, from x by turning pixels while p(y | x) grows (Besag 1986)
    cut      the mode, argmax p(y | x), exactly, where no coupling is negative (Greig et al. 1989)

Gibbs sampling estimates p(y_i = 1 | x) by the mean over sweeps of the conditional σ(2L_i), L the local
field: it has the mean of the spin itself and, by Rao–Blackwell, less variance.

Source: Lecture (Zhang 2021), "Ising model", which maximises p(y | x).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array, check_choice, check_integer, check_number
from energax.energies import Ising
from energax.samplers import Sampler, run
from energax.tasks.cut import check_ferromagnetic, ground_state
from energax.typing import Array, ArrayLike, Float, Key, Metrics

__all__ = ["METHODS", "Restoration", "flip_posterior", "restore_flips"]

METHODS = ("gibbs", "icm", "cut")
ROUNDING = 1e-6  # of the sum of |terms| of a local field, within which its sign is not known


class Restoration(NamedTuple):
    """What `restore_flips` returns.

    Parameters
    ----------
    spins
        The restored rows, −1 and 1, shape (n, H, W).
    energy
        The energy of each under its posterior, −log p(y | x) up to a constant of the row, in nats.
    probability
        p(y_i = 1 | x), estimated; of "gibbs" only.
    gap
        How far each energy may be from the least, in nats, by rounding; of "cut" only.
    """

    spins: np.ndarray
    energy: np.ndarray
    probability: np.ndarray | None = None
    gap: np.ndarray | None = None


def flip_posterior(ising: Ising, observed: ArrayLike, flip: float) -> Ising:
    """Return p(y | x) ∝ exp(−E(y)) ∏ p(x_i | y_i): the same couplings, the field b_i + ½ log((1 − f)/f) x_i.

    Parameters
    ----------
    ising
        The law of clean spins.
    observed
        x, one grid of −1 and 1.
    flip
        f, the probability with which each spin was flipped, between 0 and 1.

    Raises
    ------
    InputError
        If x is not a grid of spins, or f not strictly between 0 and 1.
    """
    strength = _strength("flip_posterior", ising, flip)
    rows = _spins("flip_posterior", np.asarray(observed)[None], ising)
    return _posterior(ising, jnp.asarray(rows[0]), strength)


def restore_flips(
    ising: Ising,
    observed: np.ndarray,
    flip: float,
    method: str = "gibbs",
    *,
    key: Key | None = None,
    sweeps: int = 500,
    burn_in: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Restoration:
    """Return what spins were before each was flipped with probability `flip`.

    Parameters
    ----------
    ising
        The law of clean spins, E of −1 and 1 on a grid; by hand or learned.
    observed
        Rows x of −1 and 1, shape (n, H, W).
    flip
        f, strictly between 0 and 1.
    method
        "gibbs", "icm" or "cut", as the head of this module says.
    key
        Decides the draws of "gibbs", which needs it; the others draw nothing.
    sweeps, burn_in
        Of "gibbs": sweeps that are averaged, after some that are not. Chains start at x.
    progress
        As in `samplers.run`, of "gibbs".

    Raises
    ------
    InputError
        If x has other entries than −1 and 1, f is not between 0 and 1, or a cut is asked of a grid
        with a negative coupling.
    """
    check_choice("restore_flips", "method", method, METHODS)
    strength = _strength("restore_flips", ising, flip)
    x = _spins("restore_flips", observed, ising)
    if method == "cut":
        allowed = "'gibbs' or 'icm' where a coupling is negative, which no cut can stand for"
        check_ferromagnetic("restore_flips", "method", ising, allowed)
        modes = [ground_state(_posterior(ising, row, strength)) for row in x]
        spins, gap = (np.stack(part) for part in zip(*modes, strict=True))
        return Restoration(spins, _energies(ising, x, spins, strength), gap=gap)
    if method == "icm":
        spins = np.asarray(_settled(ising, jnp.asarray(x), strength))
        return Restoration(spins, _energies(ising, x, spins, strength))
    check(key is not None, "restore_flips", "key", "given for the method 'gibbs'", None)
    assert key is not None
    check_integer("restore_flips", "sweeps", sweeps, at_least=1)
    check_integer("restore_flips", "burn_in", burn_in, at_least=0)
    means = run(_Marginals(strength, burn_in, sweeps), ising, x, key=key, progress=progress)
    probability = np.asarray(means.x)
    spins = np.where(probability > 0.5, 1.0, np.where(probability < 0.5, -1.0, x)).astype(np.float32)
    return Restoration(spins, _energies(ising, x, spins, strength), probability)


class _Chain(eqx.Module):
    """Spins y, the x they are drawn given, and the sum of p(y_i = 1 | rest) so far."""

    spins: Float[Array, "H W"]
    observed: Float[Array, "H W"]
    on: Float[Array, "H W"]


class _Marginals(Sampler):
    """Sweeps of p(y | x), x being where the chain starts; its position is the estimate of p(y_i = 1 | x)."""

    strength: Array
    burn_in: Array
    sweeps: Array
    total: int = eqx.field(static=True)

    def __init__(self, strength: Array, burn_in: int, sweeps: int):
        self.strength, self.total = strength, burn_in + sweeps
        self.burn_in, self.sweeps = jnp.asarray(burn_in), jnp.asarray(sweeps)

    @property
    def horizon(self) -> int:
        return self.total

    def init(self, model: Ising, x: Float[Array, "H W"], key: Key) -> _Chain:
        return _Chain(x, x, jnp.zeros_like(x))

    def step(self, model: Ising, state: _Chain, key: Key, i: jax.Array) -> tuple[_Chain, Metrics]:
        posterior = _posterior(model, state.observed, self.strength)
        y = posterior.sweep(state.spins, key)
        on = jnp.where(i < self.burn_in, 0.0, jax.nn.sigmoid(2 * posterior.local_field(y)))
        return _Chain(y, state.observed, state.on + on), {}

    def position(self, state: _Chain) -> Float[Array, "H W"]:
        return state.on / self.sweeps


@eqx.filter_jit
def _settled(ising: Ising, x: Float[Array, "n H W"], strength: Array) -> Float[Array, "n H W"]:
    """Return where turning the two colours of the checkerboard in turn, from x, comes to rest."""

    def one(x):
        posterior = _posterior(ising, x, strength)

        def sweep(carry):
            y, _ = carry
            turned = turn(posterior, turn(posterior, y, 0), 1)
            return turned, jnp.any(turned != y)

        return jax.lax.while_loop(lambda carry: carry[1], sweep, (x, jnp.asarray(True)))[0]

    return jax.vmap(one)(x)


def turn(ising: Ising, y: Float[Array, "H W"], colour: int) -> Float[Array, "H W"]:
    """Return y with every spin of one colour turned towards its local field.

    A field whose sign rounding may have decided turns nothing, so that every turn lowers E and turning
    comes to an end.
    """
    square = np.indices(ising.event_shape).sum(0) % 2 == colour
    field = ising.local_field(y)
    terms = jax.tree.map(jnp.abs, ising).local_field(jnp.ones_like(y))
    return jnp.where(square & (jnp.abs(field) > ROUNDING * terms), jnp.sign(field), y)


def _posterior(ising: Ising, x: ArrayLike, strength: Array) -> Ising:
    return eqx.tree_at(lambda m: m.field, ising, ising.field + strength * jnp.asarray(x))


@eqx.filter_jit
def _energies_of(ising: Ising, x: Array, y: Array, strength: Array) -> Float[Array, " n"]:
    return jax.vmap(lambda x, y: _posterior(ising, x, strength)(y))(x, y)


def _energies(ising: Ising, x: np.ndarray, y: np.ndarray, strength: Array) -> np.ndarray:
    return np.asarray(_energies_of(ising, jnp.asarray(x), jnp.asarray(y), strength))


def _strength(owner: str, ising: Ising, flip: float) -> Array:
    """Return h = ½ log((1 − f)/f), once the model is a grid and f a probability that can be."""
    check(isinstance(ising, Ising), owner, "ising", "an Ising grid", type(ising).__name__)
    f = check_number(owner, "flip", flip, above=0)
    check(f < 1, owner, "flip", "strictly between 0 and 1", f"{f:g}")
    return jnp.asarray(0.5 * (math.log1p(-f) - math.log(f)), jnp.float32)


def _spins(owner: str, observed: np.ndarray, ising: Ising) -> np.ndarray:
    """Return rows of spins, refusing any other entry."""
    x = check_array(owner, "observed", observed, event_shape=ising.event_shape)
    other = x[np.abs(x) != 1]
    check(not other.size, owner, "observed", "−1 and 1 everywhere", f"{other[0]:g}" if other.size else "")
    return x
