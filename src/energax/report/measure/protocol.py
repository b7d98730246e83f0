r"""How a model is judged: its own way of sampling, and the noise it is tried on.

    many levels    σ over the ladder, told or untold          MDSM appendix D, NCSN
    one level σ    σ/4 to 2σ                                  MDSM appendix B
    none           nothing about noise is measured

Where the model is not told, σ₀ is the unit of the energy: the jump is x − σ₀²∇E(x).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.config import RunConfig
from energax.tasks import Way, way

__all__ = ["JUDGED", "Protocol", "protocol"]

JUDGED = 256  # held-out rows denoised at every σ, and compared with training rows


@dataclass(frozen=True)
class Protocol:
    """How a model is judged, read from its configuration.

    Parameters
    ----------
    way
        How it is used.
    settled
        Step at which the first temperature has been held.
    sigmas
        Noise levels at which denoising is measured, ascending; empty if none.
    shown
        Those at which it is shown.
    """

    way: Way
    settled: int
    sigmas: np.ndarray
    shown: np.ndarray

    @property
    def sigma_0(self) -> float:
        """The unit of the energy; zero if the objective knows nothing of noise."""
        return self.way.sigma_0 or 0.0

    @property
    def noise_max(self) -> float:
        """Standard deviation of the noise that chains start from."""
        return self.way.start

    @property
    def temperatures(self) -> np.ndarray:
        """The temperature, or the noise level, of each step."""
        return self.way.schedule[1]

    @property
    def symbol(self) -> str:
        """What the anneal lowers: T, or σ."""
        return {"temperature": "T", "noise": "σ"}[self.way.schedule[0]]


def protocol(config: RunConfig) -> Protocol:
    """Return the protocol of a configuration."""
    the_way = way(config)
    none = np.zeros(0)
    if the_way.sigmas is None:
        return Protocol(the_way, 0, none, none)
    low, high = the_way.sigmas
    if low == high:  # one level
        return Protocol(the_way, 0, low * np.geomspace(0.25, 2, 12), low * np.array([0.5, 1, 1.5, 2]))
    if the_way.told:  # far above the data's own size nothing is left to see
        top = min(high, 2.0)
        return Protocol(the_way, 0, np.geomspace(low, top, 12), top * np.array([1, 3, 6, 10]) / 12)
    shown = np.unique(np.clip(high * np.array([1, 3, 6, 10]) / 12, low, None))
    return Protocol(the_way, config.sampler.hold, np.unique(np.geomspace(low, high, 12)), shown)
