r"""Samples against the training rows nearest to them, L2 in model units (MDSM appendix C).

Were samples copies, min_i ‖z − z_i‖ would pile up near zero; the same of held-out rows shows how
near a new row comes by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energax.evaluation.memorisation import FEWEST, Memorisation, memorisation
from energax.evaluation.neighbours import nearest
from energax.report.measure.protocol import JUDGED
from energax.report.measure.samples import Samples
from energax.report.measure.units import Units

__all__ = ["Neighbours", "neighbours"]

NEIGHBOURS = 5  # of each sample


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
    tested
        Whether samples lie nearer than held-out rows do; None of too few of either.
    """

    samples: np.ndarray
    neighbours: np.ndarray
    distances: np.ndarray
    from_samples: np.ndarray
    from_held_out: np.ndarray
    tested: Memorisation | None = None


def neighbours(samples: Samples, units: Units) -> Neighbours:
    """Find the nearest training rows of samples, and of held-out rows for comparison."""
    held_out, train, shown = units.to_model(units.dataset.test[:JUDGED]), units.dataset.train, 10
    tested = None
    if min(len(samples.model), len(held_out)) >= FEWEST:
        tested = memorisation(samples.model, train, held_out, count=NEIGHBOURS, transform=units.to_model)
        index, distance = tested.neighbours, tested.distances
        own, new = tested.from_samples, tested.from_held_out
    else:
        queries, n = np.concatenate([samples.model, held_out]), len(samples.model)
        found, apart = nearest(queries, train, NEIGHBOURS, transform=units.to_model)
        index, distance, own, new = found[:n], apart[:n], apart[:n, 0], apart[n:, 0]
    return Neighbours(
        samples=samples.data[:shown],
        neighbours=train[index[:shown]],
        distances=distance[:shown],
        from_samples=own,
        from_held_out=new,
        tested=tested,
    )
