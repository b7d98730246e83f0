r"""Reverse diffusion with Langevin corrections: sampling a score-based model from noise.

Noise is added by a linear process, t ∈ [0, 1],

    dx = f(t) x dt + g(t) dw,      x_t = a(t) (x_0 + σ(t) z),      f = a′/a,  g² = a² (σ²)′,

so that y = x_t/a has the law p_σ = p * N(0, σ²I), and a noise-conditional model gives the score of
every process: s_t(x) = s_σ(x/a)/a (`score_at`). Time runs back by

    dx = (f x − g² s_t(x)) dt + g dw̄.

For y it reads dy = −(σ²)′ s_σ(y) dt + √(σ²)′ dw̄. With the score held over a step from (a, σ) to
(a′, σ′) that integrates exactly, and b = aσ being the noise in the units of x,

    predict     x ← (a′/a) (x + a²(σ² − σ′²) s) + a′ √(σ² − σ′²) z
    correct     x ← x + η s + √(2η) z,                  η = 2 (r b)²
    denoise     x ← (x + b² s)/a

which are all x ← ρ (x + η s) + ν z: one table of (a, σ, ρ, η, ν), one score a step. Predicting
with a = 1 is Song et al.'s. In the variance preserving process, with
1 − β = (a/a′)², it is x ← (x + β s)/√(1−β) + √(β/(1−β)) z, whose mean is that of DDPM (its
noise, and the factor of x in Song et al.'s predictor, differ by O(β²)). Denoising is
Tweedie's posterior mean E[x_0 | x].

The corrector is Langevin dynamics with the signal-to-noise ratio r = ‖ηs‖/‖√(2η)z‖, that is
η = 2 (r‖z‖/‖s‖)², as in Song et al.'s correctors. Their norms are means over a batch. Taken
from each chain, they make the step depend on the place and on the draw: for small r the chain
then keeps p^{d/(d+2)}‖s‖² and not p. Here each is replaced by what bounds its mean square: d for
‖z‖², d/b² for ‖s‖² (s = −E[z|x]/b), which is nearly attained by data of few dimensions among
many. So r is the ratio at most, and the step a function of the level alone. The curvature of
−log p_t is at most 1/b², so the corrector is stable for r < 1.

Sources: Song & Kingma (2021), "How to train your energy-based models", §4.4; Song et al. (2021),
"Score-based generative modeling through stochastic differential equations"; Ho, Jain & Abbeel (2020).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_integer, check_number
from energax.derivatives import score
from energax.samplers.base import Sampler, check_conditional
from energax.samplers.schedules import Schedule
from energax.typing import Array, Event, Key, Metrics, Model, Scalar

__all__ = ["ReverseDiffusion", "VarianceExploding", "VariancePreserving", "score_at"]


class Process(eqx.Module):
    """Base of the processes x_t = a(t) (x_0 + σ(t) z), t ∈ [0, 1]: functions of t, elementwise."""

    @property
    def least(self) -> float:
        """The time at which sampling ends: 0, or a little more where σ(0) = 0."""
        return 0.0

    def scale(self, t: float | Array) -> Array:
        """Return a(t)."""
        raise NotImplementedError

    def noise(self, t: float | Array) -> Array:
        """Return σ(t), the noise of x_t/a, in the units of x_0: what the model is asked for."""
        raise NotImplementedError

    def drift(self, t: float | Array) -> Array:
        """Return f(t) of dx = f x dt + g dw."""
        raise NotImplementedError

    def diffusion(self, t: float | Array) -> Array:
        """Return g(t) of dx = f x dt + g dw."""
        raise NotImplementedError

    def prior_scale(self, data_scale: float = 0.0) -> Scalar:
        """a(1) √(s² + σ(1)²): the standard deviation of x_1, and of the draws that chains start from.

        Parameters
        ----------
        data_scale
            s, the standard deviation of x_0 per coordinate; 0 is the prior of Song et al.
        """
        check_number("prior_scale", "data_scale", data_scale, at_least=0)
        return self.scale(1.0) * jnp.sqrt(data_scale**2 + self.noise(1.0) ** 2)


class VarianceExploding(Process):
    """a = 1, σ(t) = σ_min (σ_max/σ_min)^t: NCSN's process; x_0 itself carries noise σ_min.

    Parameters
    ----------
    sigma_min, sigma_max
        0 < σ_min < σ_max, in the units of x; the levels between are those the model must know.
    """

    sigma_min: Scalar
    sigma_max: Scalar

    def __init__(self, sigma_min: float, sigma_max: float):
        owner = "VarianceExploding"
        low = check_number(owner, "sigma_min", sigma_min, above=0)
        self.sigma_min = jnp.asarray(low, jnp.float32)
        self.sigma_max = jnp.asarray(check_number(owner, "sigma_max", sigma_max, above=low), jnp.float32)

    def scale(self, t: float | Array) -> Array:
        """Return 1."""
        return jnp.ones_like(t, jnp.float32)

    def noise(self, t: float | Array) -> Array:
        """Return σ_min (σ_max/σ_min)^t."""
        return self.sigma_min * jnp.power(self.sigma_max / self.sigma_min, t)

    def drift(self, t: float | Array) -> Array:
        """Return 0."""
        return jnp.zeros_like(t, jnp.float32)

    def diffusion(self, t: float | Array) -> Array:
        """Return σ(t) √(2 log(σ_max/σ_min))."""
        return self.noise(t) * jnp.sqrt(2 * jnp.log(self.sigma_max / self.sigma_min))


class VariancePreserving(Process):
    """a = exp(−B/2), aσ = √(1 − a²), B(t) = ∫β, β(t) = β_min + t (β_max − β_min): DDPM's process.

    Data of variance 1 keep it. The model is asked for σ = √(e^B − 1), from 0.01 to 150 at the
    default β: a network must know that range.

    Parameters
    ----------
    beta_min, beta_max
        0 < β_min ≤ β_max; 0.1 and 20 in Song et al. (2021).
    """

    beta_min: Scalar
    beta_max: Scalar

    def __init__(self, beta_min: float = 0.1, beta_max: float = 20.0):
        owner = "VariancePreserving"
        low = check_number(owner, "beta_min", beta_min, above=0)
        self.beta_min = jnp.asarray(low, jnp.float32)
        self.beta_max = jnp.asarray(check_number(owner, "beta_max", beta_max, at_least=low), jnp.float32)

    @property
    def least(self) -> float:
        """0.001, as in Song et al.: σ(0) = 0 has no score."""
        return 1e-3

    def integral(self, t: float | Array) -> Array:
        """Return B(t) = β_min t + ½ (β_max − β_min) t²."""
        return jnp.asarray(t) * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * t)

    def scale(self, t: float | Array) -> Array:
        """Return exp(−B/2)."""
        return jnp.exp(-0.5 * self.integral(t))

    def noise(self, t: float | Array) -> Array:
        """Return √(e^B − 1)."""
        return jnp.sqrt(jnp.expm1(self.integral(t)))

    def drift(self, t: float | Array) -> Array:
        """Return −β(t)/2."""
        return -0.5 * self.diffusion(t) ** 2

    def diffusion(self, t: float | Array) -> Array:
        """Return √β(t)."""
        return jnp.sqrt(self.beta_min + (self.beta_max - self.beta_min) * jnp.asarray(t))


def score_at(process: Process, model: Model, x: Event, t: float | Scalar) -> Event:
    """s_t(x) = s_σ(x/a)/a, the score of x_t at one event, from a noise-conditional model.

    Parameters
    ----------
    process
        What a and σ are.
    model
        A noise-conditional model: `model.at(sigma)` is the energy or `Score` of p * N(0, σ²I).
    x
        One event, in the units of x_t.
    t
        In [0, 1]; above 0 where σ(0) = 0.

    Returns
    -------
    Event
        Of the shape of x, in units of 1/x_t.
    """
    check_conditional("score_at", model)
    return scaled_score(model, x, process.scale(t), process.noise(t))


def scaled_score(model: Model, x: Event, a: Scalar, sigma: Scalar) -> Event:
    """s_σ(x/a)/a: log p_t(x) = log p_σ(x/a) − d log a, differentiated."""
    unscaled = score(model.at(sigma), jax.tree.map(lambda x: x / a, x))
    return jax.tree.map(lambda s: s / a, unscaled)


class ReverseDiffusion(Sampler):
    """x ← ρ (x + η s_t(x)) + ν z: predictor, correctors and a last denoising, one score a step.

    Chains start from draws of N(mean, `process.prior_scale()`²). Times are equally spaced from 1
    to `process.least`; after each predictor step come `corrector_steps` Langevin steps.

    Parameters
    ----------
    process
        `VarianceExploding` or `VariancePreserving`.
    steps
        Predictor steps; the bias of the law is O(1/steps). 1,000 in the paper.
    corrector_steps
        Langevin steps after each; 0 is the predictor alone.
    snr
        r of η = 2 (r aσ)², 0 < r < 1; a corrector's bias is O(r²) and does not fall with `steps`.
    denoise
        Whether to end with the posterior mean E[x_0 | x]. If not, chains end with the law of x_t
        at the last time, and its noise.
    """

    process: Process
    scale: Schedule
    level: Schedule
    stretch: Schedule
    step_size: Schedule
    kick: Schedule

    def __init__(
        self,
        process: Process,
        steps: int,
        corrector_steps: int = 1,
        snr: float = 0.16,
        denoise: bool = True,
    ):
        owner = "ReverseDiffusion"
        wanted = "a VarianceExploding or a VariancePreserving"
        check(isinstance(process, Process), owner, "process", wanted, type(process).__name__)
        check_integer(owner, "steps", steps, at_least=1)
        check_integer(owner, "corrector_steps", corrector_steps, at_least=0)
        r = check_number(owner, "snr", snr, above=0)
        check(r < 1, owner, "snr", "below 1, where the corrector is stable", snr)
        self.process = process
        columns = _table(process, steps, corrector_steps, r, bool(denoise)).T
        self.scale, self.level, self.stretch, self.step_size, self.kick = map(Schedule, columns)

    @property
    def horizon(self) -> int:
        """Evaluations of the score: steps · (1 + corrector_steps), and one more to denoise."""
        return len(self.level)

    @property
    def start_noise(self) -> float:
        """The prior's scale for data of scale one; its mean is a(1) times that of the data."""
        return float(self.process.prior_scale(1.0))

    @property
    def bias_order(self) -> float:
        """One: the predictor's bias is of order 1/steps, the corrector's of order η."""
        return 1.0

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x: a chain's state is its position."""
        check_conditional("ReverseDiffusion", model)
        return x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position after step i."""
        s = scaled_score(model, state, self.scale(i), self.level(i))
        x, unravel = ravel_pytree(state)
        s, _ = ravel_pytree(s)
        z = jax.random.normal(key, x.shape, x.dtype)
        return unravel(self.stretch(i) * (x + self.step_size(i) * s) + self.kick(i) * z), {}


def _table(process: Process, steps: int, corrector_steps: int, r: float, denoise: bool) -> np.ndarray:
    # Rows (a, σ, ρ, η, ν), formed in double precision.
    t = jnp.linspace(1.0, process.least, steps + 1)
    a, sigma = np.asarray(process.scale(t), float), np.asarray(process.noise(t), float)
    here, there = slice(None, -1), slice(1, None)
    gap = sigma[here] ** 2 - sigma[there] ** 2
    b = a * sigma
    predict = [a[here], sigma[here], a[there] / a[here], a[here] ** 2 * gap, a[there] * np.sqrt(gap)]
    correct = [a[there], sigma[there], np.ones(steps), 2 * (r * b[there]) ** 2, 2 * r * b[there]]
    rows = np.stack([np.stack(predict, 1)] + [np.stack(correct, 1)] * corrector_steps, 1).reshape(-1, 5)
    last = [[a[-1], sigma[-1], 1 / a[-1], b[-1] ** 2, 0.0]]
    return np.concatenate([rows, last]) if denoise else rows
