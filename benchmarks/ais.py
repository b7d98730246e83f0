"""Annealed importance sampling: our frozen annealing against ebmkit's `ais_log_z`, by temperatures.

E(x) = f(x) + ½‖x‖², f ebmkit's own perceptron 64-256-256-1 on both sides, from N(0, I), at the same
temperatures and with one HMC move of ten leapfrog steps at each, of one step size that neither side adapts. A
temperature takes 11 gradients and the energy once more on both sides.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import torch
from ebm.ais import ais_log_z
from ebm.samplers.hmc import HMC as PeerHMC

import energax as ex
from benchmarks.harness import Pair, Row, close
from benchmarks.hmc_pair import Confined
from benchmarks.peak import mlp_gradient_flops
from benchmarks.score_matching_pair import twins
from energax.evaluation import Annealing, annealed_importance_sampling
from energax.evaluation.paths import path_between
from energax.samplers import HMC

__all__ = ["CHAINS", "LEAPFROG_STEPS", "ROW", "Energy", "frozen"]

D, WIDTH, CHAINS, LEAPFROG_STEPS, STEP_SIZE = 64, 256, 100, 10, 0.2


class Energy(eqx.Module):
    """f(x) + ½‖x‖²."""

    network: Any

    def __call__(self, x: jax.Array, condition: Any = None) -> jax.Array:
        """Return E(x)."""
        return self.network(x) + 0.5 * jnp.sum(x**2)


def frozen(energy: Any, temperatures: int) -> Annealing:
    """Return the annealing from N(0, I) at equal steps of β, its step sizes as they are."""
    path = path_between("ais", energy, ex.energies.Gaussian(np.zeros(D), np.eye(D)), None, None)
    betas = np.linspace(0, 1, temperatures + 1, dtype=np.float32)
    factors = np.ones(temperatures, np.float32)
    return Annealing(path, HMC(STEP_SIZE, LEAPFROG_STEPS), 1, betas, factors, "linear", float("nan"))


def build(quick: bool) -> Pair:
    network, module = twins(D, WIDTH)
    energy, peer = Energy(network), Confined(module).requires_grad_(False)
    temperatures, key = 50 if quick else 100, jax.random.key(1)
    annealing = frozen(energy, temperatures)
    betas = torch.linspace(0, 1, temperatures + 1, dtype=torch.float64)
    torch.manual_seed(0)

    def ours() -> Any:
        return annealed_importance_sampling(annealing, CHAINS, key=key)

    def theirs() -> Any:
        sampler = PeerHMC(step_size=STEP_SIZE, leapfrog_steps=LEAPFROG_STEPS, steps=1)
        how = {"n_chains": CHAINS, "schedule": betas, "sampler": sampler, "adapt_step_size": False}
        return ais_log_z(peer, (D,), **how)

    def verify() -> dict[str, float]:
        x = np.random.default_rng(0).standard_normal((CHAINS, D)).astype(np.float32)
        compared = close(
            "energies", jax.vmap(energy)(x), peer(torch.from_numpy(x)).detach().numpy(), within=1e-4
        )
        found, other = ours(), theirs()
        error = np.hypot(found.deviation, float(other.log_weights.std())) / CHAINS**0.5
        return compared | close("log Z", found.log_mean_exp, other.log_z, within=5 * error / other.log_z)

    gradient, value = (CHAINS * mlp_gradient_flops(D, WIDTH, backward=b) for b in (1, 0))
    flops = (LEAPFROG_STEPS + 1) * gradient + value
    return Pair(ours, theirs, temperatures, verify, (flops, flops))


ROW = Row(
    "ais",
    "annealed importance sampling, a temperature with one HMC move of 10 leapfrog steps, 100 chains, "
    "MLP 64-256-256",
    "ebmkit",
    build,
    least=1.3,
)
