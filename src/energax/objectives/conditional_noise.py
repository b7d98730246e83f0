r"""Noise made from the data themselves, where neither log Z nor a noise density is needed.

*Conditional noise-contrastive estimation* (Ceylan & Gutmann 2018) draws y_j | x, j = 1 … κ, from a
symmetric kernel, p(y | x) = p(x | y), and learns which of the two in a pair (x, y) came first:

    J(θ) = 2 E log(1 + e^{−G(x, y)}),        G(x, y) = E(y) − E(x).

    gaussian    y = x + εξ, ξ ~ N(0, I)            flips    each bit of y is x's, flipped with chance ε

*Shifted-data NCE* (Song & Kingma 2021, eq. 25–26) has as its noise the data moved by v, and as the
noise's density the model moved likewise. Of a datum x, and of the noise point x + v,

    J(θ) = E [ log(1 + e^{E(x) − E(x−v)}) + log(1 + e^{E(x) − E(x+v)}) ],

which is the former with y = x ± v both drawn. Z cancels from either. As the moves become small,
with t = E(x) − E(y) and log(1 + eᵗ) = log 2 + t/2 + t²/8 + O(t⁴),

    shifted        2 log 2 + ½ [½(v·∇E)² − vᵀ∇²E v] + O(‖v‖⁴)              sliced score matching
    conditional    2 log 2 + ½ ε² E[½‖∇E‖² − ΔE] + O(ε⁴)                    score matching

(the tutorial prints ¼ and a plus). At any size of the moves the minimum is the density: for each
pair {x, y} the loss is the cross-entropy of σ(G) with p(x)/(p(x) + p(y)).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_choice, check_integer, check_number
from energax.derivatives import PROBES, evaluate, probe
from energax.objectives.base import Batch, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.requirements import (
    require_array,
    require_binary,
    require_continuous,
    require_energy,
    require_spread,
)
from energax.objectives.targets import Density
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["ConditionalNoiseContrastiveEstimation", "ShiftedNoiseContrastiveEstimation"]

KERNELS = ("gaussian", "flips")
TRIED_ROWS = 2000
START, GROW, SHRINK, TRIES = 0.5, 1.2, 0.5, 500  # Ceylan & Gutmann's search for ε
TOO_EASY, TOO_HARD = 0.5, 0.9  # of 2 log 2
WIDEST = {"gaussian": 2.0, "flips": 0.5}  # standard deviations of the data; flips beyond ½ are flips below it


class ConditionalNoiseContrastiveEstimation(Objective):
    """J = 2 · mean over data and κ noise points each of softplus(E(x) − E(y)).

    Minimiser: the density. Ceylan & Gutmann (2018), eq. 10–13.

    Parameters
    ----------
    epsilon
        ε > 0: standard deviation of the moves, in the units the model sees, or the chance of a
        flip. If None, it is looked for as the paper does: from half the data's standard deviation, 1.2
        times larger while the loss at the first model is above 0.9 of 2 log 2 (pairs too close to
        be told apart), half as large while it is below 0.5 of it (told apart with no model).
        It stays below two standard deviations, where a network that has learned nothing would
        send it to infinity. It is as good as the model it starts from: give one where that knows little.
    noise_points
        κ, noise points per datum.
    kernel
        "gaussian" for reals, "flips" for bits.
    """

    epsilon: Array | None
    noise_points: int = eqx.field(static=True)
    kernel: str = eqx.field(static=True)

    def __init__(self, epsilon: float | None = None, noise_points: int = 5, kernel: str = "gaussian"):
        owner = "ConditionalNoiseContrastiveEstimation"
        self.kernel = check_choice(owner, "kernel", kernel, KERNELS)
        most = 0.5 if kernel == "flips" else None
        if epsilon is not None:
            epsilon = check_number(owner, "epsilon", epsilon, above=0, at_most=most)
        self.epsilon = None if epsilon is None else jnp.asarray(epsilon)
        self.noise_points = check_integer(owner, "noise_points", noise_points, at_least=1)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (None, ε), found by the first model where it is not given."""
        owner = type(self).__name__
        require_array(owner, data.x)
        require_energy(owner, model)
        if self.kernel == "flips":
            require_binary(owner, data.x, "kernel='gaussian'")
        else:
            require_continuous(owner, data.x, "kernel='flips'")
            require_spread(owner, data.x)
        if self.epsilon is not None:
            return None, None
        return None, self._search(model, data, key)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch and its noise."""
        epsilon: Scalar = state if self.epsilon is None else self.epsilon
        return self._loss(model, epsilon, batch, key), {"epsilon": epsilon}

    def _loss(self, model: Model, epsilon: Scalar, batch: Batch, key: Key) -> Scalar:
        shape = (self.noise_points, *batch.x.shape)
        if self.kernel == "gaussian":
            y = batch.x + epsilon * jax.random.normal(key, shape)
        else:
            y = jnp.where(jax.random.bernoulli(key, epsilon, shape), 1 - batch.x, batch.x)
        # All in one batch: one product by each weight matrix, of rows enough to fill it.
        everywhere = jnp.concatenate([batch.x[None], y]).reshape(-1, *batch.x.shape[1:])
        again = jax.tree.map(lambda c: jnp.concatenate([c] * (1 + self.noise_points)), batch.condition)
        here, *there = energies_of(model, everywhere, again).reshape(-1, len(batch))
        return 2 * jnp.mean(jax.nn.softplus(here - jnp.stack(there)))

    def _search(self, model: Model, data: Batch, key: Key) -> Scalar:
        """Return the ε at which the first model tells pairs apart neither always nor never."""
        some = jax.tree.map(lambda a: jnp.asarray(a[:TRIED_ROWS]), data)
        return _searched(self, model, some, key)


@eqx.filter_jit
def _searched(
    objective: ConditionalNoiseContrastiveEstimation, model: Model, some: Batch, key: Key
) -> Scalar:
    gaussian = objective.kernel == "gaussian"
    unit = jnp.mean(jnp.std(some.x.reshape(len(some), -1), axis=0)) if gaussian else 1.0
    widest = WIDEST[objective.kernel] * unit
    level = 2 * jnp.log(2.0)

    def judged(epsilon):
        share = objective._loss(model, epsilon, some, key) / level
        return jnp.where(share > TOO_HARD, GROW, jnp.where(share < TOO_EASY, SHRINK, 1.0))

    def going(carry):
        epsilon, factor, tries = carry
        stuck = (epsilon >= widest) & (factor > 1)
        return (factor != 1) & ~stuck & (tries < TRIES)

    def move(carry):
        epsilon, factor, tries = carry
        epsilon = jnp.minimum(epsilon * factor, widest)
        return epsilon, judged(epsilon), tries + 1

    first = jnp.asarray(START * unit if gaussian else START * widest, jnp.float32)
    return jax.lax.while_loop(going, move, (first, judged(first), 0))[0]


class ShiftedNoiseContrastiveEstimation(Objective):
    """J = mean of softplus(E(x) − E(x−v)) + softplus(E(x) − E(x+v)), v = shift · u.

    Minimiser: the density, for any shift. Song & Kingma (2021), eq. 25–26; as the shift goes to 0,
    2 log 2 and half of sliced score matching, without a derivative in x.

    Parameters
    ----------
    shift
        > 0, standard deviation of a move in each coordinate, in the units the model sees.
    distribution
        The law of u, with E[uuᵀ] = I: "gaussian", "rademacher" or "sphere". Fresh for each row.
    """

    shift: Array
    distribution: str = eqx.field(static=True)

    def __init__(self, shift: float = 0.3, distribution: str = "gaussian"):
        owner = "ShiftedNoiseContrastiveEstimation"
        self.shift = jnp.asarray(check_number(owner, "shift", shift, above=0))
        self.distribution = check_choice(owner, "distribution", distribution, PROBES)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Keep nothing; refuse data without a density."""
        owner = type(self).__name__
        require_energy(owner, model)
        require_continuous(owner, data.x, "ConditionalNoiseContrastiveEstimation(kernel='flips')")
        require_spread(owner, data.x)
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def one(x, c, k):
            u = probe(self.distribution, x, k)
            here = evaluate(model, x, c)
            there = [
                evaluate(model, jax.tree.map(lambda a, b, s=sign: a + s * self.shift * b, x, u), c)
                for sign in (-1.0, 1.0)
            ]
            return sum(jax.nn.softplus(here - energy) for energy in there)

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition, jax.random.split(key, len(batch)))), {}
