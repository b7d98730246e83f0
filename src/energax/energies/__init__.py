"""What a model is: energies with a known truth, networks, and energies made of energies."""

from energax.energies.analytic import Gaussian, GaussianMixture, GeneralizedLogistic, LinearGaussian
from energax.energies.base import Energy, Normalised
from energax.energies.bernoulli import IndependentBernoulli
from energax.energies.bounded import Gamma, TruncatedGaussian, Uniform
from energax.energies.composition import Mixture, Sum, Tempered, WithGaussianBase, WithLogNormalizer
from energax.energies.copied import CopiedRBM
from energax.energies.critic import ConvolutionalCritic, Critic, StandardisedCritic
from energax.energies.dbm import DeepBoltzmannMachine
from energax.energies.enumeration import all_bits, enumerate_log_normalizer
from energax.energies.flow import CouplingFlow, Flow
from energax.energies.generator import Generator
from energax.energies.ica import LinearICA
from energax.energies.ising import Ising, IsingGraph
from energax.energies.mixer import PatchMixer, PatchMixerField
from energax.energies.mlp import MLP, MLPField
from energax.energies.multigrid import Multigrid
from energax.energies.noise import NOISE_FEATURES, NoiseConditional, Smoothings
from energax.energies.posterior import Posterior
from energax.energies.radial import WithRadialBase
from energax.energies.rbm import BernoulliRBM, GaussianBernoulliRBM
from energax.energies.resnet import ResNet
from energax.energies.visible import VisibleLayer

__all__ = [
    "MLP",
    "NOISE_FEATURES",
    "BernoulliRBM",
    "ConvolutionalCritic",
    "CopiedRBM",
    "CouplingFlow",
    "Critic",
    "DeepBoltzmannMachine",
    "Energy",
    "Flow",
    "Gamma",
    "Gaussian",
    "GaussianBernoulliRBM",
    "GaussianMixture",
    "GeneralizedLogistic",
    "Generator",
    "IndependentBernoulli",
    "Ising",
    "IsingGraph",
    "LinearGaussian",
    "LinearICA",
    "MLPField",
    "Mixture",
    "Multigrid",
    "NoiseConditional",
    "Normalised",
    "PatchMixer",
    "PatchMixerField",
    "Posterior",
    "ResNet",
    "Smoothings",
    "StandardisedCritic",
    "Sum",
    "Tempered",
    "TruncatedGaussian",
    "Uniform",
    "VisibleLayer",
    "WithGaussianBase",
    "WithLogNormalizer",
    "WithRadialBase",
    "all_bits",
    "enumerate_log_normalizer",
]
