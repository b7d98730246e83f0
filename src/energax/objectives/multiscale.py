r"""Multiscale denoising score matching (Li, Chen & Sommer 2019).

One energy for a whole ladder of noise levels σ_1 … σ_K. With x̃ = x + σ_k z (eq. 7),

    L(θ) = (1/K) Σ_k E l(σ_k) ‖x − x̃ + σ₀² ∇E_θ(x̃)‖²,      l(σ) = σ^{−2} by default,

summed over coordinates and averaged over the batch, so that the loss starts near d when
∇E ≈ 0. The model is not told σ_k. σ₀ is the unit of the energy, E ∝ 1/σ₀²: it moves the
temperature axis and the Langevin step, and nothing else (§3.1). The first version of the
paper (ADSM, eq. 5) writes the same loss with temperatures, σ = √T σ₀ and l(T) = 1/T = σ₀²/σ².

What the minimum is, and why it is the σ₀-smoothed density only approximately, is said in
`energax.objectives.targets.Ladder`. For one level, L = 2σ² J of (σ₀²/σ²)E, J being the loss
of `DenoisingScoreMatching`.

The exact objective, equation (*) of the paper's appendix A, weighs each draw (x_i, x̃) by

    w = π_{σ₀}(i | x̃) / π_M(i | x̃),      π_σ(j | x̃) = softmax_j log q_σ(x̃ | x_j),
                                          π_M(j | x̃) ∝ Σ_k l(σ_k) q_{σ_k}(x̃ | x_j),

j running over the *whole data set*: Σ_j π_M w = 1 at every x̃. (The paper's π_M has no l; with a
weight that depends on the level, it must, or levels are mixed in the wrong proportion.) Its
minimum is the σ₀-smoothed density of the data set, the Parzen density. The same minimum with
less variance has the posterior mean as its target (`weighting="posterior"`),

    ‖Σ_j π_{σ₀}(j | x̃) x_j − x̃ + σ₀² ∇E(x̃)‖².

With `neighbours=k` both sums are cut to the k rows nearest to x̃ (`energax.objectives.posterior` says
why to x̃, and not to x_i): the importance weights keep their minimum, the posterior mean tends to it.
Normalising over a minibatch instead is the Parzen density of the minibatch: wrong.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_choice, check_integer, check_number
from energax.derivatives import score
from energax.objectives.base import Batch, Objective
from energax.objectives.denoising import KINKED, add_noise, squared_norms
from energax.objectives.posterior import importance_weights, posterior_mean
from energax.objectives.requirements import require_smooth
from energax.objectives.targets import Ladder, Smoothed
from energax.typing import Array, Float, Key, Metrics, Model, Scalar

__all__ = ["MultiscaleDenoisingScoreMatching"]

SPACINGS = ("geometric", "linear")
WEIGHTINGS = ("none", "importance", "posterior")
REPORTED_LEVELS = 16

PRESETS: dict[str, dict[str, Any]] = {
    "mnist": {"sigma_min": 0.1, "sigma_max": 3.0, "spacing": "geometric"},
    "cifar10": {"sigma_min": 0.05, "sigma_max": 1.2, "spacing": "linear"},
}


class MultiscaleDenoisingScoreMatching(Objective):
    """L(θ) = (1/K) Σ_k E σ_k^{−w} ‖x − x̃ + σ₀² ∇E_θ(x̃)‖², x̃ = x + σ_k z (MDSM eq. 7).

    Minimiser: the compromise `targets.Ladder` of the levels. Every level occurs equally often
    in each batch: with `levels=None` there are as many levels as rows, and row i always gets
    level i, as in the authors' code.

    Parameters
    ----------
    sigma_min, sigma_max
        Ends of the ladder, 0 < sigma_min ≤ sigma_max, in the units of the data the model
        sees. The defaults suit data scaled to [0, 1]. Let sigma_max be about twice the noise
        that sampling starts from: beyond the ladder nothing holds the energy up, and chains
        that reach there may run away.
    spacing
        "geometric" or "linear".
    sigma_0
        σ₀, the unit of the energy; 0.1 in the paper.
    weight_power
        w of l(σ) = σ^{−w}; 2 in the paper, which gives all levels a loss of one size.
    levels
        K, or None for one level per row of the batch.
    weighting
        "none", the paper's approximation; "importance", its exact equation (*); "posterior",
        the exact objective's twin of lower variance. The last two compare each noisy row with
        the whole data set, which `init` keeps: the cost of a step grows with rows × data set
        (and with K, for "importance").
    neighbours
        k, to sum over the k rows of the data nearest to each noisy row instead of all; √n or more.
        Finding them is one matrix product, rows × data set, and "importance" is left with k
        exponentials for each row and level. "posterior" gains only where rows are long.
    """

    sigma_min: Array
    sigma_max: Array
    sigma_0: Array
    weight_power: Array
    spacing: str = eqx.field(static=True)
    levels: int | None = eqx.field(static=True)
    weighting: str = eqx.field(static=True)
    neighbours: int | None = eqx.field(static=True)

    def __init__(
        self,
        sigma_min: float = 0.05,
        sigma_max: float = 2.0,
        *,
        spacing: str = "geometric",
        sigma_0: float = 0.1,
        weight_power: float = 2.0,
        levels: int | None = None,
        weighting: str = "none",
        neighbours: int | None = None,
    ):
        owner = "MultiscaleDenoisingScoreMatching"
        self.weighting = check_choice(owner, "weighting", weighting, WEIGHTINGS)
        if neighbours is not None:
            check_integer(owner, "neighbours", neighbours, at_least=1)
            used = weighting != "none"
            check(used, owner, "neighbours", "left out where the weighting is 'none'", neighbours)
        self.neighbours = neighbours
        check_number(owner, "sigma_min", sigma_min, above=0)
        self.sigma_min = jnp.asarray(sigma_min, jnp.float32)
        self.sigma_max = jnp.asarray(check_number(owner, "sigma_max", sigma_max, at_least=sigma_min))
        self.sigma_0 = jnp.asarray(check_number(owner, "sigma_0", sigma_0, above=0))
        self.weight_power = jnp.asarray(check_number(owner, "weight_power", weight_power))
        self.spacing = check_choice(owner, "spacing", spacing, SPACINGS)
        self.levels = None if levels is None else check_integer(owner, "levels", levels, at_least=1)

    @classmethod
    def preset(cls, name: str, **changes: Any) -> MultiscaleDenoisingScoreMatching:
        """Return the paper's settings by name: "mnist" (.1 … 3 geometric), "cifar10" (.05 … 1.2 linear)."""
        check_choice("MultiscaleDenoisingScoreMatching", "preset", name, PRESETS)
        return cls(**{**PRESETS[name], **changes})

    @classmethod
    def from_temperature(
        cls, minimum: float, maximum: float, *, sigma_0: float = 0.1, **changes: Any
    ) -> MultiscaleDenoisingScoreMatching:
        """Return the objective of ADSM (eq. 5) on temperatures minimum … maximum: σ = √T σ₀.

        ADSM's own loss, with l(T) = 1/T, is σ₀² times this one.
        """
        owner = "MultiscaleDenoisingScoreMatching"
        check_number(owner, "minimum", minimum, above=0)
        check_number(owner, "maximum", maximum, at_least=minimum)
        return cls(minimum**0.5 * sigma_0, maximum**0.5 * sigma_0, sigma_0=sigma_0, **changes)

    def ladder(self, rows: int) -> Float[Array, " K"]:
        """Return σ_1 … σ_K, ascending, for a batch of that many rows."""
        count = self.levels or rows
        if self.spacing == "linear":
            return jnp.linspace(self.sigma_min, self.sigma_max, count)
        return jnp.geomspace(self.sigma_min, self.sigma_max, count)

    def reported_levels(self, rows: int) -> Float[Array, " G"]:
        """Return the mean σ of each group of levels that `loss_by_noise` reports."""
        return self._by_group(self.ladder(rows), rows)

    @property
    def target(self) -> Ladder | Smoothed:
        """The compromise of the levels (of 128 of them if one per row); with a weighting, p_σ₀.

        Of the data set, that is: the Parzen density, which tends to p_σ₀ as the data grow.
        """
        if self.weighting != "none":
            return Smoothed(self.sigma_0)
        sigmas = self.ladder(128)
        return Ladder(sigmas, sigmas**-self.weight_power, self.sigma_0)

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Keep the data set if the weighting compares with it; refuse energies with kinks."""
        allowed = (
            "None with weighting='posterior', which would average over rows of any; 'importance' would do"
        )
        given = data.condition is None or self.weighting != "posterior"
        check(given, type(self).__name__, "condition", allowed, "conditions")
        require_smooth(type(self).__name__, model, data.x, data.condition, order=1, instead=KINKED)
        return None, None if self.weighting == "none" else jax.vmap(lambda x: ravel_pytree(x)[0])(data.x)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch."""
        rows = len(batch)
        whole = self.levels is None or rows % self.levels == 0
        check(whole, "MultiscaleDenoisingScoreMatching", "levels", "a divisor of the batch size", self.levels)
        sigma = jnp.tile(self.ladder(rows), rows // (self.levels or rows))
        noisy, z = add_noise(batch.x, sigma, key)
        s = jax.vmap(lambda x, c: score(model, x, c))(noisy, batch.condition)

        # x − x̃ + σ₀²∇E = −(σz + σ₀² s): without the cancellation of x − x̃ at small σ.
        def residual(s, z):
            return sigma.reshape(-1, *[1] * (z.ndim - 1)) * z + self.sigma_0**2 * s

        weight = sigma**-self.weight_power
        if self.weighting == "posterior":
            s, flat = (jax.vmap(lambda x: ravel_pytree(x)[0])(a) for a in (s, noisy))
            mean = posterior_mean(flat, state, self.sigma_0, neighbours=self.neighbours)
            losses = jnp.sum((flat - mean + self.sigma_0**2 * s) ** 2, axis=1) * weight
        else:
            losses = squared_norms(jax.tree.map(residual, s, z)) * weight
        if self.weighting == "importance":
            flat = jax.vmap(lambda x: ravel_pytree(x)[0])(noisy)
            own = sigma**2 * squared_norms(z)
            ladder = self.ladder(rows)
            losses *= importance_weights(
                flat,
                own,
                state,
                self.sigma_0,
                ladder,
                ladder**-self.weight_power,
                neighbours=self.neighbours,
                key=jax.random.fold_in(key, 1),
            )
        return jnp.mean(losses), {"loss_by_noise": self._by_group(losses, rows)}

    def _by_group(self, values: Float[Array, " n"], rows: int) -> Float[Array, " G"]:
        count = self.levels or rows
        groups = min(REPORTED_LEVELS, count)
        group = (jnp.arange(values.shape[0]) % count) * groups // count
        total = jnp.zeros(groups).at[group].add(values)
        return total / jnp.zeros(groups).at[group].add(1.0)
