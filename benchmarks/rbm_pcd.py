"""Persistent CD of a Boltzmann machine of 784 + 256 units, against scikit-learn's `partial_fit`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.neural_network import BernoulliRBM

from benchmarks.harness import Pair, Row
from benchmarks.rbm_pair import BATCH, HIDDEN, rbm_pair

__all__ = ["ROW"]


def partial_fits(bits: np.ndarray, units: int) -> Callable[[], None]:
    machine = BernoulliRBM(HIDDEN, learning_rate=0.01, batch_size=BATCH, random_state=0)
    # The last minibatch is filled up with the first rows. `partial_fit` computes in float64.
    rows = bits.take(range(units * BATCH), axis=0, mode="wrap").astype(np.float64)

    def epoch() -> None:
        for i in range(units):
            machine.partial_fit(rows[i * BATCH : (i + 1) * BATCH])

    return epoch


def build(quick: bool) -> Pair:
    return rbm_pair(partial_fits, units=100 if quick else 469)


ROW = Row(
    "rbm-pcd",
    "Persistent CD update, Bernoulli machine 784 × 256, MNIST, batch 128",
    "scikit-learn's partial_fit, float64",
    build,
    least=2.0,
    rounds=5,  # of an epoch each
)
