"""What a model is for: generate, denoise, inpaint, score."""

from energax.tasks.denoise import denoise
from energax.tasks.generate import anneal, generate
from energax.tasks.inpaint import inpaint, named_mask
from energax.tasks.score import score
from energax.tasks.way import Way, way

__all__ = ["Way", "anneal", "denoise", "generate", "inpaint", "named_mask", "score", "way"]
