"""The same updates as `rbm-pcd` by scikit-learn's `fit`, which keeps to float32: its faster way.

`partial_fit` turns rows into float64. `fit` begins anew each time, which adds the drawing of the
initial weights to an epoch, under one part in a hundred. Nothing is promised against it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.neural_network import BernoulliRBM

from benchmarks.harness import Pair, Row
from benchmarks.rbm_pair import BATCH, HIDDEN, rbm_pair

__all__ = ["ROW"]


def fits(bits: np.ndarray, units: int) -> Callable[[], None]:
    machine = BernoulliRBM(HIDDEN, learning_rate=0.01, batch_size=BATCH, n_iter=1, random_state=0)
    rows = bits[: units * BATCH]
    return lambda: machine.fit(rows)


def build(quick: bool) -> Pair:
    return rbm_pair(fits, units=100 if quick else 469)


ROW = Row(
    "rbm-pcd-float32",
    "Persistent CD update, Bernoulli machine 784 × 256, MNIST, batch 128",
    "scikit-learn's fit, float32",
    build,
    rounds=5,  # of an epoch each
)
