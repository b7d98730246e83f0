"""Chains and an annealing on as many devices as the arguments say; writes what came out.

Run by the tests in processes of their own: python chains.py OUT DEVICES
"""
# ruff: noqa: E402  (the environment must be set before JAX is imported)

import os
import re
import sys

out, devices = sys.argv[1], int(sys.argv[2])
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = str(devices)

import jax
import jax.numpy as jnp
import numpy as np

import energax as ex
from energax import evaluation, samplers
from energax.devices import spread
from energax.samplers import base

key = jax.random.key(0)
energy = ex.energies.MLP((3,), width=16, depth=2, condition_size=1, key=key)
gaussian = ex.energies.Gaussian(jnp.zeros(3), jnp.diag(jnp.asarray([1.0, 2.0, 0.5])))


def chains(n):
    x = np.random.default_rng(0).standard_normal((n, 3)).astype(np.float32)
    condition = np.linspace(0, 1, n, dtype=np.float32)[:, None]
    return samplers.run(
        samplers.Langevin(0.05),
        energy,
        x,
        key=key,
        steps=20,
        condition=condition,
        observers={"energy": samplers.observers.energy},
        every=5,
    )


values = {}
for n in (37, 38, 40):
    ran = chains(n)
    assert len(ran.x.sharding.device_set) == 1, "a run's last positions may meet any other array"
    values |= {f"x{n}": ran.x, f"energy{n}": ran.observed["energy"], f"score{n}": ran.info["score_norm"]}
    laid = spread(energy, jnp.zeros((n, 3)))[1]
    values[f"devices{n}"] = len(laid.sharding.device_set)

# What a fit or a caller has laid over devices stays where it is.
(whole,) = spread((), (jnp.zeros((40, 3)),))[1]
assert spread((), (whole,))[1][0] is whole

base_law = ex.energies.Gaussian(jnp.zeros(3), jnp.eye(3))
plan = evaluation.plan_annealing(gaussian, base_law, chains=8, temperatures=32, schedule="linear", key=key)
values["weights"] = evaluation.annealed_importance_sampling(plan, 32, key=key).log_weights

# The loop of the chains: whether a device ever waits for another.
keys = jax.random.split(key, 40)
shared, (x, keys) = spread((samplers.Langevin(0.05), gaussian), (jnp.zeros((40, 3)), keys))
states, totals, _ = base._start(*shared, x, None, keys)
loop = base._advance.lower(*shared, states, totals, None, keys, jnp.asarray(0), jnp.asarray(4)).compile()
program = loop.compiled.as_text()
parts = re.search(r"num_partitions=(\d+)", program)
values["partitions"] = 1 if parts is None else int(parts.group(1))
WAIT = r"(?:all-|reduce-scatter|collective)[a-z-]*\("
values["waits"] = len(re.findall(WAIT, program))
coupled = jax.jit(lambda x: x - x.mean(0)).lower(x).compile().as_text()
values["waits of coupled chains"] = len(re.findall(WAIT, coupled))
np.savez(out, **values)
