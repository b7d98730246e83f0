"""The pair behind both sampling rows: `samplers.run` against torchebm's `LangevinDynamics`."""

from __future__ import annotations

import jax
import numpy as np
import torch
from torchebm.core import BaseModel
from torchebm.samplers import LangevinDynamics

import energax as ex
from benchmarks.harness import Pair, close
from benchmarks.peak import mlp_gradient_flops
from benchmarks.torch_side import MLP, copy_of
from energax.derivatives import score
from energax.samplers import Langevin, run

__all__ = ["TorchEnergy", "langevin_pair"]


class TorchEnergy(BaseModel):
    """The twin network as torchebm wants a model."""

    def __init__(self, module: torch.nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one energy per row."""
        return self.module(x)


def langevin_pair(*, d: int, width: int, chains: int, steps: int, step_size: float = 1e-3) -> Pair:
    """Return `steps` steps of Langevin dynamics from fixed starts, on the same network."""
    energy = ex.energies.MLP((d,), width=width, depth=2, key=jax.random.key(0))
    module = copy_of(energy, MLP(d, width, 2)).requires_grad_(False)
    start = np.random.default_rng(0).standard_normal((chains, d)).astype(np.float32)
    start_torch = torch.from_numpy(start)
    model, sampler = TorchEnergy(module), Langevin(step_size)
    peer = LangevinDynamics(model, step_size=step_size, noise_scale=1.0)
    key = jax.random.key(1)

    def verify() -> dict[str, float]:
        """Compare the drifts; then the noise of one step, which must have variance 2η."""
        drift = np.asarray(jax.jit(jax.vmap(lambda x: score(energy, x)))(start))
        compared = close("drift", drift, -model.gradient(start_torch).numpy(), within=1e-4)
        first = np.asarray(run(sampler, energy, start, key=key, steps=1).x)
        first_ = peer.sample(x=start_torch, n_steps=1).numpy()
        for name, x in (("noise", first), ("peer's noise", first_)):
            spread = np.std(x - start - step_size * drift)
            compared |= close(name, spread, np.sqrt(2 * step_size), within=0.05)  # 4 standard errors or more
        return compared

    def run_ours() -> None:
        jax.block_until_ready(run(sampler, energy, start, key=key, steps=steps).x)

    def run_peer() -> None:
        peer.sample(x=start_torch, n_steps=steps)

    flops = chains * mlp_gradient_flops(d, width)
    return Pair(run_ours, run_peer, steps, verify, flops=(flops, flops))
