"""One machine of the study of tests of fit: its rows, the four tests of them, their level and seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import jax
import numpy as np
import scipy.stats

from energax.evaluation import (
    CriticTraining,
    TestResult,
    fssd_test,
    ksd_test,
    linear_ksd_test,
    lsd_test,
    stein_discrepancy,
)
from energax.evaluation.scores import sample_and_scores
from energax.papers.perturbed_machines import draws, machine, perturbed
from energax.typing import Key

__all__ = [
    "ALPHAS",
    "LEARNED",
    "NORMAL",
    "SIZES",
    "TESTED",
    "TESTS",
    "N",
    "Size",
    "clock",
    "levels_of",
    "longer",
    "replicate",
]  # fmt: skip

N = 1_000
TESTED = 100  # rows that LSD tests on
ALPHAS = (0.01, 0.05, 0.1)
DRAWS = 500  # of the bootstrap on fresh rows
LEARNED = "LSD"
TESTS = (LEARNED, "KSD", "LKSD", "FSSD")
NORMAL = "LSD, normal null"
MACHINES = ((50, 40), (100, 80), (200, 100))


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    cases
        (Visible units, hidden units, replicates of each level).
    levels
        Of the perturbation.
    sweeps
        Of the chains that draw the rows.
    steps, check_every
        Of the critic's training, and between its looks at the validation rows.
    fresh
        Hundreds of rows on which the level of each null critic is measured.
    clocked
        Numbers of rows at which the tests are timed, on the first machine.
    paired
        (Visible units, level, machines) that are also tested by critics of a longer training.
    longer
        Its `steps` and `check_every`.
    width
        Hidden units of a layer of the critic.
    """

    cases: tuple[tuple[int, int, tuple[int, ...]], ...]
    levels: tuple[float, ...]
    sweeps: int
    steps: int
    check_every: int
    fresh: int
    clocked: tuple[int, ...]
    paired: tuple[tuple[int, float, int], ...] = ()
    longer: tuple[int, int] = (1_000, 100)
    width: int = 300


SIZES = {
    "smoke": Size(((8, 4, (2, 2)),), (0.0, 0.5), 50, 40, 20, 4, (), ((8, 0.5, 2),), (80, 20), width=50),
    "cpu": Size(
        tuple((d, m, (60, 20, 20)) for d, m in MACHINES),
        (0.0, 0.02, 0.06),
        200,
        200,
        10,
        30,
        (1_000, 4_000, 16_000),
        ((50, 0.02, 20),),
    ),
    "paper": Size(
        tuple((d, m, (200,) * 5) for d, m in MACHINES),
        (0.0, 0.01, 0.02, 0.04, 0.06),
        2_000,
        1_000,
        100,
        30,
        (1_000, 4_000, 16_000),
    ),
}


def levels_of(h: np.ndarray, key: Key) -> dict[str, list[float]]:
    """Return, for each α, how often t of parts of h is too large for the normal law and for the bootstrap.

    Parameters
    ----------
    h
        Of mean zero, shape (parts, rows of a part).
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    n = h.shape[1]
    t = np.sqrt(n) * h.mean(1) / h.std(1, ddof=1)
    normal = scipy.stats.norm.sf(t)
    bootstrap = []
    for part, value in zip(h, t, strict=True):
        again = part[generator.integers(0, n, (DRAWS, n))]
        null = np.sqrt(n) * (again.mean(1) - part.mean()) / again.std(1, ddof=1)
        bootstrap.append((1 + np.sum(null >= value)) / (1 + DRAWS))
    each = {"normal": normal, "bootstrap": np.array(bootstrap)}
    return {name: [float(np.mean(p <= alpha)) for alpha in ALPHAS] for name, p in each.items()}


def tests_of(x: np.ndarray, s: np.ndarray, size: Size, key: Key) -> dict[str, Callable[[], TestResult]]:
    """Return the four tests of these rows and scores, yet to be run, by name."""
    keys = jax.random.split(key, len(TESTS))
    how = CriticTraining(width=size.width, steps=size.steps, check_every=size.check_every)
    learned = {"training": how, "split": (0.8, 0.1, 0.1), "progress": False}
    return {
        LEARNED: lambda: lsd_test(x, scores=s, key=keys[0], **learned),
        "KSD": lambda: ksd_test(x, scores=s, kernel="rbf", key=keys[1]),
        "LKSD": lambda: linear_ksd_test(x, scores=s, kernel="rbf", key=keys[2]),
        "FSSD": lambda: fssd_test(x, scores=s, key=keys[3]),
    }


@cache
def warm(visible: int, n: int, size: Size) -> None:
    """Run every test once at these shapes, so that no seconds measured afterwards are of a compiler."""
    x = np.asarray(jax.random.normal(jax.random.key(n), (n, visible)))
    for test in tests_of(x, -x, replace(size, steps=1), jax.random.key(0)).values():
        test()


def sample(
    visible: int, hidden: int, level: float, size: Size, key: Key, extra: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return N and some extra rows of a machine, and the scores there of the machine that is off by σ."""
    keys = jax.random.split(key, 3)
    truth = machine(keys[0], visible, hidden)
    rows = draws(truth, N + extra, size.sweeps, keys[1])
    return sample_and_scores("lsd-gof", rows, perturbed(truth, level, keys[2]), None)


def replicate(visible: int, hidden: int, level: float, size: Size, key: Key) -> dict[str, Any]:
    """Return the p-values and seconds of every test on one machine, and its critic's level if σ = 0."""
    warm(visible, N, size)
    keys = jax.random.split(key, 3)
    rows, s = sample(visible, hidden, level, size, keys[0], TESTED * size.fresh if level == 0 else 0)
    found: dict[str, Any] = {"p": {}, "seconds": {}}
    for name, test in tests_of(rows[:N], s[:N], size, keys[1]).items():
        start = time.perf_counter()
        result = test()
        found["seconds"][name] = time.perf_counter() - start
        found["p"][name] = result.p_value
        if name == LEARNED:
            found["p"][NORMAL] = float(scipy.stats.norm.sf(result.statistic))
            found |= {"t": result.statistic, "step": result.settings["step"]}
            if level == 0:
                critic = result.settings["critic"]
                h = stein_discrepancy(rows[N:], scores=s[N:], critic=critic).terms
                found["levels"] = levels_of(h.reshape(size.fresh, TESTED), keys[2])
    return found


def longer(visible: int, hidden: int, level: float, size: Size, key: Key) -> dict[str, Any]:
    """Return what the learned test says of a replicate's rows after the longer training."""
    steps, check_every = size.longer
    keys = jax.random.split(key, 3)
    rows, s = sample(visible, hidden, level, size, keys[0])
    result = tests_of(rows, s, replace(size, steps=steps, check_every=check_every), keys[1])[LEARNED]()
    return {"p": {LEARNED: result.p_value}, "t": result.statistic, "step": result.settings["step"]}


def clock(visible: int, hidden: int, n: int, size: Size) -> dict[str, float]:
    """Return the seconds of each test on n rows."""
    warm(visible, n, size)
    key = jax.random.key(n)
    truth = machine(key, visible, hidden)
    x, s = sample_and_scores("lsd-gof", draws(truth, n, 10, key), truth, None)
    seconds = {}
    for name, test in tests_of(x, s, size, key).items():
        start = time.perf_counter()
        test()
        seconds[name] = time.perf_counter() - start
    return seconds
