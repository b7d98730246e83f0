r"""Metropolis-corrected dynamics: MALA, HMC and NUTS, exact at any step size.

All three sample exp(−E/T) by BlackJAX's kernels. Their steps are given in the units of
`Langevin`, for an energy E whose noise, not whose gradient, depends on the temperature:

    MALA    x′ = x − η ∇E(x) + √(2ηT) z                              Langevin's step, then accepted
    HMC     p ~ N(0, T M);  L times  p −= (ε/2)∇E,  x += ε M⁻¹p,  p −= (ε/2)∇E;  then accepted
    NUTS    the same leapfrog steps, as many as lead away from the start

with probability min(1, exp(−ΔH/T)) of being accepted, H = E + ½ pᵀM⁻¹p. Where BlackJAX is given
the log-density −E/T and momenta from N(0, M), this is its step ηT or ε√T. The largest
stable step, 2/√(largest curvature of E), is then the same at all temperatures: that is why one
number serves a whole annealing schedule. HMC with one leapfrog step and M = 1 is MALA with η = ε²/2,
so that ε is MDSM's too (`Langevin.mdsm`).

BlackJAX's states hold log-density and gradient. A chain here holds E and −∇E, which no temperature
changes, and hands them over divided by T. They belong to one model: chains of another model are
started again by `init`, as `run` and `walk` do. BlackJAX differentiates the log-density itself;
it is given one whose derivative is that of `derivatives.energy_and_score`.

Sources: Roberts & Tweedie (1996) for MALA; Neal (2011), "MCMC using Hamiltonian dynamics";
Hoffman & Gelman (2014), "The no-U-turn sampler". Li, Chen & Sommer (2019), §4: annealing "could
be improved" by HMC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import hmc, mala, nuts, proposal, trajectory
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_integer, check_number
from energax.derivatives import energy_and_score, evaluate
from energax.loops import repeat
from energax.samplers.base import Sampler, check_energy
from energax.samplers.langevin import annealed_langevin
from energax.samplers.schedules import Schedule, constant
from energax.typing import Array, Event, Key, Metrics, Model, Scalar

__all__ = ["HMC", "MALA", "NUTS", "annealed_hmc", "annealed_mala"]


class Chain(NamedTuple):
    """A chain between steps.

    Parameters
    ----------
    x
        Where it is.
    energy, score
        E(x) and −∇E(x) there, at temperature 1.
    """

    x: Event
    energy: Scalar
    score: Event


class Metropolis(Sampler):
    """What MALA, HMC and NUTS share: steps, temperatures, and what a chain carries."""

    step_size: eqx.AbstractVar[Schedule]
    temperature: eqx.AbstractVar[Schedule]

    @property
    def horizon(self) -> int | None:
        """Length of the longer schedule; None if both are constant."""
        longest = max(len(self.step_size), len(self.temperature))
        return longest if longest > 1 else None

    def law_temperature(self, i: jax.Array | int) -> Scalar:
        """Return T_i."""
        return self.temperature(i)

    def noise(self, sigma_0: float) -> Schedule:
        """Return σ₀√T_i, the noise that coordinates of curvature 1/σ₀² carry at each step."""
        return Schedule(sigma_0 * np.sqrt(np.asarray(self.temperature.values)))

    def scaled(self, factor: float | Array) -> Metropolis:
        """Return the dynamics with every step size multiplied by `factor`."""
        return eqx.tree_at(lambda s: s.step_size.values, self, self.step_size.values * factor)

    def init(self, model: Model, x: Event, key: Key) -> Chain:
        """Return the chain at x; the model must be an energy."""
        check_energy(type(self).__name__, model)
        return Chain(x, *energy_and_score(model, x))

    def moved_to(self, model: Model, state: Chain, x: Event) -> Chain:
        """Return the chain at x, its energy and score computed there."""
        return Chain(x, *energy_and_score(model, x))

    def step(self, model: Model, state: Chain, key: Key, i: jax.Array) -> tuple[Chain, Metrics]:
        """Return the chain after step i, what its kernel reports, and ‖∇E‖/√d where it came from."""
        T = self.temperature(i)
        score_norm = jnp.sqrt(jnp.mean(ravel_pytree(state.score)[0] ** 2))
        log_p: Any = -state.energy / T
        start = hmc.HMCState(state.x, log_p, _scale(1 / T, state.score))
        end, info = self.transition(log_density(model, T), start, key, i)
        chain = Chain(end.position, -T * end.logdensity, _scale(T, end.logdensity_grad))
        return chain, {**info, "score_norm": score_norm}

    def transition(
        self, log_p: Callable[[Event], Scalar], start: hmc.HMCState, key: Key, i: jax.Array
    ) -> tuple[Any, Metrics]:
        """Return BlackJAX's state after step i of the chain whose log-density is −E/T."""
        raise NotImplementedError

    def position(self, state: Chain) -> Event:
        """Return where the chain is."""
        return state.x


class MALA(Metropolis):
    """x′ = x − η_i ∇E(x) + √(2 η_i T_i) z, accepted or refused: the Metropolis-adjusted Langevin algorithm.

    Invariant law: exp(−E/T), exactly. Reports `acceptance` and `score_norm`.

    Parameters
    ----------
    step_size
        η > 0, a number or a `Schedule`, in squared units of x per unit of E, as `Langevin`'s.
    temperature
        T > 0, a number or a `Schedule`.
    """

    step_size: Schedule
    temperature: Schedule

    def __init__(self, step_size: float | Schedule, temperature: float | Schedule = 1.0):
        self.step_size = _positive("MALA", "step_size", step_size)
        self.temperature = _positive("MALA", "temperature", temperature)

    def transition(
        self, log_p: Callable[[Event], Scalar], start: hmc.HMCState, key: Key, i: jax.Array
    ) -> tuple[Any, Metrics]:
        """Return BlackJAX's state after one step of size η_i T_i."""
        step = self.step_size(i) * self.temperature(i)
        kernel: Any = mala.build_kernel()
        end, info = kernel(key, mala.MALAState(*start), log_p, step)
        return end, {"acceptance": info.acceptance_rate}


class HMC(Metropolis):
    """L leapfrog steps of size ε_i from fresh momenta, accepted or refused: Hamiltonian Monte Carlo.

    Invariant law: exp(−E/T), exactly. Reports `acceptance` and `score_norm`.

    Parameters
    ----------
    step_size
        ε > 0, a number or a `Schedule`, in units of x where the mass is 1.
    leapfrog_steps
        L ≥ 1, gradients a step.
    temperature
        T > 0, a number or a `Schedule`.
    inverse_mass
        The diagonal of M⁻¹, positive, of the shape of one event (or a pytree like it), best about
        the variances of the coordinates; ones if None.
    """

    step_size: Schedule
    temperature: Schedule
    inverse_mass: Event | None
    leapfrog_steps: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: float | Schedule,
        leapfrog_steps: int = 10,
        temperature: float | Schedule = 1.0,
        inverse_mass: Any = None,
    ):
        self.step_size = _positive("HMC", "step_size", step_size)
        self.leapfrog_steps = check_integer("HMC", "leapfrog_steps", leapfrog_steps, at_least=1)
        self.temperature = _positive("HMC", "temperature", temperature)
        self.inverse_mass = _masses("HMC", inverse_mass)

    def transition(
        self, log_p: Callable[[Event], Scalar], start: hmc.HMCState, key: Key, i: jax.Array
    ) -> tuple[Any, Metrics]:
        """Return BlackJAX's state after L leapfrog steps of size ε_i √T_i."""
        step = self.step_size(i) * jnp.sqrt(self.temperature(i))
        mass = inverse_masses(self, start.position)
        kernel: Any = hmc.build_kernel(build_proposal=_path)
        end, probability = kernel(key, start, log_p, step, mass, self.leapfrog_steps)
        return end, {"acceptance": probability}


class NUTS(Metropolis):
    """Leapfrog steps of size ε_i until the path turns back, one point drawn from it: the no-U-turn sampler.

    Invariant law: exp(−E/T), exactly. Reports `score_norm`, `acceptance` (its mean along the path),
    `leapfrog_steps` and `divergences` (1 where H is lost by more than 1,000 along the path).
    Chains that run together wait for the longest path among them: the more they are, the more of a step is
    waiting. `max_doublings` bounds it.

    Parameters
    ----------
    step_size
        ε > 0, a number or a `Schedule`, in units of x where the mass is 1.
    inverse_mass
        As for `HMC`.
    max_doublings
        A path has at most 2^max_doublings leapfrog steps.
    temperature
        T > 0, a number or a `Schedule`.
    """

    step_size: Schedule
    temperature: Schedule
    inverse_mass: Event | None
    max_doublings: int = eqx.field(static=True)

    def __init__(
        self,
        step_size: float | Schedule,
        inverse_mass: Any = None,
        max_doublings: int = 10,
        temperature: float | Schedule = 1.0,
    ):
        self.step_size = _positive("NUTS", "step_size", step_size)
        self.inverse_mass = _masses("NUTS", inverse_mass)
        self.max_doublings = check_integer("NUTS", "max_doublings", max_doublings, at_least=1)
        self.temperature = _positive("NUTS", "temperature", temperature)

    def transition(
        self, log_p: Callable[[Event], Scalar], start: hmc.HMCState, key: Key, i: jax.Array
    ) -> tuple[Any, Metrics]:
        """Return BlackJAX's state after one path of leapfrog steps of size ε_i √T_i."""
        step = self.step_size(i) * jnp.sqrt(self.temperature(i))
        mass = inverse_masses(self, start.position)
        kernel: Any = nuts.build_kernel()
        end, info = kernel(key, start, log_p, step, mass, self.max_doublings)
        return end, {
            "acceptance": info.acceptance_rate,
            "leapfrog_steps": jnp.asarray(info.num_integration_steps, jnp.float32),
            "divergences": jnp.asarray(info.is_divergent, jnp.float32),
        }


def annealed_mala(
    *,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    epsilon: float | None = None,
    hold: int = 500,
    anneal: int = 2000,
    cool: int = 200,
) -> MALA:
    """Return MDSM's annealed Langevin dynamics with each step accepted or refused.

    The steps are those of `annealed_langevin`; the last temperature is 1/cool instead of 0.

    Parameters
    ----------
    sigma_0, noise_max, epsilon, hold, anneal, cool
        As for `annealed_langevin`.
    """
    plain = annealed_langevin(
        sigma_0=sigma_0, noise_max=noise_max, epsilon=epsilon, hold=hold, anneal=anneal, cool=cool
    )
    return MALA(plain.step_size, _never_zero(plain.temperature, cool))


def annealed_hmc(
    *,
    sigma_0: float = 0.1,
    noise_max: float | None = None,
    epsilon: float | None = None,
    leapfrog_steps: int = 10,
    hold: int = 50,
    anneal: int = 200,
    cool: int = 20,
) -> HMC:
    """Return HMC at the temperatures of MDSM's annealing, for as many gradients by default.

    "A better sampling technique such as HMC could improve this result": Li, Chen & Sommer (2019), §4.
    A step takes L gradients, so its schedule has a tenth of the paper's steps. ε needs no schedule
    of its own (see the head of this module).

    Parameters
    ----------
    sigma_0, noise_max, epsilon, hold, anneal, cool
        As for `annealed_langevin`; the last temperature is 1/cool instead of 0.
    leapfrog_steps
        L; the path is Lε long, 2σ₀ by default, a third of a period where the curvature is 1/σ₀².
    """
    plain = annealed_langevin(
        sigma_0=sigma_0, noise_max=noise_max, epsilon=epsilon, hold=hold, anneal=anneal, cool=cool
    )
    epsilon_of = Schedule(np.sqrt(2 * np.asarray(plain.step_size.values)))  # η = ε²/2
    return HMC(epsilon_of, leapfrog_steps, _never_zero(plain.temperature, cool))


def log_density(model: Model, temperature: Scalar) -> Callable[[Event], Scalar]:
    """Return x ↦ −E(x)/T, whose derivative is the library's own: s(x)/T."""

    @jax.custom_vjp
    def log_p(x):
        return -evaluate(model, x) / temperature

    def forward(x):
        energy, score = energy_and_score(model, x)
        return -energy / temperature, _scale(1 / temperature, score)

    log_p.defvjp(forward, lambda gradient, cotangent: (_scale(cotangent, gradient),))
    return log_p


def _never_zero(temperature: Schedule, cool: int) -> Schedule:
    """Return the temperatures of `annealed_langevin` with 1/cool for the 0 at their end."""
    return Schedule(np.maximum(np.asarray(temperature.values), 1 / cool))


def _positive(owner: str, name: str, value: float | Schedule) -> Schedule:
    if not isinstance(value, Schedule):
        return constant(check_number(owner, name, value, above=0))
    check_number(owner, f"least {name}", float(value.values.min()), above=0)
    return value


def _masses(owner: str, inverse_mass: Any) -> Event | None:
    if inverse_mass is None:
        return None
    # A list is an array written out, not a pytree.
    is_array = lambda a: isinstance(a, list)  # noqa: E731
    masses = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), inverse_mass, is_leaf=is_array)
    least = min(float(jnp.min(leaf)) for leaf in jax.tree.leaves(masses))
    check(0 < least < np.inf, owner, "inverse_mass", "positive", f"a least value of {least:g}")
    return masses


def inverse_masses(sampler: HMC | NUTS, x: Event) -> Array:
    """Return the diagonal of M⁻¹ as one vector, in the order of the event's leaves."""
    masses = sampler.inverse_mass
    if masses is None:
        return jnp.ones(ravel_pytree(x)[0].shape)
    wanted, got = (str(jax.tree.map(jnp.shape, tree)) for tree in (x, masses))
    check(wanted == got, type(sampler).__name__, "inverse_mass", f"of the event's shape {wanted}", got)
    return ravel_pytree(masses)[0]


def _path(integrator, kinetic_energy, step_size, count, threshold):
    """Return the proposal at the end of `count` leapfrog steps.

    BlackJAX's own proposal with the leapfrog loop given to `repeat`, which decides where loops run.
    """
    energy = trajectory.hmc_energy(kinetic_energy)

    def generate(key, start):
        end = hmc.flip_momentum(repeat(count, lambda _, at: integrator(at, step_size), start))
        gain = proposal.safe_energy_diff(energy(start), energy(end))
        chosen, (_, probability, _) = proposal.static_binomial_sampling(key, gain, start, end)
        return chosen, probability, None

    return generate


def _scale(factor: Scalar, tree: Event) -> Event:
    return jax.tree.map(lambda a: factor * a, tree)
