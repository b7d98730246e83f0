r"""Stein neural samplers: a generator is trained until its draws are those of a given energy.

The mirror image of training by a Stein discrepancy: the law p ∝ exp(−E) is fixed and known but for its
normaliser, the draws x = G(z) of q are the model's, and no sample of p is there. With s = −∇E,

    Fisher     sup over f of  E_q[s·f + tr ∇f] − λ E_q‖f‖²  =  E_q‖s − s_q‖²/4λ,    f* = (s − s_q)/2λ
    kernel     KSD²(q ‖ p) = E H(x, x′) over pairs of draws, H the Stein kernel of s

Hu, Chen, Sun, Bai, Ye & Cheng (2018). The density of q is not needed, which is what makes them samplers
of any generator. The critic of the first is that of Grathwohl et al. (2020), and its trace may be exact or
Hutchinson's, as they propose in their §9.

The Fisher divergence hardly sees how much mass lies in which of two far modes, and a generator that has lost
one is not told; so Hu et al.'s code adds twice the kernel discrepancy to the generator's loss, and so do we.

At the best critic the generator's slope is that of the Fisher divergence by the envelope theorem, but
only if the penalty stays in its loss: q is in that expectation too.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from energax.checks import check, check_choice, check_number
from energax.derivatives import score
from energax.kernels import NAMES, kernel_named
from energax.objectives.base import Batch, Objective, Player
from energax.objectives.learned_stein import LearnedSteinDiscrepancy
from energax.objectives.requirements import require_no_edge
from energax.objectives.targets import LawOfEnergy
from energax.stein import stein_kernel, stein_operator
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["FisherNeuralSampler", "KernelNeuralSampler"]

SEEN = 1000  # draws of the first generator beyond which an edge is looked for
WALLED = "samplers.Reflected, whose chains turn round there"


class _NeuralSampler(Objective):
    """What both share: the data are latents, the model is a generator, the energy is given."""

    energy: Any

    @property
    def target(self) -> LawOfEnergy:
        """The law of the given energy."""
        return LawOfEnergy(self.energy)

    def _check(self, generator: Any, data: Batch, rows: int) -> None:
        """Refuse a model that draws no such events, an energy with an edge near its draws, batches of one."""
        owner = type(self).__name__
        check(rows > 1, owner, "batch_size", "at least 2, for pairs", rows)
        latent = jax.ShapeDtypeStruct(data.x.shape[1:], jnp.float32)
        drawn = eqx.filter_eval_shape(generator, latent)
        check(drawn.ndim > 0, owner, "model", "a generator z ↦ x of the energy's events", "an energy")
        shape = getattr(self.energy, "event_shape", drawn.shape)
        got = f"draws of shape {drawn.shape}"
        check(drawn.shape == shape, owner, "model", f"a generator of events of shape {shape}", got)
        draws = None if isinstance(data.x, Tracer) else _drawn(generator, data.x[:SEEN])
        require_no_edge(owner, "energy", self.energy, draws, instead=WALLED)


class FisherNeuralSampler(_NeuralSampler):
    """min over the generator, max over a critic f, of mean [s·f + tr ∇f] − λ mean ‖f‖² at x = G(z).

    Minimiser: a generator of p ∝ exp(−E), as far as critic and generator reach. The data of the fit are
    latents z. Hu et al. (2018), Fisher-NS.

    Parameters
    ----------
    energy
        E, an energy or a `Score`; never trained here.
    critic
        `LearnedSteinDiscrepancy`, whose critic, λ, steps, learning rate and probes are taken; one with λ = 5
        if None, their 10 on the mean over two coordinates.
    kernel_weight
        Of the kernel discrepancy (IMQ) that is added to the generator's loss; 0 for none.
    bandwidth
        Of that kernel, in the units of x.
    """

    critic: LearnedSteinDiscrepancy
    beside: KernelNeuralSampler
    kernel_weight: float = eqx.field(static=True)

    def __init__(
        self,
        energy: Model,
        critic: LearnedSteinDiscrepancy | None = None,
        kernel_weight: float = 2.0,
        bandwidth: float = 1.0,
    ):
        owner = "FisherNeuralSampler"
        _check_energy(owner, energy)
        self.energy = energy
        self.critic = LearnedSteinDiscrepancy(penalty=5.0) if critic is None else critic
        known = isinstance(self.critic, LearnedSteinDiscrepancy)
        check(known, owner, "critic", "a LearnedSteinDiscrepancy, or None", type(critic).__name__)
        self.beside = KernelNeuralSampler(energy, bandwidth=bandwidth)
        self.kernel_weight = check_number(owner, "kernel_weight", kernel_weight, at_least=0)

    @property
    def batches(self) -> int:
        """Fresh latents for every step of the critic, and for the generator's."""
        return self.critic.batches

    def init(self, model: Any, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (None, the critic after its warm-up on draws of the first generator)."""
        self._check(model, data, rows)
        return self.critic.init(self.energy, Batch(_drawn(model, data.x)), key, rows)

    def refresh(
        self, model: Any, nuisance: Any, state: Player, batches: Batch, key: Key
    ) -> tuple[Player, Metrics]:
        """Move the critic once on the draws of every minibatch but the last."""
        drawn = Batch(jax.vmap(jax.vmap(model))(batches.x))
        return self.critic.refresh(self.energy, None, state, drawn, key)

    def loss(
        self, model: Any, nuisance: Any, state: Player, batch: Batch, key: Key
    ) -> tuple[Scalar, Metrics]:
        """Return the mean of s·f + tr ∇f − λ‖f‖² over draws, which the generator moves, and the kernel's."""
        critic, probes = self.critic.learned_critic(state), self.critic.probes

        def one(z, k):
            x = model(z)
            stein, f = stein_operator(
                critic, x, score(self.energy, x), key=k if probes else None, probes=probes
            )
            return stein - self.critic.penalty * jnp.sum(f**2)

        fisher = jnp.mean(jax.vmap(one)(batch.x, jax.random.split(key, len(batch))))
        if self.kernel_weight == 0:
            return fisher, {}
        kernel, _ = self.beside.loss(model, None, None, batch, key)
        return fisher + self.kernel_weight * kernel, {"kernel_stein_discrepancy": kernel}


class KernelNeuralSampler(_NeuralSampler):
    """J = mean of H(x, x′) over pairs of different draws x = G(z).

    Minimiser: a generator of p ∝ exp(−E), as far as the kernel sees. The data of the fit are latents z. Hu
    et al. (2018), KSD-NS; the pairs leave out the diagonal, which would add E H(x, x)/n to every minibatch
    and pull draws to where ‖s‖ is small.

    Parameters
    ----------
    energy
        E, an energy or a `Score`; never trained here.
    kernel
        "imq" or "rbf".
    bandwidth
        In the units of x: about the distance over which p changes.
    """

    bandwidth: Array
    kernel: str = eqx.field(static=True)

    def __init__(self, energy: Model, kernel: str = "imq", bandwidth: float = 1.0):
        owner = "KernelNeuralSampler"
        _check_energy(owner, energy)
        self.energy = energy
        self.kernel = check_choice(owner, "kernel", kernel, NAMES)
        self.bandwidth = jnp.asarray(check_number(owner, "bandwidth", bandwidth, above=0))

    def init(self, model: Any, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return nothing; refuse batches of one latent."""
        self._check(model, data, rows)
        return None, None

    def loss(self, model: Any, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over pairs of different draws."""
        n = len(batch)
        x = jax.vmap(model)(batch.x)
        s = jax.vmap(lambda x: score(self.energy, x))(x).reshape(n, -1)
        x = x.reshape(n, -1)
        H = stein_kernel(kernel_named(self.kernel, self.bandwidth), x, s, x, s)
        return (jnp.sum(H) - jnp.trace(H)) / (n * (n - 1)), {}


def _check_energy(owner: str, energy: Model) -> None:
    check(callable(energy), owner, "energy", "an energy or a Score", type(energy).__name__)
    require_no_edge(owner, "energy", energy, instead=WALLED)


def _drawn(generator: Any, latents: Array) -> Array:
    return jax.vmap(generator)(jnp.asarray(latents))
