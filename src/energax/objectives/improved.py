r"""Improved contrastive divergence (Du, Li, Tenenbaum & Mordatch 2021): chains that depend on θ, too.

Contrastive divergence is meant to descend J = KL(p ‖ p_θ) − KL(q ‖ p_θ), q the law of the chains'
ends. Its gradient has three parts (Hinton 2002),

    ∇J = E_p[∇E] − E_q[∇E] − (∂q/∂θ) ∂KL(q ‖ p_θ)/∂q,

of which contrastive divergence drops the last. Since KL(q ‖ p_θ) = E_q[E(x)] − H(q) + log Z, the
last is what descends κ·(E_q[E_{sg θ}(x)] − H(q)) through the ends alone, with κ = −1. The paper
takes κ = +1: then the chains' own divergence from the model is made small, which helps mixing and
is no gradient of J. Both vanish where the chains reach the model. κ is `kl_weight` here.

The ends are x_K(θ) = x_{K−1} − η∇E_θ(x_{K−1}) + √(2ηT) z with x_{K−1} and z held fixed: the last
step is redone inside the loss, so that a derivative flows through it alone. The entropy is that
of nearest neighbours (Kozachenko & Leonenko 1987),

    H(q) ≈ w · mean log min_{j≠i} ‖x_i(θ) − sg x_j‖ + constant,       w = d.

The reference code has w = 0.3 whatever the dimension; only w = d estimates the entropy's gradient.

Chains that go on are near the model, where what κ weighs is as small as the step. Chains that start at
the data are not, and of the contrast's own size: in the limit of small steps the loss's gradient is
(K − κ) η ∇D_F, D_F half the mean squared difference of the scores. So K steps from the data want κ < K, and
even then the neighbours' blur of the entropy is a bias that no step size takes away.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_number
from energax.derivatives import bind
from energax.objectives.base import Batch, Chains
from energax.objectives.likelihood import MaximumLikelihood, Negatives, energies_of
from energax.samplers import Langevin, Sampler, walk
from energax.samplers.pools import FromData, Kept, Pool, Replay
from energax.typing import Array, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["ImprovedContrastiveDivergence"]


class Redoable(eqx.Module):
    """Chains one step before their end, with the keys of the last step."""

    before: Events
    keys: Key
    chains: Negatives


class ImprovedContrastiveDivergence(MaximumLikelihood):
    """E(x) − E(x̃) + κ (E_{sg θ}(x̃(θ)) − w · log nearest distance). Du et al. (2021).

    Leads near the density, with a bias of the order of the chains' step, as its chains are
    unadjusted, and of the share of chains that start anew; from `FromData` with one that stays.

    Parameters
    ----------
    sampler
        A `Langevin`: its last step must be differentiable in the model.
    steps
        K ≥ 1, steps of each chain in one training step.
    pool
        Where chains start; a `Replay` buffer of 10,000 with one start in a thousand at noise,
        as in the paper's code, if None.
    kl_weight
        κ: 1 in the paper, −1 for the gradient of contrastive divergence itself, 0 for neither.
    entropy_weight
        w ≥ 0; the number of coordinates d if None.
    energy_penalty, gradient_penalty
        As in `MaximumLikelihood`.
    """

    kl_weight: Array
    entropy_weight: Array | None

    def __init__(
        self,
        sampler: Sampler,
        steps: int = 40,
        pool: Pool | None = None,
        kl_weight: float = 1.0,
        entropy_weight: float | None = None,
        energy_penalty: float = 0.0,
        gradient_penalty: float = 0.0,
    ):
        owner = type(self).__name__
        differentiable = isinstance(sampler, Langevin)
        check(differentiable, owner, "sampler", "a Langevin sampler", type(sampler).__name__)
        pool = Replay(restart=0.001) if pool is None else pool
        super().__init__(sampler, steps, pool, energy_penalty, gradient_penalty)
        self.kl_weight = jnp.asarray(check_number(owner, "kl_weight", kl_weight))
        self.entropy_weight = None
        if entropy_weight is not None:
            weight = check_number(owner, "entropy_weight", entropy_weight, at_least=0)
            self.entropy_weight = jnp.asarray(weight)

    def _causes(self) -> dict[str, float]:
        """Return what biases any maximum likelihood, and what κ does to chains that start at the data."""
        causes = super()._causes()
        if isinstance(self.pool, FromData) and bool(self.kl_weight != 0):
            causes["the divergence from the model of chains that start at the data"] = 0.0
        return causes

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return the pool before the first step, its chains as if they had just moved."""
        nuisance, state = super().init(model, data, key, rows)
        x = state.value.ends.x
        keys = jax.random.split(key, jax.tree.leaves(x)[0].shape[0])
        return nuisance, Chains(Redoable(x, keys, state.value))

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Move the chains K − 1 steps, then once more with keys that the loss will use again."""
        batch = jax.tree.map(lambda a: a[-1], batches)
        draw_key, walk_key, last_key = jax.random.split(key, 3)
        kept = state.value.chains.kept
        start, where = self.pool.draw(kept, batch.x, batch.condition, draw_key)
        before, report = walk(self.sampler, model, start.x, walk_key, self.steps - 1, start.condition)
        if self.steps == 1:  # nothing walked, nothing to report
            report = {}
        keys = jax.random.split(last_key, jax.tree.leaves(before)[0].shape[0])
        x = self._last(model, before, start.condition, keys)
        kept = self.pool.put(kept, where, Kept(x, start.condition, start.age))
        ends = Batch(x, start.condition)
        report |= self._movement(start, x, kept)
        return Chains(Redoable(before, keys, Negatives(kept, ends))), report

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the contrast, the penalties, and κ times the chains' own divergence."""
        redo = state.value
        value, metrics = super().loss(model, nuisance, Chains(redo.chains), batch, key)
        frozen = jax.tree.map(lambda a: jax.lax.stop_gradient(a) if eqx.is_array(a) else a, model)
        condition = redo.chains.ends.condition
        x = self._last(model, redo.before, condition, redo.keys)
        flat = jax.vmap(lambda row: ravel_pytree(row)[0])(x)
        distance = _nearest(flat)
        weight = flat.shape[1] if self.entropy_weight is None else self.entropy_weight
        divergence = jnp.mean(energies_of(frozen, x, condition)) - weight * jnp.mean(jnp.log(distance))
        # Its value would drown the contrast in an unknown constant; only its gradient is wanted.
        gradient_only = divergence - jax.lax.stop_gradient(divergence)
        metrics["nearest_distance"] = jnp.mean(distance)
        return value + self.kl_weight * gradient_only, metrics

    def _last(self, model: Model, x: Events, condition: Any, keys: Key) -> Events:
        """Return x_K(θ), the step after x_{K−1} with its keys."""

        def one(x, c, k):
            bound, i = bind(model, c), jnp.asarray(self.steps - 1)
            state, _ = self.sampler.step(bound, self.sampler.init(bound, x, k), k, i)
            return self.sampler.position(state)

        return jax.vmap(one)(x, condition, keys)


def _nearest(x: Float[Array, "n d"]) -> Float[Array, " n"]:
    """Return each row's distance to the nearest other row, that other row held fixed."""
    others = jax.lax.stop_gradient(x)
    squares = jnp.sum(others**2, axis=1)
    products = jnp.matmul(others, others.T, precision="highest")
    far = squares[:, None] + squares[None, :] - 2 * products
    nearest = jnp.argmin(far + jnp.where(jnp.eye(len(x), dtype=bool), jnp.inf, 0.0), axis=1)
    difference = x - others[nearest]
    return jnp.sqrt(jnp.sum(difference**2, axis=1) + jnp.finfo(x.dtype).tiny)
