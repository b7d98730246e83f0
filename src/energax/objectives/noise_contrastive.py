r"""Noise-contrastive estimation, and the Bregman divergences it is one of.

Let ν noise points y ~ q come with each datum x ~ p. The ratio of the two densities is
f(u) = p(u)/(ν q(u)); the model's is g(u) = exp(−E(u) − c)/(ν q(u)) with c in the place of log Z, and

    G(u) = log g(u) = −E(u) − c − log ν − log q(u)                      the classifier's log-odds.

A convex Ψ measures how far g is from f (Gutmann & Hirayama 2011): up to a constant, the Bregman
divergence between them, averaged over the noise, is

    J(θ, c) = −E_p[Ψ′(g)] + ν E_q[g Ψ′(g) − Ψ(g)],        least where g = f: E = −log p − c, c = log Z.

    logistic       Ψ = g log g − (1+g) log(1+g)    softplus(−G)   and   softplus(G)
    importance     Ψ = g log g − g                 −G             and   e^G
    squared        Ψ = g²/2                        −e^G           and   e^{2G}/2
    exponential    Ψ = −√g                         e^{−G/2}       and   e^{G/2}      (up to factors)

The logistic one is the log-likelihood of telling data from noise: noise-contrastive estimation,
Gutmann & Hyvärinen (2012); Song & Kingma (2021), §5, whose ν in eq. 18 is the inverse of this one.
`importance` is maximum likelihood with Z by importance sampling. Because c is free, it is learned
on the same loss, and is an estimate of log Z. Held at zero, an energy that can be −log p itself learns to
be it. An energy with a constant of its own can (a network's last offset), and the constant is c by another
name; one that nothing shifts ends in a compromise of shape and mass, biased in both, however many the rows
(`papers.nce_self_normalised` derives it, and measures how near 1 the mass comes).

Given an energy, c alone is a convex problem in one unknown. With N data, M = νN noise points and
L the logistic loss, its root and standard error (the sandwich of M-estimation) are

    Σ_data σ(−G) = Σ_noise σ(G),      se² = [N var σ(−G) + M var σ(G)] / [Σ_data σσ′ + Σ_noise σσ′]²

with σσ′ = σ(G) σ(−G): `classification_log_normalizer`, Bennett's (1976) ratio for one draw of each. It takes
the rows for draws of the model. Where they are not, −E − c with that c can fit those very rows better than
the normalised model does (by up to half a nat a row in `energax reproduce nce-table`). From noise alone,

    Ẑ = mean_y e^{−E(y)}/q(y),      se(log Ẑ) = sd(w)/(mean(w) √M),      effective draws (Σw)²/Σw²

is log Z of the energy whatever the data are: `importance_log_normalizer`, unbiased for Z, and of use
where the effective draws are many.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import (
    check,
    check_array,
    check_choice,
    check_event_shape,
    check_integer,
    check_number,
)
from energax.objectives.base import Batch, LogNormalizer, Objective
from energax.objectives.likelihood import energies_of
from energax.objectives.noise import (
    check_noise,
    draws,
    fit_noise,
    log_density,
    require_kindred,
    require_support,
)
from energax.objectives.requirements import require_array, require_energy
from energax.objectives.targets import Density
from energax.typing import Array, ArrayLike, Float, Key, Metrics, Model, Scalar

__all__ = [
    "BregmanNoiseContrastiveEstimation",
    "ClassificationEstimate",
    "ImportanceEstimate",
    "NoiseContrastiveEstimation",
    "classification_log_normalizer",
    "importance_log_normalizer",
]

DIVERGENCES: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "logistic": (lambda G: jax.nn.softplus(-G), jax.nn.softplus),
    "importance": (lambda G: -G, jnp.exp),
    "squared": (lambda G: -jnp.exp(G), lambda G: 0.5 * jnp.exp(2 * G)),
    "exponential": (lambda G: jnp.exp(-0.5 * G), lambda G: jnp.exp(0.5 * G)),
}
LOG_NORMALIZERS = ("learned", "fixed")
FIRST_DRAWS = 1000  # of noise, for where log Z starts
CHUNK = 4096
NEWTON = 100  # steps at most, of a bisected Newton's method in one unknown


class BregmanNoiseContrastiveEstimation(Objective):
    """J = mean over data of −Ψ′(g) + ν · mean over noise of gΨ′(g) − Ψ(g); g = e^{−E−c}/(ν q).

    Minimiser: the density, with c = log Z. Gutmann & Hirayama (2011), eq. 6–10.

    Parameters
    ----------
    divergence
        "logistic", "importance", "squared" or "exponential" (the table above), or any convex
        function Ψ of g > 0 that JAX can differentiate.
    noise
        q: a distribution with `log_prob` and `sample` (of `energies`, flowjax, numpyro), or a kind
        that is fitted to the data: "gaussian", "diagonal", "bernoulli", or "auto".
    noise_ratio
        ν > 0, noise points per datum; a step draws round(ν · rows), at least one.
    log_normalizer
        "learned": c starts at the importance-sampling estimate of log Z and is learned on the
        same loss. "fixed": c = 0, and the energy normalises itself, for which it must have a
        constant that is learned, or be normalised by construction: else its density is biased.
    """

    noise: Any
    noise_ratio: float = eqx.field(static=True)  # how many are drawn: a shape
    divergence: str | Callable[[Array], Array] = eqx.field(static=True)
    log_normalizer: str = eqx.field(static=True)

    def __init__(
        self,
        divergence: str | Callable[[Array], Array] = "logistic",
        noise: Any = "auto",
        noise_ratio: float = 5.0,
        log_normalizer: str = "learned",
    ):
        owner = type(self).__name__
        if not callable(divergence):
            check_choice(owner, "divergence", divergence, DIVERGENCES)
        self.divergence = divergence
        self.noise = check_noise(owner, noise)
        self.noise_ratio = check_number(owner, "noise_ratio", noise_ratio, above=0)
        self.log_normalizer = check_choice(owner, "log_normalizer", log_normalizer, LOG_NORMALIZERS)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (c, the fitted noise), either None where it is given; refuse noise that misses data."""
        owner = type(self).__name__
        require_energy(owner, model)
        alone = data.condition is None
        check(alone, owner, "condition", "None: log Z would change with it", "conditions")
        require_array(owner, data.x)
        fitted = fit_noise(owner, self.noise, data.x) if isinstance(self.noise, str) else None
        noise = self.noise if fitted is None else fitted
        require_kindred(owner, noise, data.x)
        require_support(owner, noise, data.x)
        if self.log_normalizer == "fixed":
            return None, fitted
        return LogNormalizer(first_log_normalizer(model, noise, data.x.shape[1:], key)), fitted

    def noise_in(self, state: Any) -> Any:
        """Return the noise of a fit, `objective.noise_in(fit.state.state)`: given, or fitted."""
        return self.noise if state is None else state

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over the batch and its noise."""
        noise = self.noise_in(state)
        n = len(batch)
        count = max(1, round(self.noise_ratio * n))
        y = draws(noise, key, count, batch.x.shape[1:])
        c = jnp.zeros(()) if nuisance is None else nuisance.value
        both = log_ratio(model, c, noise, count / n, jnp.concatenate([batch.x, y]))
        on_data, on_noise = both[:n], both[n:]
        of_data, of_noise = _losses(self.divergence)
        value = jnp.mean(of_data(on_data)) + count / n * jnp.mean(of_noise(on_noise))
        told = 0.5 * (jnp.mean(on_data > 0) + jnp.mean(on_noise < 0))
        return value, {"log_normalizer": c, "classifier_accuracy": told}


class NoiseContrastiveEstimation(BregmanNoiseContrastiveEstimation):
    """J = mean softplus(−G(x)) + ν · mean softplus(G(y)),   G = −E − c − log(ν q).

    Minimiser: the density, with c = log Z. Gutmann & Hyvärinen (2012), eq. 8; Song & Kingma
    (2021), eq. 18–24.

    Parameters
    ----------
    noise, noise_ratio, log_normalizer
        Those of `BregmanNoiseContrastiveEstimation`, of which this is the logistic member.
    """

    def __init__(self, noise: Any = "auto", noise_ratio: float = 5.0, log_normalizer: str = "learned"):
        super().__init__("logistic", noise, noise_ratio, log_normalizer)


class ClassificationEstimate(NamedTuple):
    """What `classification_log_normalizer` returns.

    Parameters
    ----------
    value
        The estimate of log Z, in nats.
    standard_error
        Its standard error, given the energy.
    """

    value: float
    standard_error: float


def classification_log_normalizer(
    model: Model, x: ArrayLike, noise: Any, *, key: Key, noise_ratio: float = 10.0
) -> ClassificationEstimate:
    """Return log Z of an energy, from telling rows of data from noise with c alone free.

    The root is log Z where the rows are draws of the model. Where they are not, it is the c with
    which the model tells them best, and the standard error speaks of that.

    Parameters
    ----------
    model
        The energy, not fitted to these rows.
    x
        Rows of data, shape (n, *event).
    noise
        A distribution with `log_prob` and `sample`, or a kind to be fitted to the rows.
    key
        Decides the noise.
    noise_ratio
        Noise points per row.

    Raises
    ------
    InputError
        If the noise misses rows.
    """
    owner = "classification_log_normalizer"
    rows = jnp.asarray(check_array(owner, "x", x, at_least_rows=2))
    check_number(owner, "noise_ratio", noise_ratio, above=0)
    check_noise(owner, noise)
    noise = fit_noise(owner, noise, rows) if isinstance(noise, str) else noise
    require_support(owner, noise, rows)
    count = max(2, round(noise_ratio * len(rows)))
    value, error = _estimate(model, rows, noise, count, key)
    return ClassificationEstimate(float(value), float(error))


@eqx.filter_jit
def _estimate(model: Model, rows: Array, noise: Any, count: int, key: Key) -> tuple[Scalar, Scalar]:
    y, none = draws(noise, key, count, rows.shape[1:]), jnp.zeros(())
    ratio = count / len(rows)
    return _root(log_ratio(model, none, noise, ratio, rows), log_ratio(model, none, noise, ratio, y))


class ImportanceEstimate(NamedTuple):
    """What `importance_log_normalizer` returns.

    Parameters
    ----------
    value
        The estimate of log Z, in nats.
    standard_error
        Its standard error; too small itself where the effective draws are few.
    effective
        (Σw)²/Σw²: how many equally weighted draws the weights are worth.
    """

    value: float
    standard_error: float
    effective: float


def importance_log_normalizer(
    model: Model, noise: Any, event_shape: tuple[int, ...], *, key: Key, draws: int = 65_536
) -> ImportanceEstimate:
    """Return log Z of an energy by importance sampling from noise.

    Parameters
    ----------
    model
        The energy.
    noise
        A distribution with `log_prob` and `sample`, whose tails are not lighter than the model's.
    event_shape
        Shape of one event.
    key
        Decides the draws.
    draws
        Of noise, rounded up to a multiple of 4,096.

    Raises
    ------
    InputError
        If the noise cannot be drawn and evaluated.
    """
    owner = "importance_log_normalizer"
    shape = check_event_shape(owner, event_shape)
    check_integer(owner, "draws", draws, at_least=1)
    named = not isinstance(noise, str)
    check(named, owner, "noise", "a distribution with log_prob(x) and sample(key, n)", repr(noise))
    check_noise(owner, noise)
    chunks = -(-draws // CHUNK)
    log_weights = np.asarray(_log_weights(model, noise, shape, chunks, key), np.float64).ravel()
    top = log_weights.max()
    w = np.exp(log_weights - top)
    value = top + np.log(w.mean())
    error = w.std(ddof=1) / w.mean() / np.sqrt(len(w))
    return ImportanceEstimate(float(value), float(error), float(w.sum() ** 2 / np.sum(w**2)))


@eqx.filter_jit
def _log_weights(model: Model, noise: Any, event_shape: tuple[int, ...], chunks: int, key: Key) -> Array:
    def chunk(k):
        y = draws(noise, k, CHUNK, event_shape)
        return -energies_of(model, y) - log_density(noise, y)

    return jax.lax.map(chunk, jax.random.split(key, chunks))


@eqx.filter_jit
def first_log_normalizer(model: Model, noise: Any, event_shape: tuple[int, ...], key: Key) -> Scalar:
    """Return log of the mean of e^{−E(y)}/q(y) over some draws of noise: where c starts."""
    y = draws(noise, key, FIRST_DRAWS, event_shape)
    log_weights = -energies_of(model, y) - log_density(noise, y)
    return jax.nn.logsumexp(log_weights) - jnp.log(FIRST_DRAWS)


def log_ratio(model: Model, c: Scalar, noise: Any, ratio: float | Scalar, u: Array) -> Float[Array, " n"]:
    """Return G(u) = −E(u) − c − log ν − log q(u) of each row."""
    return -energies_of(model, u) - c - jnp.log(ratio) - log_density(noise, u)


def _losses(divergence: str | Callable[[Array], Array]) -> tuple[Callable[[Array], Array], ...]:
    if isinstance(divergence, str):
        return DIVERGENCES[divergence]
    slope = jax.vmap(jax.grad(divergence))
    return (lambda G: -slope(jnp.exp(G))), (lambda G: jnp.exp(G) * slope(jnp.exp(G)) - divergence(jnp.exp(G)))


def _root(on_data: Float[Array, " n"], on_noise: Float[Array, " m"]) -> tuple[Scalar, Scalar]:
    """Return the c that solves Σ σ(c − G) = Σ σ(G − c) over data and noise, and its standard error."""

    def slopes(c):
        data, noise = jax.nn.sigmoid(c - on_data), jax.nn.sigmoid(on_noise - c)
        curvature = jnp.sum(data * (1 - data)) + jnp.sum(noise * (1 - noise))
        return data, noise, curvature

    def step(_, carry):
        low, high, c = carry
        data, noise, curvature = slopes(c)
        slope = jnp.sum(data) - jnp.sum(noise)
        low, high = jnp.where(slope < 0, c, low), jnp.where(slope < 0, high, c)
        newton = c - slope / curvature
        inside = (newton > low) & (newton < high)
        return low, high, jnp.where(inside, newton, 0.5 * (low + high))

    low = jnp.minimum(on_data.min(), on_noise.min()) - 50.0
    high = jnp.maximum(on_data.max(), on_noise.max()) + 50.0
    c = jax.lax.fori_loop(0, NEWTON, step, (low, high, jnp.median(on_data)))[2]
    data, noise, curvature = slopes(c)
    spread = data.size * jnp.var(data, ddof=1) + noise.size * jnp.var(noise, ddof=1)
    return c, jnp.sqrt(spread) / curvature
