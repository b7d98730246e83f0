"""Independent chains over the devices of this process.

Chains exchange nothing, so that each device can run its share alone: what all of them read is put
on every device, and their leading axis is split. On a CPU a device is a core, if JAX is told so
before it starts (`JAX_NUM_CPU_DEVICES`, or the option `jax_num_cpu_devices`). XLA gives the threads of one
such device little work at the sizes of a chain's step; two devices of one thread each have it all.

A chain's numbers do not depend on the split, but for the rounding of matrix products.
"""

from __future__ import annotations

import math
import os
from typing import Any, TypeVar

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

__all__ = ["cores", "gather", "spread"]

Shared = TypeVar("Shared")
Split = TypeVar("Split")

AXIS = "chains"


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def spread(shared: Shared, chains: Split) -> tuple[Shared, Split]:
    """Return both trees on the devices of this process: `chains` split along its leading axis.

    As many devices are used as divide the number of chains. Chains that somebody has laid over several
    devices already stay where they are, and so does what they read.

    Parameters
    ----------
    shared
        What every chain reads.
    chains
        Arrays of one leading axis, at least one of them.
    """
    leaves = [a for a in jax.tree.leaves(chains) if eqx.is_array(a)]
    (n,) = {a.shape[0] for a in leaves}
    laid = any(isinstance(a, jax.Array) and len(a.sharding.device_set) > 1 for a in leaves)
    laid |= jax.process_count() > 1  # a model of all hosts cannot be put on one
    count = math.gcd(n, jax.local_device_count())
    if laid or count == 1:
        return shared, chains
    mesh = Mesh(np.asarray(jax.local_devices()[:count]), (AXIS,))
    return _put(shared, NamedSharding(mesh, P())), _put(chains, NamedSharding(mesh, P(AXIS)))


def gather(tree: Split) -> Split:
    """Return the arrays where JAX puts new ones, free to meet arrays of any device."""

    def one(leaf: Any) -> Any:
        apart = isinstance(leaf, jax.Array) and len(leaf.sharding.device_set) > 1
        return jax.numpy.asarray(np.asarray(leaf)) if apart else leaf

    return jax.tree.map(one, tree)


def _put(tree: Any, sharding: NamedSharding) -> Any:
    return jax.tree.map(lambda a: jax.device_put(a, sharding) if eqx.is_array(a) else a, tree)
