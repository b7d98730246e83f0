"""What a model is for: generate, denoise, restore, inpaint, compose, score, and say how likely a row is."""

from energax.tasks.compose import compose
from energax.tasks.cut import ground_state
from energax.tasks.denoise import denoise
from energax.tasks.flips import Restoration, flip_posterior, restore_flips
from energax.tasks.generate import anneal, generate, picked
from energax.tasks.inpaint import inpaint, named_mask
from energax.tasks.likelihood import Likelihood, log_likelihood
from energax.tasks.operators import Blur, Downsample, Matrix, linear_operator, projections
from energax.tasks.restore import restore
from energax.tasks.score import score
from energax.tasks.warm_up import warm_up
from energax.tasks.way import Way, way

__all__ = [
    "Blur",
    "Downsample",
    "Likelihood",
    "Matrix",
    "Restoration",
    "Way",
    "anneal",
    "compose",
    "denoise",
    "flip_posterior",
    "generate",
    "ground_state",
    "inpaint",
    "linear_operator",
    "log_likelihood",
    "named_mask",
    "picked",
    "projections",
    "restore",
    "restore_flips",
    "score",
    "warm_up",
    "way",
]
