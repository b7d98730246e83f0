"""The pair behind both rows of maximum likelihood by a replay buffer, against ebmkit's.

ebmkit's `ContrastiveDivergence` with its `LangevinDynamics` and its `ReplayBuffer`, as shipped, is the
loss inside the tuned step of `torch_side.Trainer`. Both buffers hold 10,000 chains, of which a
step moves a minibatch by 20 Langevin steps, 5 % of it from fresh standard normal noise. The rows
are standard normal.

To show that both compute the same, ebmkit's chains are started where ours were and moved by our
noise.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import torch
from ebm import ContrastiveDivergence, LangevinDynamics, ReplayBuffer

import energax as ex
from benchmarks.harness import Pair
from benchmarks.peak import mlp_gradient_flops
from benchmarks.score_matching_pair import twins
from benchmarks.training_pair import training_pair
from energax.samplers import Langevin
from energax.samplers.pools import Normal

__all__ = ["replay_pair"]

ROWS, BATCH, SIZE, STEPS, STEP_SIZE = 16_384, 128, 10_000, 20, 0.01


def replay_pair(*, d: int, width: int, units: int, cores: bool = False) -> Pair:
    """Return training of the same network d-width-width-1 on both sides (see `training_pair`)."""
    energy, module = twins(d, width)
    objective = ex.objectives.ReplayBufferLikelihood(
        Langevin(STEP_SIZE), STEPS, size=SIZE, restart=0.05, noise=Normal((d,))
    )
    buffer = ReplayBuffer(SIZE, (d,), reinit_prob=0.05)
    divergence = ContrastiveDivergence(LangevinDynamics(STEP_SIZE, STEPS), buffer)

    def drawn(x: jax.Array, state: Any, keys: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return where chains start and the noise of all their steps."""
        draw_key, walk_key = jax.random.split(keys[0])
        start, _ = objective.pool.draw(state.value.kept, x, None, draw_key)
        chains = jax.vmap(jax.random.fold_in, (None, 0))(walk_key, jnp.arange(BATCH))
        noise = lambda i: jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, i), (d,)))(chains)  # noqa: E731
        return start.x, jax.vmap(noise)(jnp.arange(STEPS))

    def loss(module: torch.nn.Module, x: torch.Tensor, z: Any) -> torch.Tensor:
        with ExitStack() as stack:
            if z is not None:
                start, noise = z[0], iter(z[1])
                stack.enter_context(patch.object(buffer, "sample", lambda n, device: start))
                stack.enter_context(patch.object(buffer, "push", lambda ends: None))
                stack.enter_context(patch.object(torch, "randn_like", lambda _: next(noise)))
            return divergence(module, x).loss

    data = np.random.default_rng(0).standard_normal((ROWS, d), np.float32)
    # A gradient in x a chain's step; then E and its gradient in the parameters, at rows and chains.
    chain, ends = mlp_gradient_flops(d, width), mlp_gradient_flops(d, width, backward=2)
    return training_pair(
        energy,
        module,
        data,
        objective=objective,
        loss=loss,
        drawn=drawn,
        batch_size=BATCH,
        units=units,
        flops=BATCH * (STEPS * chain + 2 * ends),
        cores=cores,
    )
