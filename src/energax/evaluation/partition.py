r"""log Z between two ends, with a verdict.

    lower = log Z_0 + mean(log w) − t·se,      upper = log Z_0 + mean(log u) + t·se,

w of chains annealed from the base to the model, u of chains annealed back (`importance`), the same frozen
annealing in both directions. By Jensen's inequality both ends are on their side of log Z in expectation,
whatever the chains did; what short chains cost is width. The estimate is Bennett's, from both.
"Converged" is said only where the ends are within the width asked for and sd(log w) ≤ 1 in both
directions: intervals of a log mean e^w are right only while no few chains decide it (with sd 1.8 a nominal
95 % covers 78 %).

Where log Z can be had without chains it is: by the model's own formula, by enumeration of up to 20 bits, by
quadrature for up to three real coordinates. An energy of reals is also looked at far from the chains (`far`),
for one that falls there has another log Z than they find, or none.

Sources: Grosse, Ghahramani & Adams (2015), "Sandwiching the marginal likelihood using bidirectional Monte
Carlo"; Bennett (1976).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.stats

from energax.checks import InputError, check, check_array, check_integer, check_number
from energax.energies import (
    BernoulliRBM,
    DeepBoltzmannMachine,
    GaussianBernoulliRBM,
    IndependentBernoulli,
    Ising,
    IsingGraph,
    Normalised,
    Uniform,
    enumerate_log_normalizer,
)
from energax.energies.enumeration import LIMIT
from energax.evaluation.annealing import plan_annealing
from energax.evaluation.bennett import bennett_acceptance_ratio
from energax.evaluation.far import falls_far_out
from energax.evaluation.importance import (
    AnnealedWeights,
    annealed_importance_sampling,
    reverse_annealed_importance_sampling,
)
from energax.evaluation.paths import Geometric
from energax.evaluation.quadrature import LARGEST_DIMENSION, quadrature_log_normalizer
from energax.samplers import Sampler
from energax.typing import ArrayLike, Key, Model

__all__ = ["LogNormalizerEstimate", "bracket", "log_normalizer"]

LARGEST_DEVIATION = 1.0
RESOLVED = 0.01  # nats: a quadrature with more error is left to chains
ROWS = 1000  # of a base, to tell a quadrature where to look
FALLS = (
    "not log Z: far from the data, where these chains never come, the energy falls below what it is at any "
    "of them. Of the region that the chains saw"
)


class LogNormalizerEstimate(NamedTuple):
    """log Z between two ends.

    Parameters
    ----------
    lower, upper
        The ends, in nats, each moved outwards by its error.
    estimate
        Bennett's, from both directions.
    standard_error
        Of the estimate.
    lower_error, upper_error
        Standard errors of the two means of log weights.
    ess
        Effective chains (Σ w)²/Σ w², forward and in reverse.
    deviation
        sd(log w), forward and in reverse.
    converged
        Whether the ends are as near as was asked, and sd(log w) ≤ 1 in both directions.
    status
        "converged", "exact" and by what, or what is missing; and whether the reverse chains' start was only
        heuristic. Of an energy that was found to fall far from where they start (`evaluation.far`), that.
    settings
        What was chosen or found: temperatures, schedule, transition, acceptance, length of the path.
    work
        log Z_0 + log weights of the single chains, forward and in reverse; empty where there were none.
    """

    lower: float
    upper: float
    estimate: float
    standard_error: float
    lower_error: float
    upper_error: float
    ess: tuple[float, float]
    deviation: tuple[float, float]
    converged: bool
    status: str
    settings: dict[str, object]
    work: tuple[np.ndarray, np.ndarray] = (np.zeros(0), np.zeros(0))

    @property
    def exact(self) -> bool:
        """Whether it took no chains: the ends are then those of rounding, or of a quadrature's error."""
        return self.status.startswith("exact")


def log_normalizer(
    energy: Model,
    base: Any = None,
    *,
    data: ArrayLike | None = None,
    transition: Sampler | None = None,
    moves: int | None = None,
    temperatures: int = 1000,
    schedule: str = "adaptive",
    chains: int = 100,
    width: float = 1.0,
    confidence: float = 0.95,
    exact: bool = True,
    key: Key,
    progress: Callable[[int, int], None] | None = None,
) -> LogNormalizerEstimate:
    """Return log Z of an energy between a lower and an upper end, and whether they have converged.

    Parameters
    ----------
    energy, base, data, transition, moves, temperatures, schedule
        As for `plan_annealing`. A deep Boltzmann machine is annealed in its `bipartite` form, its data's
        hidden layers drawn upwards.
    chains
        In each direction.
    width
        Nats between the ends that are near enough.
    confidence
        Of each end's error, and of the estimate's.
    exact
        Do without chains where that can be: by formula, by the transfer matrix, by enumeration of bits, by
        quadrature over ℝᵈ for d ≤ 3.
    key
        Decides every draw.
    progress
        Called as progress(temperatures done, temperatures), over both directions.

    Raises
    ------
    InputError
        If there is nothing to start the reverse chains from: neither exact draws of the model nor data. If
        quadrature finds that the energy has no log Z.
    """
    owner = "log_normalizer"
    check_number(owner, "width", width, above=0)
    check_number(owner, "confidence", confidence, above=0, at_most=1 - 1e-9)
    n = check_integer(owner, "chains", chains, at_least=8)
    if exact:
        known = _without_chains(energy, base, data, key)
        if known is not None:
            return known
    plan_key, start_key, forward_key, reverse_key = jax.random.split(key, 4)
    if isinstance(energy, DeepBoltzmannMachine):
        energy, data = _two_layers(energy, data, jax.random.fold_in(key, 1))
    ends, source = _ends(energy, data, n, start_key)
    annealing = plan_annealing(
        energy,
        base,
        data=data,
        transition=transition,
        moves=moves,
        temperatures=temperatures,
        schedule=schedule,
        key=plan_key,
    )
    T = len(annealing.factors)
    told = (
        (lambda offset: None) if progress is None else lambda offset: lambda i, _: progress(offset + i, 2 * T)
    )
    forward = annealed_importance_sampling(annealing, n, key=forward_key, progress=told(0))
    reverse = reverse_annealed_importance_sampling(annealing, ends, key=reverse_key, progress=told(T))
    settings = {
        "temperatures": T,
        "schedule": schedule,
        "chains": n,
        "transition": type(annealing.transition).__name__,
        "moves": annealing.moves,
        "acceptance": (forward.acceptance, reverse.acceptance),
        "length": annealing.length,
        "reverse start": source,
    }
    heuristic = None if source == "exact draws" else source
    found = bracket(
        forward, reverse, width=width, confidence=confidence, heuristic=heuristic, settings=settings
    )
    on_reals = isinstance(annealing.path, Geometric) and not isinstance(
        annealing.path.base, IndependentBernoulli
    )
    if on_reals and not isinstance(energy, Normalised) and falls_far_out(energy, ends, start_key):
        return found._replace(converged=False, status=f"{FALLS}: {found.status}")
    return found


def bracket(
    forward: AnnealedWeights,
    reverse: AnnealedWeights,
    *,
    width: float = 1.0,
    confidence: float = 0.95,
    heuristic: str | None = None,
    settings: dict[str, object] | None = None,
) -> LogNormalizerEstimate:
    """Return what log weights of both directions say of log Z.

    Parameters
    ----------
    forward, reverse
        Of one annealing.
    width, confidence
        As for `log_normalizer`.
    heuristic
        What the reverse chains started from, if not from exact draws: the upper end is then a guess.
    settings
        Put into the result.
    """
    lost = [int(np.sum(~np.isfinite(w.log_weights))) for w in (forward, reverse)]
    check(
        not any(lost),
        "bracket",
        "log weights",
        "finite",
        f"{lost[0]} forward and {lost[1]} in reverse that are not",
    )
    lower = forward.mean - _quantile(confidence, forward) * forward.standard_error
    upper = reverse.mean + _quantile(confidence, reverse) * reverse.standard_error
    found = bennett_acceptance_ratio(forward.log_weights, reverse.log_weights)
    deviation = forward.deviation, reverse.deviation
    missing = []
    if upper < lower:
        missing.append(
            f"the ends cross by {lower - upper:.3g} nats: the reverse chains began where the model is not"
        )
    elif upper - lower > width:
        missing.append(f"{upper - lower:.3g} nats between the ends, {width:g} asked for")
    for name, sd in zip(("forward", "in reverse"), deviation, strict=True):
        if sd > LARGEST_DEVIATION:
            missing.append(f"sd(log w) = {sd:.3g} {name}, above {LARGEST_DEVIATION:g}")
    status = f"not converged: {'; '.join(missing)}; try more temperatures" if missing else "converged"
    if heuristic is not None:
        status += f" (heuristic upper end: the reverse chains started from {heuristic}, not from exact draws)"
    return LogNormalizerEstimate(
        lower=lower,
        upper=upper,
        estimate=forward.log_base + found.estimate,
        standard_error=found.standard_error,
        lower_error=forward.standard_error,
        upper_error=reverse.standard_error,
        ess=(forward.ess, reverse.ess),
        deviation=deviation,
        converged=not missing,
        status=status,
        settings=dict(settings or {}),
        work=(forward.log_base + forward.log_weights, reverse.log_base + reverse.log_weights),
    )


def _quantile(confidence: float, weights: AnnealedWeights) -> float:
    return float(scipy.stats.t.isf((1 - confidence) / 2, weights.log_weights.size - 1))


def _without_chains(
    energy: Model, base: Any, data: ArrayLike | None, key: Key
) -> LogNormalizerEstimate | None:
    """Return log Z by formula, enumeration or quadrature; None where none of them serves."""
    if isinstance(energy, Normalised):
        try:
            return _known(float(energy.log_normalizer()))
        except InputError:  # too large to enumerate
            pass
    known = (getattr(one, "event_shape", None) for one in (energy, base))
    shapes = [s for s in (*known, None if data is None else np.shape(data)[1:]) if s is not None]
    machine = isinstance(energy, BernoulliRBM | DeepBoltzmannMachine | Ising | IsingGraph)
    size = math.prod(shapes[0]) if shapes else math.inf
    if machine or size > LIMIT:
        return None
    shape = shapes[0]
    rows = None if data is None else np.asarray(data)
    if rows is None and callable(getattr(base, "sample", None)):
        rows = np.asarray(base.sample(key, ROWS))
    real = isinstance(energy, GaussianBernoulliRBM)  # whatever its data
    if rows is not None and not real and bool(np.all((rows == 0) | (rows == 1))):
        return _known(float(enumerate_log_normalizer(energy, shape)), by="enumeration")
    if size > LARGEST_DIMENSION or isinstance(base, Uniform):  # of which the box is the domain
        return None
    where = {}
    if rows is not None:
        where = {"center": rows.mean(0), "scale": np.maximum(rows.std(0), 1e-6 + 1e-3 * rows.std())}
    found = quadrature_log_normalizer(energy, shape, **where)
    if found.error > RESOLVED:  # chains will do better
        return None
    settings = {"radius": found.radius, "evaluations": found.evaluations}
    return _known(found.log_z, found.error, by="quadrature", settings=settings)


def _two_layers(
    deep: DeepBoltzmannMachine, data: ArrayLike | None, key: Key
) -> tuple[BernoulliRBM, np.ndarray | None]:
    """Return the restricted machine of a deep one, and its events for rows of the visible layer."""
    if data is None:
        return deep.bipartite(), None
    rows = check_array("log_normalizer", "data", data, event_shape=deep.event_shape)
    filled = lambda x, k: deep.even_layers(deep.start(x, k))  # noqa: E731
    return deep.bipartite(), np.asarray(jax.vmap(filled)(rows, jax.random.split(key, len(rows))))


def _known(
    log_z: float, error: float = 0.0, *, by: str = "", settings: dict[str, object] | None = None
) -> LogNormalizerEstimate:
    nothing = (math.inf, math.inf), (0.0, 0.0)
    ends = log_z - error, log_z + error
    status = "exact" + (f", by {by}" if by else "")
    return LogNormalizerEstimate(
        *ends, log_z, error, error, error, *nothing, True, status, dict(settings or {})
    )


def _ends(energy: Model, data: ArrayLike | None, n: int, key: jax.Array) -> tuple[np.ndarray, str]:
    """Return where the reverse chains start, and what that is."""
    draw = getattr(energy, "sample", None)
    if callable(draw) and list(inspect.signature(draw).parameters)[:2] == ["key", "n"]:
        try:
            return np.asarray(draw(key, n)), "exact draws"
        except InputError:  # too large to enumerate
            pass
    wanted = "given: the reverse chains start from it where the model has no exact draws"
    check(data is not None, "log_normalizer", "data", wanted, None)
    rows = check_array("log_normalizer", "data", data, event_shape=getattr(energy, "event_shape", None))
    again = n > len(rows)
    chosen = np.asarray(jax.random.choice(key, len(rows), (n,), replace=again))
    return rows[chosen], f"{len(rows):,} rows of data" + (" taken more than once" if again else "")
