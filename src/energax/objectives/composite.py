r"""Composite likelihood: the likelihood of each part of a state given the rest.

    J(θ) = −E Σ_S log p_θ(x_S | x_−S),      −log p_θ(x_S | x_−S) = E(x) + log Σ_{y: y_−S = x_−S} e^{−E(y)}

over blocks S of b coordinates of a state of bits or spins: 2ᵇ energies a block, and Z cancels. With
b = 1 it is the pseudo-likelihood of Besag (1975), Σ_i log(1 + exp(E(x) − E(x̄ⁱ))), x̄ⁱ with
coordinate i turned; with b = d it is the likelihood itself. The minimum is the data's law.
"""

from __future__ import annotations

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_integer
from energax.derivatives import evaluate
from energax.objectives.base import Batch, Objective
from energax.objectives.flips import flipped_energies, other_state
from energax.objectives.requirements import require_energy
from energax.objectives.targets import Density
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["CompositeLikelihood"]

LARGEST_BLOCK = 12  # coordinates: 4,096 energies a block and row


class CompositeLikelihood(Objective):
    """J = −mean Σ_S log p(x_S | x_−S), S blocks of neighbouring coordinates: bits or spins.

    Minimiser: the probabilities of the data. Besag (1975) for blocks of one, Lindsay (1988); the
    KL contraction of Lyu (2011), §4.3.

    Parameters
    ----------
    block
        b, coordinates in a block, 1 for the pseudo-likelihood. The last block reaches back where
        b does not divide their number.
    """

    block: int = eqx.field(static=True)

    def __init__(self, block: int = 1):
        self.block = check_integer("CompositeLikelihood", "block", block, at_least=1)
        few = self.block <= LARGEST_BLOCK
        check(few, "CompositeLikelihood", "block", f"at most {LARGEST_BLOCK}, for 2^block energies", block)

    @property
    def target(self) -> Density:
        """The probabilities of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return what a coordinate and its other state add up to; refuse a block beyond the state."""
        require_energy("CompositeLikelihood", model)
        total = other_state("CompositeLikelihood", data.x, "ScoreMatching or NoiseContrastiveEstimation")
        d = data.x[0].size
        check(self.block <= d, "CompositeLikelihood", "block", f"at most the {d} coordinates", self.block)
        return None, total

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def one(x, c):
            here = evaluate(model, x, c)
            if self.block == 1:
                return jnp.sum(jax.nn.softplus(here - flipped_energies(model, x, c, state)))
            return here * len(starts) + jnp.sum(jax.lax.map(lambda start: log_sum(x, c, start), starts))

        d = batch.x[0].size
        starts = jnp.asarray(np.minimum(np.arange(0, d, self.block), d - self.block))
        turns = jnp.array(list(itertools.product([0.0, 1.0], repeat=self.block)))

        @jax.checkpoint
        def log_sum(x: Array, c: Any, start: Array) -> Scalar:
            """Return log Σ e^{−E} over the states that differ from x in the block at `start` alone."""
            states = x.ravel()
            inside = jax.lax.dynamic_slice(states, (start,), (self.block,))

            def energy(turn):
                changed = jnp.where(turn > 0, state - inside, inside)
                return evaluate(
                    model, jax.lax.dynamic_update_slice(states, changed, (start,)).reshape(x.shape), c
                )

            return jax.nn.logsumexp(-jax.vmap(energy)(turns))

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition)), {}
