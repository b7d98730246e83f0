r"""Unadjusted Langevin dynamics, at a constant temperature or along a schedule of them.

One convention inside,

    x ← x − η ∇E(x) + √(2ηT) z,      z ~ N(0, I),

whose invariant law tends to exp(−E/T) as η → 0, with a bias of first order in η. On
E = ‖x‖²/2s² the chain's variance is exactly T s² / (1 − η/2s²). With q(x → x′) the density of a step,

    log [e^{−E(x′)/T} q(x′ → x)] − log [e^{−E(x)/T} q(x → x′)]
        = {E(x) − E(x′) + ½ (x′ − x)·(∇E(x) + ∇E(x′)) − ¼ η (‖∇E(x′)‖² − ‖∇E(x)‖²)} / T,

the error of the trapezoidal rule and a term of the step. MALA would refuse by it; an annealing that
refuses nothing owes it to its weights (`evaluation.importance`).

The papers write five others; each has its constructor:

    MDSM eq. 8, Song & Kingma §3.1     −(ε²/2)∇E, ε√T z       η = ε²/2
    LSD eq. 18                         −(ε/2)∇E,  √ε z        η = ε/2
    lecture                            −ε∇E,      √(2ε) z     η = ε
    NCSN (Song & Ermon 2019)           −(α/2)∇E,  √α z        η = α/2
    LSD eq. 19 (SGLD, σ free)          −ε∇E,      σ z         η = ε, implied T = σ²/(2ε)
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_number
from energax.derivatives import energy_and_score, score
from energax.samplers.base import Sampler
from energax.samplers.schedules import Schedule, constant, mdsm
from energax.typing import Array, Event, Key, Metrics, Model, Scalar

__all__ = ["Langevin", "annealed_langevin", "denoising_jump"]


def _schedule(name: str, value: float | Schedule, *, above: float | None, at_least: float | None) -> Schedule:
    if not isinstance(value, Schedule):
        return constant(check_number("Langevin", name, value, above=above, at_least=at_least))
    low = float(value.values.min())
    check_number("Langevin", f"least {name}", low, above=above, at_least=at_least)
    return value


class Langevin(Sampler):
    """x ← x − η_i ∇E(x) + √(2 η_i T_i) z: unadjusted Langevin dynamics at temperature T.

    Invariant law: exp(−E/T) up to a bias of order η.

    Parameters
    ----------
    step_size
        η > 0, a number or a `Schedule`, in squared units of x per unit of E.
    temperature
        T ≥ 0, a number or a `Schedule`; 0 is gradient descent.
    """

    step_size: Schedule
    temperature: Schedule

    def __init__(self, step_size: float | Schedule, temperature: float | Schedule = 1.0):
        self.step_size = _schedule("step_size", step_size, above=0, at_least=None)
        self.temperature = _schedule("temperature", temperature, above=None, at_least=0)

    @classmethod
    def mdsm(cls, epsilon: float, temperature: float | Schedule = 1.0) -> Langevin:
        """ε²/2 before the gradient, ε√T before the noise: MDSM eq. 8; Song & Kingma §3.1."""
        return cls(check_number("Langevin.mdsm", "epsilon", epsilon, above=0) ** 2 / 2, temperature)

    @classmethod
    def lsd(cls, epsilon: float) -> Langevin:
        """ε/2 before the gradient, √ε before the noise: Grathwohl et al. (2020), eq. 18."""
        return cls(check_number("Langevin.lsd", "epsilon", epsilon, above=0) / 2)

    @classmethod
    def lecture(cls, epsilon: float) -> Langevin:
        """ε before the gradient, √(2ε) before the noise."""
        return cls(check_number("Langevin.lecture", "epsilon", epsilon, above=0))

    @classmethod
    def ncsn(cls, alpha: float) -> Langevin:
        """α/2 before the gradient, √α before the noise: Song & Ermon (2019), algorithm 1."""
        return cls(check_number("Langevin.ncsn", "alpha", alpha, above=0) / 2)

    @classmethod
    def sgld(cls, epsilon: float, sigma: float) -> Langevin:
        """ε before the gradient, a free σ before the noise: T = σ²/(2ε); Grathwohl et al., eq. 19."""
        check_number("Langevin.sgld", "epsilon", epsilon, above=0)
        check_number("Langevin.sgld", "sigma", sigma, at_least=0)
        return cls(epsilon, sigma**2 / (2 * epsilon))

    @property
    def horizon(self) -> int | None:
        """Length of the longer schedule; None if both are constant."""
        longest = max(len(self.step_size), len(self.temperature))
        return longest if longest > 1 else None

    @property
    def bias_order(self) -> float:
        """One: the invariant law is off by O(η)."""
        return 1.0

    def law_temperature(self, i: jax.Array | int) -> Scalar:
        """Return T_i."""
        return self.temperature(i)

    def noise(self, sigma_0: float) -> Schedule:
        """Return σ₀√T_i, the noise that coordinates of curvature 1/σ₀² carry at each step."""
        return Schedule(sigma_0 * np.sqrt(np.asarray(self.temperature.values)))

    def scaled(self, factor: float | Array) -> Langevin:
        """Return the dynamics with every step size multiplied by `factor`."""
        return eqx.tree_at(lambda s: s.step_size.values, self, self.step_size.values * factor)

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x: a chain's state is its position."""
        return x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position after step i, and ‖∇E‖/√d where it came from."""
        eta, temperature = self.step_size(i), self.temperature(i)
        x, unravel = ravel_pytree(state)
        s = ravel_pytree(score(model, state))[0]
        z = jax.random.normal(key, x.shape, x.dtype)
        moved = unravel(x + eta * s + jnp.sqrt(2 * eta * temperature) * z)
        return moved, {"score_norm": jnp.sqrt(jnp.mean(s**2))}

    def log_ratio(self, model: Model, start: Event, end: Event, i: jax.Array) -> Scalar:
        """Return log [e^{−E(end)/T} q(end → start)] − log [e^{−E(start)/T} q(start → end)], of step i."""
        (before, s), (after, r) = energy_and_score(model, start), energy_and_score(model, end)
        x, y, s, r = (ravel_pytree(a)[0] for a in (start, end, s, r))
        gain = before - after - 0.5 * jnp.sum((y - x) * (s + r))
        return (gain - 0.25 * self.step_size(i) * jnp.sum((r - s) * (r + s))) / self.temperature(i)


def annealed_langevin(
    *,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    epsilon: float | None = None,
    hold: int = 500,
    anneal: int = 2000,
    cool: int = 200,
) -> Langevin:
    """Return MDSM's annealed Langevin dynamics in the units of an energy trained with σ₀.

    Energies trained with another σ₀ differ by a factor, so temperature and step follow it:
    T = (noise/σ₀)² and ε = 0.2 σ₀ by default, the paper's T = 100 and ε = 0.02 at σ₀ = 0.1.

    Parameters
    ----------
    sigma_0
        σ₀ of the objective.
    noise_max
        √T σ₀ at the start, in the units of x: 10 σ₀ if None (1.0 in the paper).
    epsilon
        Step of eq. 8: 0.2 σ₀ if None. It is stable below 2σ₀ where the curvature is 1/σ₀².
    hold, anneal, cool
        Steps at the first temperature, of the geometric anneal to 1, and from 1 to 0.
    """
    owner = "annealed_langevin"
    check_number(owner, "sigma_0", sigma_0, above=0)
    noise_max = 10 * sigma_0 if noise_max is None else check_number(owner, "noise_max", noise_max, above=0)
    epsilon = 0.2 * sigma_0 if epsilon is None else check_number(owner, "epsilon", epsilon, above=0)
    check(epsilon < 2 * sigma_0, owner, "epsilon", f"below 2 σ₀ = {2 * sigma_0:g}", epsilon)
    temperature = mdsm((noise_max / sigma_0) ** 2, hold=hold, anneal=anneal, cool=cool)
    return Langevin.mdsm(epsilon, temperature)


def denoising_jump(model: Model, x: Event, sigma_0: float | Scalar) -> Event:
    """X − σ₀² ∇E(x), one step to the clean point: MDSM eq. 9, of one event.

    No noise level is asked for: an energy trained on a ladder of them has a gradient of the
    right size at each.
    """
    return jax.tree.map(lambda x, s: x + sigma_0**2 * s, x, score(model, x))
