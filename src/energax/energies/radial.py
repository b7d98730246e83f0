r"""A base for an energy that is to denoise at many noise levels at once.

Multiscale denoising score matching wants of x̃ = x + σz, x ~ N(μ, s²I) in d dimensions,

    σ₀²∇E(x̃) = (x̃ − μ) σ²/(s² + σ²),

and one energy for all σ can give it where d is large: r² = ‖x̃ − μ‖²/d is then near s² + σ², so that x̃ itself
says what σ was, and the slope is (x̃ − μ)(1 − s²/r²), that of (d/2σ₀²)(r² − s² log r²). This is singular at μ.
With s² added to r² under the logarithm it is smooth, grows from μ, and differs by O(s⁴/r⁴) of the slope:

    B(x) = (d/2σ₀²) (r² − s² log(1 + r²/s²)),        σ₀²∇B(x) = (x − μ) r²/(s² + r²).

Without it a network has to learn that noise is taken off as it came, an identity map of d dimensions at every
level. With it there remains what distinguishes the data from a ball.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_number
from energax.derivatives import evaluate
from energax.energies.base import Energy, OfAnother
from energax.typing import Array, ArrayLike, Condition, Event, Float, Scalar

__all__ = ["WithRadialBase"]


class WithRadialBase(OfAnother):
    """E(x) + (d/2σ₀²)(r² − s² log(1 + r²/s²)) with r² = ‖x − μ‖²/d: an energy that starts out denoising.

    For multiscale denoising score matching (Li, Chen & Sommer 2019); derived in `energies.radial`.

    Parameters
    ----------
    energy
        Any energy over one array of d numbers.
    mean, scale
        Initial μ, a number or of the event's shape, and s > 0: for data, the mean of each coordinate and the
        root of the mean of their variances. Both are learned.
    sigma_0
        σ₀ > 0 of the objective, `MultiscaleDenoisingScoreMatching(sigma_0=)`. A constant: not learned.

    Raises
    ------
    InputError
        If scale or sigma_0 is not positive, or the mean is of another shape.
    """

    energy: Energy
    mean: Float[Array, "*event"]
    log_scale: Scalar
    sigma_0: float = eqx.field(static=True)

    def __init__(self, energy: Energy, mean: ArrayLike = 0.0, scale: float = 1.0, *, sigma_0: float = 0.1):
        self.energy = energy
        shape = tuple(energy.event_shape)
        check(
            np.shape(mean) in ((), shape),
            "WithRadialBase",
            "mean",
            f"a number or of shape {shape}",
            np.shape(mean),
        )
        self.mean = jnp.broadcast_to(jnp.asarray(mean, jnp.float32), energy.event_shape)
        self.log_scale = jnp.log(jnp.float32(check_number("WithRadialBase", "scale", scale, above=0)))
        self.sigma_0 = check_number("WithRadialBase", "sigma_0", sigma_0, above=0)

    @classmethod
    def from_data(cls, energy: Energy, x: ArrayLike, *, sigma_0: float = 0.1) -> WithRadialBase:
        """Return it with the mean of each coordinate of rows x, and the root of the mean of their variances.

        Parameters
        ----------
        energy, sigma_0
            As above.
        x
            Rows, shape (n, *event). Where all are alike s is 10⁻³.
        """
        x = np.asarray(x, np.float32)
        return cls(energy, x.mean(0), max(float(np.sqrt(x.var(0).mean())), 1e-3), sigma_0=sigma_0)

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x) with the base's energy added."""
        r2 = jnp.mean((x - self.mean) ** 2)
        s2 = jnp.exp(2 * self.log_scale)
        base = r2 - s2 * jnp.log1p(r2 / s2)
        return evaluate(self.energy, x, condition) + 0.5 * self.mean.size / self.sigma_0**2 * base
