r"""The contract of a training principle.

An objective never sees the optimiser. A step of `energax.fit` is

    state′ = refresh(model, nuisance, state, batches, key₁)         the model is a constant
    (model′, nuisance′) = descend ∇ loss(model, nuisance, state′, batch, key₂)

What is learned by descent on the same loss (the log Z of noise-contrastive estimation) is
*nuisance*; what is renewed between steps (chains, critics, flows, generators) is *state*; what
a recovery from divergence may change (the chains' step size) is *tunable*.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax

from energax.objectives.targets import Target
from energax.typing import Condition, Events, Key, Metrics, Model, Scalar

__all__ = ["Batch", "Chains", "LogNormalizer", "Objective", "Player"]


class Batch(eqx.Module):
    """Rows of data and, for a conditional model, their conditions.

    Parameters
    ----------
    x
        Events along a leading axis.
    condition
        Conditions along the same axis, or None.
    """

    x: Events
    condition: Condition | None = None

    def __len__(self) -> int:
        return jax.tree.leaves(self.x)[0].shape[0]


class Chains(eqx.Module):
    """A marker: the leading axis of `value` counts chains and is sharded like the batch."""

    value: Any


class LogNormalizer(eqx.Module):
    """A nuisance that stands for log Z: learned beside the energy, in nats."""

    value: Scalar


class Player(eqx.Module):
    """An opponent with the state of its own optimiser: a critic, a flow, a generator."""

    net: Any
    opt: Any


class Objective(eqx.Module):
    """Base of the training principles: frozen, its array fields constants, never trained."""

    @property
    def target(self) -> Target:
        """What the minimum is; `energax.testing.check_objective` holds the objective to it."""
        raise NotImplementedError

    @property
    def tunables(self) -> dict[str, float]:
        """What a recovery may change, by name, with its value at the start.

        `step_size` is a factor of the step size of the chains.
        """
        return {}

    def tuned(self, tunables: Mapping[str, Scalar]) -> Objective:
        """Return the objective with its tunables set; other names are not its own."""
        return self

    @property
    def batches(self) -> int:
        """How many fresh minibatches a step takes: `refresh` sees all, `loss` the last."""
        return 1

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (nuisance, state) before the first step, from the whole data set.

        `rows` is the size of a minibatch, as many chains as a step of `loss` may want.
        """
        return None, None

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Return the renewed state and what it reports; `batches` has a leading axis of `batches`."""
        return state, {}

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the loss, differentiated in (model, nuisance), and what it reports."""
        raise NotImplementedError
