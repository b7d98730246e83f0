"""How to draw: dynamics on one chain, schedules as data, and the one loop that runs them."""

from energax.samplers import diagnostics, observers, pools, schedules
from energax.samplers.adaptation import Adapted, adapt
from energax.samplers.base import Observer, Run, Sampler, run, walk
from energax.samplers.coupling import CoupledGibbs, maximal_bits, shared_bits
from energax.samplers.diffusion import (
    ReverseDiffusion,
    VarianceExploding,
    VariancePreserving,
    score_at,
)
from energax.samplers.flow import ProbabilityFlow, probability_flow_log_prob, probability_flow_sample
from energax.samplers.gibbs import BitGibbs, BlockGibbs, VisibleGibbs
from energax.samplers.inpainting import Clamped, Masked
from energax.samplers.langevin import Langevin, annealed_langevin, denoising_jump
from energax.samplers.metropolis import HMC, MALA, NUTS, annealed_hmc, annealed_mala
from energax.samplers.multigrid import Climb, climb, multigrid_sample
from energax.samplers.noise import AnnealedNoiseLangevin
from energax.samplers.preconditioned import Preconditioned
from energax.samplers.reflected import Reflected
from energax.samplers.schedules import Schedule
from energax.samplers.tempering import ParallelTempering

__all__ = [
    "HMC",
    "MALA",
    "NUTS",
    "Adapted",
    "AnnealedNoiseLangevin",
    "BitGibbs",
    "BlockGibbs",
    "Clamped",
    "Climb",
    "CoupledGibbs",
    "Langevin",
    "Masked",
    "Observer",
    "ParallelTempering",
    "Preconditioned",
    "ProbabilityFlow",
    "Reflected",
    "ReverseDiffusion",
    "Run",
    "Sampler",
    "Schedule",
    "VarianceExploding",
    "VariancePreserving",
    "VisibleGibbs",
    "adapt",
    "annealed_hmc",
    "annealed_langevin",
    "annealed_mala",
    "climb",
    "denoising_jump",
    "diagnostics",
    "maximal_bits",
    "multigrid_sample",
    "observers",
    "pools",
    "probability_flow_log_prob",
    "probability_flow_sample",
    "run",
    "schedules",
    "score_at",
    "shared_bits",
    "walk",
]
