"""Peak memory of `fit` on data of MNIST's size with the CPU default, a perceptron of 1,024 units.

The fit runs in a process of its own and reports the highest resident size of it, which includes
Python, JAX and the rows themselves (180 MiB in float32). There is no peer. On Linux this is
`VmHWM`: `ru_maxrss` survives `exec`, so that a small child of a large process reports its parent.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.harness import Measured

__all__ = ["LIMIT", "NAME", "measure_child", "measure_memory"]

NAME = "memory-mnist"
LIMIT = 3 * 1024  # MiB

HEAD = '''
import json, resource, sys
import jax, numpy as np
import energax as ex

rows, steps = map(int, sys.argv[1:])
def peak():
    """MiB; VmHWM starts anew with a program, which ru_maxrss does not on Linux."""
    if sys.platform == "linux":
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
'''

CHILD = """
from energax.presets import preset

config = preset("mnist", "mnist")
data = np.random.default_rng(0).random((rows, 28, 28, 1), np.float32)
before = peak()
options = {k: v for k, v in vars(config.energy_options).items() if k != "base"}
network = ex.energies.MLP((28, 28, 1), **options, key=jax.random.key(0))
energy = ex.energies.WithRadialBase.from_data(network, data[:1000])
objective = ex.objectives.MultiscaleDenoisingScoreMatching.preset("mnist")
fit = ex.fit(energy, objective, data, key=jax.random.key(1), config=config.fit, steps=steps, progress=False)
"""

TAIL = """
assert np.isfinite(fit.history[-1]["loss"])
print(json.dumps({"before": before, "peak": peak()}))
"""


def measure_child(name: str, job: str, child: str, rows: int, steps: int) -> Measured:
    """Return the peak, in MiB, of a program that makes `rows` rows, says what it had `before` and fits."""
    command = [sys.executable, "-c", HEAD + child + TAIL, str(rows), str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout.splitlines()[-1])
    figures = {"MiB at the peak:": told["peak"], "of them before the model:": told["before"]}
    return Measured(name, job, "", figures=figures)


def measure_memory(quick: bool) -> Measured:
    """Return the peak of a few steps of training, in MiB."""
    rows = 10_000 if quick else 60_000
    job = f"peak memory of `fit`, MLP 4 × 1,024 on {rows} × 28 × 28 × 1; at most {LIMIT:,} MiB are asked"
    return measure_child(NAME, job, CHILD, rows, 2 if quick else 6)
