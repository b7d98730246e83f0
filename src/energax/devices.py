"""Independent chains over the devices of this process.

Chains exchange nothing, so that each device can run its share alone: what all of them read is put
on every device, and their leading axis is split. On a CPU a device is a core, if JAX is told so
before it starts (`JAX_NUM_CPU_DEVICES`, or the option `jax_num_cpu_devices`). XLA gives the threads of one
such device little work at the sizes of a chain's step; two devices of one thread each have it all.

A chain's numbers do not depend on the split, but for the rounding of matrix products.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = ["cores", "gather", "memory", "share", "spread"]

Shared = TypeVar("Shared")
Split = TypeVar("Split")

AXIS = "chains"
FEWEST = 8  # rows of a device: of fewer, its products of matrices are hardly any


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> float:
    """Return the bytes of memory of this machine; infinity where the system does not tell."""
    try:
        return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return float("inf")


def share(rows: int, devices: int) -> int:
    """Return over how many of the devices so many rows are split: evenly, and at least FEWEST on each."""
    most = max(1, min(devices, rows // FEWEST))
    return next(count for count in range(most, 0, -1) if rows % count == 0)


def spread(shared: Shared, chains: Split) -> tuple[Shared, Split]:
    """Return both trees on the devices of this process: `chains` split along its leading axis.

    Chains that somebody has laid over several devices already stay where they are, and so does what they
    read; chains too few, or of a number that no number of devices divides, stay on one.

    Parameters
    ----------
    shared
        What every chain reads.
    chains
        Arrays of one leading axis, at least one of them.
    """
    leaves = [a for a in jax.tree.leaves(chains) if eqx.is_array(a)]
    (n,) = {a.shape[0] for a in leaves}
    count = share(n, jax.local_device_count())
    # A model that is on all hosts cannot be put on the devices of one.
    if count == 1 or _apart(chains) or jax.process_count() > 1:
        return shared, chains
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), (AXIS,))
    return _put(shared, NamedSharding(mesh, P())), _put(chains, NamedSharding(mesh, P(AXIS)))


def gather(tree: Split, came: Any = ()) -> Split:
    """Return the arrays where JAX puts new ones, free to meet arrays of any device.

    Parameters
    ----------
    tree
        What `spread` led to.
    came
        What it was given; if somebody had laid that over several devices, nothing is moved.
    """
    if _apart(came):
        return tree
    return jax.tree.map(lambda a: jnp.asarray(np.asarray(a)) if _apart(a) else a, tree)


def _apart(tree: Any) -> bool:
    arrays = (a for a in jax.tree.leaves(tree) if isinstance(a, jax.Array))
    return any(len(a.sharding.device_set) > 1 for a in arrays)


def _put(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda a: jax.device_put(a, sharding) if eqx.is_array(a) else a, tree)
