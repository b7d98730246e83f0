r"""Linear independent component analysis: a density with an exact likelihood and exact draws.

    x = W⁻¹ s,   s_i independent        log p(x) = Σ_i log f((Wx)_i) + log |det W|

    laplace     f(s) = ½ e^{−|s|}               E(x) = Σ_i |s_i|,                log Z = d log 2 − log |det W|
    logistic    f(s) = e^{−s} / (1 + e^{−s})²   E(x) = Σ_i s_i + 2 log(1 + e^{−s_i}),  log Z = −log |det W|

with s = Wx. Both are heavier-tailed than a Gaussian, without which no rotation of W could be told
from another. The rows of W are identified up to their order and their signs.

The logistic energy is written with softplus: log(1 + e^{−s}) by itself overflows float32 beyond
s = −88. The Laplace energy has a kink at s_i = 0, and ∇²E = 0 elsewhere: score matching does not
see it.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from energax.checks import check, check_array, check_choice
from energax.energies.base import Normalised
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["LinearICA"]

SOURCES = ("logistic", "laplace")
FLATTEST = 1e-6  # of the largest variance: directions below it cannot be whitened


class LinearICA(Normalised):
    """E(x) = Σ_i e((Wx)_i) with e the energy of one source; log Z known.

    Grathwohl et al. (2020), §8.1, whose text says Laplace and whose numbers are those of
    logistic sources; Ceylan & Gutmann (2018), §4.

    Parameters
    ----------
    unmixing
        W, shape (d, d), invertible: sources s = Wx.
    source
        "logistic" or "laplace", both of scale 1.
    """

    unmixing: Float[Array, "d d"]
    source: str = eqx.field(static=True)

    def __init__(self, unmixing: ArrayLike, source: str = "logistic"):
        self.unmixing = jnp.asarray(unmixing, jnp.float32)
        shape = self.unmixing.shape
        square = len(shape) == 2 and shape[0] == shape[1]
        check(square, "LinearICA", "unmixing", "a square matrix", f"shape {shape}")
        self.source = check_choice("LinearICA", "source", source, SOURCES)
        if not isinstance(self.unmixing, Tracer):
            sign, log_det = jnp.linalg.slogdet(self.unmixing)
            ok = bool((sign != 0) & jnp.isfinite(log_det))
            check(ok, "LinearICA", "unmixing", "invertible", "a singular matrix")

    @classmethod
    def from_data(cls, x: ArrayLike, source: str = "logistic", *, key: Key) -> LinearICA:
        """Return one that whitens x and turns it at random, for a training to start from.

        Parameters
        ----------
        x
            Rows of data, shape (n, d).
        source
            The law of the sources.
        key
            Decides the rotation.

        Raises
        ------
        InputError
            If x has fewer than two rows or no variance in some direction.
        """
        rows = jnp.asarray(check_array("LinearICA", "x", x, at_least_rows=2))
        check(rows.ndim == 2, "LinearICA", "x", "rows of d numbers", f"shape {rows.shape}")
        variances, axes = jnp.linalg.eigh(jnp.atleast_2d(jnp.cov(rows.T)))
        flat = int(jnp.sum(variances <= FLATTEST * variances[-1]))
        check(flat == 0, "LinearICA", "x", "of full rank", f"no variance along {flat} directions")
        rotation = jnp.linalg.qr(jax.random.normal(key, axes.shape))[0]
        spread = {"logistic": jnp.pi / jnp.sqrt(3.0), "laplace": jnp.sqrt(2.0)}[source]
        return cls(spread * rotation @ (axes / jnp.sqrt(variances)).T, source)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, (d,)."""
        return self.unmixing.shape[:1]

    def __call__(self, x: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(x)."""
        s = self.unmixing @ x
        if self.source == "laplace":
            return jnp.sum(jnp.abs(s))
        return jnp.sum(s + 2 * jax.nn.softplus(-s))

    def log_normalizer(self) -> Scalar:
        """Return −log |det W|, and d log 2 more for Laplace sources."""
        constant = self.unmixing.shape[0] * jnp.log(2.0) if self.source == "laplace" else 0.0
        return constant - jnp.linalg.slogdet(self.unmixing)[1]

    def sample(self, key: Key, n: int) -> Float[Array, "n d"]:
        """Return n exact draws."""
        draw = {"laplace": jax.random.laplace, "logistic": jax.random.logistic}[self.source]
        s = draw(key, (n, self.unmixing.shape[0]))
        return s @ jnp.linalg.inv(self.unmixing).T  # solving for many sides at once is slow on CPUs
