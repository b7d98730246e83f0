r"""Annealed importance sampling, forward from the base and backward from the model.

    forward    x_0 ~ base;     t = 1 … T:   log w −= δ_t(x_{t−1}),   x_t ~ K_t(x_{t−1} → ·)
    reverse    x_T ~ model;    t = T … 1:   x_{t−1} ~ K̃_t(x_t → ·),   log u −= δ_t(x_{t−1})

δ_t = F_{β_t} − F_{β_{t−1}}. K_t leaves exp(−F_{β_t}) invariant and K̃_t is its reversal in time. A kernel with
a density q_t that leaves nothing invariant, as Langevin's step of any size, adds to both what it owes,

    log r_t(x → x′) = log [e^{−F(x′)} q_t(x′ → x)] − log [e^{−F(x)} q_t(x → x′)],
    x = x_{t−1},   x′ = x_t,   F = F_{β_t},

and is its own reversal. Then, however short the chains,

    E[e^w] = Z/Z_0,    E[e^{−u}] = Z_0/Z,    so that    log Z_0 + E[w] ≤ log Z ≤ log Z_0 + E[u],

the last only for a start from exact draws. Reverse weights keep the sign of the forward ones: it is
e^{−u} that is averaged.

Log weights are summed in float32 over at most 256 temperatures at a time, and these sums in float64 on the
host. One compiled program serves any number of temperatures, in the memory of its chains.

Sources: Neal (2001); Jarzynski (1997); Crooks (1998) and Nilmeier, Crooks, Minh & Chodera (2011) for kernels
that leave nothing invariant; Burda, Grosse & Salakhutdinov (2015) for the reverse (whose weights
Upadhya & Sastry (2015), eq. 10, correct).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special

from energax.checks import check_array, check_integer
from energax.devices import gather, spread
from energax.evaluation.annealing import Annealing, anneal_chain, path_draws
from energax.loops import compiles_loop, fori
from energax.typing import Array, ArrayLike, Key

__all__ = ["AnnealedWeights", "annealed_importance_sampling", "reverse_annealed_importance_sampling"]

CHUNK = 256  # temperatures


class AnnealedWeights(NamedTuple):
    """What one direction of annealing returns.

    Parameters
    ----------
    log_weights
        log w, or log u of the reverse, shape (chains,), without the base's log Z.
    log_base
        log Z_0.
    x
        Where the chains ended: near the model's law forward, near the base's in reverse.
    acceptance
        Mean over all chains and temperatures; 1 for Gibbs sampling; MALA's for Langevin's steps.
    reverse
        Which direction.
    """

    log_weights: np.ndarray
    log_base: float
    x: Array
    acceptance: float
    reverse: bool

    @property
    def mean(self) -> float:
        """Log Z_0 + mean of the log weights: below log Z in expectation forward, above it in reverse."""
        return self.log_base + float(np.mean(self.log_weights))

    @property
    def log_mean_exp(self) -> float:
        """Log Z_0 + log mean e^w, or log Z_0 − log mean e^{−u}: log Z, for very many chains."""
        return self.log_base + self._sign * float(
            scipy.special.logsumexp(self._logs) - math.log(self._logs.size)
        )

    @property
    def deviation(self) -> float:
        """Standard deviation of the log weights."""
        return float(np.std(self.log_weights, ddof=1))

    @property
    def standard_error(self) -> float:
        """Of `mean`."""
        return self.deviation / math.sqrt(self.log_weights.size)

    @property
    def ess(self) -> float:
        """(Σ w)²/Σ w², w = e^{log w} or e^{−log u}: how many of the chains count."""
        both = scipy.special.logsumexp(self._logs), scipy.special.logsumexp(2 * self._logs)
        return float(np.exp(2 * both[0] - both[1]))

    @property
    def _sign(self) -> int:
        return -1 if self.reverse else 1

    @property
    def _logs(self) -> np.ndarray:
        return self._sign * self.log_weights


def annealed_importance_sampling(
    annealing: Annealing, chains: int = 100, *, key: Key, progress: Callable[[int, int], None] | None = None
) -> AnnealedWeights:
    """Return log weights of chains that went from the base to the model, log w.

    Parameters
    ----------
    annealing
        What `plan_annealing` found; it is not changed.
    chains
        How many, at least 2.
    key
        Decides every draw. Not the pilot's.
    progress
        Called as progress(temperatures done, temperatures).
    """
    n = check_integer("annealed_importance_sampling", "chains", chains, at_least=2)
    start, run = jax.random.split(key)
    return _weigh(annealing, path_draws(annealing.path, start, n), run, False, progress)


def reverse_annealed_importance_sampling(
    annealing: Annealing, x: ArrayLike, *, key: Key, progress: Callable[[int, int], None] | None = None
) -> AnnealedWeights:
    """Return log weights of chains that went from the model to the base, log u.

    Parameters
    ----------
    annealing
        As for `annealed_importance_sampling`.
    x
        Exact draws of the model, one for each chain. From anything else, data say, E[u] ≥ log Z/Z_0 is only
        a guess.
    key, progress
        As for `annealed_importance_sampling`.
    """
    rows = check_array("reverse_annealed_importance_sampling", "x", x, at_least_rows=2)
    start = jax.vmap(annealing.path.enter)(jnp.asarray(rows))
    return _weigh(annealing, start, key, True, progress)


def _weigh(
    annealing: Annealing, x: Array, key: Key, back: bool, progress: Callable[[int, int], None] | None
) -> AnnealedWeights:
    path, sampler, moves, betas, factors, *_ = annealing
    n, T = x.shape[0], len(factors)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    zeros = jnp.zeros(n)
    total, accepted = np.zeros(n), 0.0
    # One row more than a chunk has temperatures: a weight looks at both ends of its step.
    table = np.concatenate([betas, np.ones(CHUNK, np.float32)])
    sizes = np.concatenate([factors, np.ones(CHUNK, np.float32)])
    settings, turned = (path, sampler, moves), jnp.asarray(back)
    step = (*(jnp.asarray(a) for a in (betas[0], betas[1], factors[0])), jnp.zeros((), int), turned)
    compiled = compiles_loop(_one, *settings, (x[0], zeros[0], zeros[0]), keys[0], *step)
    came = x
    settings, (x, zeros, keys) = spread(settings, (x, zeros, keys))
    starts = range(0, T, CHUNK)
    for first in reversed(starts) if back else starts:
        count = min(CHUNK, T - first)
        knots = jnp.asarray(table[first : first + CHUNK + 1])
        steps = jnp.asarray(sizes[first : first + CHUNK])
        carry = (x, zeros, zeros)
        if compiled:
            bounds = jnp.asarray(first), jnp.asarray(count)
            carry = _chunk(*settings, carry, keys, knots, steps, *bounds, turned)
        else:
            for k in range(count):
                k = count - 1 - k if back else k
                step = knots[k], knots[k + 1], steps[k], jnp.asarray(first + k), turned
                carry = _once(*settings, carry, keys, *step)
        x, log_w, took = carry
        total += np.asarray(log_w, np.float64)
        accepted += float(np.sum(np.asarray(took, np.float64)))
        if progress is not None:
            progress(T - first if back else first + count, T)
    ends = jax.vmap(path.leave)(gather(x, came))
    return AnnealedWeights(total, path.log_base(), ends, accepted / (n * T), back)


def _one(path, sampler, moves, chain, key, low, high, factor, t, back):
    """Return one chain (x, log weight, acceptance) after the step from β_t to β_{t+1}, or its reversal."""
    x, log_w, took = chain
    moved, accepted, owed = anneal_chain(
        path, sampler, moves, x, high, factor, jax.random.fold_in(key, t), t, back
    )
    # Weighed is the end of the step that lies at the lower β: before the moves, or after them backwards;
    # and the steps' ratio is that of the way up.
    lower_end, owed = jnp.where(back, moved, x), jnp.where(back, -owed, owed)
    return moved, log_w - path.increment(lower_end, low, high) + owed, took + accepted


def _all(path, sampler, moves, chains, keys, low, high, factor, t, back):
    step: Any = jax.vmap(
        lambda chain, key: _one(path, sampler, moves, chain, key, low, high, factor, t, back)
    )
    return step(chains, keys)


@eqx.filter_jit
def _chunk(path, sampler, moves, chains, keys, knots, steps, first, count, back):
    def body(k, chains):
        k = jnp.where(back, count - 1 - k, k)
        return _all(path, sampler, moves, chains, keys, knots[k], knots[k + 1], steps[k], first + k, back)

    return fori(0, count, body, chains)


_once = eqx.filter_jit(_all)
