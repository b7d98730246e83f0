r"""Minimum velocity learning: how fast the data begin to move under the model's own Langevin dynamics.

Started from p, Langevin dynamics of p_θ changes the mean energy at the rate E_p[ΔE − ‖∇E‖²]; for
half the energy in the drift, at E_p[ΔE − ½‖∇E‖²], which is −1 times Hyvärinen's score-matching
objective. One short step measures it without a second derivative (Movellan 2008):

    half       x′ = x − ½η∇E(x) + √(2η) z,        J = −E[E(x′) − E(x)]/η  →  E[½‖∇E‖² − ΔE]
    stopped    x′ = x − η sg(∇E(x)) + √(2η) z     (sg: held constant)    the same gradient in θ

as η → 0. The first is differentiated through everything; of the second the value tends to
E[‖∇E‖² − ΔE], but its gradient, with the drift held constant, is score matching's too. The drift
of the one with the gradient of the other is wrong by a factor of two in its first term.

E(x′) − E(x) holds ∇E·√(2η)z, of mean zero and of variance 2η‖∇E‖²: divided by η it grows as 1/η.
Taken away (the control variate of Wang et al. 2020) it leaves a variance that stays bounded.

At a finite η the minimum is off by O(η): for p = N(0, 1) and E = ½ax² it is at a = 1 + 3η/8 + O(η²)
(half) and a = 1 + η/2 + O(η²) (stopped).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_choice, check_number
from energax.derivatives import energy_and_score, evaluate, probe, tree_dot
from energax.objectives.base import Batch, Objective
from energax.objectives.denoising import KINKED
from energax.objectives.requirements import (
    WALLED,
    require_continuous,
    require_energy,
    require_no_edge,
    require_smooth,
    require_spread,
)
from energax.objectives.targets import Biased
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["MinimumVelocityLearning"]

DRIFTS = ("half", "stopped")


class MinimumVelocityLearning(Objective):
    """J = −mean [E(x′) − E(x) − ∇E(x)·n]/η, n = √(2η) z, x′ = x − (drift) + n.

    Minimiser: the density, up to a bias of the order of η. Movellan (2008); Wang et al. (2020),
    §3, whose code is the half form.

    Parameters
    ----------
    step
        η > 0, in squared units of the data the model sees.
    drift
        "half": −½η∇E, differentiated. "stopped": −η∇E, held constant.
    control_variate
        Whether ∇E(x)·n, of mean zero, is subtracted. Without it the variance grows as 1/η.
    """

    step: Array
    drift: str = eqx.field(static=True)
    control_variate: bool = eqx.field(static=True)

    def __init__(self, step: float = 1e-3, drift: str = "half", control_variate: bool = True):
        owner = "MinimumVelocityLearning"
        self.step = jnp.asarray(check_number(owner, "step", step, above=0))
        self.drift = check_choice(owner, "drift", drift, DRIFTS)
        self.control_variate = bool(control_variate)

    @property
    def target(self) -> Biased:
        """The density, but for the length of the step."""
        return Biased("the step of Langevin dynamics is not infinitely short", order=1.0)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Keep nothing; refuse data without a density, first derivatives that jump, and edges."""
        owner = type(self).__name__
        require_energy(owner, model)
        require_continuous(owner, data.x, "MinimumProbabilityFlow")
        require_spread(owner, data.x)
        require_no_edge(owner, "model", model, data.x, data.condition, instead=WALLED)
        require_smooth(owner, model, data.x, data.condition, order=1, instead=KINKED)
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""

        def one(x, c, k):
            here, s = energy_and_score(lambda y: evaluate(model, y, c), x)
            z = probe("gaussian", x, k)
            pull = self.pull(s)
            n = jax.tree.map(lambda a: jnp.sqrt(2 * self.step) * a, z)
            there = evaluate(model, jax.tree.map(lambda a, b, e: a + b + e, x, pull, n), c)
            change = there - here
            return change + tree_dot(s, n) if self.control_variate else change

        changes = jax.vmap(one)(batch.x, batch.condition, jax.random.split(key, len(batch)))
        return -jnp.mean(changes) / self.step, {}

    def pull(self, s: Any) -> Any:
        """Return the drift of one step at score s."""
        if self.drift == "half":
            return jax.tree.map(lambda a: 0.5 * self.step * a, s)
        return jax.tree.map(lambda a: self.step * jax.lax.stop_gradient(a), s)
