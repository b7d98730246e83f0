"""What a model is for: generate, denoise, restore, inpaint, score, and say how likely a row is."""

from energax.tasks.cut import ground_state
from energax.tasks.denoise import denoise
from energax.tasks.generate import anneal, generate
from energax.tasks.inpaint import inpaint, named_mask
from energax.tasks.likelihood import Likelihood, log_likelihood
from energax.tasks.restore import Restoration, flip_posterior, restore
from energax.tasks.score import score
from energax.tasks.way import Way, way

__all__ = [
    "Likelihood",
    "Restoration",
    "Way",
    "anneal",
    "denoise",
    "flip_posterior",
    "generate",
    "ground_state",
    "inpaint",
    "log_likelihood",
    "named_mask",
    "restore",
    "score",
    "way",
]
