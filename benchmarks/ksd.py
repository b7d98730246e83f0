"""The kernel Stein test with 1,000 bootstrap draws, n = 4,000, d = 50, against plain NumPy.

The peer is the test as one writes it down: the n × n matrix of Stein kernels in float64, and a
loop over the draws. Both use the IMQ kernel of the same bandwidth.
"""

from __future__ import annotations

import jax
import numpy as np

from benchmarks.harness import Pair, Row, close
from energax.evaluation import ksd_test
from energax.kernels import IMQ

__all__ = ["ROW"]

N, D, DRAWS, WIDTH = 4000, 50, 1000, 10.0
TESTS = 4  # a repeat: one of ours is over before caches are warm


def plain(x: np.ndarray, s: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Return the V-statistic and its p-value, nothing spared."""
    n, d = x.shape
    u = (x * x).sum(1)[:, None] + (x * x).sum(1) - 2 * x @ x.T
    base = 1 + u / WIDTH**2
    k = base**-0.5
    first = -0.5 * k / base / WIDTH**2
    second = 0.75 * k / base**2 / WIDTH**4
    across = x @ s.T - (s * x).sum(1)[:, None] - (s * x).sum(1) + s @ x.T
    H = k * (s @ s.T) + 2 * first * (across - d) - 4 * u * second
    statistic = H.sum() / n
    larger = 0
    for _ in range(DRAWS):
        w = rng.choice([-1.0, 1.0], n)
        larger += w @ H @ w / n >= statistic
    return float(statistic), (1 + larger) / (1 + DRAWS)


def build(quick: bool) -> Pair:
    x = np.random.default_rng(0).standard_normal((N, D))
    s = -1.1 * x
    ours32 = x.astype(np.float32), s.astype(np.float32)
    kernel, key = IMQ(WIDTH), jax.random.key(0)

    def one():
        return ksd_test(ours32[0], scores=ours32[1], kernel=kernel, draws=DRAWS, key=key)

    def ours():
        return [one() for _ in range(TESTS)]

    def peer():
        return [plain(x, s, np.random.default_rng(0)) for _ in range(TESTS)]

    def verify() -> dict[str, float]:
        found, (statistic, p) = one(), plain(x, s, np.random.default_rng(0))
        assert abs(found.p_value - p) < 0.1, (found.p_value, p)
        return close("statistic", found.statistic, statistic, within=1e-3)

    return Pair(ours, peer, TESTS, verify)


ROW = Row(
    "ksd",
    "KSD test, n = 4,000, d = 50, 1,000 bootstrap draws",
    "NumPy, float64, n × n matrix",
    build,
    least=60.0,
    rounds=3,
)
