r"""Noise-conditional score matching (NCSN: Song & Ermon 2019; lecture, "NCSN").

One model per noise level, told which: with σ_1 > … > σ_L geometric,

    J(θ) = (1/L) Σ_k λ(σ_k) ½ E ‖s_θ(x̃, σ_k) + z/σ_k‖²,      x̃ = x + σ_k z,  λ(σ) = σ²,

so that every level weighs alike: λ ‖z/σ‖² = ‖z‖². The minimum at each level is the score of the
σ_k-smoothed density. The model answers `model.at(sigma)`, with an energy or a score.

`noise_ladder` chooses the levels from the data by the rules of NCSNv2 (Song & Ermon 2020): the
largest σ is the largest distance between two data points, so that every mode is reached from
every other; neighbouring levels have a ratio γ for which a sample of one lies in the bulk of the
next,

    Φ(√(2d)(γ − 1) + 3γ) − Φ(√(2d)(γ − 1) − 3γ) ≈ 1/2.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
import scipy.stats

from energax.checks import check, check_array, check_integer, check_number
from energax.derivatives import score
from energax.objectives.base import Batch, Objective
from energax.objectives.denoising import KINKED, add_noise, squared_norms
from energax.objectives.requirements import require_smooth
from energax.objectives.targets import SmoothedAtEachLevel
from energax.typing import Array, ArrayLike, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["NoiseConditionalScoreMatching", "noise_ladder"]

LADDER_ROWS = 2000  # rows among which the largest distance is looked for
BULK = 0.5  # share of one level's samples that the next must cover


class NoiseConditionalScoreMatching(Objective):
    """J(θ) = (1/L) Σ_k ½ E σ_k^w ‖s_θ(x + σ_k z, σ_k) + z/σ_k‖².

    Minimiser: at each level σ_k the σ_k-smoothed density. Song & Ermon (2019), eq. 5–6.

    Parameters
    ----------
    sigma_min, sigma_max, levels
        Ends and length of the geometric ladder, in the units the model sees;
        `noise_ladder(x)` proposes them. Rows of a batch go through the levels in turn.
    weight_power
        w of λ(σ) = σ^w.
    """

    sigma_min: Array
    sigma_max: Array
    weight_power: Array
    levels: int

    def __init__(
        self, sigma_min: float = 0.01, sigma_max: float = 1.0, levels: int = 10, weight_power: float = 2.0
    ):
        owner = "NoiseConditionalScoreMatching"
        self.sigma_min = jnp.asarray(check_number(owner, "sigma_min", sigma_min, above=0))
        self.sigma_max = jnp.asarray(check_number(owner, "sigma_max", sigma_max, at_least=sigma_min))
        self.levels = check_integer(owner, "levels", levels, at_least=1)
        self.weight_power = jnp.asarray(check_number(owner, "weight_power", weight_power))

    @property
    def sigmas(self) -> Float[Array, " L"]:
        """σ_1 … σ_L, descending."""
        return jnp.geomspace(self.sigma_max, self.sigma_min, self.levels)

    @property
    def target(self) -> SmoothedAtEachLevel:
        """The σ-smoothed density at each level."""
        return SmoothedAtEachLevel(self.sigmas)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Refuse a model that does not know of noise levels, and energies whose first derivative jumps."""
        wanted = "a noise-conditional one with a method `at(sigma)`, such as energies.NoiseConditional"
        owner = type(self).__name__
        check(hasattr(model, "at"), owner, "model", wanted, type(model).__name__)
        require_smooth(owner, model.at(1.0), data.x, data.condition, order=1, instead=KINKED)
        return None, None

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch, and that of each level as `loss_by_noise`."""
        level_key, noise_key = jax.random.split(key)
        # In turn from a random level on, so that every level is drawn equally often.
        first = jax.random.randint(level_key, (), 0, self.levels)
        level = (first + jnp.arange(len(batch))) % self.levels
        sigma = self.sigmas[level]
        noisy, z = add_noise(batch.x, sigma, noise_key)
        s = jax.vmap(lambda x, c, sigma: score(model.at(sigma), x, c))(noisy, batch.condition, sigma)

        # σs + z, not s + z/σ: of size one at every level.
        def residual(s, z):
            return sigma.reshape(-1, *[1] * (z.ndim - 1)) * s + z

        losses = 0.5 * squared_norms(jax.tree.map(residual, s, z)) * sigma ** (self.weight_power - 2)
        total = jnp.zeros(self.levels).at[level].add(losses)
        count = jnp.zeros(self.levels).at[level].add(1.0)
        return jnp.mean(losses), {"loss_by_noise": total / jnp.maximum(count, 1)}


def noise_ladder(x: Events | ArrayLike, *, sigma_min: float = 0.01) -> np.ndarray:
    """Propose noise levels for data: σ_1 > … > σ_L, by the rules of NCSNv2 (Song & Ermon 2020).

    The largest is the largest distance between two rows (of 2,000 spread evenly over x, where there are
    more), the smallest is `sigma_min`, and the ratio is the one at which half of one level's samples lie
    in the bulk of the next. Give its ends and length to `NoiseConditionalScoreMatching`, or its ends to
    `MultiscaleDenoisingScoreMatching`, so that nobody has to guess a range.

    Parameters
    ----------
    x
        Rows of data in the units the model sees, shape (n, *event), n ≥ 2.
    sigma_min
        The smallest level: below what can be seen in the data.
    """
    check_number("noise_ladder", "sigma_min", sigma_min, above=0)
    rows = check_array("noise_ladder", "x", x)
    check(len(rows) >= 2, "noise_ladder", "x", "at least two rows", len(rows))
    # Rows may be sorted: the first ones would be of one end of the data.
    spread = np.linspace(0, len(rows) - 1, min(len(rows), LADDER_ROWS)).round().astype(int)
    flat = rows[spread].reshape(len(spread), -1).astype(np.float64)
    flat = flat - flat.mean(0)
    squared = np.sum(flat**2, 1)
    largest = float(np.sqrt(max(np.max(squared[:, None] + squared - 2 * flat @ flat.T), 0.0)))
    check(largest > sigma_min, "noise_ladder", "sigma_min", f"below the data's extent {largest:g}", sigma_min)
    ratio = _ladder_ratio(flat.shape[1])
    count = 1 + int(np.ceil(np.log(largest / sigma_min) / np.log(ratio)))
    return np.geomspace(largest, sigma_min, max(count, 2))


def _ladder_ratio(d: int) -> float:
    """Return the γ > 1 at which neighbouring levels overlap by `BULK`."""

    def overlap(gamma: float) -> float:
        centre = np.sqrt(2 * d) * (gamma - 1)
        return float(scipy.stats.norm.cdf(centre + 3 * gamma) - scipy.stats.norm.cdf(centre - 3 * gamma))

    # In few dimensions even far levels overlap: a ratio of two loses nothing.
    if overlap(2.0) >= BULK:
        return 2.0
    root = scipy.optimize.root_scalar(lambda gamma: overlap(gamma) - BULK, bracket=(1.0, 2.0))
    return float(root.root)
