"""How good a model, or a sample, is: statements with an error, a p-value or a status."""

from energax.evaluation.critics import CriticTraining
from energax.evaluation.fssd import fssd_test
from energax.evaluation.kernel_discrepancy import kernel_stein_discrepancy
from energax.evaluation.kernel_tests import ksd_test, linear_ksd_test
from energax.evaluation.learned import (
    OptimalCritic,
    Ranking,
    compare,
    learned_stein_discrepancy,
    lsd_test,
    stein_discrepancy,
)
from energax.evaluation.mmd import mmd_test
from energax.evaluation.posterior import posterior_rows, read_inference_data
from energax.evaluation.result import Discrepancy, TestResult
from energax.evaluation.scores import LogDensity

__all__ = [
    "CriticTraining",
    "Discrepancy",
    "LogDensity",
    "OptimalCritic",
    "Ranking",
    "TestResult",
    "compare",
    "fssd_test",
    "kernel_stein_discrepancy",
    "ksd_test",
    "learned_stein_discrepancy",
    "linear_ksd_test",
    "lsd_test",
    "mmd_test",
    "posterior_rows",
    "read_inference_data",
    "stein_discrepancy",
]
