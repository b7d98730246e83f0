r"""An annealing: a path, its β's, its transitions. Found in a pilot run, then frozen.

Between β and β′ the weights of draws at β are e^{−(F_{β′} − F_β)}, of which a share

    CESS = (mean e^{−δ})² / mean e^{−2δ},      δ = F_{β′} − F_β,

is effective. A pilot run goes from the base to the model in steps that keep that share near one half.
−log CESS grows with the square of a step, so √(−log CESS) is a length along the path, and β's at equal
lengths (schedule "adaptive") have equal shares, however many there are. Other schedules, s = t/T:

    linear         β = s
    sigmoid        β = [σ(8s − 4) − σ(−4)]/[σ(4) − σ(−4)]
    exponential    β = (e^{5s} − 1)/(e^5 − 1)

On the way the step sizes of HMC, MALA or Langevin's dynamics follow the acceptance that they should have
(Langevin's steps are never refused: what refusing would mend, their weights pay), and each β of the
schedule gets its own. Nothing is adapted afterwards: with a transition that looks at the chains E[w] = Z/Z_0
holds no more.

Sources: Zhou, Johansen & Aston (2016) for the conditional effective sample size; Grosse et al. (2015),
"Sandwiching the marginal likelihood", for the sigmoid schedule; Neal (2001).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.interpolate
import scipy.optimize
import scipy.special

from energax.checks import check, check_choice, check_integer
from energax.derivatives import Score
from energax.energies import IndependentBernoulli
from energax.evaluation.bases import GaussianBase
from energax.evaluation.paths import BlockPath, Geometric, Path, path_between
from energax.loops import compiles_loop, fori
from energax.samplers import HMC, MALA, BitGibbs, BlockGibbs, Langevin, Sampler
from energax.typing import Array, ArrayLike, Float, Key, Model, Scalar

__all__ = ["SCHEDULES", "Annealing", "anneal_chain", "path_draws", "plan_annealing"]

SCHEDULES = ("linear", "sigmoid", "exponential", "adaptive")
STEEP = 4.0
GROWTH = 5.0
STEPPED = (HMC, MALA, Langevin)
# Higher than where HMC moves farthest: a refused path keeps the rate of its weight for another temperature.
# On three laws (normal of 100 coordinates, well and badly scaled; skewed of 20) var(log w) at 0.9 was 0.4 to
# 0.7 of that at 0.65, for the same ten gradients.
HMC_TARGET = 0.9
MALA_TARGET = 0.574
# What n of Langevin's steps owe has variance n s² if they would be refused with probability 0.4 s: this
# keeps it near 0.4. On four laws of 2 and 20 coordinates with 100 to 3,000 temperatures, sd(log w) was then
# at most 1.5 times the least that any refusal gave; MALA's, for the same gradients, was an eighth to a half.
LANGEVIN_REFUSED = 0.25
FIRST_MOVES = 60  # of the pilot at the base, where nothing is known of the step size
MOVES = 4  # of the pilot at each later β
LEARNING = 1.0  # of the log step size, for each unit of acceptance too much
KNOTS = 200
WIDEST = 0.05
SHARE = 0.5  # of the pilot's draws that stay effective from one of its β's to the next
JITTER = 0.2  # of the step size: a path of a whole number of periods would end where it began


class Annealing(NamedTuple):
    """What `plan_annealing` returns: everything that the weights' runs depend on, and nothing they change.

    Parameters
    ----------
    path
        The energies F_β.
    transition
        The sampler whose steps leave F_β's law invariant, or nearly so: Langevin's.
    moves
        Its steps at each β.
    betas
        0 = β_0 < … < β_T = 1.
    factors
        By what the transition's step size is multiplied at β_1 … β_T.
    schedule
        The name it was asked for by.
    length
        Of the path: with T temperatures sd(log w) is length/√T where every step draws afresh, and about twice
        that by HMC.
    """

    path: Path
    transition: Sampler
    moves: int
    betas: np.ndarray
    factors: np.ndarray
    schedule: str
    length: float


def plan_annealing(
    energy: Model,
    base: Any = None,
    *,
    data: ArrayLike | None = None,
    transition: Sampler | None = None,
    moves: int | None = None,
    temperatures: int = 1000,
    schedule: str = "adaptive",
    chains: int = 64,
    key: Key,
) -> Annealing:
    """Return the annealing from a base to the model, its β's and step sizes found in a pilot run.

    Parameters
    ----------
    energy
        E of one event (one array).
    base
        E_0, with `log_normalizer` and `sample`: a Gaussian, IndependentBernoulli, a Flow; or Uniform, whose
        box is then the model's domain: log Z is that of the model on the box. If None, one fitted to
        `data`; for Boltzmann machines without either, the machine without its weights.
    data
        Rows like those the model was made for.
    transition
        HMC, MALA or Langevin (the step size is the first guess), BitGibbs for any energy of bits, BlockGibbs
        for machines; if None, BlockGibbs where there is such a path, BitGibbs for bits, HMC of ten leapfrog
        steps for reals.
    moves
        Steps of the transition at each β; if None 1, and for BitGibbs a sweep.
    temperatures
        T.
    schedule
        "adaptive", "linear", "sigmoid" or "exponential".
    chains
        Of the pilot run.
    key
        Decides the pilot run.

    Raises
    ------
    InputError
        If the transition leaves no law invariant and its steps have no ratio to make up for it, there is no
        such path, or the energy is not finite at the base's draws.
    """
    owner = "plan_annealing"
    check_choice(owner, "schedule", schedule, SCHEDULES)
    T = check_integer(owner, "temperatures", temperatures, at_least=1)
    check_integer(owner, "chains", chains, at_least=8)
    whole = callable(energy) and not isinstance(energy, Score)
    check(
        whole, owner, "energy", "an energy (a vector field has no value to weigh by)", type(energy).__name__
    )
    _check_transition(owner, transition)
    blocks = None if transition is None else isinstance(transition, BlockGibbs)
    path = path_between(owner, energy, base, data, blocks)
    sampler = _default(path) if transition is None else transition
    _check_support(owner, path, sampler)
    each = 1
    draw_key, run_key = jax.random.split(key)
    x = path_draws(path, draw_key, chains)
    if isinstance(sampler, BitGibbs):
        each = math.prod(x.shape[1:])
    each = each if moves is None else check_integer(owner, "moves", moves, at_least=1)
    target = _target(sampler, T * each)
    knots, lengths, log_factors = _pilot(owner, path, sampler, each, target, x, run_key)
    betas = _betas(schedule, T, knots, lengths)
    factors = np.exp(np.interp(betas[1:], knots, log_factors))
    sizes = np.asarray(betas, np.float32), np.asarray(factors, np.float32)
    return Annealing(path, sampler, each, *sizes, schedule, float(lengths.sum()))


def anneal_chain(
    path: Path,
    sampler: Sampler,
    moves: int,
    x: Array,
    beta: Scalar,
    factor: Scalar,
    key: Key,
    t: Array | int,
    back: Array | bool,
) -> tuple[Array, Scalar, Scalar]:
    """Return one chain after its steps at β, their mean acceptance (1 where none is reported), and log ratio.

    Backwards it is the reversal in time: HMC, MALA, Langevin and a visit to one unit are their own; the
    visits change their order, and so do the blocks of a model that says how (`sweep_back`). The direction may
    be traced. The log ratio of the steps, r of `importance`, is 0 for kernels that leave e^{−F_β} invariant.
    """
    model = path.at(beta)
    stepped = isinstance(sampler, STEPPED)
    turns = isinstance(sampler, BlockGibbs) and hasattr(model, "sweep_back")
    state = sampler.init(model, x, jax.random.fold_in(key, 2**31 - 1))

    def one(j, carry):
        state, accepted, owed = carry
        j = jnp.where(back, moves - 1 - j, j)
        step_key, jitter_key = jax.random.split(jax.random.fold_in(key, j))
        if turns:
            known: Any = model
            ways = (lambda x: known.sweep_back(x, step_key), lambda x: known.sweep(x, step_key))
            return jax.lax.cond(back, *ways, state), accepted + 1.0, owed
        now: Any = sampler
        if stepped:
            now = sampler.scaled(factor * (1 + JITTER * jax.random.uniform(jitter_key, minval=-1.0)))
        moved, info = now.step(model, state, step_key, t * moves + j)
        if isinstance(now, Langevin):
            log_ratio = now.log_ratio(model, state, moved, t * moves + j)
            return moved, accepted + jnp.exp(jnp.minimum(log_ratio, 0.0)), owed + log_ratio
        return moved, accepted + info.get("acceptance", 1.0), owed

    carry = (state, jnp.zeros(()), jnp.zeros(()))
    # One move is written out: a loop would keep a convolution inside it.
    state, accepted, owed = one(0, carry) if moves == 1 else fori(0, moves, one, carry)
    return sampler.position(state).astype(x.dtype), accepted / moves, owed


def _default(path: Path) -> Sampler:
    if isinstance(path, BlockPath):
        return BlockGibbs()
    base = path.base if isinstance(path, Geometric) else None
    if isinstance(base, IndependentBernoulli):
        return BitGibbs()
    return HMC(0.5, 10, inverse_mass=base.variance if isinstance(base, GaussianBase) else None)


def _check_transition(owner: str, transition: Sampler | None) -> None:
    """Refuse transitions that leave nothing invariant and have no ratio of their steps, saying why."""
    if transition is None:
        return
    name = type(transition).__name__
    biased = transition.bias_order is not None and not isinstance(transition, Langevin)
    why = "one that leaves each law of the path invariant, or E[w] = Z/Z_0 fails (take MALA or HMC)"
    check(not biased, owner, "transition", why, f"{name}, which does so only as its step goes to 0")
    known = isinstance(transition, (*STEPPED, BitGibbs, BlockGibbs))
    check(known, owner, "transition", "HMC, MALA, Langevin, BitGibbs or BlockGibbs", name)
    check(
        transition.horizon is None, owner, "transition", "of one step size (the pilot finds the rest)", name
    )
    hot = isinstance(transition, STEPPED) and float(transition.temperature.values[0]) != 1
    check(not hot, owner, "transition", "at temperature 1: the path has the temperatures", "another")


def _check_support(owner: str, path: Path, sampler: Sampler) -> None:
    """Refuse gradients of bits and flips of reals."""
    if not isinstance(path, BlockPath):
        bits = isinstance(path, Geometric) and isinstance(path.base, IndependentBernoulli)
        fits = isinstance(sampler, BitGibbs) == bits
        wanted = "BitGibbs for a base of bits, HMC, MALA or Langevin for one of reals"
        given = f"{type(sampler).__name__} with {type(getattr(path, 'base', path)).__name__}"
        check(fits, owner, "transition", wanted, given)


def _betas(schedule: str, T: int, knots: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return β_0 … β_T."""
    s = np.linspace(0, 1, T + 1)
    if schedule == "sigmoid":
        s = scipy.special.expit(STEEP * (2 * s - 1))
        s = (s - s[0]) / (s[-1] - s[0])
    elif schedule == "exponential":
        s = np.expm1(GROWTH * s) / np.expm1(GROWTH)
    elif schedule == "adaptive":
        along = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
        s = scipy.interpolate.PchipInterpolator(along, knots)(s)
        s = np.maximum.accumulate(np.clip(s, 0, 1))
        s[0], s[-1] = 0, 1
    return s


def _target(sampler: Sampler, steps: int) -> float:
    """Return the acceptance that the pilot steers to, for so many steps in all; 1 where none is steered."""
    if isinstance(sampler, Langevin):
        return 1 - LANGEVIN_REFUSED / math.sqrt(max(steps, 1))
    return HMC_TARGET if isinstance(sampler, HMC) else MALA_TARGET if isinstance(sampler, MALA) else 1.0


def _pilot(
    owner: str, path: Path, sampler: Sampler, moves: int, acceptance: float, x: Array, key: Key
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return β's from 0 to 1, the lengths between them, and the log of the step size's factor at each."""
    knots, lengths, factors = [0.0], [], []
    log_factor = jnp.zeros(())
    target = jnp.asarray(acceptance, jnp.float32)
    stepped = isinstance(sampler, STEPPED)
    compiled = compiles_loop(_round, path, sampler, moves, x, log_factor, *(jnp.zeros(()),) * 2, key, 0)
    while True:
        beta = jnp.asarray(knots[-1], jnp.float32)
        count = 1 if not stepped else FIRST_MOVES if len(knots) == 1 else MOVES
        here = (beta, target, jax.random.fold_in(key, len(knots)))
        if compiled:
            x, log_factor = _rounds(path, sampler, moves, x, log_factor, *here, jnp.asarray(count))
        else:
            for i in range(count):
                x, log_factor = _round_once(path, sampler, moves, x, log_factor, *here, jnp.asarray(i))
        factors.append(float(log_factor))
        if knots[-1] == 1:
            break
        slopes = np.asarray(_slopes(path, x, beta), np.float64)
        bad = int(np.sum(~np.isfinite(slopes)))
        wanted = "finite where the annealing goes (a wider or narrower base, or a smaller first step)"
        check(
            bad == 0,
            owner,
            "energy",
            wanted,
            f"{bad} of {len(slopes)} values at β = {knots[-1]:.3g} that are not",
        )
        step, length = _next(slopes, knots[-1], len(knots))
        lengths.append(length)
        knots.append(1.0 if knots[-1] + step >= 1 else knots[-1] + step)
    floor = 1e-3 * max(np.mean(lengths), 1e-6)
    return np.asarray(knots), np.maximum(lengths, floor), _smooth(np.asarray(factors))


def _next(slopes: np.ndarray, beta: float, made: int) -> tuple[float, float]:
    """Return the step of β that keeps a share of the draws effective, and its length."""
    centred = slopes - slopes.mean()

    def log_share(step):
        w = -step * centred
        n = len(w)
        return 2 * scipy.special.logsumexp(w) - scipy.special.logsumexp(2 * w) - math.log(n)

    widest = min(WIDEST, 1 - beta)
    step = widest
    if log_share(widest) < math.log(SHARE):
        found: Any = scipy.optimize.brentq(lambda s: log_share(s) - math.log(SHARE), 0.0, widest)
        step = float(found)
    # With half of the β's used up the rest must do.
    left = KNOTS - made
    if left < KNOTS / 2:
        step = max(step, (1 - beta) / max(left, 1))
    return step, math.sqrt(max(-log_share(step), 0.0))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and its neighbours: the acceptance of some tens of chains is noisy."""
    if len(values) < 3:
        return values
    padded = np.concatenate([values[:1], values, values[-1:]])
    return (padded[:-2] + padded[1:-1] + padded[2:]) / 3


def _round(path, sampler, moves, x, log_factor, beta, target, key, i):
    """Return the chains after their moves at β, and the log factor corrected by their acceptance."""
    keys = jax.random.split(jax.random.fold_in(key, i), x.shape[0])
    move = lambda x, k: anneal_chain(path, sampler, moves, x, beta, jnp.exp(log_factor), k, 0, False)  # noqa: E731
    x, accepted, _ = jax.vmap(move)(x, keys)
    if isinstance(sampler, STEPPED):
        log_factor = log_factor + LEARNING * (jnp.mean(accepted) - target)
    return x, log_factor


@eqx.filter_jit
def path_draws(path: Path, key: Key, n: int) -> Array:
    """Return n exact draws at β = 0."""
    return path.sample(key, n)


@eqx.filter_jit
def _rounds(path, sampler, moves, x, log_factor, beta, target, key, count):
    body = lambda i, c: _round(path, sampler, moves, c[0], c[1], beta, target, key, i)  # noqa: E731
    return fori(0, count, body, (x, log_factor))


_round_once = eqx.filter_jit(_round)


@eqx.filter_jit
def _slopes(path: Path, x: Array, beta: Scalar) -> Float[Array, " n"]:
    return jax.vmap(path.slope, (0, None))(x, beta)
