"""How to learn: one training principle per file, all behind one contract."""

from energax.objectives.base import Batch, Chains, Objective, Player
from energax.objectives.denoising import DenoisingScoreMatching
from energax.objectives.multiscale import MultiscaleDenoisingScoreMatching
from energax.objectives.targets import Biased, Density, Ladder, Smoothed, Target

__all__ = [
    "Batch",
    "Biased",
    "Chains",
    "DenoisingScoreMatching",
    "Density",
    "Ladder",
    "MultiscaleDenoisingScoreMatching",
    "Objective",
    "Player",
    "Smoothed",
    "Target",
]
