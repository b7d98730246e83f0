"""Compiler settings without which results would be wrong, put in place before JAX starts its backend.

jaxlib 0.10.2's XLA joins sums of an array with sums of its product with a smaller one into one
fused kernel for CPUs which is wrong from the 512th row on: with Z of shape (n, 64, 2),

    f(z) = mean over r of Σ_d (x_r + z_r)_d + Σ_d (−x_r z_r)_d

vmapped over n ≥ 512 rows and compiled is off by as much as the values themselves (n = 256 is right,
and so is the same function uncompiled). Without this one kind of fusion it is right; a training
step took the same time with and without (tests/test_xla.py shows both).
"""

from __future__ import annotations

import importlib.metadata
import os

__all__ = ["keep_sums_right"]

AFFECTED = ("0.10.2",)  # versions known to be wrong and to know the flag; an unknown flag would abort XLA
FLAG = "--xla_cpu_experimental_ynn_fusion_type"


def keep_sums_right() -> None:
    """Switch the faulty fusion off, unless the user has set that flag; too late once JAX has computed."""
    flags = os.environ.get("XLA_FLAGS", "")
    if FLAG not in flags and importlib.metadata.version("jaxlib") in AFFECTED:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}=-reduce".strip()
