"""What a model is for: generate, denoise, inpaint, score, and say how likely a row is."""

from energax.tasks.denoise import denoise
from energax.tasks.generate import anneal, generate
from energax.tasks.inpaint import inpaint, named_mask
from energax.tasks.likelihood import Likelihood, log_likelihood
from energax.tasks.score import score
from energax.tasks.way import Way, way

__all__ = [
    "Likelihood",
    "Way",
    "anneal",
    "denoise",
    "generate",
    "inpaint",
    "log_likelihood",
    "named_mask",
    "score",
    "way",
]
