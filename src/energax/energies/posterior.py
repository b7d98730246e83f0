r"""What a prior and a noisy look leave of an event.

    y = A x + s n,  n ~ N(0, I)    ⟹    p(x | y) ∝ exp(−E(x | y)),   E(x | y) = E(x) + ‖y − A x‖² / 2s²

for any prior p ∝ exp(−E). Blur, loss of resolution, random projections, missing entries are all of this
form. log Z of the prior falls away.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp

from energax.checks import check_number
from energax.energies.base import Energy, OfAnother
from energax.typing import Array, Condition, Event, Scalar

__all__ = ["Posterior"]


class Posterior(OfAnother):
    """E(x | y) = E(x) + ‖y − A x‖² / 2s², the observation y being the condition.

    Parameters
    ----------
    energy
        E, the prior's.
    operator
        A: from an event to what is seen of it without noise, an array of any shape. It need not be
        linear for this to be the posterior.
    noise
        s > 0, the standard deviation of the observation's noise, in its own units.
    """

    energy: Energy
    operator: Callable[[Event], Array]
    noise: float = eqx.field(static=True)

    def __init__(self, energy: Energy, operator: Callable[[Event], Array], noise: float):
        self.energy = energy
        self.operator = operator
        self.noise = check_number("Posterior", "noise", noise, above=0)

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x | y) for the observation y given as the condition."""
        assert condition is not None
        missed = condition - self.operator(x)
        return self.energy(x) + jnp.sum(missed**2) / (2 * self.noise**2)
