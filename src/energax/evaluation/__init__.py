"""How good a model, or a sample, is: statements with an error, a p-value or a status."""

from energax.evaluation.fssd import fssd_test
from energax.evaluation.kernel_tests import ksd_test, linear_ksd_test
from energax.evaluation.mmd import mmd_test
from energax.evaluation.result import TestResult
from energax.evaluation.scores import LogDensity

__all__ = [
    "LogDensity",
    "TestResult",
    "fssd_test",
    "ksd_test",
    "linear_ksd_test",
    "mmd_test",
]
