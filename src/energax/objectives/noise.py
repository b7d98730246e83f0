r"""The noise that data are told apart from: what a distribution must offer, and those fitted to data.

Noise-contrastive methods draw y ~ q and evaluate log q at data and at noise. Any object with
`log_prob(x)` of one event and `sample` will do: one of `energies` with exact draws
(`sample(key, n)`), a flow of flowjax or a distribution of numpyro (`sample(key, (n,))`).

Fitted to data x of d coordinates,

    gaussian     N(x̄, S), S the covariance of the rows       diagonal    N(x̄, diag S)
    bernoulli    independent bits with the means of the data, drawn towards ½ by one row

Gutmann & Hyvärinen (2012) ask of q that it can be drawn and evaluated, that its support holds the
data's, and that it lies as near to the data as it can. Song & Kingma (2021), §5.
"""

from __future__ import annotations

import inspect
import math
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from energax.checks import check, check_choice
from energax.energies import Gaussian, IndependentBernoulli, Normalised
from energax.objectives.requirements import require_binary, require_continuous, require_spread, two_valued
from energax.typing import Array, Condition, Events, Float, Key, Scalar

__all__ = [
    "FITTED",
    "check_noise",
    "draws",
    "fit_noise",
    "log_density",
    "noise_kind",
    "require_kindred",
    "require_support",
]

FITTED = ("auto", "gaussian", "diagonal", "bernoulli")
FULL_TO = 256  # coordinates: a larger covariance is estimated badly and costs more than the energy
TRIED = 64  # draws that tell whether noise is of bits
NARROWEST = 1e-3  # of a correlation matrix's mean eigenvalue; narrower directions are widened to it
WANTED = "a distribution with log_prob(x) and sample(key, n), or one of " + ", ".join(map(repr, FITTED))


class FittedGaussian(Gaussian):
    """A Gaussian that is not trained: its factor is inverted once, not in every step."""

    whitener: Float[Array, "d d"]

    def __init__(self, mean: Array, covariance: Array):
        super().__init__(mean, covariance)
        identity = jnp.eye(self.mean.size)
        self.whitener = jax.scipy.linalg.solve_triangular(self.scale_tril, identity, lower=True)

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * jnp.sum((self.whitener @ (x - self.mean)) ** 2)


class FittedDiagonal(Normalised):
    """Independent normal coordinates that are not trained: N(μ, diag s²), d numbers of each and no matrix."""

    mean: Float[Array, " d"]
    scale: Float[Array, " d"]

    def __init__(self, mean: Array, scale: Array):
        self.mean, self.scale = mean, scale

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.mean.shape

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        return 0.5 * jnp.sum(((x - self.mean) / self.scale) ** 2)

    def log_normalizer(self) -> Scalar:
        """Return (d/2) log 2π + Σ_i log s_i."""
        return 0.5 * self.mean.size * jnp.log(2 * jnp.pi) + jnp.sum(jnp.log(self.scale))

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        return self.mean + self.scale * jax.random.normal(key, (n, self.mean.size))


def draws(noise: Any, key: Key, n: int, event_shape: tuple[int, ...]) -> Array:
    """Return n independent draws, shape (n, *event_shape)."""
    named = list(inspect.signature(noise.sample).parameters)
    y = noise.sample(key, (n,) if "sample_shape" in named else n)
    return jnp.asarray(y, jnp.float32).reshape(n, *event_shape)


def log_density(noise: Any, x: Array) -> Float[Array, " n"]:
    """Return log q of each row, in nats."""
    shape = _event_shape(noise)
    if shape is not None and math.prod(shape) == math.prod(x.shape[1:]):
        x = x.reshape(x.shape[0], *shape)
    return jax.vmap(noise.log_prob)(x)


def check_noise(owner: str, noise: Any) -> Any:
    """Return `noise` if it is a known name or can be drawn and evaluated."""
    if isinstance(noise, str):
        return check_choice(owner, "noise", noise, FITTED)
    missing = [name for name in ("log_prob", "sample") if not callable(getattr(noise, name, None))]
    got = f"a {type(noise).__name__} without {' and '.join(missing)}"
    check(not missing, owner, "noise", WANTED, got)
    return noise


def fit_noise(owner: str, kind: str, x: Events) -> Any:
    """Return the noise of that kind fitted to rows of data.

    "auto" is `bernoulli` for zeros and ones, else `gaussian` for up to 256 coordinates and ten
    rows each, else `diagonal`.

    Raises
    ------
    InputError
        If a column is constant (its density cannot be told from noise), or bits are not bits.
    """
    check(isinstance(x, jax.Array | np.ndarray), owner, "x", "one array", f"a {type(x).__name__}")
    known = None if isinstance(x, Tracer) else np.asarray(x)
    rows = jnp.asarray(x).reshape(x.shape[0], -1)
    n, d = rows.shape
    kind = noise_kind(x) if kind == "auto" else kind
    if kind == "bernoulli":
        bits = known is None or _are_bits(known)
        check(bits, owner, "x", "zeros and ones for noise='bernoulli'", "other numbers")
        ones = (rows.sum(0) + 0.5) / (n + 1)
        return IndependentBernoulli((jnp.log(ones) - jnp.log1p(-ones)).reshape(x.shape[1:]))
    scale = rows.std(0)
    require_spread(owner, x)
    if kind == "diagonal":
        return FittedDiagonal(rows.mean(0), scale)
    correlation = jnp.atleast_2d(jnp.corrcoef(rows.T))
    values, axes = jnp.linalg.eigh(correlation)
    narrow = values < NARROWEST
    if known is not None and bool(narrow.any()):
        warnings.warn(
            f"{owner}: the data have next to no variance along {int(narrow.sum())} of {d} directions; the "
            "fitted Gaussian noise was widened there, and data so thin have hardly a density.",
            stacklevel=2,
        )
    widened = (axes * jnp.maximum(values, NARROWEST)) @ axes.T
    return FittedGaussian(rows.mean(0), widened * scale * scale[:, None])


def noise_kind(x: Array | np.ndarray) -> str:
    """Return the kind of noise that "auto" is for these rows."""
    if not isinstance(x, Tracer) and _are_bits(np.asarray(x)):
        return "bernoulli"
    n, d = x.shape[0], math.prod(x.shape[1:])
    return "gaussian" if d <= FULL_TO and n >= 10 * d else "diagonal"


def _are_bits(x: np.ndarray) -> bool:
    return bool(np.all((x == 0) | (x == 1)))


def require_kindred(owner: str, noise: Any, x: Array | np.ndarray) -> None:
    """Refuse bits with noise of reals and reals with noise of bits: odds take densities, or probabilities.

    Of noise with a density, constant columns are refused too.
    """
    if isinstance(noise, IndependentBernoulli):
        require_binary(owner, x, "noise='gaussian'")
    elif not (two_valued(x) and two_valued(draws(noise, jax.random.key(0), TRIED, x.shape[1:]))):
        require_continuous(owner, x, "noise='bernoulli' on zeros and ones")
        require_spread(owner, x)


def require_support(owner: str, noise: Any, x: Array) -> None:
    """Refuse noise without one density a row, or whose density is zero or not a number at some of them."""
    if isinstance(x, Tracer):
        return
    values = log_density(noise, jnp.asarray(x))
    allowed = "with one log_prob for a whole row (of numpyro's: .to_event(1) makes one of many)"
    check(values.ndim == 1, owner, "noise", allowed, f"one with log_prob of shape {values.shape[1:]}")
    if isinstance(values, Tracer):
        return
    missed = float(np.mean(~np.isfinite(np.asarray(values))))
    allowed = "with a density above zero at every row of data"
    check(missed == 0, owner, "noise", allowed, f"one that misses {missed:.2%} of the rows")


def _event_shape(noise: Any) -> tuple[int, ...] | None:
    """Return the shape of an event as the distribution says: `event_shape`, or flowjax's `shape`."""
    for name in ("event_shape", "shape"):
        shape = getattr(noise, name, None)
        if isinstance(shape, tuple) and math.prod(shape) > 0:
            return shape
    return None
