r"""Training by the learned Stein discrepancy: a critic looks for where the model's score is not the data's.

For a critic f: ℝᵈ → ℝᵈ and the model's score s_θ,

    LSD(f, θ) = E_p[ s_θ(x)·f(x) + tr ∇f(x) ] = E_p[ (s_θ − s_p)·f ],

which is zero for every f only if s_θ = s_p. Grathwohl et al. (2020), Algorithm 3: the critic ascends

    LSD(f, θ) − λ E_p ‖f(x)‖²,      best at f* = (s_θ − s_p)/2λ, where LSD = E‖s_θ − s_p‖²/2λ,

and the model descends LSD(f, θ) = E_p[s_θ·f] + constant, one derivative in x and none of second
order. At f* the model's gradient is that of the Fisher divergence ½E‖s_θ − s_p‖², over 2λ: score matching
without a Hessian. The critic needs fresh rows in every one of its steps: on rows it has seen it finds
differences that are those of the sample, and the discrepancy overstates itself.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_integer, check_number
from energax.derivatives import score, tree_dot
from energax.energies import Critic
from energax.objectives.base import Batch, Objective, Player
from energax.objectives.requirements import (
    WALLED,
    require_array,
    require_continuous,
    require_no_edge,
    require_spread,
)
from energax.objectives.targets import Density
from energax.stein import stein_operator
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["LearnedSteinDiscrepancy"]


class LearnedSteinDiscrepancy(Objective):
    """min over the model, max over a critic f, of mean [s_θ·f + tr ∇f] − λ mean ‖f‖².

    Minimiser: the density, as far as the critic sees. Grathwohl et al. (2020), eq. 8–11, Algorithm 3.

    Parameters
    ----------
    critic
        A network x ↦ f(x) of an event's shape, where it starts; `energies.Critic` with layers of `width`
        if None.
    penalty
        λ > 0 of λ E‖f‖². The model's gradient is that of the Fisher divergence, over 2λ.
    critic_steps
        Steps of the critic for each of the model, each on a fresh minibatch.
    critic_learning_rate
        Adam's step of the critic.
    critic_beta1, critic_beta2
        Adam's decay rates of the critic; Grathwohl et al. take .5 and .9 (their images' code 0 and .9).
    probes
        0 for the exact trace (d Jacobian-vector products, unless the critic has `value_and_trace`), else how
        many Gaussian probes estimate it. None: exact if the critic has that method, else one probe.
    width
        Of the default critic.
    warmup
        Steps of the critic before the first of the model, on rows drawn from the data.
    """

    critic: Any
    penalty: Array
    critic_learning_rate: Array
    critic_beta1: Array
    critic_beta2: Array
    critic_steps: int = eqx.field(static=True)
    probes: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)

    def __init__(
        self,
        critic: Any = None,
        penalty: float = 0.5,
        critic_steps: int = 5,
        critic_learning_rate: float = 1e-3,
        probes: int | None = None,
        width: int = 128,
        warmup: int = 200,
        critic_beta1: float = 0.9,
        critic_beta2: float = 0.999,
    ):
        owner = "LearnedSteinDiscrepancy"
        check(critic is None or callable(critic), owner, "critic", "a network x ↦ f(x), or None", critic)
        self.critic = critic
        self.penalty = jnp.asarray(check_number(owner, "penalty", penalty, above=0))
        self.critic_steps = check_integer(owner, "critic_steps", critic_steps, at_least=1)
        rate = check_number(owner, "critic_learning_rate", critic_learning_rate, above=0)
        self.critic_learning_rate = jnp.asarray(rate)
        betas = {"critic_beta1": critic_beta1, "critic_beta2": critic_beta2}
        self.critic_beta1, self.critic_beta2 = (
            jnp.asarray(check_number(owner, name, beta, at_least=0, at_most=1 - 1e-6))
            for name, beta in betas.items()
        )
        if probes is None:
            probes = 0 if critic is None or hasattr(critic, "value_and_trace") else 1
        self.probes = check_integer(owner, "probes", probes, at_least=0)
        self.width = check_integer(owner, "width", width, at_least=1)
        self.warmup = check_integer(owner, "warmup", warmup, at_least=0)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    @property
    def batches(self) -> int:
        """A fresh minibatch for every step of the critic, and one for the model's."""
        return self.critic_steps + 1

    def learned_critic(self, state: Player) -> Any:
        """Return the critic in the state of a fit: `objective.learned_critic(fit.state.state)`."""
        return self._critic(state.net)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (None, the critic after its warm-up)."""
        owner = type(self).__name__
        require_array(owner, data.x)
        require_continuous(owner, data.x, "RatioMatching or MinimumProbabilityFlow")
        require_spread(owner, data.x)
        require_no_edge(owner, "model", model, data.x, data.condition, instead=WALLED)
        critic_key, warm_key = jax.random.split(key)
        shape = data.x.shape[1:]
        made = self.critic is None
        first = Critic(shape, width=self.width, key=critic_key) if made else self.critic
        given = eqx.filter_eval_shape(first, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
        check(given == shape, owner, "critic", f"of an event's shape, {shape}", f"shape {given}")
        net = eqx.filter(first, eqx.is_inexact_array)
        return None, self._warmed(Player(net, self._adam().init(net)), model, data, warm_key, rows)

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Move the critic once on every minibatch but the last."""
        seen = jax.tree.map(lambda a: a[:-1], batches)

        def move(player, inputs):
            batch, k = inputs
            return self._moved(player, model, batch, k)

        player, found = jax.lax.scan(move, state, (seen, jax.random.split(key, self.critic_steps)))
        return player, {"stein_discrepancy": found[-1]}

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean s_θ·f: the discrepancy but for tr ∇f, which no parameter of the model enters."""
        critic = self._critic(state.net)

        def one(x, c):
            return tree_dot(score(model, x, c), critic(x))

        return jnp.mean(jax.vmap(one)(batch.x, batch.condition)), {}

    def _critic(self, net: Any) -> Any:
        """Return the critic with these parameters; the default one is nothing but parameters."""
        return net if self.critic is None else eqx.combine(net, self.critic)

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.critic_learning_rate, self.critic_beta1, self.critic_beta2)

    def _moved(self, player: Player, model: Model, batch: Batch, key: Key) -> tuple[Player, Scalar]:
        """Return the critic after a step on these rows, and the discrepancy it had there."""

        def misfit(net):
            f = self._critic(net)

            def one(x, c, k):
                # Without a key nothing drops out: the critic of training is the one that the model meets.
                told = score(model, x, c)
                stein, here = stein_operator(f, x, told, key=k if self.probes else None, probes=self.probes)
                return stein, jnp.sum(ravel_pytree(here)[0] ** 2)

            stein, size = jax.vmap(one)(batch.x, batch.condition, jax.random.split(key, len(batch)))
            return self.penalty * jnp.mean(size) - jnp.mean(stein), jnp.mean(stein)

        (_, stein), gradient = jax.value_and_grad(misfit, has_aux=True)(player.net)
        change, opt = self._adam().update(gradient, player.opt)
        return Player(eqx.apply_updates(player.net, change), opt), stein

    def _warmed(self, player: Player, model: Model, data: Batch, key: Key, rows: int) -> Player:
        data = jax.tree.map(jnp.asarray, data)
        return _warmed(self, player, model, data, key, rows) if self.warmup else player


@eqx.filter_jit
def _warmed(
    objective: LearnedSteinDiscrepancy, player: Player, model: Model, data: Batch, key: Key, rows: int
) -> Player:
    def move(player, k):
        pick, step = jax.random.split(k)
        chosen = jax.random.randint(pick, (rows,), 0, len(data))
        batch = jax.tree.map(lambda a: a[chosen], data)
        return objective._moved(player, model, batch, step)[0], None

    return jax.lax.scan(move, player, jax.random.split(key, objective.warmup))[0]
