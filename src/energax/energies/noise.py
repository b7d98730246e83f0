r"""Noise-conditional models: one model per noise level, all in one network.

A noise-conditional model answers `model.at(sigma)` with the model of the σ-smoothed density
p_σ = p * N(0, σ²I): an energy, or a `Score`. Two kinds are here.

`Smoothings` is the truth of a density that can be smoothed in closed form.

`NoiseConditional` is a network that is told the noise level. It is preconditioned (Karras et
al. 2022), so that the network sees and gives numbers of size one at every level. With data of
mean μ and standard deviation s per coordinate, v = s² + σ², y = (x − μ)/√v,

    E(x, σ) = ‖x − μ‖²/2v + (s/σ) F(y, φ(σ)),        s(x, σ) = −(x − μ)/v + (s/(σ√v)) f(y, φ(σ)):

the energy (score) of N(μ, vI), right for Gaussian data and at large σ, plus what a network F (f)
adds. φ(σ) are sines and cosines of log σ.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp

from energax.checks import check, check_number
from energax.derivatives import Score
from energax.typing import Array, Condition, Event, Float, Model, Scalar

__all__ = ["NOISE_FEATURES", "NoiseConditional", "Smoothings"]

FREQUENCIES = (0.25, 0.5, 1.0, 2.0)
NOISE_FEATURES = 2 * len(FREQUENCIES)


class Smoothings(eqx.Module):
    """The exact noise-conditional model of a density with a method `smoothed(sigma)`.

    Parameters
    ----------
    density
        A `Gaussian`, a `GaussianMixture`, or anything that answers `smoothed`.
    """

    density: Any

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.density.event_shape

    def at(self, sigma: float | Scalar) -> Model:
        """Return the energy of the σ-smoothed density."""
        return self.density.smoothed(sigma)


def noise_features(sigma: Scalar) -> Float[Array, " f"]:
    """φ(σ): sines and cosines of log σ at four frequencies."""
    angles = jnp.log(sigma) * jnp.asarray(FREQUENCIES)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])


class NoiseConditional(eqx.Module):
    """A network over (x, σ): `at(sigma)` is the energy or score of the σ-smoothed density.

    Parameters
    ----------
    network
        A conditional energy, or a `Score` of a conditional field, whose condition is a vector
        of `NOISE_FEATURES` numbers, followed by the data's own condition if there is one.
    mean, scale
        μ and s of the data, in the units the model sees. Constants: not trained.
    """

    network: Model
    mean: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(self, network: Model, mean: float = 0.0, scale: float = 1.0):
        size = getattr(network.field if isinstance(network, Score) else network, "condition_size", None)
        enough = size is None or size >= NOISE_FEATURES
        check(
            enough,
            "NoiseConditional",
            "network",
            f"one with condition_size of {NOISE_FEATURES} or more",
            size,
        )
        self.network = network
        self.mean = check_number("NoiseConditional", "mean", mean)
        self.scale = check_number("NoiseConditional", "scale", scale, above=0)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.network.event_shape

    def at(self, sigma: float | Scalar) -> Model:
        """Return the model of the σ-smoothed density, an energy or a `Score` as the network is."""
        level = AtNoise(self.network, jnp.asarray(sigma, jnp.float32), self.mean, self.scale)
        return Score(level) if isinstance(self.network, Score) else level


class AtNoise(eqx.Module):
    """One level of a `NoiseConditional`: x ↦ E(x, σ), or the field of a score."""

    network: Model
    sigma: Scalar
    mean: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event."""
        return self.network.event_shape

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        """Return E(x, σ), or s(x, σ) if the network is a field."""
        variance = self.scale**2 + self.sigma**2
        y = (x - self.mean) / jnp.sqrt(variance)
        told = noise_features(self.sigma)
        if condition is not None:
            told = jnp.concatenate([told, jnp.ravel(condition)])
        out = self.network(y, told)
        if isinstance(self.network, Score):
            return (self.scale / self.sigma * out - y) / jnp.sqrt(variance)
        return 0.5 * jnp.sum(y**2) + self.scale / self.sigma * out
