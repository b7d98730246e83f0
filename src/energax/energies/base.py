"""What an energy is: a callable on one event, with the algebra of energies.

p(x) ∝ exp(−E(x)),        log p(x) = −E(x) − log Z,        Z = ∫ exp(−E(x)) dx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import equinox as eqx

from energax.edges import has_edge
from energax.typing import Condition, Event, Events, Key, Scalar

if TYPE_CHECKING:
    from energax.energies.composition import Sum, Tempered

__all__ = ["Energy", "Normalised", "OfAnother"]


class Energy(eqx.Module):
    """Base of the library's energies: E(x), or E(x, c), of ONE event; lower is likelier.

    Any plain function does as well wherever an energy is asked for; this class adds
    `a + b` (the product of the two densities) and `a / T` (temperature T).
    """

    event_shape: eqx.AbstractVar[tuple[int, ...]]

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x), a scalar in nats."""
        raise NotImplementedError

    @property
    def has_edge(self) -> bool:
        """Whether the density ends at an edge, where Stein's identity fails: on a half-line, in a box."""
        return False

    def __add__(self, other: Energy) -> Sum:
        from energax.energies.composition import Sum

        return Sum((self, other))

    def __truediv__(self, temperature: float) -> Tempered:
        from energax.energies.composition import Tempered

        return Tempered(self, temperature)


class OfAnother(Energy):
    """An energy made of one other, over the same events: its density ends where the other's does.

    Parameters
    ----------
    energy
        The other.
    """

    energy: eqx.AbstractVar[Energy]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.energy.event_shape

    @property
    def has_edge(self) -> bool:
        """That of the energy."""
        return has_edge(self.energy)


class Normalised(Energy):
    """An energy whose log Z is known and which can be sampled exactly: the tests' oracle."""

    def log_normalizer(self) -> Scalar:
        """Return log Z = log ∫ exp(−E(x)) dx, in nats."""
        raise NotImplementedError

    def sample(self, key: Key, n: int) -> Events:
        """Return n independent exact draws, shape (n, *event_shape)."""
        raise NotImplementedError

    def log_prob(self, x: Event) -> Scalar:
        """Return log p(x) = −E(x) − log Z of one event, in nats."""
        return -self(x) - self.log_normalizer()
