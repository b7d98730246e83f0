r"""Noise that learns: a flow is trained against the energy that tells it from the data.

With the classifier's log-odds G(u) = −E(u) − c − log q(u), one noise point per datum, and the value

    V(θ, α) = E_p[log σ(G)] + E_q[log σ(−G)],

*flow contrastive estimation* (Gao et al. 2020) is min over the flow q_α of max over the energy of V.
For a given flow, energy and c do noise-contrastive estimation: at their best E = −log p − c with
c = log Z, and V = 2 JS(p, q_α) − log 4, which the flow descends. It reaches −log 4, where q_α = p,
only if its family holds p; the energy leads to p in either case, the better the closer q_α comes.

*Adversarial contrastive estimation* (Bose, Ling & Cao 2018) takes noise from a mixture of a fixed
law and a learned one, q = ω q₀ + (1 − ω) q_α, so that the noise covers the data from the start and
keeps doing so while the learned part looks for what the classifier does not yet tell. (There the
learned sampler has no density; here it is a flow, and the classifier knows all of q.)

The two take turns as the classifier's accuracy on the minibatch says: while it is above a
threshold, telling is easy and the flow moves; then the energy moves, once a step.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from energax.checks import check, check_integer, check_number
from energax.energies import Flow, IndependentBernoulli
from energax.objectives.base import Batch, LogNormalizer, Objective, Player
from energax.objectives.noise import check_noise, draws, fit_noise, log_density, require_support
from energax.objectives.noise_contrastive import first_log_normalizer, log_ratio
from energax.objectives.requirements import (
    require_array,
    require_continuous,
    require_energy,
    require_spread,
)
from energax.objectives.targets import Density
from energax.typing import Array, Float, Key, Metrics, Model, Scalar

__all__ = ["AdversarialContrastiveEstimation", "FlowContrastiveEstimation"]


class Opponent(eqx.Module):
    """The flow with its optimiser's state, and the fixed part of the noise, if any."""

    player: Player
    fixed: Any


class FlowContrastiveEstimation(Objective):
    """−V = mean softplus(−G(x)) + mean softplus(G(y)), y ~ q_α, least in E and greatest in q_α.

    Minimiser: the density, with c = log Z. Gao et al. (2020), eq. 6–8.

    Parameters
    ----------
    flow
        `energies.Flow`, where the learned noise starts. Its parameters are copied into the state of
        the fit; `learned_flow` puts them back.
    flow_learning_rate
        Adam's step of the flow.
    threshold
        Accuracy in (½, 1) of the minibatch's classification above which the flow moves.
    flow_steps
        The most moves of the flow in one step of a fit, each on fresh noise.
    warmup
        Moves of the flow by maximum likelihood before the first step.
    """

    flow: Flow
    flow_learning_rate: Array
    threshold: Array
    flow_steps: int = eqx.field(static=True)
    warmup: int = eqx.field(static=True)

    def __init__(
        self,
        flow: Flow,
        flow_learning_rate: float = 1e-3,
        threshold: float = 0.6,
        flow_steps: int = 5,
        warmup: int = 500,
    ):
        owner = type(self).__name__
        wanted = "an energies.Flow, as Flow.coupling(d, key=…) makes"
        check(isinstance(flow, Flow), owner, "flow", wanted, f"a {type(flow).__name__}")
        self.flow = flow
        self.flow_learning_rate = jnp.asarray(
            check_number(owner, "flow_learning_rate", flow_learning_rate, above=0)
        )
        self.threshold = jnp.asarray(check_number(owner, "threshold", threshold, above=0.5, at_most=1))
        self.flow_steps = check_integer(owner, "flow_steps", flow_steps, at_least=1)
        self.warmup = check_integer(owner, "warmup", warmup, at_least=0)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def learned_flow(self, state: Any) -> Flow:
        """Return the flow in the state of a fit: `objective.learned_flow(fit.state.state)`.

        It is where the game left it, not averaged as the energy is: noise to tell data from. Its
        own log-density was far worse than the energy's in `energax reproduce fce-2d`.
        """
        return eqx.combine(state.player.net, self.flow)

    def noise_in(self, state: Any) -> Any:
        """Return the noise as a fit left it, `objective.noise_in(fit.state.state)`."""
        return self._noise(state.player.net, state.fixed)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (c, the flow after its warm-up); refuse data of another size, or without a density."""
        owner = type(self).__name__
        require_energy(owner, model)
        alone = data.condition is None
        check(alone, owner, "condition", "None: log Z would change with it", "conditions")
        require_array(owner, data.x)
        d, wanted = data.x[0].size, self.flow.event_shape
        check(wanted == (d,), owner, "flow", f"over the {d} coordinates of the data", f"one over {wanted}")
        require_continuous(owner, data.x, "NoiseContrastiveEstimation(noise='bernoulli')")
        require_spread(owner, data.x)
        flow_key, c_key = jax.random.split(key)
        net = eqx.filter(self.flow, eqx.is_inexact_array)
        player = self._warmed(Player(net, self._adam().init(net)), jnp.asarray(data.x), flow_key, rows)
        state = Opponent(player, self._fixed(data.x))
        shape = data.x.shape[1:]
        c = first_log_normalizer(model, self._noise(player.net, state.fixed), shape, c_key)
        return LogNormalizer(c), state

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Move the flow against the classifier while that tells more than `threshold` of it."""
        x = batches.x[-1]

        def against(net, k):
            on_data, on_noise = self._log_odds(model, nuisance.value, net, state.fixed, x, k)
            return -_classification(on_data, on_noise), _accuracy(on_data, on_noise)

        def going(carry):
            _, moves, told = carry
            return (told > self.threshold) & (moves < self.flow_steps)

        def move(carry):
            player, moves, _ = carry
            k = jax.random.fold_in(key, moves)
            (_, told), gradient = jax.value_and_grad(against, has_aux=True)(player.net, k)
            easy = told > self.threshold
            player = jax.lax.cond(easy, lambda p: self._moved(p, gradient), lambda p: p, player)
            return player, moves + easy, told

        start = (state.player, jnp.zeros((), jnp.int32), jnp.ones(()))
        player, moves, told = jax.lax.while_loop(going, move, start)
        report = {"flow_moves": moves.astype(jnp.float32), "classifier_accuracy": told}
        return Opponent(player, state.fixed), report

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return −V of the batch and as many noise points: log 4 where flow and energy agree."""
        odds = self._log_odds(model, nuisance.value, state.player.net, state.fixed, batch.x, key)
        return _classification(*odds), {"log_normalizer": nuisance.value}

    def _log_odds(
        self, model: Model, c: Scalar, net: Any, fixed: Any, x: Array, key: Key
    ) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        noise = self._noise(net, fixed)
        y = noise.sample(key, x.shape[0]).reshape(x.shape)
        return log_ratio(model, c, noise, 1.0, x), log_ratio(model, c, noise, 1.0, y)

    def _fixed(self, x: Array) -> Any:
        """Return the fixed part of the noise, fitted to the data."""
        return None

    def _noise(self, net: Any, fixed: Any) -> Any:
        """Return the noise as it stands."""
        return eqx.combine(net, self.flow)

    def _adam(self) -> optax.GradientTransformation:
        return optax.adam(self.flow_learning_rate)

    def _moved(self, player: Player, gradient: Any) -> Player:
        change, opt = self._adam().update(gradient, player.opt)
        return Player(eqx.apply_updates(player.net, change), opt)

    def _warmed(self, player: Player, x: Array, key: Key, rows: int) -> Player:
        """Return the flow after some maximum likelihood on random minibatches."""
        return _warmed(self, player, x, key, rows) if self.warmup else player


@eqx.filter_jit
def _warmed(objective: FlowContrastiveEstimation, player: Player, x: Array, key: Key, rows: int) -> Player:
    def move(player, k):
        some = x[jax.random.randint(k, (rows,), 0, x.shape[0])].reshape(rows, -1)

        def unlikeliness(net):
            return jnp.mean(jax.vmap(eqx.combine(net, objective.flow))(some))

        return objective._moved(player, jax.grad(unlikeliness)(player.net)), None

    return jax.lax.scan(move, player, jax.random.split(key, objective.warmup))[0]


class AdversarialContrastiveEstimation(FlowContrastiveEstimation):
    """Flow contrastive estimation whose noise is ω q₀ + (1 − ω) q_α, q₀ fixed.

    Minimiser: the density, with c = log Z. After Bose, Ling & Cao (2018), eq. 4–5.

    Parameters
    ----------
    flow
        Where the learned part q_α starts.
    noise
        q₀: a distribution, or a kind fitted to the data, "gaussian", "diagonal" or "auto" (see
        `NoiseContrastiveEstimation`).
    share
        ω in (0, 1), the fixed part's share of the noise.
    flow_learning_rate, threshold, flow_steps, warmup
        Those of `FlowContrastiveEstimation`.
    """

    noise: Any
    share: Array

    def __init__(
        self,
        flow: Flow,
        noise: Any = "auto",
        share: float = 0.5,
        flow_learning_rate: float = 1e-3,
        threshold: float = 0.6,
        flow_steps: int = 5,
        warmup: int = 500,
    ):
        super().__init__(flow, flow_learning_rate, threshold, flow_steps, warmup)
        owner = "AdversarialContrastiveEstimation"
        self.noise = check_noise(owner, noise)
        of_bits = isinstance(noise, IndependentBernoulli) or (isinstance(noise, str) and noise == "bernoulli")
        wanted = "one with a density, as the flow has; for bits take NoiseContrastiveEstimation"
        check(not of_bits, owner, "noise", wanted, "noise of bits")
        share = check_number(owner, "share", share, above=0)
        check(share < 1, owner, "share", "below 1", share)
        self.share = jnp.asarray(share)

    def _fixed(self, x: Array) -> Any:
        owner = "AdversarialContrastiveEstimation"
        if isinstance(self.noise, str):
            return fit_noise(owner, self.noise, x)
        require_support(owner, self.noise, x)
        return None

    def _noise(self, net: Any, fixed: Any) -> Any:
        fixed = self.noise if fixed is None else fixed
        return _Mixed(fixed, eqx.combine(net, self.flow), self.share)


class _Mixed(eqx.Module):
    """ω q₀ + (1 − ω) q_α over flattened events."""

    fixed: Any
    flow: Flow
    share: Array

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.flow.event_shape

    def log_prob(self, x: Float[Array, " d"]) -> Scalar:
        of_fixed = jnp.log(self.share) + log_density(self.fixed, x[None])[0]
        return jnp.logaddexp(of_fixed, jnp.log1p(-self.share) + self.flow.log_prob(x))

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        which, first, second = jax.random.split(key, 3)
        chosen = jax.random.bernoulli(which, self.share, (n, 1))
        return jnp.where(chosen, draws(self.fixed, first, n, self.event_shape), self.flow.sample(second, n))


def _classification(on_data: Array, on_noise: Array) -> Scalar:
    return jnp.mean(jax.nn.softplus(-on_data)) + jnp.mean(jax.nn.softplus(on_noise))


def _accuracy(on_data: Array, on_noise: Array) -> Scalar:
    return 0.5 * (jnp.mean(on_data > 0) + jnp.mean(on_noise < 0))
