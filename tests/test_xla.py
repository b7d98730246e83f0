"""The compiler's faulty fusion is off wherever Energax is imported first, and is faulty."""

import importlib.metadata
import os
import subprocess
import sys

import pytest

from energax._xla import AFFECTED, FLAG

PROGRAM = """
import jax, jax.numpy as jnp, numpy as np
x = jax.random.normal(jax.random.key(0), (64, 2))
Z = jax.random.normal(jax.random.key(1), (600, 64, 2))
f = lambda z: jnp.mean(jax.vmap(lambda x, z: jnp.sum(x + z) + jnp.sum(-x * z))(x, z))
exact = np.mean(np.sum(np.asarray(x) + np.asarray(Z) * (1 - np.asarray(x)), -1), -1)
print(float(np.abs(np.asarray(jax.jit(jax.vmap(f))(Z)) - exact).max()))
"""


def error(first, flags=""):
    """Return how far off the sums are in a process of its own that runs `first` first."""
    environment = {**os.environ, "XLA_FLAGS": flags}
    done = subprocess.run(
        [sys.executable, "-c", first + PROGRAM], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def test_sums_are_right_where_energax_is_imported_first():
    assert error("import energax") < 1e-4
    # Beside flags of the user's own, too.
    assert error("import energax", "--xla_backend_optimization_level=1") < 1e-4


@pytest.mark.skipif(importlib.metadata.version("jaxlib") not in AFFECTED, reason="another jaxlib")
def test_without_the_setting_they_are_wrong():
    # If this fails, the fault is gone from a listed version: take it off the list.
    assert error("") > 0.1


def test_a_users_own_setting_stays():
    said = subprocess.run(
        [sys.executable, "-c", "import os, energax; print(os.environ['XLA_FLAGS'])"],
        env={**os.environ, "XLA_FLAGS": f"{FLAG}=-dot"},
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == f"{FLAG}=-dot"
