"""The one loop: fit, its state, its checkpoints, its health."""

from energax.config import FitConfig
from energax.training.fit import Fit, fit
from energax.training.greedy import greedy
from energax.training.health import Diagnosis
from energax.training.rollback import DivergenceError
from energax.training.state import FitState

__all__ = ["Diagnosis", "DivergenceError", "Fit", "FitConfig", "FitState", "fit", "greedy"]
