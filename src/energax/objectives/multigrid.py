r"""Multigrid contrastive divergence: an energy per scale, and chains that climb from scale to scale.

    loss = Σ_s mean E_s(x_s) − mean E_s(x̃_s),

x_s the version of an image at scale s, the means of its blocks, and x̃_s the end of k steps of E_s from
x̃_{s−1} enlarged, where x̃_0 is the 1 × 1 version of the image (`samplers.climb`). At each scale it is
maximum likelihood with chains that start at the scale below: with chains that forget their start,
E_s leads to the law of x_s. Few steps do not forget: on iid pixels of variance v_s, a kernel
that is exact for E_s = ½a_s‖x‖² and keeps the part ρ of its start in a step rests at

    a_s = (1 − ρ²ᵏ)/(v_s − ρ²ᵏ v_{s−1}),      1/v_s as ρᵏ → 0.

Source: Gao, Lu, Zhou, Zhu & Wu (2018), "Learning generative ConvNets via multi-grid modeling and
sampling".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies import Multigrid
from energax.objectives.base import Batch, Chains, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.targets import Biased
from energax.samplers import Sampler, climb
from energax.samplers.multigrid import one_sampler_per_level
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["MultigridContrastiveDivergence"]


class MultigridContrastiveDivergence(Objective):
    """Σ_s mean E_s(x_s) − mean E_s(x̃_s) of a `Multigrid` model, x̃ climbing from the 1 × 1 versions.

    Gao et al. (2018). Minimiser: at each scale the law of x_s, up to what k steps cannot forget.

    Parameters
    ----------
    sampler
        The dynamics at all levels, or a sequence with those of each, from the coarsest. Step
        sizes are tunable (`step_size`, a factor).
    steps
        k ≥ 1, steps at each level.
    """

    sampler: Sampler | tuple[Sampler, ...]
    steps: int = eqx.field(static=True)

    def __init__(self, sampler: Sampler | Sequence[Sampler], steps: int = 30):
        owner = "MultigridContrastiveDivergence"
        self.sampler = sampler if isinstance(sampler, Sampler) else tuple(sampler)
        for one in (self.sampler,) if isinstance(self.sampler, Sampler) else self.sampler:
            ok = isinstance(one, Sampler)
            check(ok, owner, "sampler", "samplers, such as Langevin(0.01)", type(one).__name__)
        self.steps = check_integer(owner, "steps", steps, at_least=1)

    @property
    def target(self) -> Biased:
        """What the bias is of: it falls faster than any power of 1/steps."""
        return Biased(f"chains of {self.steps} steps that start at the level below", float("inf"))

    @property
    def tunables(self) -> dict[str, float]:
        """A factor of the chains' step sizes."""
        return {"step_size": 1.0}

    def tuned(self, tunables: Mapping[str, Scalar]) -> Objective:
        """Return the objective with the step size of every level multiplied."""
        if "step_size" not in tunables:
            return self
        factor, old = tunables["step_size"], self.sampler
        new = old.scaled(factor) if isinstance(old, Sampler) else tuple(s.scaled(factor) for s in old)
        return eqx.tree_at(lambda o: o.sampler, self, new)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return where the chains would end at best: at the versions of the first rows."""
        owner = "MultigridContrastiveDivergence"
        check(isinstance(model, Multigrid), owner, "model", "a Multigrid", type(model).__name__)
        one_sampler_per_level(owner, self.sampler, len(model.levels))
        first = jax.tree.map(lambda a: jnp.asarray(a[jnp.arange(rows) % len(data)]), data)
        return None, Chains((jax.vmap(model.versions)(first.x), first.condition))

    def refresh(
        self, model: Model, nuisance: Any, state: Any, batches: Batch, key: Key
    ) -> tuple[Any, Metrics]:
        """Climb from the 1 × 1 versions of the minibatch."""
        batch = jax.tree.map(lambda a: a[-1], batches)
        roots = jax.vmap(model.root)(batch.x)
        images, report = climb(model, self.sampler, roots, key, self.steps, batch.condition)
        return Chains((images, batch.condition)), report

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the sum over levels of mean E(x) − mean E(x̃), and each of them."""
        up = down = jnp.zeros(())
        metrics = {}
        images, condition = state.value
        observed = jax.vmap(model.versions)(batch.x)
        for level, x, ends in zip(model.levels, observed, images, strict=True):
            data = jnp.mean(energies_of(level, x, batch.condition))
            chains = jnp.mean(energies_of(level, ends, condition))
            metrics[f"energy_gap_{x.shape[1]}x{x.shape[2]}"] = data - chains
            up, down = up + data, down + chains
        return up - down, {"energy_data": up, "energy_chains": down, "energy_gap": up - down, **metrics}
