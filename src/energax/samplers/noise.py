r"""Annealed Langevin dynamics over noise levels (NCSN: Song & Ermon 2019; lecture, algorithm 1).

For a noise-conditional model and levels σ_1 > … > σ_L, T steps at each,

    x ← x + ½ α_k s(x, σ_k) + √α_k z,      α_k = ε σ_k²/σ_L²,

so that step and noise shrink with the level and the signal-to-noise ratio of a step stays the
same. (The authors' code takes α_k s and √(2α_k) z: its ε is half of the one here.) The last
step, if asked for, is the denoising of NCSNv2 (Song & Ermon 2020): x ← x + σ_L² s(x, σ_L).

How large ε should be depends on T: NCSNv2's technique 4. Where the data are far smaller than the noise,
s = −x/σ², and T steps make of the variance γ²σ² that a level comes with, γ the ratio of two levels,

    σ² [(1 − q)^{2T} (γ² − b) + b],      b = 2q/(1 − (1 − q)²) = 1/(1 − q/2),   q = ε/2σ_L²,

which should be σ². With few steps a level, as on a long ladder, small ones leave the noise of the level
before; with many, larger ones than that asks for pass between modes better.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_integer, check_number
from energax.derivatives import score
from energax.samplers.base import Sampler, check_conditional
from energax.samplers.schedules import Schedule
from energax.typing import Array, ArrayLike, Event, Float, Key, Metrics, Model

__all__ = ["AnnealedNoiseLangevin"]


class AnnealedNoiseLangevin(Sampler):
    """x ← x + ½α_k s(x, σ_k) + √α_k z, α_k = εσ_k²/σ_L², T steps a level: lecture, algorithm 1.

    Parameters
    ----------
    sigmas
        σ_1 > … > σ_L, those the model was trained on.
    epsilon
        ε > 0: the step α at the last level, in squared units of x. Stable below 4σ_L²; if None,
        `default_epsilon`.
    steps_per_level
        T; 100 in the paper.
    denoise
        Whether to end with x + σ_L² s(x, σ_L).
    """

    sigmas: Float[Array, " L"]
    epsilon: Array
    steps_per_level: int = eqx.field(static=True)
    denoise: bool = eqx.field(static=True)

    def __init__(
        self,
        sigmas: ArrayLike,
        epsilon: float | None = None,
        steps_per_level: int = 100,
        denoise: bool = True,
    ):
        owner = "AnnealedNoiseLangevin"
        table = np.atleast_1d(np.asarray(sigmas, np.float32))
        falling = table.ndim == 1 and table.size > 0 and table[-1] > 0 and bool(np.all(np.diff(table) <= 0))
        check(falling, owner, "sigmas", "positive numbers, the largest first", np.array2string(table[:4]))
        self.sigmas = jnp.asarray(table)
        self.steps_per_level = check_integer(owner, "steps_per_level", steps_per_level, at_least=1)
        least = float(table[-1])
        epsilon = (
            default_epsilon(least) if epsilon is None else check_number(owner, "epsilon", epsilon, above=0)
        )
        check(epsilon < 4 * least**2, owner, "epsilon", f"below 4 σ_L² = {4 * least**2:g}", epsilon)
        self.epsilon = jnp.asarray(epsilon, jnp.float32)
        self.denoise = bool(denoise)

    @classmethod
    def ncsnv2(
        cls, sigmas: ArrayLike, steps_per_level: int = 5, denoise: bool = True
    ) -> AnnealedNoiseLangevin:
        """Return the sampler of NCSNv2: ε by its rule (above), for few steps at each of many levels.

        Parameters
        ----------
        sigmas, steps_per_level, denoise
            As above; at least two levels. NCSNv2 takes T = 5 on its ladder, `objectives.noise_ladder`.
        """
        owner = "AnnealedNoiseLangevin"
        ladder = np.atleast_1d(np.asarray(sigmas, np.float64))
        check(ladder.size > 1, owner, "sigmas", "a ladder of two levels or more", ladder.tolist())
        check_integer(owner, "steps_per_level", steps_per_level, at_least=1)
        q = _nearest(float(ladder[0] / ladder[1]), steps_per_level)
        return cls(ladder, 2 * q * float(ladder[-1]) ** 2, steps_per_level, denoise)

    @property
    def horizon(self) -> int:
        """L·T steps, and one more to denoise."""
        return len(self.sigmas) * self.steps_per_level + self.denoise

    @property
    def bias_order(self) -> float:
        """One: at each level the law is off by O(ε), and by what annealing has not yet forgotten."""
        return 1.0

    @property
    def start_noise(self) -> float:
        """The largest level."""
        return float(self.sigmas[0])

    def noise(self, sigma_0: float = 0.0) -> Schedule:
        """Return the noise level of every step, whatever σ₀ is."""
        levels = np.repeat(np.asarray(self.sigmas), self.steps_per_level)
        return Schedule(np.append(levels, levels[-1:]) if self.denoise else levels)

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x: a chain's state is its position."""
        check_conditional("AnnealedNoiseLangevin", model)
        return x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position after step i."""
        level = jnp.minimum(i // self.steps_per_level, len(self.sigmas) - 1)
        sigma, last = self.sigmas[level], self.sigmas[-1]
        alpha = self.epsilon * (sigma / last) ** 2
        final = i >= len(self.sigmas) * self.steps_per_level
        x, unravel = ravel_pytree(state)
        s = ravel_pytree(score(model.at(sigma), state))[0]
        z = jax.random.normal(key, x.shape, x.dtype)
        step, noise = jnp.where(final, last**2, alpha / 2), jnp.where(final, 0.0, jnp.sqrt(alpha))
        return unravel(x + step * s + noise * z), {}


def default_epsilon(sigma_min: float) -> float:
    """0.2 σ_L²: each step goes a tenth of the way, and the variance is 5 % too large (1/(1 − ε/4σ_L²))."""
    return 0.2 * sigma_min**2


def _nearest(gamma: float, T: int) -> float:
    """Return the q that leaves a level's variance nearest to σ²."""

    def left(log_q: float) -> float:
        q = np.exp(log_q)
        b = 1 / (1 - q / 2)
        return (1 - q) ** (2 * T) * (gamma**2 - b) + b

    # Above σ² at any q in (0, 1): the least is the nearest.
    found: Any = scipy.optimize.minimize_scalar(left, bounds=(-18.0, 0.0), method="bounded")
    return float(np.exp(found.x))
