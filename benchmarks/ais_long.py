"""10,000 temperatures of annealed importance sampling: seconds, and memory beside that of 1,000.

The annealing of the row `ais`, in a process of its own for each number of temperatures, as `memory-mnist` is.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.harness import Measured
from benchmarks.memory import HEAD

__all__ = ["LIMIT", "NAME", "measure_memory"]

NAME = "ais-10000"
LIMIT = 90  # seconds

CHILD = """
import time
import equinox as eqx
from benchmarks.ais import CHAINS, Energy, frozen
from energax.evaluation import annealed_importance_sampling

energy = Energy(eqx.nn.MLP(64, "scalar", 256, 2, jax.nn.silu, key=jax.random.key(0)))
key = jax.random.key(1)
annealed_importance_sampling(frozen(energy, 10), CHAINS, key=key)  # compiles
annealing, began, used = frozen(energy, steps), time.perf_counter(), time.process_time()
found = annealed_importance_sampling(annealing, CHAINS, key=key)
seconds, cpu = time.perf_counter() - began, time.process_time() - used
assert np.isfinite(found.log_mean_exp)
print(json.dumps({"seconds": seconds, "cpu": cpu, "peak": peak()}))
"""


def measure_memory(quick: bool) -> Measured:
    """Return the seconds and the peaks."""
    long = 1000 if quick else 10_000
    figures = {}
    for temperatures in (long // 10, long):
        command = [sys.executable, "-c", HEAD + CHILD, "0", str(temperatures)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{NAME}: {done.stderr.strip().splitlines()[-1]}")
        told = json.loads(done.stdout.splitlines()[-1])
        figures[f"seconds, {temperatures:,} temperatures:"] = told["seconds"]
        figures[f"seconds of all threads, {temperatures:,} temperatures:"] = told["cpu"]
        figures[f"MiB at the peak, {temperatures:,} temperatures:"] = told["peak"]
    job = f"{long:,} temperatures of the row ais, without compiling; at most {LIMIT} s are asked of 10,000"
    return Measured(NAME, job, "", figures=figures)
