"""Five seeds of linear ICA at D = 20 by noise-contrastive estimation: vmapped, against one after another.

The peer is Energax itself: the same compiled training under `jax.lax.map`. It says what a user
gains by vmapping replicates of a small model on this machine.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import Pair, Row, close
from energax.energies import Gaussian, LinearICA
from energax.objectives import Batch, LogNormalizer, NoiseContrastiveEstimation

__all__ = ["ROW"]

D, SEEDS, BATCH, ROWS = 20, 5, 1000, 10_000


def build(quick: bool) -> Pair:
    steps = 20 if quick else 60
    truth = LinearICA(np.random.default_rng(0).standard_normal((D, D)) / np.sqrt(D))
    x = truth.sample(jax.random.key(0), ROWS)
    noise = Gaussian(x.mean(0), jnp.cov(x.T))
    objective = NoiseContrastiveEstimation(noise, 1.0)
    adam = optax.adam(1e-3)

    def train(key: jax.Array) -> jax.Array:
        first = jax.random.normal(key, (D, D)) / np.sqrt(D)
        learned = eqx.tree_at(lambda m: m.unmixing, truth, first)
        both = (learned, LogNormalizer(jnp.zeros(())))

        def step(carry, k):
            both, opt = carry
            pick, draw = jax.random.split(k)
            rows = x[jax.random.randint(pick, (BATCH,), 0, ROWS)]
            loss = lambda b: objective.loss(b[0], b[1], None, Batch(rows), draw)[0]  # noqa: E731
            change, opt = adam.update(eqx.filter_grad(loss)(both), opt)
            return (eqx.apply_updates(both, change), opt), None

        start = (both, adam.init(both))
        return jax.lax.scan(step, start, jax.random.split(key, steps))[0][0][0].unmixing

    keys = jax.random.split(jax.random.key(1), SEEDS)
    together, in_turn = jax.jit(jax.vmap(train)), jax.jit(lambda ks: jax.lax.map(train, ks))

    def verify() -> dict[str, float]:
        return close("unmixing matrices", together(keys), in_turn(keys), within=1e-3)

    def run_ours() -> None:
        together(keys).block_until_ready()

    def run_peer() -> None:
        in_turn(keys).block_until_ready()

    return Pair(run_ours, run_peer, steps, verify)


ROW = Row("ica-seeds", "five seeds of ICA by NCE, D = 20, batch 1,000: vmapped", "one after another", build)
