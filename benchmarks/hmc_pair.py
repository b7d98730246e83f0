"""The pair behind both rows of Hamiltonian Monte Carlo: `samplers.HMC` against torchebm's.

E(x) = f(x) + ½‖x‖², f a perceptron with a linear head, so that exp(−E) is a density. Both take
the same step and as many leapfrog steps, so a transition has the same law and is worth as many
effective draws. To show it, chains of both are recorded, and acceptance and effective
sample size (worst coordinate) must agree. What a transition costs is another matter: ours takes L
gradients, torchebm's 2L and two energies, since it asks for the force at each end of a leapfrog
step anew.
"""

from __future__ import annotations

import jax
import numpy as np
import torch
from torch import nn
from torchebm.samplers import HamiltonianMonteCarlo

import energax as ex
from benchmarks.harness import Pair, close
from benchmarks.langevin_pair import TorchEnergy
from benchmarks.peak import mlp_gradient_flops
from benchmarks.torch_side import MLP, copy_of
from energax.derivatives import score
from energax.samplers import HMC, observers, run
from energax.samplers.diagnostics import acceptance, draws, ess

__all__ = ["hmc_pair"]

LEAPFROG_STEPS, STEP_SIZE = 10, 0.15
FORGET, RECORD = 50, 150  # transitions until chains have left their starts, and those judged


class Confined(nn.Module):
    """A network's energy with ½‖x‖² added."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x) + 0.5 * x.square().sum(-1)


def hmc_pair(*, d: int, width: int, chains: int, steps: int) -> Pair:
    """Return `steps` transitions of each chain, on the same energy."""
    network = ex.energies.MLP((d,), width=width, depth=2, head="linear", key=jax.random.key(0))
    energy = ex.energies.WithGaussianBase(network)
    module = Confined(copy_of(network, MLP(d, width, 2, head="linear"))).requires_grad_(False)
    start = np.random.default_rng(0).standard_normal((chains, d)).astype(np.float32)
    start_torch = torch.from_numpy(start)
    sampler, key = HMC(STEP_SIZE, LEAPFROG_STEPS), jax.random.key(1)
    peer = HamiltonianMonteCarlo(TorchEnergy(module), step_size=STEP_SIZE, n_leapfrog_steps=LEAPFROG_STEPS)

    torch.manual_seed(0)
    total = FORGET + RECORD
    ran = run(sampler, energy, start, key=key, steps=total, observers={"x": observers.position}, every=1)
    recorded, told = peer.sample(
        x=start_torch, n_steps=total, return_trajectory=True, return_diagnostics=True
    )
    # The worst coordinate's, of all chains, a transition.
    worth = float(ess(draws(ran, discard=FORGET + 1)).min()) / RECORD
    worth_ = float(ess(recorded[:, FORGET:].numpy()).min()) / RECORD

    def verify() -> dict[str, float]:
        """Compare the scores, the acceptance, and what a transition is worth."""
        drift = np.asarray(jax.jit(jax.vmap(lambda x: score(energy, x)))(start))
        compared = close("drift", drift, -peer.model.gradient(start_torch).numpy(), within=1e-4)
        seen = float(told["acceptance_rate"].mean())
        compared |= close("acceptance", acceptance(ran), seen, within=0.02)  # 4 standard errors or more
        return compared | close("effective draws", worth, worth_, within=0.2)

    def run_ours() -> None:
        jax.block_until_ready(run(sampler, energy, start, key=key, steps=steps).x)

    def run_peer() -> None:
        peer.sample(x=start_torch, n_steps=steps)

    gradient, value = (chains * mlp_gradient_flops(d, width, backward=b) for b in (1, 0))
    flops = LEAPFROG_STEPS * gradient, 2 * LEAPFROG_STEPS * gradient + 2 * value
    return Pair(run_ours, run_peer, steps, verify, flops, (worth, worth_))
