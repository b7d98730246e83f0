r"""Energies made of energies.

    Sum                E(x) = Σ_k E_k(x)                        the product of the densities
    Mixture            E(x) = −log Σ_k w_k exp(−E_k(x))         the sum of the unnormalised densities
    Tempered           E(x) / T                                 p^{1/T}
    WithGaussianBase   E(x) + Σ_i [(x_i−μ_i)² / (2β_i²)]        p ∝ exp(−E) N(μ, diag β²)
    WithLogNormalizer  E(x), and a number that log Z is held to be

`WithGaussianBase` makes any network integrable: Grathwohl et al. (2020), "Learning the Stein
discrepancy …", eq. 15 and 17, with learnable μ and log β.
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_number
from energax.derivatives import evaluate
from energax.edges import has_edge
from energax.energies.base import Energy, OfAnother
from energax.typing import Array, ArrayLike, Condition, Event, Float, Scalar

__all__ = ["Mixture", "Sum", "Tempered", "WithGaussianBase", "WithLogNormalizer"]


def _shared_shape(owner: str, energies: Sequence[Energy]) -> tuple[int, ...]:
    check(len(energies) > 0, owner, "energies", "a sequence of at least one energy", "none")
    shapes = {energy.event_shape for energy in energies}
    check(len(shapes) == 1, owner, "energies", "over events of one shape", sorted(shapes))
    return shapes.pop()


class Sum(Energy):
    """E(x) = Σ_k E_k(x): the product of the densities.

    Parameters
    ----------
    energies
        Energies over events of one shape; a condition is passed to each.
    """

    energies: tuple[Energy, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, energies: Sequence[Energy]):
        self.energies = tuple(energies)
        self.event_shape = _shared_shape("Sum", self.energies)

    @property
    def has_edge(self) -> bool:
        """Whether a factor's density has one."""
        return any(map(has_edge, self.energies))

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return jnp.sum(jnp.stack([evaluate(energy, x, condition) for energy in self.energies]))


class Mixture(Energy):
    """E(x) = −log Σ_k w_k exp(−E_k(x)).

    The components' unnormalised densities are added as they stand: w_k is the share of
    component k only if all have the same log Z.

    Parameters
    ----------
    energies
        Energies over events of one shape; a condition is passed to each.
    weights
        w_k > 0, normalised here; equal if None. Stored, and trained, as logits.
    """

    energies: tuple[Energy, ...]
    logits: Float[Array, " K"]
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, energies: Sequence[Energy], weights: Sequence[float] | None = None):
        self.energies = tuple(energies)
        self.event_shape = _shared_shape("Mixture", self.energies)
        given = [1.0] * len(self.energies) if weights is None else list(weights)
        ok = len(given) == len(self.energies) and all(w > 0 for w in given)
        check(ok, "Mixture", "weights", f"{len(self.energies)} positive numbers", given)
        self.logits = jnp.log(jnp.asarray(given, jnp.float32))

    @property
    def has_edge(self) -> bool:
        """Whether a component's density has one."""
        return any(map(has_edge, self.energies))

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        energies = jnp.stack([evaluate(energy, x, condition) for energy in self.energies])
        return -jax.nn.logsumexp(jax.nn.log_softmax(self.logits) - energies)


class Tempered(OfAnother):
    """E(x)/T, the energy at temperature T: T > 1 flattens, T < 1 sharpens.

    Parameters
    ----------
    energy
        The energy at T = 1.
    temperature
        T > 0. A constant: not trained.
    """

    energy: Energy
    temperature: float = eqx.field(static=True)

    def __init__(self, energy: Energy, temperature: float):
        self.energy = energy
        self.temperature = check_number("Tempered", "temperature", temperature, above=0)

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x)/T."""
        return evaluate(self.energy, x, condition) / self.temperature


class WithGaussianBase(OfAnother):
    """E(x) + Σ_i (x_i − μ_i)² / (2β_i²): an energy times a learnable diagonal Gaussian.

    Grathwohl et al. (2020), eq. 15 and 17.

    Parameters
    ----------
    energy
        Any energy over one array.
    mean, scale
        Initial μ and β > 0, broadcast to the event's shape; for data, its mean and its
        standard deviation.

    Raises
    ------
    InputError
        If a scale is not positive, or mean or scale is of a shape that the event's does not take.
    """

    energy: Energy
    mean: Float[Array, "*event"]
    log_scale: Float[Array, "*event"]

    def __init__(self, energy: Energy, mean: ArrayLike = 0.0, scale: ArrayLike = 1.0):
        self.energy = energy
        self.mean = _spread("mean", mean, energy.event_shape)
        scale = _spread("scale", scale, energy.event_shape)
        check(
            bool(jnp.all(scale > 0)), "WithGaussianBase", "scale", "positive", f"a minimum of {scale.min()}"
        )
        self.log_scale = jnp.log(scale)

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x) with the base's energy added."""
        z = (x - self.mean) * jnp.exp(-self.log_scale)
        return evaluate(self.energy, x, condition) + 0.5 * jnp.sum(z**2)


def _spread(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Return a base's mean or scale, given for fewer coordinates, for each of them."""
    value = jnp.asarray(value, jnp.float32)
    ends = zip(reversed(value.shape), reversed(shape), strict=False)
    fits = value.ndim <= len(shape) and all(had in (1, wanted) for had, wanted in ends)
    allowed = f"a number or of a shape that broadcasts to {shape}"
    check(fits, "WithGaussianBase", name, allowed, f"shape {value.shape}")
    return jnp.broadcast_to(value, shape)


class WithLogNormalizer(OfAnother):
    """E(x) with its log Z, as learned or estimated elsewhere: log p(x) = −E(x) − log Z.

    Parameters
    ----------
    energy
        Any energy.
    log_z
        log Z = log ∫ exp(−E(x)) dx, in nats. A constant beside the energy: training moves the
        energy and leaves it behind.
    """

    energy: Energy
    log_z: Scalar

    def __init__(self, energy: Energy, log_z: ArrayLike):
        self.energy = energy
        self.log_z = jnp.asarray(log_z, jnp.float32)
        check(self.log_z.shape == (), "WithLogNormalizer", "log_z", "one number", f"shape {self.log_z.shape}")

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return evaluate(self.energy, x, condition)

    def log_normalizer(self) -> Scalar:
        """Return the log Z it was given."""
        return self.log_z

    def log_prob(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return −E(x) − log Z, in nats."""
        return -self(x, condition) - self.log_z
