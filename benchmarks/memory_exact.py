"""Peak memory of exact score matching in 256 dimensions, where `ScoreMatching()` takes chunks.

All 256 tangents of a batch at once would be 32 MiB for each array of one layer. Measured as
`memory-mnist` is, in a process of its own: the figure includes Python and JAX.
"""

from __future__ import annotations

from benchmarks.harness import Measured
from benchmarks.memory import measure_child

__all__ = ["LIMIT", "NAME", "measure_memory"]

NAME = "memory-exact-256"
LIMIT = 1024  # MiB

CHILD = """
data = np.random.default_rng(0).standard_normal((rows, 256), np.float32)
before = peak()
energy = ex.energies.MLP((256,), width=256, depth=2, head="linear", key=jax.random.key(0))
objective, key = ex.objectives.ScoreMatching(), jax.random.key(1)
fit = ex.fit(energy, objective, data, key=key, batch_size=128, steps=steps, progress=False)
"""


def measure_memory(quick: bool) -> Measured:
    """Return the peak of a few steps of training, in MiB."""
    job = (
        "peak memory of `fit` by exact score matching, d = 256, MLP 256-256-256, batch 128; "
        f"at most {LIMIT:,} MiB are asked"
    )
    return measure_child(NAME, job, CHILD, 4096, 2 if quick else 6)
