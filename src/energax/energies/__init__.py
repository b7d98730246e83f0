"""What a model is: energies with a known truth, networks, and energies made of energies."""

from energax.energies.analytic import Gaussian, GaussianMixture, GeneralizedLogistic, LinearGaussian
from energax.energies.base import Energy, Normalised
from energax.energies.composition import Mixture, Sum, Tempered, WithGaussianBase
from energax.energies.mixer import PatchMixer
from energax.energies.mlp import MLP
from energax.energies.resnet import ResNet

__all__ = [
    "MLP",
    "Energy",
    "Gaussian",
    "GaussianMixture",
    "GeneralizedLogistic",
    "LinearGaussian",
    "Mixture",
    "Normalised",
    "PatchMixer",
    "ResNet",
    "Sum",
    "Tempered",
    "WithGaussianBase",
]
