"""The pair behind every training row: `energax.fit`'s own loop against the eager PyTorch step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch

from benchmarks.harness import Pair, close
from benchmarks.torch_side import MDSM, Loss, Trainer, copy_of, flat, flat_torch
from energax.config import FitConfig
from energax.objectives import Batch, MultiscaleDenoisingScoreMatching, Objective
from energax.objectives.denoising import add_noise
from energax.training.loop import Loop  # the moving parts of `fit`, without its files and signals
from energax.training.mesh import data_mesh
from energax.training.order import rows_of_steps

__all__ = ["mdsm_pair", "training_pair"]


def mdsm_pair(
    energy: Any, module: torch.nn.Module, data: np.ndarray, *, batch_size: int, units: int, loop: str
) -> Pair:
    """Return MDSM training of an energy and of its twin (see `training_pair`)."""
    objective = MultiscaleDenoisingScoreMatching()
    ladder = objective.ladder(batch_size)
    return training_pair(
        energy,
        copy_of(energy, module),
        data,
        objective=objective,
        loss=MDSM(torch.from_numpy(np.array(ladder)), float(objective.sigma_0)),
        drawn=lambda x, state, keys: add_noise(x, ladder, keys[1])[1],
        batch_size=batch_size,
        units=units,
        loop=loop,
    )


def training_pair(
    energy: Any,
    module: torch.nn.Module,
    data: np.ndarray,
    *,
    objective: Objective,
    loss: Loss,
    drawn: Callable[[jax.Array, Any, jax.Array], Any] | None,
    batch_size: int,
    units: int,
    loop: str = "compiled",
    flops: float | None = None,
    cores: bool = False,
) -> Pair:
    """Return training of an energy and of its twin in PyTorch, `units` steps a call.

    Parameters
    ----------
    energy, module
        The same network with the same weights.
    data
        Rows for the first; channels are moved to the front for the second if they are images.
    objective, loss
        The same loss, for the first and for the second.
    drawn
        (rows, the objective's state, keys of its `refresh` and `loss`) ↦ the array, or tuple of
        arrays, that the objective draws for them; None if it draws nothing.
    loop
        "compiled" or "host": where `fit` must have decided to run its loop.
    flops
        In the products of a step, the same on both sides.
    cores
        Whether our batches are split over all devices, as by `fit(…, devices=jax.devices())`.
    """
    horizon = 100_000
    config = FitConfig(steps=horizon, batch_size=batch_size, log_every=units)
    mesh = data_mesh(jax.devices()) if cores else None
    ours = Loop(energy, objective, Batch(data), None, None, config, mesh, jax.random.key(1))
    assert ours.compiled == (loop == "compiled"), f"fit chose another loop than the {loop} one"

    channels_first = (0, 3, 1, 2) if data.ndim == 4 else tuple(range(data.ndim))
    peer = Trainer(
        module,
        loss,
        torch.from_numpy(np.ascontiguousarray(data.transpose(channels_first))),
        learning_rate=config.learning_rate,
        steps=horizon,
        ema=config.ema,
    )

    def rows(start: int, stop: int) -> np.ndarray:
        return rows_of_steps(ours.seed, start, stop, batch_size, len(data))

    def verify() -> dict[str, float]:
        """Compare the loss and its gradient on the same draws, then three whole updates."""
        compared = {}
        refresh = eqx.filter_jit(lambda m, s, b, k: objective.refresh(m, None, s, b, k)[0])
        gradient = eqx.filter_jit(
            eqx.filter_value_and_grad(lambda m, s, b, k: objective.loss(m, None, s, b, k)[0])
        )

        def in_torch(draws: Any) -> torch.Tensor:
            draws = np.array(draws)
            draws = draws.transpose(channels_first) if draws.ndim == 4 else draws
            return torch.from_numpy(np.ascontiguousarray(draws))

        for i in range(3):
            here = rows(i, i + 1)[0]
            keys = jax.random.split(jax.random.fold_in(ours.state.key, i), 3)[:2]
            batch, state = Batch(jnp.asarray(data[here])), ours.state.state
            z = None if drawn is None else jax.tree.map(in_torch, drawn(batch.x, state, keys))
            if i == 0:
                stacked = jax.tree.map(lambda a: a[None], batch)
                inner = refresh(energy, state, stacked, keys[0])
                value, slope = gradient(energy, inner, batch, keys[1])
                value_ = loss(module, peer.data[torch.from_numpy(here)], z)
                names, parameters = zip(*module.named_parameters(), strict=True)
                slopes = torch.autograd.grad(value_, parameters, materialize_grads=True)
                slope_ = dict(zip(names, slopes, strict=True))
                compared |= close("loss", value, value_.item(), within=1e-5)
                compared |= close("gradient", flat(slope), flat_torch(slope_), within=1e-4)
            before = flat(ours.state.model)
            (record,) = ours.chunk(i + 1)
            ours.done += 1
            stepped = peer.step(torch.from_numpy(here), z)
            compared |= close(f"loss of step {i}", record["loss"], stepped.item(), within=1e-4)
            # Adam's first steps are signs of the gradient, which rounding may turn where it is nil.
            after, after_ = flat(ours.state.model), flat_torch(dict(module.named_parameters()))
            compared |= close(f"update of step {i}", after - before, after_ - before, within=2e-2)
        averages = dict(zip([n for n, _ in module.named_parameters()], peer.average, strict=True))
        compared |= close("average", flat(ours.state.average), flat_torch(averages), within=1e-4)
        return compared

    def run_ours() -> None:
        ours.chunk(ours.done + units)
        ours.done += units

    def run_peer() -> None:
        order = torch.from_numpy(rows(peer.done, peer.done + units).astype(np.int64))
        losses = [peer.step(order[i]) for i in range(units)]
        torch.stack(losses).numpy()

    return Pair(run_ours, run_peer, units, verify, flops=None if flops is None else (flops, flops))
