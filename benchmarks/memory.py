"""Peak memory of `fit` on data of MNIST's size with the CPU default, a patch mixer.

The fit runs in a process of its own and reports the highest resident size of it, which includes
Python, JAX and the rows themselves (180 MiB in float32). There is no peer. On Linux this is
`VmHWM`: `ru_maxrss` survives `exec`, so that a small child of a large process reports its parent.
"""

from __future__ import annotations

import json
import subprocess
import sys

from benchmarks.harness import Measured

__all__ = ["LIMIT", "NAME", "measure_memory"]

NAME = "memory-mnist"
LIMIT = 3 * 1024  # MiB

CHILD = '''
import json, resource, sys
import jax, numpy as np
import energax as ex
from energax.presets import preset

rows, steps = map(int, sys.argv[1:])
config = preset("mnist", "mnist")
data = np.random.default_rng(0).random((rows, 28, 28, 1), np.float32)
def peak():
    """MiB; VmHWM starts anew with a program, which ru_maxrss does not on Linux."""
    if sys.platform == "linux":
        lines = open("/proc/self/status").read().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
before = peak()
energy = ex.energies.PatchMixer((28, 28, 1), **vars(config.energy_options), key=jax.random.key(0))
objective = ex.objectives.MultiscaleDenoisingScoreMatching.preset("mnist")
fit = ex.fit(energy, objective, data, key=jax.random.key(1), config=config.fit, steps=steps, progress=False)
assert np.isfinite(fit.history[-1]["loss"])
print(json.dumps({"before": before, "peak": peak()}))
'''


def measure_memory(quick: bool) -> Measured:
    """Return the peak of a few steps of training, in MiB."""
    arguments = [str(10_000 if quick else 60_000), str(2 if quick else 6)]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{NAME}: {done.stderr.strip().splitlines()[-1]}")
    told = json.loads(done.stdout.splitlines()[-1])
    job = (
        f"peak memory of `fit`, patch mixer on {arguments[0]} × 28 × 28 × 1; at most {LIMIT:,} MiB are asked"
    )
    figures = {"MiB at the peak:": told["peak"], "of them before the model:": told["before"]}
    return Measured(NAME, job, "", figures=figures)
