r"""A deep Boltzmann machine as a law of its visible layer alone.

    F(x) = E(x, μ) − H(μ) = −log Σ_h exp(−E(x, h)) + KL(q ‖ p(h | x)) ≥ −log p(x) − log Z,

q independent bits, μ(x) the means of the best of them: the negative of the machine's variational bound
without its log Z. For one hidden layer nothing is lost; else F is the energy of a law near that of x.

A chain needs all layers. So `start` makes a state (x, h¹, …) of an x, `sweep` moves it, and the sampler that
shows x alone is `samplers.VisibleGibbs`.

Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann machines".
"""

from __future__ import annotations

import equinox as eqx

from energax.checks import check, check_integer
from energax.energies.base import Energy
from energax.energies.dbm import DeepBoltzmannMachine
from energax.typing import Array, Condition, Event, Float, Key, Scalar

__all__ = ["VisibleLayer"]


class VisibleLayer(Energy):
    """F(x) = E(x, μ(x)) − H(μ(x)) of a `DeepBoltzmannMachine`: at least the free energy of x.

    Parameters
    ----------
    machine
        The machine, whose events are tuples of layers.
    iterations
        Rounds over the layers in which μ(x) is found.

    Raises
    ------
    InputError
        If the model is no deep machine.
    """

    machine: DeepBoltzmannMachine
    iterations: int = eqx.field(static=True)

    def __init__(self, machine: DeepBoltzmannMachine, iterations: int = 30):
        deep = isinstance(machine, DeepBoltzmannMachine)
        check(deep, "VisibleLayer", "machine", "a DeepBoltzmannMachine", type(machine).__name__)
        self.machine = machine
        self.iterations = check_integer("VisibleLayer", "iterations", iterations, at_least=1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of x."""
        return self.machine.event_shape

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return F(x), in nats; a derivative holds μ constant, which is exact where it has converged."""
        return -self.machine.variational_bound(x, 0.0, iterations=self.iterations)

    def tempered(self, temperature: float | Scalar) -> VisibleLayer:
        """Return the visible layer of the machine with the energy E/T; T may be traced."""
        return VisibleLayer(self.machine.tempered(temperature), self.iterations)

    def start(self, x: Event, key: Key) -> Event:
        """Return all layers, those above x drawn upwards."""
        return self.machine.start(x, key)

    def sweep(self, layers: Event, key: Key) -> Event:
        """Return all layers after the even ones given the odd, and the odd given the even."""
        return self.machine.sweep(layers, key)
