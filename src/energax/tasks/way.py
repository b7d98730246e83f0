r"""How a trained model is to be used: its dynamics, and what it knows of noise.

    objective            dynamics                                        noise
    multiscale           annealed Langevin (MDSM appendix D), a jump     any of the ladder, untold; unit σ₀
    denoising            Langevin at T = 1 (appendix B), a jump          about σ, untold; unit σ
    noise-conditional    annealed over noise levels (lecture, alg. 1)    any of the ladder, told
    score-matching …     Langevin at T = 1                               none
    non-negative, box    reflected Langevin at T = 1                     none
    ratio                Gibbs sampling of bits                          none

This is the one place where a configuration becomes a sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.checks import check, check_integer
from energax.config import RunConfig
from energax.derivatives import Score
from energax.samplers import (
    AnnealedNoiseLangevin,
    BitGibbs,
    Langevin,
    ReflectedLangevin,
    Sampler,
    annealed_langevin,
    schedules,
)
from energax.typing import Model

__all__ = ["Way", "way"]


@dataclass(frozen=True)
class Way:
    """How a model is to be used, read from its configuration.

    Parameters
    ----------
    sampler
        The dynamics, with a horizon.
    start
        Standard deviation of the noise that chains start from.
    sigma_0
        The unit of the energy, of the jump x − σ₀²∇E(x) and of inpainting's noise; the smallest
        level of a noise-conditional model; None if the objective knows nothing of noise.
    told
        Whether the model must be told the noise level.
    sigmas
        Smallest and largest noise level that the model was trained on, or None.
    """

    sampler: Sampler
    start: float
    sigma_0: float | None
    told: bool = False
    sigmas: tuple[float, float] | None = None

    @property
    def horizon(self) -> int:
        """How many steps the dynamics take."""
        assert self.sampler.horizon is not None
        return self.sampler.horizon

    @property
    def schedule(self) -> tuple[str, np.ndarray]:
        """What is annealed, "temperature" or "noise", and its value at each step."""
        if isinstance(self.sampler, Langevin):
            return "temperature", np.asarray(self.sampler.temperature.values)
        if isinstance(self.sampler, AnnealedNoiseLangevin):
            return "noise", np.asarray(self.sampler.noise().values)
        return "temperature", np.ones(self.horizon, np.float32)

    def energy(self, model: Model) -> Model | None:
        """Return the energy of x alone: at the smallest level if told; None for a vector field."""
        one = model.at(self.sigma_0) if self.told else model
        return None if isinstance(one, Score) else one


def way(config: RunConfig) -> Way:
    """Return how a model of this configuration is to be used."""
    options, s = config.objective_options, config.sampler
    for name in ("hold", "anneal", "cool"):
        check_integer("sampler", name, getattr(s, name), at_least=1)
    total = s.hold + s.anneal + s.cool
    constant = schedules.constant(1.0, total)
    if config.objective == "multiscale":
        sampler = annealed_langevin(
            sigma_0=options.sigma_0,
            noise_max=s.noise_max,
            epsilon=s.epsilon * options.sigma_0,
            hold=s.hold,
            anneal=s.anneal,
            cool=s.cool,
        )
        return Way(sampler, s.noise_max, options.sigma_0, False, (options.sigma_min, options.sigma_max))
    if config.objective == "denoising":
        sigma = options.sigma
        return Way(Langevin.mdsm(s.epsilon * sigma, constant), sigma, sigma, False, (sigma, sigma))
    if config.objective == "noise-conditional":
        low, high, count = options.sigma_min, options.sigma_max, options.levels
        known = high is not None and count is not None
        check(known, "sampler", "objective.sigma_max and levels", "resolved from the data", None)
        assert high is not None
        assert count is not None
        sigmas = np.geomspace(high, low, count)
        dynamics = AnnealedNoiseLangevin(sigmas, s.epsilon * low**2, max(1, total // count))
        return Way(dynamics, high, low, True, (low, high))
    if config.objective == "ratio":
        return Way(BitGibbs(total), s.noise_max, None)
    langevin = Langevin.mdsm(s.epsilon, constant)
    if config.objective == "non-negative":
        return Way(ReflectedLangevin(langevin, 0.0), s.noise_max, None)
    if config.objective == "box":
        return Way(ReflectedLangevin(langevin, options.low, options.high), s.noise_max, None)
    return Way(langevin, s.noise_max, None)
