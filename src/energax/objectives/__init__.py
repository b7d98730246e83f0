"""How to learn: one training principle per file, all behind one contract."""

from energax.objectives.base import Batch, Chains, Objective, Player
from energax.objectives.coupled import UnbiasedContrastiveDivergence
from energax.objectives.deep_boltzmann import DeepBoltzmannLikelihood
from energax.objectives.denoising import DenoisingScoreMatching
from energax.objectives.domains import BoxScoreMatching, NonNegativeScoreMatching, RatioMatching
from energax.objectives.exact import ExactMaximumLikelihood
from energax.objectives.improved import ImprovedContrastiveDivergence
from energax.objectives.likelihood import (
    ContrastiveDivergence,
    MaximumLikelihood,
    PersistentContrastiveDivergence,
    ReplayBufferLikelihood,
    ShortRunLikelihood,
)
from energax.objectives.mean_field import MeanFieldContrastiveDivergence
from energax.objectives.multigrid import MultigridContrastiveDivergence
from energax.objectives.multiscale import MultiscaleDenoisingScoreMatching
from energax.objectives.noise_conditional import NoiseConditionalScoreMatching, noise_ladder, noise_step
from energax.objectives.score_matching import ScoreMatching, SlicedScoreMatching
from energax.objectives.targets import Biased, Density, Ladder, Smoothed, SmoothedAtEachLevel, Target

__all__ = [
    "Batch",
    "Biased",
    "BoxScoreMatching",
    "Chains",
    "ContrastiveDivergence",
    "DeepBoltzmannLikelihood",
    "DenoisingScoreMatching",
    "Density",
    "ExactMaximumLikelihood",
    "ImprovedContrastiveDivergence",
    "Ladder",
    "MaximumLikelihood",
    "MeanFieldContrastiveDivergence",
    "MultigridContrastiveDivergence",
    "MultiscaleDenoisingScoreMatching",
    "NoiseConditionalScoreMatching",
    "NonNegativeScoreMatching",
    "Objective",
    "PersistentContrastiveDivergence",
    "Player",
    "RatioMatching",
    "ReplayBufferLikelihood",
    "ScoreMatching",
    "ShortRunLikelihood",
    "SlicedScoreMatching",
    "Smoothed",
    "SmoothedAtEachLevel",
    "Target",
    "UnbiasedContrastiveDivergence",
    "noise_ladder",
    "noise_step",
]
