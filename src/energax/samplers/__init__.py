"""How to draw: dynamics on one chain, schedules as data, and the one loop that runs them."""

from energax.samplers import observers, schedules
from energax.samplers.base import Observer, Run, Sampler, run
from energax.samplers.inpainting import ClampedLangevin, Masked
from energax.samplers.langevin import Langevin, annealed_langevin, denoising_jump
from energax.samplers.schedules import Schedule

__all__ = [
    "ClampedLangevin",
    "Langevin",
    "Masked",
    "Observer",
    "Run",
    "Sampler",
    "Schedule",
    "annealed_langevin",
    "denoising_jump",
    "observers",
    "run",
    "schedules",
]
