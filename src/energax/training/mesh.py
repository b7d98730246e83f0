"""One axis of devices, along which batches are split.

Everything is written for a mesh; one device is a mesh of one. Parameters are replicated,
batches (and whatever an objective wraps in `Chains`) are split along their leading axis. On
several hosts, call `jax.distributed.initialize` first: the mesh then spans all of them, and
every host must pass the same data.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from energax.checks import check
from energax.devices import share
from energax.objectives import Chains
from energax.typing import PyTree

__all__ = ["constrain", "core_mesh", "data_mesh", "place", "require_whole_chains"]

AXIS = "data"
MOST = 8  # cores


def data_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Return a mesh over these devices.

    If None: over all of all hosts; but of one host's CPU, whose devices are its cores, over the first
    (see `core_mesh`).
    """
    if devices is None:
        cores = jax.default_backend() == "cpu" and jax.process_count() == 1
        devices = jax.devices()[:1] if cores else jax.devices()
    return Mesh(np.asarray(devices), (AXIS,))


def core_mesh(state: PyTree, batch_size: int) -> Mesh:
    """Return a mesh over at most MOST cores, as many as divide the batch and the `Chains` (`devices.share`).

    For steps with convolutions on one host's CPU: XLA gives the second thread of one device next to none of
    such a step's work. It does thread products of matrices, and there renewing the parameters on every core
    costs more than splitting the batch brings. The data are copied to every core.
    """
    if jax.process_count() > 1:
        return data_mesh()
    together = math.gcd(batch_size, *_lengths(state))
    return data_mesh(jax.devices()[: share(together, min(jax.device_count(), MOST))])


def require_whole_chains(state: PyTree, mesh: Mesh) -> None:
    """Refuse `Chains` that cannot be split evenly over a mesh."""
    odd = [n for n in _lengths(state) if n % mesh.size]
    allowed = f"a multiple of the {mesh.size} devices, as must be the size of a buffer that keeps them"
    check(not odd, "fit", "the number of the objective's chains", allowed, odd[0] if odd else "")


def _lengths(state: PyTree) -> list[int]:
    """Return the leading axes of everything inside `Chains`."""
    pools = [leaf for leaf in jax.tree.leaves(state, is_leaf=_is_chains) if _is_chains(leaf)]
    return [leaf.shape[0] for leaf in jax.tree.leaves(pools)]


def _is_chains(node: Any) -> bool:
    return isinstance(node, Chains)


def _shardings(tree: PyTree, mesh: Mesh, spec: P) -> PyTree:
    """Return a sharding for each leaf: `spec`, but the data axis for leaves inside `Chains`."""

    def mark(node: Any) -> PyTree:
        inner = P(AXIS) if _is_chains(node) else spec
        return jax.tree.map(lambda _: NamedSharding(mesh, inner), node)

    return jax.tree.map(mark, tree, is_leaf=_is_chains)


def place(tree: PyTree, mesh: Mesh) -> PyTree:
    """Return the arrays replicated over the mesh (`Chains` split), from any host's values."""

    def one(leaf: Any, sharding: NamedSharding) -> jax.Array:
        if not eqx.is_array_like(leaf):
            return leaf
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.device_put(np.asarray(jax.random.key_data(leaf)), sharding)
            return jax.random.wrap_key_data(data, impl=str(jax.random.key_impl(leaf)))
        return jax.device_put(np.asarray(leaf), sharding)

    return jax.tree.map(one, tree, _shardings(tree, mesh, P()))


def constrain(tree: PyTree, mesh: Mesh, *, split: bool) -> PyTree:
    """Inside a compiled function: split the leaves' leading axis, or replicate them (but `Chains`)."""
    shardings = _shardings(tree, mesh, P(AXIS) if split else P())
    return jax.tree.map(jax.lax.with_sharding_constraint, tree, shardings)
