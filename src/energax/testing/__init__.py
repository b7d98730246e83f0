"""Public checkers: hold your own energy, objective or sampler to what it claims."""

from energax.testing.energy import check_energy
from energax.testing.objective import check_objective
from energax.testing.sampler import check_sampler
from energax.testing.statistics import FALSE_ALARM, StatisticalError, assert_mean, z_scores

__all__ = [
    "FALSE_ALARM",
    "StatisticalError",
    "assert_mean",
    "check_energy",
    "check_objective",
    "check_sampler",
    "z_scores",
]
