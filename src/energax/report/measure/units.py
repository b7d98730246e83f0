r"""The two units of a data set: x, in which rows are looked at, and z = f(x), which the model sees.

Their densities differ by the volume, −log p_X(x) = E(f(x)) − log|det ∂f/∂x| + constant. A mask
of coordinates of x becomes one of z: z_j is known if nothing that is missing can move it.
"""

from __future__ import annotations

from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

from energax.data import Dataset, Pipeline

__all__ = ["Units"]


@eqx.filter_jit
def _map(function: Callable[..., jax.Array], rows: np.ndarray) -> jax.Array:
    return jax.vmap(function)(rows)


class Units:
    """The two units of a data set: its own, and those the model sees.

    Parameters
    ----------
    dataset
        The data.
    preprocessing
        From data to model units, on one event; None for the identity.
    """

    def __init__(self, dataset: Dataset, preprocessing: Pipeline | None):
        self.dataset = dataset
        self.preprocessing = Pipeline() if preprocessing is None else preprocessing
        event = jax.ShapeDtypeStruct(dataset.event_shape, np.float32)
        self.model_shape = jax.eval_shape(self.preprocessing.forward, event).shape
        self.low, self.high = float(dataset.train.min()), float(dataset.train.max())

    def to_model(self, rows: np.ndarray) -> np.ndarray:
        """Return f of each row."""
        return self._blocks(self.preprocessing.forward, rows)

    def to_data(self, rows: np.ndarray) -> np.ndarray:
        """Return f⁻¹ of each row."""
        return self._blocks(self.preprocessing.inverse, rows)

    def log_det(self, rows: np.ndarray) -> np.ndarray:
        """Return log|det ∂f/∂x| at each row in data units."""
        return self._blocks(self.preprocessing.log_det, rows)

    def known(self, mask: np.ndarray) -> np.ndarray:
        """Return a mask of data coordinates (True where known) as one of model coordinates.

        A model coordinate is known if nothing that is missing can move it; a frame of padding
        is.
        """
        other = self.high if self.high > self.low else self.low + 1
        rows = np.full((2, *mask.shape), self.low, np.float32)
        rows[1, ~mask] = other
        first, second = self.to_model(rows)
        return first == second

    @staticmethod
    def _blocks(function: Callable[[jax.Array], jax.Array], rows: np.ndarray) -> np.ndarray:
        size = 4096
        parts = [np.asarray(_map(function, rows[i : i + size])) for i in range(0, len(rows), size)]
        return np.concatenate(parts)
