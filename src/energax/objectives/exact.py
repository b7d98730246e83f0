r"""Exact maximum likelihood, for models whose log Z can be computed: the oracle of the family.

    loss = mean E(x) + log Z(θ) = −mean log p_θ(x),      ∇_θ log Z = −E_{p_θ}[∇_θ E(x)],

so that its gradient is mean ∇_θ E(x) − E_{p_θ}[∇_θ E(x)] without a chain: what every
divergence of `objectives.likelihood` estimates. log Z comes from the model itself (a Gaussian,
a mixture, a Boltzmann machine small enough to enumerate, a grid of spins), or from a function
of the model, such as the enumeration of all bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check
from energax.objectives.base import Batch, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.requirements import require_states
from energax.objectives.targets import Density
from energax.typing import Key, Metrics, Model, Scalar

__all__ = ["ExactMaximumLikelihood"]


class ExactMaximumLikelihood(Objective):
    """Mean E(x) + log Z: the negative log-likelihood, in nats. Minimiser: the density.

    Song & Kingma (2021), §3, with the integral done.

    Parameters
    ----------
    log_normalizer
        Model ↦ log Z, for models without one of their own: for any energy over up to 20 bits
        `functools.partial(energies.enumerate_log_normalizer, event_shape=(16,))`. The model's own
        `log_normalizer()` if None.
    """

    log_normalizer: Callable[[Model], Scalar] | None = eqx.field(static=True, default=None)

    @property
    def target(self) -> Density:
        """The density."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Keep nothing; refuse a log Z that is unknown or beyond enumeration, and rows that are no states."""
        known = self.log_normalizer is not None or hasattr(model, "log_normalizer")
        wanted = (
            "one that knows its log Z (a Gaussian, a mixture, a small Boltzmann machine), or one whose "
            "log Z is given as log_normalizer; chains do without it: take PersistentContrastiveDivergence"
        )
        check(known, "ExactMaximumLikelihood", "model", wanted, type(model).__name__)
        alone = data.condition is None
        check(alone, "ExactMaximumLikelihood", "condition", "None: log Z would change with it", "conditions")
        require_states("ExactMaximumLikelihood", model, data.x)
        jax.eval_shape(lambda: self._log_normalizer(model))  # a model too large says so now
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return mean E(x) + log Z."""
        energy = jnp.mean(energies_of(model, batch.x))
        log_normalizer = self._log_normalizer(model)
        value = energy + log_normalizer
        return value, {"energy_data": energy, "log_normalizer": log_normalizer, "log_likelihood": -value}

    def _log_normalizer(self, model: Model) -> Scalar:
        return model.log_normalizer() if self.log_normalizer is None else self.log_normalizer(model)
