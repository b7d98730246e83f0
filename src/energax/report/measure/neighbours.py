r"""Samples against the training rows nearest to them, L2 in model units (MDSM appendix C).

Were samples copies, min_i ‖z − z_i‖ would pile up near zero; the same of held-out rows shows how
near a new row comes by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.evaluation.neighbours import nearest
from energax.report.measure.protocol import JUDGED
from energax.report.measure.samples import Samples
from energax.report.measure.units import Units

__all__ = ["Neighbours", "neighbours"]


@dataclass(frozen=True)
class Neighbours:
    """Training rows nearest to samples.

    Parameters
    ----------
    samples, neighbours
        Data units, shapes (c, *event) and (c, k, *event).
    distances
        L2 in model units, shape (c, k).
    from_samples, from_held_out
        Distance to the nearest training row, of every sample and of held-out rows.
    """

    samples: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    from_samples: np.ndarray
    from_held_out: np.ndarray


def neighbours(samples: Samples, units: Units) -> Neighbours:
    """Find the nearest training rows of samples, and of held-out rows for comparison."""
    held_out = units.to_model(units.dataset.test[:JUDGED])
    queries = np.concatenate([samples.model, held_out])
    index, distance = nearest(queries, units.dataset.train, 5, transform=units.to_model)
    n = len(samples.model)
    return Neighbours(
        samples=samples.data[:10],
        neighbours=units.dataset.train[index[: min(n, 10)]],
        distances=distance[: min(n, 10)],
        from_samples=distance[:n, 0],
        from_held_out=distance[n:, 0],
    )
