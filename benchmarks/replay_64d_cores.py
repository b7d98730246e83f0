"""The row replay-64d with our batch and chains split over all devices, by `fit(…, devices=jax.devices())`."""

from __future__ import annotations

from benchmarks.harness import Pair, Row
from benchmarks.replay_pair import replay_pair

__all__ = ["ROW"]


def build(quick: bool) -> Pair:
    return replay_pair(d=64, width=256, units=10 if quick else 30, cores=True)


ROW = Row(
    "replay-64d-cores",
    "The row replay-64d, with a device for each core",
    "ebmkit",
    build,
    least=1.1,
)
