"""One short fit, on as many devices or processes as the arguments say; writes the parameters.

Run by the tests in processes of their own: python devices.py OUT DEVICES [PROCESS COUNT PORT]
"""
# ruff: noqa: E402  (the environment must be set before JAX is imported)

import os
import sys

out, devices = sys.argv[1], int(sys.argv[2])
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

if len(sys.argv) > 3:
    process, count, port = map(int, sys.argv[3:])
    jax.distributed.initialize(f"127.0.0.1:{port}", count, process)

import energax as ex
from energax.objectives import (
    Chains,
    DenoisingScoreMatching,
    PersistentContrastiveDivergence,
    ReplayBufferLikelihood,
)
from energax.samplers import Langevin

WIDE = len(jax.devices())


class WithChains(DenoisingScoreMatching):
    """Denoising score matching that also keeps chains, so that split state is exercised."""

    def init(self, model, data, key, rows):
        return jnp.zeros(()), Chains(jax.random.normal(key, (32, 3)))

    def refresh(self, model, nuisance, state, batches, key):
        return Chains(0.9 * state.value + 0.1 * batches.x[-1]), {"spread": jnp.std(state.value)}

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return value + 0.01 * jnp.mean(jax.vmap(model)(state.value)) + (nuisance - 1) ** 2, metrics


x = np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)
energy = ex.energies.MLP((3,), width=8, depth=2, key=jax.random.key(0))
settings = {"steps": 40, "batch_size": 32, "log_every": 10, "progress": False, "devices": jax.devices()}
fit = ex.fit(energy, WithChains(0.3), x, key=jax.random.key(1), validation=x[:64], **settings)

# Chains of a pool: entries of a split buffer are gathered, moved, some restarted, and put back.
settings |= {"steps": 8, "log_every": 8}
chains = ReplayBufferLikelihood(Langevin(0.05), 3, size=64, restart=0.25)
pooled = ex.fit(energy, chains, x, key=jax.random.key(2), **settings)
refused = ""
if WIDE > 1:
    try:
        uneven = PersistentContrastiveDivergence(Langevin(0.05), 1, chains=31)
        ex.fit(energy, uneven, x, key=jax.random.key(2), **settings)
    except ex.InputError as error:
        refused = str(error)

if jax.process_index() == 0:
    leaves = jax.tree.leaves(eqx.filter(fit.energy, eqx.is_array))
    values = {f"leaf{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    buffer = pooled.state.state.value.kept
    for name, leaf in {"pool": buffer.x, "ages": buffer.age}.items():
        # Of another process's part only what is here can be read.
        parts = sorted(leaf.addressable_shards, key=lambda s: s.index[0].start or 0)
        values[name] = np.concatenate([np.asarray(s.data) for s in parts])
    leaves = jax.tree.leaves(eqx.filter(pooled.last, eqx.is_array))
    values |= {f"pooled{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    losses = [record["loss"] for record in fit.history]
    values |= {"devices": WIDE, "refused": refused, "validation": fit.history[-1]["validation_loss"]}
    np.savez(out, loss=losses, **values)
