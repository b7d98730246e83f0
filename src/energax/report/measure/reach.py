r"""Which chains are lost: those further than ‖z − c‖/√d = radius from the middle of the data.

A chain is *lost* if it ends where no noise of the ladder could have brought it: a network's energy
is made only where there was noise, and may fall without bound beyond. Lost chains are counted, shown
nowhere, and enter no average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["Reach"]


@dataclass(frozen=True)
class Reach:
    """Where chains start, and how far they may go before they are lost.

    Parameters
    ----------
    center
        Centre of the starting noise, in model units.
    radius
        Root mean square distance from it, per coordinate, beyond which a chain is lost.
    """

    center: Any
    radius: float

    @classmethod
    def of_rows(cls, rows: np.ndarray, noise_max: float, image: bool) -> Reach:
        """Return ten times as far as data with starting noise lie.

        The centre is the middle of pixels in [0, 1], as in the paper, or else the mean.
        """
        unit = image and rows.min() >= 0 and rows.max() <= 1
        center = 0.5 if unit else jnp.asarray(rows.mean(axis=0, dtype=np.float64), jnp.float32)
        spread = np.sqrt(np.square(rows - np.asarray(center)).reshape(len(rows), -1).mean(axis=1))
        return cls(center, 10 * (noise_max + float(spread.max())))

    def holds(self, rows: np.ndarray) -> np.ndarray:
        """Return which rows are finite and within the radius."""
        with np.errstate(over="ignore", invalid="ignore"):
            square = np.square(rows.astype(np.float64) - np.asarray(self.center)).reshape(len(rows), -1)
            return square.mean(axis=1) <= self.radius**2
