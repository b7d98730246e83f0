"""Data sets known by name, apart from the code that reads them: importing that loads JAX."""

from __future__ import annotations

__all__ = ["DATA_NAMES", "TOY_NAMES"]

# What `energax.data.load` knows by name (a test holds the lists together).
DATA_NAMES = (
    "digits",
    "mnist",
    "fashion-mnist",
    "notmnist",
    "cifar10",
    "svhn",
    "celeba",
    "alphadigits",
    "stacked-digits",
    "stacked-mnist",
)
TOY_NAMES = (
    "eight-gaussians",
    "two-moons",
    "pinwheel",
    "checkerboard",
    "rings",
    "swiss-roll",
    "two-spirals",
)
