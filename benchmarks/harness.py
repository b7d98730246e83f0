"""What every benchmark shares: a row, the way it is timed, and the table it ends in.

A row is a pair of workloads that do the same job. Before anything is timed the row's own
`verify` must find that both compute the same numbers; a row that fails it is not timed.
Both sides get the same CPUs and the same number of threads, and their repeats alternate
within one process. A repeat is a fixed amount of work of a quarter of a second or so; each round
gives one ratio peer/ours, and the row's ratio is the median over rounds, with the quartiles
as its spread.

Contention does not meet both sides alike: other jobs slow PyTorch far more than XLA, probably
because its threads wait for each other at a barrier after every operation.
(With other jobs on two CPUs a torchebm step was seen to take 78 ms instead of 1.3, ours
1.5 instead of 0.9: a "50-fold speed-up" that was none.) So every repeat waits for a quiet
tenth of a second, and one during which other processes took more than `QUIET` of the CPUs is
thrown away and done again; how many were is reported beside the ratio.

On a machine that is never quiet there is `busy`: one thread a side, so that no thread waits for
another, and the CPU seconds of this process instead of the clock's. What remains of the others
is their share of the caches and of the memory's bandwidth.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.peak import matmul_peak

__all__ = [
    "Measured",
    "Pair",
    "Row",
    "Timing",
    "close",
    "figures",
    "limit_threads",
    "machine",
    "measure",
    "table",
    "write",
]


CLOCKS = {False: time.perf_counter, True: time.process_time}  # by whether the machine is busy

QUIET = 0.05  # largest share of the CPUs that others may take in a repeat that counts
PATIENCE = 300.0  # seconds spent waiting for quiet, in a row, before it makes do with fewer rounds


@dataclass(frozen=True)
class Pair:
    """Two workloads that do the same job, built and ready.

    Parameters
    ----------
    ours, peer
        Do `units` units of work and return when it is done.
    units
        How much one call does, in steps.
    verify
        Raises AssertionError unless both sides compute the same numbers; returns what it
        compared, as name → relative difference.
    flops
        Floating-point operations in the matrix products of a step, ours and the peer's; None if
        nobody counted.
    draws
        Effective draws that a step of all chains is worth, ours and the peer's; None for training.
    """

    ours: Callable[[], Any]
    peer: Callable[[], Any]
    units: int
    verify: Callable[[], dict[str, float]]
    flops: tuple[float, float] | None = None
    draws: tuple[float, float] | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Parameters
    ----------
    name
        What `--rows` takes.
    job
        What both sides do, in words.
    peer
        Whom we compare with.
    build
        quick ↦ the pair.
    least
        The ratio peer time / our time that the project promises; None for a row without one.
    rounds
        Alternations, in a full run.
    """

    name: str
    job: str
    peer: str
    build: Callable[[bool], Pair]
    least: float | None = None
    rounds: int = 15


@dataclass(frozen=True)
class Timing:
    """Milliseconds per step: the median over rounds and the quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Return the summary of one value per round."""
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class Measured:
    """A row's outcome; times are in milliseconds per step, `ratio` is peer / ours."""

    name: str
    job: str
    peer_name: str
    ours: Timing | None = None
    peer: Timing | None = None
    ratio: Timing | None = None
    least: float | None = None
    rounds: int = 0
    disturbed: int = 0
    verified: dict[str, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the promise is kept; None without one."""
        return None if self.least is None or self.ratio is None else self.ratio.median >= self.least


def limit_threads(threads: int | None) -> int:
    """Bind this process to `threads` CPUs (all it may use if None); before JAX or torch is imported.

    XLA sizes its pool by the CPUs the process may run on; PyTorch is told the number, and so is
    NumPy's BLAS, which is loaded by now: with more threads than CPUs it takes ten times as long.
    """
    available = sorted(os.sched_getaffinity(0))
    chosen = available[: threads or len(available)]
    os.sched_setaffinity(0, chosen)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        os.environ[name] = str(len(chosen))
    os.environ["JAX_NUM_CPU_DEVICES"] = str(len(chosen))  # for chains, as the command line does
    threadpool_limits(len(chosen), user_api="blas")
    return len(chosen)


def close(name: str, ours: Any, peer: Any, *, within: float) -> dict[str, float]:
    """Return {name: ‖ours − peer‖/‖peer‖}, raising AssertionError beyond `within`."""
    ours, peer = np.asarray(ours, np.float64), np.asarray(peer, np.float64)
    assert ours.shape == peer.shape, f"{name}: shapes {ours.shape} and {peer.shape}"
    off = float(np.linalg.norm(ours - peer) / max(np.linalg.norm(peer), 1e-30))
    assert off <= within, f"{name}: the two sides differ by {off:.2g}, more than {within:g}"
    return {name: off}


def measure(
    row: Row,
    *,
    quick: bool,
    patience: float = PATIENCE,
    busy: bool = False,
    say: Callable[[str], None] = print,
) -> Measured:
    """Verify the row, warm both sides up, and time them by turns; if `busy`, in CPU seconds."""
    pair = row.build(quick)
    verified = pair.verify()
    say(f"{row.name}: both sides agree, largest relative difference {max(verified.values()):.1e}")
    for _ in range(2):
        pair.ours()
        pair.peer()
    rounds: list[dict[str, float]] = []
    disturbed = 0
    deadline = time.monotonic() + patience
    for i in range(5 if quick else row.rounds):
        # The order alternates, so that neither side always runs in the other's wake.
        times = {}
        for side in ("ours", "peer") if i % 2 else ("peer", "ours"):
            work = getattr(pair, side)
            seconds, lost = (_cpu_seconds(work), 0) if busy else _undisturbed(work, deadline)
            disturbed += lost
            if seconds is not None:
                times[side] = seconds * 1e3 / pair.units
        if len(times) < 2:
            break
        rounds.append(times)
    timings = (
        {}
        if not rounds
        else {
            "ours": Timing.of([r["ours"] for r in rounds]),
            "peer": Timing.of([r["peer"] for r in rounds]),
            "ratio": Timing.of([r["peer"] / r["ours"] for r in rounds]),
        }
    )
    if not rounds:
        say(f"{row.name}: other processes were never quiet for long enough; no timing")
    return Measured(
        row.name,
        row.job,
        row.peer,
        least=row.least,
        rounds=len(rounds),
        disturbed=disturbed,
        verified=verified,
        figures=_figures(pair, timings, busy) if rounds else {},
        **timings,
    )


def _figures(pair: Pair, timings: dict[str, Timing], busy: bool) -> dict[str, float]:
    """Return how near the matrix products' peak each side came, and its effective draws a second."""
    figures = {}
    if pair.flops is not None:
        peak = matmul_peak(CLOCKS[busy])
        figures["peak of matrix products, GFLOP/s:"] = peak / 1e9
        for side, flops in zip(("ours", "peer"), pair.flops, strict=True):
            figures[f"{side}, % of the peak:"] = 100 * flops / (timings[side].median * 1e-3) / peak
    if pair.draws is not None:
        for side, draws in zip(("ours", "peer"), pair.draws, strict=True):
            figures[f"{side}, effective draws a second:"] = draws / (timings[side].median * 1e-3)
    return figures


def _cpu_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _undisturbed(work: Callable[[], Any], deadline: float) -> tuple[float | None, int]:
    """Return the seconds of one repeat that others left alone, or None at the deadline; and repeats lost."""
    lost = 0
    while True:
        waiting = OtherProcesses()
        time.sleep(0.1)
        if waiting.share() <= QUIET:
            others, began = OtherProcesses(), time.perf_counter()
            work()
            seconds = time.perf_counter() - began
            if others.share() <= QUIET:
                return seconds, lost
            lost += 1
        if time.monotonic() > deadline:
            return None, lost


class OtherProcesses:
    """The share of this process's CPUs that others (and a hypervisor) take, from now on."""

    def __init__(self) -> None:
        self.cpus = sorted(os.sched_getaffinity(0))
        self.began = self._now()

    def share(self) -> float:
        """Return the share since construction; 0 where the system does not tell."""
        wall, busy, own = (now - then for now, then in zip(self._now(), self.began, strict=True))
        return max(0.0, busy - own) / (wall * len(self.cpus)) if busy else 0.0

    def _now(self) -> tuple[float, float, float]:
        return time.perf_counter(), self._busy(), time.process_time()

    def _busy(self) -> float:
        """Seconds that our CPUs have worked for anybody: user, nice, system, interrupts, stolen."""
        try:
            lines = Path("/proc/stat").read_text().splitlines()
        except OSError:
            return 0.0
        fields = {
            line.split()[0]: [int(v) for v in line.split()[1:9]] for line in lines if line.startswith("cpu")
        }
        ticks = sum(sum(fields[f"cpu{cpu}"]) - sum(fields[f"cpu{cpu}"][3:5]) for cpu in self.cpus)
        return ticks / os.sysconf("SC_CLK_TCK")


def machine(threads: int) -> dict[str, Any]:
    """Return what the numbers depend on, in general words."""
    packages = {}
    ours = "jax", "jaxlib", "equinox", "blackjax", "numpy"
    peers = "torch", "torchebm", "ebmkit", "scikit-learn"
    for name in ours + peers:
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    try:
        text = Path("/proc/cpuinfo").read_text()
        flags = next(line for line in text.splitlines() if line.startswith("flags")).split()
        vector = next(
            (f for f in ("amx_tile", "avx512f", "avx2") if f in flags), "none of AVX2, AVX-512, AMX"
        )
    except (OSError, StopIteration):
        vector = "unknown"
    return {
        "threads": threads,
        "architecture": platform.machine(),
        "widest vector unit": vector,
        "python": platform.python_version(),
        **packages,
    }


def table(measured: Sequence[Measured]) -> str:
    """Return the rows as a Markdown table."""
    lines = [
        "| row | job | Energax, ms/step | peer, ms/step "
        "| peer ÷ Energax (quartiles) | asked | rounds (repeats lost) |",
        "|---|---|---|---|---|---|---|",
    ]
    for m in measured:
        if m.ours is None or m.peer is None or m.ratio is None:
            figures = ", ".join(f"{name} {value:,.0f}" for name, value in m.figures.items())
            lines.append(f"| {m.name} | {m.job} | {figures or 'no timing'} | – | – | – | – |")
            continue
        ratio = f"**{m.ratio.median:.2f}×** ({m.ratio.low:.2f}–{m.ratio.high:.2f})"
        promise = "–" if m.least is None else f"≥ {m.least:.2g}× {'✓' if m.met else '✗'}"
        lines.append(
            f"| {m.name} | {m.job} | {m.ours.median:.3g} | {m.peer.median:.3g} ({m.peer_name}) "
            f"| {ratio} | {promise} | {m.rounds} ({m.disturbed}) |"
        )
    return "\n".join(lines)


def figures(measured: Sequence[Measured]) -> str:
    """Return what timed rows say beside their times, a line each."""
    lines = []
    for m in measured:
        if m.ratio is not None and m.figures:
            told = ", ".join(f"{name} {value:,.0f}" for name, value in m.figures.items())
            lines.append(f"- {m.name}: {told}")
    return "\n".join(lines)


def write(folder: Path, measured: Sequence[Measured], about: dict[str, Any]) -> None:
    """Write results.json and results.md."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{**asdict(m), "met": m.met} for m in measured]
    (folder / "results.json").write_text(json.dumps({"machine": about, "rows": rows}, indent=2) + "\n")
    lines = [f"- {name}: {value}" for name, value in about.items()]
    parts = [table(measured), figures(measured), "\n".join(lines)]
    (folder / "results.md").write_text("\n\n".join(part for part in parts if part) + "\n")
