r"""Gibbs sampling: coordinates drawn from their conditionals, one by one or a block at a time.

`BitGibbs` asks for nothing but E. For x ∈ {0, 1}ᵈ, with x̄ⁱ for x with bit i flipped,

    p(x̄ⁱ | rest) = σ(E(x) − E(x̄ⁱ)),        σ the logistic function.

Step i visits coordinate i mod d: d steps are a sweep.

`BlockGibbs` is for models that know their blocks: a step is `model.sweep(x, key)`, which draws each
block given the others (the layers of a Boltzmann machine, the colours of a checkerboard).

Both leave the law exactly invariant.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies import GaussianBernoulliRBM, Ising, IsingGraph
from energax.energies.visible import VisibleLayer
from energax.samplers.base import Sampler
from energax.typing import Array, Event, Key, Metrics, Model

__all__ = ["BitGibbs", "BlockGibbs", "VisibleGibbs"]


class BitGibbs(Sampler):
    """Flip bit i mod d with probability σ(E(x) − E(x̄)): exact for any energy over bits.

    Two energies a step and no derivative. For the block structure of a Boltzmann machine
    there is a faster way, `BlockGibbs`; this one asks for nothing but E.

    Parameters
    ----------
    steps
        How many steps its horizon has, or None for none; d of them are a sweep.
    """

    steps: int | None

    def __init__(self, steps: int | None = None):
        self.steps = None if steps is None else check_integer("BitGibbs", "steps", steps, at_least=1)

    @property
    def horizon(self) -> int | None:
        """The steps asked for."""
        return self.steps

    def init(self, model: Model, x: Array, key: Key) -> Array:
        """Return the bits nearest to x; refuse a machine of other states."""
        bits = not isinstance(model, Ising | IsingGraph | GaussianBernoulliRBM)
        wanted = "an energy over bits (BlockGibbs draws the spins or the reals of a machine that has them)"
        check(bits, "BitGibbs", "model", wanted, type(model).__name__)
        return jnp.where(x > 0.5, 1.0, 0.0)

    def step(self, model: Model, state: Array, key: Key, i: jax.Array) -> tuple[Array, Metrics]:
        """Return the bits after visiting coordinate i mod d."""
        bits = state.ravel()
        j = i % bits.size
        other = bits.at[j].set(1 - bits[j]).reshape(state.shape)
        flip = jax.random.bernoulli(key, jax.nn.sigmoid(model(state) - model(other)))
        return jnp.where(flip, other, state), {}


class BlockGibbs(Sampler):
    """A sweep a step, of a model that can draw each block of its units given the others.

    The model answers `sweep(x, key)`, and `start(x, key)` with a state near any x: its nearest
    bits or spins; for a deep machine, whose state has hidden layers too, these drawn upwards from x.

    Parameters
    ----------
    sweeps
        How many steps its horizon has, or None for none.
    """

    sweeps: int | None

    def __init__(self, sweeps: int | None = None):
        self.sweeps = None if sweeps is None else check_integer("BlockGibbs", "sweeps", sweeps, at_least=1)

    @property
    def horizon(self) -> int | None:
        """The sweeps asked for."""
        return self.sweeps

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return a state of the model near x; x itself for a model without `start`."""
        check(
            hasattr(model, "sweep"),
            "BlockGibbs",
            "model",
            "one that knows its blocks: a BernoulliRBM, a GaussianBernoulliRBM, an Ising, an IsingGraph, a "
            "DeepBoltzmannMachine (BitGibbs takes any energy of bits, Langevin any of reals)",
            type(model).__name__,
        )
        return model.start(x, key) if hasattr(model, "start") else x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the state after one sweep."""
        return model.sweep(state, key), {}


class VisibleGibbs(BlockGibbs):
    """A sweep of all layers a step, of which x alone is shown: for `energies.VisibleLayer`.

    The hidden layers are the chain's own state: x alone, drawn and forgotten, would be no chain of p(x).
    """

    def position(self, state: Event) -> Array:
        """Return the visible layer."""
        return state[0]

    def whole(self, state: Event) -> Event:
        """Return all layers."""
        return state

    def joint(self, model: Model) -> Model:
        """Return the machine, the energy of all layers."""
        return model.machine if isinstance(model, VisibleLayer) else model
