"""A fit with convolutions on as many cores as the arguments say, whole and resumed; writes the parameters.

Run by the tests in processes of their own: python cores.py OUT CORES FOLDER
"""
# ruff: noqa: E402  (the environment must be set before JAX is imported)

import os
import shutil
import sys
from pathlib import Path

out, cores, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = str(cores)

import equinox as eqx
import jax
import numpy as np

import energax as ex
from energax.objectives import MultiscaleDenoisingScoreMatching

x = np.random.default_rng(0).standard_normal((50, 8, 8, 1)).astype(np.float32)
objective = MultiscaleDenoisingScoreMatching()


def fit(energy, batch, steps, **settings):
    settings = {"config": ex.FitConfig(batch_size=batch, log_every=2)} | settings
    return ex.fit(energy, objective, x, key=jax.random.key(1), progress=False, **settings, steps=steps)


def flat(fit):
    return np.concatenate([np.ravel(a) for a in jax.tree.leaves(eqx.filter(fit.last, eqx.is_array))])


def spread_over(tree):
    return max(len(a.sharding.device_set) for a in jax.tree.leaves(tree) if isinstance(a, jax.Array))


conv = ex.energies.ResNet((8, 8, 1), layers=6, width=2, key=jax.random.key(0))
found = fit(conv, 16, 6, validation=x[:7])
values = {"conv": flat(found), "loss": [r["loss"] for r in found.history], "cores": spread_over(found.state)}
values["validation"] = found.history[-1]["validation_loss"]
values["given"] = spread_over((found.energy, found.last, found.nuisance))
values["odd"] = spread_over(fit(conv, 15, 1).state)
mlp = ex.energies.MLP((8, 8, 1), width=8, depth=1, key=jax.random.key(0))
values["mlp"] = spread_over(fit(mlp, 16, 1).state)

fit(conv, 16, 6, checkpoints=folder, checkpoint_every=3)
(last,) = Path(folder).glob("*6")
shutil.rmtree(last)
values["resumed"] = flat(fit(conv, 16, 6, checkpoints=folder, checkpoint_every=3, resume=True))
np.savez(out, **values)
