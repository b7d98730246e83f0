"""Scripts that tests run in processes of their own, where JAX can be told its number of devices."""

import subprocess
import sys

import numpy as np


def arrays_of(script, out, *arguments):
    """Run `script OUT ARGUMENTS…` and return the arrays it wrote to OUT; fails with what it said."""
    command = [sys.executable, str(script), str(out), *map(str, arguments)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    return np.load(out)
