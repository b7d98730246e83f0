r"""How a model is to be used: the unit of its energy, its dynamics, the noise it is tried on.

    many levels    annealed Langevin dynamics from noise_max; σ over the ladder     MDSM appendix D
    one level σ    T = 1 from noise of that σ; σ/4 to 2σ                            MDSM appendix B

With either, σ₀ is the unit of the energy: the jump is x − σ₀²∇E(x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.checks import check_choice
from energax.config import RunConfig
from energax.samplers import Langevin, annealed_langevin, schedules

__all__ = ["JUDGED", "Protocol", "protocol"]

JUDGED = 256  # held-out rows denoised at every σ, and compared with training rows


@dataclass(frozen=True)
class Protocol:
    """How a model is to be used, read from its configuration.

    Parameters
    ----------
    sigma_0
        The unit of the energy: the jump is x − σ₀²∇E(x). The σ of a single-level objective.
    sampler
        The dynamics, with their schedule of temperatures.
    noise_max
        Standard deviation of the noise that chains start from.
    settled
        Step at which the first temperature has been held.
    sigmas
        Noise levels at which denoising is measured, ascending.
    shown
        Those at which it is shown.
    """

    sigma_0: float
    sampler: Langevin
    noise_max: float
    settled: int
    sigmas: np.ndarray
    shown: np.ndarray

    @property
    def temperatures(self) -> np.ndarray:
        """The temperature of each step."""
        return np.asarray(self.sampler.temperature.values)


def protocol(config: RunConfig) -> Protocol:
    """Return the protocol of a configuration.

    With many noise levels: annealed Langevin dynamics (MDSM appendix D), and the ladder's own
    range. With one, σ: T = 1 from noise of that σ (appendix B), and σ/4 to 2σ.
    """
    check_choice("report", "objective", config.objective, ("mdsm", "dsm"))
    options, s = config.objective_options, config.sampler
    if config.objective == "mdsm":
        sigma_0 = options.sigma_0
        sampler = annealed_langevin(
            sigma_0=sigma_0,
            noise_max=s.noise_max,
            epsilon=s.epsilon * sigma_0,
            hold=s.hold,
            anneal=s.anneal,
            cool=s.cool,
        )
        sigmas = np.unique(np.geomspace(options.sigma_min, options.sigma_max, 12))
        shown = np.unique(np.clip(options.sigma_max * np.array([1, 3, 6, 10]) / 12, options.sigma_min, None))
        return Protocol(sigma_0, sampler, s.noise_max, s.hold, sigmas, shown)
    sigma = options.sigma
    total = s.hold + s.anneal + s.cool
    sampler = Langevin.mdsm(s.epsilon * sigma, schedules.constant(1.0, total))
    return Protocol(
        sigma, sampler, sigma, 0, sigma * np.geomspace(0.25, 2, 12), sigma * np.array([0.5, 1, 1.5, 2])
    )
