"""How to learn: one training principle per file, all behind one contract."""

from energax.objectives.base import Batch, Chains, LogNormalizer, Objective, Player
from energax.objectives.composite import CompositeLikelihood
from energax.objectives.conditional_noise import (
    ConditionalNoiseContrastiveEstimation,
    ShiftedNoiseContrastiveEstimation,
)
from energax.objectives.contraction import MinimumKLContraction
from energax.objectives.coupled import UnbiasedContrastiveDivergence
from energax.objectives.deep_boltzmann import DeepBoltzmannLikelihood
from energax.objectives.denoising import DenoisingScoreMatching
from energax.objectives.domains import BoxScoreMatching, NonNegativeScoreMatching, RatioMatching
from energax.objectives.exact import ExactMaximumLikelihood
from energax.objectives.flow_contrastive import (
    AdversarialContrastiveEstimation,
    FlowContrastiveEstimation,
)
from energax.objectives.improved import ImprovedContrastiveDivergence
from energax.objectives.kernel_stein import KernelSteinDiscrepancy
from energax.objectives.learned_stein import LearnedSteinDiscrepancy
from energax.objectives.likelihood import (
    ContrastiveDivergence,
    MaximumLikelihood,
    PersistentContrastiveDivergence,
    ReplayBufferLikelihood,
    ShortRunLikelihood,
)
from energax.objectives.mean_field import MeanFieldContrastiveDivergence
from energax.objectives.minimum_velocity import MinimumVelocityLearning
from energax.objectives.multigrid import MultigridContrastiveDivergence
from energax.objectives.multiscale import MultiscaleDenoisingScoreMatching
from energax.objectives.neural_sampler import FisherNeuralSampler, KernelNeuralSampler
from energax.objectives.noise import noise_kind
from energax.objectives.noise_conditional import NoiseConditionalScoreMatching, noise_ladder
from energax.objectives.noise_contrastive import (
    BregmanNoiseContrastiveEstimation,
    ClassificationEstimate,
    ImportanceEstimate,
    NoiseContrastiveEstimation,
    classification_log_normalizer,
    importance_log_normalizer,
)
from energax.objectives.probability_flow import MinimumProbabilityFlow
from energax.objectives.score_matching import ScoreMatching, SlicedScoreMatching
from energax.objectives.targets import (
    Biased,
    Density,
    Ladder,
    LawOfEnergy,
    Smoothed,
    SmoothedAtEachLevel,
    Target,
)

__all__ = [
    "AdversarialContrastiveEstimation",
    "Batch",
    "Biased",
    "BoxScoreMatching",
    "BregmanNoiseContrastiveEstimation",
    "Chains",
    "ClassificationEstimate",
    "CompositeLikelihood",
    "ConditionalNoiseContrastiveEstimation",
    "ContrastiveDivergence",
    "DeepBoltzmannLikelihood",
    "DenoisingScoreMatching",
    "Density",
    "ExactMaximumLikelihood",
    "FisherNeuralSampler",
    "FlowContrastiveEstimation",
    "ImportanceEstimate",
    "ImprovedContrastiveDivergence",
    "KernelNeuralSampler",
    "KernelSteinDiscrepancy",
    "Ladder",
    "LawOfEnergy",
    "LearnedSteinDiscrepancy",
    "LogNormalizer",
    "MaximumLikelihood",
    "MeanFieldContrastiveDivergence",
    "MinimumKLContraction",
    "MinimumProbabilityFlow",
    "MinimumVelocityLearning",
    "MultigridContrastiveDivergence",
    "MultiscaleDenoisingScoreMatching",
    "NoiseConditionalScoreMatching",
    "NoiseContrastiveEstimation",
    "NonNegativeScoreMatching",
    "Objective",
    "PersistentContrastiveDivergence",
    "Player",
    "RatioMatching",
    "ReplayBufferLikelihood",
    "ScoreMatching",
    "ShiftedNoiseContrastiveEstimation",
    "ShortRunLikelihood",
    "SlicedScoreMatching",
    "Smoothed",
    "SmoothedAtEachLevel",
    "Target",
    "UnbiasedContrastiveDivergence",
    "classification_log_normalizer",
    "importance_log_normalizer",
    "noise_kind",
    "noise_ladder",
]
