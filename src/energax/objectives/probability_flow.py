r"""Minimum probability flow: the rate at which the data leave themselves under the model.

Let a Markov chain move x → y between neighbours at the rate exp(½[E(x) − E(y)]), in detailed
balance with the model. Started from the data, its first flow of probability out of them is

    K(θ) = E_x Σ_{y ~ x} exp(½ [E(x) − E(y)]),

Sohl-Dickstein, Battaglino & DeWeese (2011). For any pair of neighbours the truth contributes
√(p(x) p(y)) (1 from each side), and its gradient there, √(p(x)p(y)) ½[∂E(x) − ∂E(y)], is undone by
the pair taken the other way: the minimum is the density. Z cancels.

    flips       y = x with one bit (or spin) turned; `all_flip` adds y = all of them turned.
                Of an Ising energy xᵀJx over bits: ½[E(x) − E(x̄ⁱ)] = (2x_i − 1)(Jx)_i − ½J_ii
    gaussian    y = x + εξ, ξ ~ N(0, I), a mean over one draw: K = 1 + (ε²/4) E[½‖∇E‖² − ΔE] + O(ε⁴),
                score matching in the limit

The paper sums over neighbours that are no data points, so that its K tends to 0 where all states are
seen; here all neighbours count. Both are least, as data grow, at the law of the data.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_choice, check_number
from energax.derivatives import evaluate
from energax.objectives.base import Batch, Objective
from energax.objectives.flips import flipped_energies, other_state
from energax.objectives.requirements import (
    require_array,
    require_continuous,
    require_energy,
    require_spread,
)
from energax.objectives.targets import Density
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["MinimumProbabilityFlow"]

MOVES = ("flips", "gaussian")


class MinimumProbabilityFlow(Objective):
    """K = mean over data of Σ_y exp(½[E(x) − E(y)]) over the neighbours y of x.

    Minimiser: the probabilities (or the density) of the data. Sohl-Dickstein et al. (2011), eq. 9.

    Parameters
    ----------
    moves
        "flips" for bits or spins: d neighbours, one coordinate turned in each. "gaussian" for
        reals: one neighbour x + εξ, drawn afresh.
    epsilon
        ε > 0 of the Gaussian moves, in the units the model sees.
    all_flip
        Whether turning every coordinate is a move too: it lets probability flow between states
        that are each other's negatives.
    """

    epsilon: Array
    moves: str = eqx.field(static=True)
    all_flip: bool = eqx.field(static=True)

    def __init__(self, moves: str = "flips", epsilon: float = 0.3, all_flip: bool = False):
        owner = "MinimumProbabilityFlow"
        self.moves = check_choice(owner, "moves", moves, MOVES)
        self.epsilon = jnp.asarray(check_number(owner, "epsilon", epsilon, above=0))
        check(moves == "flips" or not all_flip, owner, "all_flip", "False for Gaussian moves", all_flip)
        self.all_flip = bool(all_flip)

    @property
    def target(self) -> Density:
        """The probabilities of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return what a coordinate and its other state add up to: 1 of bits, 0 of spins."""
        owner = type(self).__name__
        require_energy(owner, model)
        if self.moves == "gaussian":
            require_array(owner, data.x)
            require_continuous(owner, data.x, "moves='flips'")
            require_spread(owner, data.x)
            return None, None
        return None, other_state(owner, data.x, "moves='gaussian'")

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""
        if self.moves == "gaussian":
            y = batch.x + self.epsilon * jax.random.normal(key, batch.x.shape)

            def drawn(x, y, c):
                return jnp.exp(0.5 * (evaluate(model, x, c) - evaluate(model, y, c)))

            return jnp.mean(jax.vmap(drawn)(batch.x, y, batch.condition)), {}

        def turned(x, c):
            here = evaluate(model, x, c)
            flow = jnp.sum(jnp.exp(0.5 * (here - flipped_energies(model, x, c, state))))
            if self.all_flip:
                flow = flow + jnp.exp(0.5 * (here - evaluate(model, state - x, c)))
            return flow

        return jnp.mean(jax.vmap(turned)(batch.x, batch.condition)), {}
