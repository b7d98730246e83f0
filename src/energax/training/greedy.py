r"""A deep Boltzmann machine's stack, trained one machine on top of another.

The l-th of L restricted machines is trained with doubled inputs (`CopiedRBM.in_stack`) by persistent chains,

    layer 1 on the rows x,        layer l + 1 on bits drawn from p(hˡ | copies of hˡ⁻¹),

and the deep machine takes their weights (`DeepBoltzmannMachine.from_rbms`).

Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann machines", §3.1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check
from energax.data import Transform
from energax.energies import BernoulliRBM, CopiedRBM, DeepBoltzmannMachine
from energax.objectives import PersistentContrastiveDivergence
from energax.samplers import BlockGibbs
from energax.training.fit import fit
from energax.typing import Array, ArrayLike, Key

__all__ = ["greedy"]


def greedy(
    x: ArrayLike,
    hidden: Sequence[int],
    *,
    steps: int,
    rate: float,
    key: Key,
    sweeps: int = 5,
    chains: int = 128,
    batch_size: int = 128,
    begun: Callable[[int], None] | None = None,
    progress: bool | None = False,
) -> DeepBoltzmannMachine:
    """Train a stack of RBMs, each on bits drawn from the one below; return the machine composed of it.

    Parameters
    ----------
    x
        Rows of bits, or of their probabilities, from which bits are drawn once.
    hidden
        Units of each hidden layer, from the lowest.
    steps, rate, batch_size
        Updates of each RBM, and `fit`'s learning rate and rows of a minibatch.
    key
        Decides every draw.
    sweeps, chains
        Of the persistent chains: sweeps in an update, and how many there are.
    begun
        Called with the number of each layer, from 1, before it is trained.
    progress
        As for `fit`.

    Raises
    ------
    InputError
        Without a hidden layer, or for what `fit` refuses.
    DivergenceError
        If a machine's training diverges.
    KeyboardInterrupt
        If one was interrupted: nothing is kept of a stack that is not whole.
    """
    check(len(hidden) > 0, "greedy", "hidden", "a sequence of at least one layer", hidden)
    rows = jax.random.bernoulli(jax.random.fold_in(key, 0), jnp.asarray(x)).astype(jnp.float32)
    objective = PersistentContrastiveDivergence(BlockGibbs(), sweeps, chains=chains)
    stack = []
    layers = zip(hidden, jax.random.split(key, len(hidden)), strict=True)
    for layer, (units, layer_key) in enumerate(layers, 1):
        if begun is not None:
            begun(layer)
        model_key, fit_key, up_key = jax.random.split(layer_key, 3)
        rbm = BernoulliRBM.from_data(rows, units, key=model_key)
        copied = CopiedRBM.in_stack(rbm, layer, len(hidden))
        done = fit(
            copied,
            objective,
            rows,
            key=fit_key,
            preprocessing=Copies(copied.visible),
            steps=steps,
            batch_size=batch_size,
            learning_rate=rate,
            progress=progress,
        )
        if done.status == "interrupted":
            raise KeyboardInterrupt
        stack.append(done.energy)
        if layer < len(hidden):
            means = _means(done.energy, rows)
            rows = jax.random.bernoulli(up_key, means).astype(jnp.float32)
    return DeepBoltzmannMachine.from_rbms(stack)


@eqx.filter_jit
def _means(machine: CopiedRBM, rows: Array) -> Array:
    return jax.vmap(machine.hidden_means)(rows)


class Copies(Transform):
    """An event repeated: the visible copies of a `CopiedRBM`. Made of each minibatch, not of all rows.

    Parameters
    ----------
    count
        How many copies; one is the event itself.
    """

    count: int = eqx.field(static=True)

    def forward(self, x: Array) -> Array:
        """Return the copies, along a new first axis if there are several."""
        return x if self.count == 1 else jnp.stack([x] * self.count)

    def inverse(self, z: Array) -> Array:
        """Return the first copy."""
        return z if self.count == 1 else z[0]

    def log_det(self, x: Array) -> Array:
        """Return 0: bits have no volume."""
        return jnp.zeros(())
