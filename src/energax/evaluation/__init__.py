"""How good a model, or a sample, is: statements with an error, a p-value or a status."""

from energax.evaluation.annealing import Annealing, plan_annealing
from energax.evaluation.bennett import Bennett, bennett_acceptance_ratio
from energax.evaluation.class_score import class_score
from energax.evaluation.classifier import Classifier, ClassifierTraining, classifier_of
from energax.evaluation.classifier_test import classifier_test
from energax.evaluation.coverage import Coverage, classified, mode_coverage
from energax.evaluation.critics import CriticTraining
from energax.evaluation.fidelity import inception_quality
from energax.evaluation.frechet import frechet_distance
from energax.evaluation.fssd import fssd_test
from energax.evaluation.importance import (
    AnnealedWeights,
    annealed_importance_sampling,
    reverse_annealed_importance_sampling,
)
from energax.evaluation.kernel_discrepancy import (
    finite_set_stein_discrepancy,
    kernel_stein_discrepancy,
    linear_kernel_stein_discrepancy,
)
from energax.evaluation.kernel_distance import kernel_distance
from energax.evaluation.kernel_tests import ksd_test, linear_ksd_test
from energax.evaluation.learned import (
    OptimalCritic,
    Ranking,
    compare,
    learned_stein_discrepancy,
    lsd_test,
    stein_discrepancy,
)
from energax.evaluation.likelihood import (
    Dequantised,
    GreyLevels,
    LikelihoodSummary,
    Quantity,
    dequantised,
    summarise_likelihood,
)
from energax.evaluation.memorisation import Memorisation, memorisation
from energax.evaluation.mmd import mmd_test
from energax.evaluation.outliers import (
    OUTLIER_SCORES,
    Detection,
    Detections,
    detection,
    detections,
    outlier_scores,
)
from energax.evaluation.partition import LogNormalizerEstimate, bracket, log_normalizer
from energax.evaluation.posterior import posterior_rows, read_inference_data
from energax.evaluation.precision_recall import precision_and_recall
from energax.evaluation.quadrature import Quadrature, quadrature_log_normalizer
from energax.evaluation.quality import Quality
from energax.evaluation.result import Discrepancy, TestResult
from energax.evaluation.sample_quality import SampleQuality, sample_quality
from energax.evaluation.scores import LogDensity

__all__ = [
    "OUTLIER_SCORES",
    "AnnealedWeights",
    "Annealing",
    "Bennett",
    "Classifier",
    "ClassifierTraining",
    "Coverage",
    "CriticTraining",
    "Dequantised",
    "Detection",
    "Detections",
    "Discrepancy",
    "GreyLevels",
    "LikelihoodSummary",
    "LogDensity",
    "LogNormalizerEstimate",
    "Memorisation",
    "OptimalCritic",
    "Quadrature",
    "Quality",
    "Quantity",
    "Ranking",
    "SampleQuality",
    "TestResult",
    "annealed_importance_sampling",
    "bennett_acceptance_ratio",
    "bracket",
    "class_score",
    "classified",
    "classifier_of",
    "classifier_test",
    "compare",
    "dequantised",
    "detection",
    "detections",
    "finite_set_stein_discrepancy",
    "frechet_distance",
    "fssd_test",
    "inception_quality",
    "kernel_distance",
    "kernel_stein_discrepancy",
    "ksd_test",
    "learned_stein_discrepancy",
    "linear_kernel_stein_discrepancy",
    "linear_ksd_test",
    "log_normalizer",
    "lsd_test",
    "memorisation",
    "mmd_test",
    "mode_coverage",
    "outlier_scores",
    "plan_annealing",
    "posterior_rows",
    "precision_and_recall",
    "quadrature_log_normalizer",
    "read_inference_data",
    "reverse_annealed_importance_sampling",
    "sample_quality",
    "stein_discrepancy",
    "summarise_likelihood",
]
