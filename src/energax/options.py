"""Options of every energy and objective that has a name on the command line.

Plain frozen dataclasses, free of JAX. Their entries are the arguments of the constructors; a
test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "ENERGIES",
    "MACHINES",
    "OBJECTIVES",
    "PAIRED",
    "AdversarialContrastOptions",
    "BernoulliRBMOptions",
    "BoxOptions",
    "BregmanOptions",
    "ChainOptions",
    "CompositeOptions",
    "ConditionalContrastOptions",
    "ContrastOptions",
    "ContrastiveDivergenceOptions",
    "DSMOptions",
    "DeepBoltzmannOptions",
    "DynamicsOptions",
    "ExactOptions",
    "FlowContrastOptions",
    "GaussianRBMOptions",
    "ICAOptions",
    "ImprovedOptions",
    "IsingGraphOptions",
    "IsingOptions",
    "KernelSteinOptions",
    "LearnedSteinOptions",
    "MDSMOptions",
    "MLPFieldOptions",
    "MLPOptions",
    "MeanFieldOptions",
    "MultigridDivergenceOptions",
    "MultigridOptions",
    "NoiseConditionalOptions",
    "NonNegativeOptions",
    "PatchMixerFieldOptions",
    "PatchMixerOptions",
    "PersistentOptions",
    "ProbabilityFlowOptions",
    "RatioOptions",
    "ReplayOptions",
    "ResNetOptions",
    "ScoreMatchingOptions",
    "ShiftedContrastOptions",
    "ShortRunOptions",
    "SlicedOptions",
    "UnbiasedOptions",
    "VariationalOptions",
    "VelocityOptions",
    "of_bits",
]


@dataclass(frozen=True)
class MLPOptions:
    """Options of `energies.MLP`, and whether it stands on `energies.WithRadialBase`."""

    width: int = 512
    depth: int = 4
    head: Literal["quadratic", "linear"] = "quadratic"
    activation: str = "silu"
    base: Literal["none", "radial"] = "none"


@dataclass(frozen=True)
class MLPFieldOptions:
    """Options of `energies.MLPField`."""

    width: int = 512
    depth: int = 4
    activation: str = "silu"


@dataclass(frozen=True)
class PatchMixerOptions:
    """Options of `energies.PatchMixer`, and whether it stands on `energies.WithRadialBase`."""

    patch: int = 4
    stride: int | None = None
    width: int = 128
    depth: int = 4
    expansion: int = 2
    head: Literal["quadratic", "linear"] = "quadratic"
    activation: str = "silu"
    base: Literal["none", "radial"] = "none"


@dataclass(frozen=True)
class PatchMixerFieldOptions:
    """Options of `energies.PatchMixerField`."""

    patch: int = 4
    width: int = 128
    depth: int = 4
    expansion: int = 2
    activation: str = "silu"


@dataclass(frozen=True)
class ResNetOptions:
    """Options of `energies.ResNet`, and whether it stands on `energies.WithRadialBase`."""

    layers: int = 12
    width: int = 64
    head: Literal["quadratic", "linear"] = "quadratic"
    activation: str = "elu"
    base: Literal["none", "radial"] = "none"


@dataclass(frozen=True)
class DSMOptions:
    """Options of `objectives.DenoisingScoreMatching`."""

    sigma: float = 0.3
    control_variate: bool = False


@dataclass(frozen=True)
class MDSMOptions:
    """Options of `objectives.MultiscaleDenoisingScoreMatching`.

    Where sigma_max is null, it is the data's extent (`objectives.noise_ladder`).
    """

    sigma_min: float = 0.05
    sigma_max: float | None = 2.0
    spacing: Literal["geometric", "linear"] = "geometric"
    sigma_0: float = 0.1
    weight_power: float = 2.0
    levels: int | None = None
    weighting: Literal["none", "importance", "posterior"] = "none"
    neighbours: int | None = None


@dataclass(frozen=True)
class NoiseConditionalOptions:
    """Options of `objectives.NoiseConditionalScoreMatching`.

    Where sigma_max or levels is null, `objectives.noise_ladder` chooses it from the data.
    """

    sigma_min: float = 0.01
    sigma_max: float | None = None
    levels: int | None = None
    weight_power: float = 2.0


@dataclass(frozen=True)
class ScoreMatchingOptions:
    """Options of `objectives.ScoreMatching`."""

    method: Literal["auto", "forward", "chunked"] = "auto"
    curvature_penalty: float = 0.0


@dataclass(frozen=True)
class SlicedOptions:
    """Options of `objectives.SlicedScoreMatching`."""

    projections: int = 1
    distribution: Literal["rademacher", "gaussian", "sphere"] = "rademacher"
    variance_reduced: bool = True


@dataclass(frozen=True)
class NonNegativeOptions:
    """`objectives.NonNegativeScoreMatching` has none."""


@dataclass(frozen=True)
class BoxOptions:
    """Options of `objectives.BoxScoreMatching`."""

    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True)
class RatioOptions:
    """`objectives.RatioMatching` has none."""


@dataclass(frozen=True)
class BernoulliRBMOptions:
    """Options of `energies.BernoulliRBM`."""

    hidden: int = 256


@dataclass(frozen=True)
class GaussianRBMOptions:
    """Options of `energies.GaussianBernoulliRBM`."""

    hidden: int = 256


@dataclass(frozen=True)
class IsingOptions:
    """Options of `energies.Ising`: where its two couplings and its field start."""

    horizontal: float = 0.0
    vertical: float = 0.0
    field: float = 0.0


@dataclass(frozen=True)
class IsingGraphOptions:
    """`energies.IsingGraph` has none: it starts without couplings, its fields from the data."""


@dataclass(frozen=True)
class MultigridOptions:
    """Options of the networks of `energies.Multigrid`, one a level, each beside a Gaussian of the data there.

    Where levels is null, sides are halved while they stay whole and at least 4. The patch is a mixer's. With
    a linear head the Gaussian holds the chains; a quadratic one may outgrow it.
    """

    network: Literal["mlp", "mixer"] = "mlp"
    levels: int | None = None
    width: int = 128
    depth: int = 2
    patch: int = 4
    head: Literal["linear", "quadratic"] = "linear"
    activation: str = "silu"


@dataclass(frozen=True)
class DeepBoltzmannOptions:
    """Options of `energies.DeepBoltzmannMachine`: its hidden layers from the lowest, commas between.

    `pretrain` are the updates of each machine of the stack it starts as, 0 for none.
    """

    hidden: str = "256,128"
    pretrain: int = 1000


@dataclass(frozen=True)
class DynamicsOptions:
    """How the chains of training move.

    Parameters
    ----------
    chain
        The dynamics: "auto" is block Gibbs where the energy knows its blocks, else Langevin.
    steps
        Steps of each chain in one training step.
    step_size
        η of Langevin and MALA, the leapfrog step of HMC (which takes ten) and of NUTS (which takes as
        many as lead away, 63 at most); Gibbs has none.
    """

    chain: Literal["auto", "gibbs", "langevin", "mala", "hmc", "nuts"] = "auto"
    steps: int = 1
    step_size: float = 0.01


@dataclass(frozen=True)
class ChainOptions(DynamicsOptions):
    """What `objectives.MaximumLikelihood` takes, whatever the chains.

    Parameters
    ----------
    energy_penalty, gradient_penalty
        Weights of the penalties, 0 for none.
    """

    energy_penalty: float = 0.0
    gradient_penalty: float = 0.0


@dataclass(frozen=True)
class ContrastiveDivergenceOptions(ChainOptions):
    """Options of `objectives.ContrastiveDivergence`."""


@dataclass(frozen=True)
class PersistentOptions(ChainOptions):
    """Options of `objectives.PersistentContrastiveDivergence`."""

    chains: int = 128
    restart: float = 0.0


@dataclass(frozen=True)
class ReplayOptions(ChainOptions):
    """Options of `objectives.ReplayBufferLikelihood`."""

    steps: int = 20
    size: int = 10_000
    restart: float = 0.05


@dataclass(frozen=True)
class ShortRunOptions(ChainOptions):
    """Options of `objectives.ShortRunLikelihood`."""

    steps: int = 100


@dataclass(frozen=True)
class ImprovedOptions(ChainOptions):
    """Options of `objectives.ImprovedContrastiveDivergence`, whose chains are Langevin's.

    Where entropy_weight is null, it is the number of coordinates.
    """

    chain: Literal["langevin"] = "langevin"
    steps: int = 40
    size: int = 10_000
    restart: float = 0.001
    kl_weight: float = 1.0
    entropy_weight: float | None = None


@dataclass(frozen=True)
class MeanFieldOptions:
    """Options of `objectives.MeanFieldContrastiveDivergence`."""

    steps: int = 1


@dataclass(frozen=True)
class MultigridDivergenceOptions(DynamicsOptions):
    """Options of `objectives.MultigridContrastiveDivergence`: of the chains at each scale.

    By default their steps are corrected: as the energies sharpen, Langevin's of the same size ran away.
    """

    chain: Literal["langevin", "mala", "hmc", "nuts"] = "mala"
    steps: int = 30
    step_size: float = 0.005


@dataclass(frozen=True)
class VariationalOptions:
    """Options of `objectives.DeepBoltzmannLikelihood`."""

    steps: int = 5
    chains: int = 128
    iterations: int = 30


@dataclass(frozen=True)
class UnbiasedOptions:
    """Options of `objectives.UnbiasedContrastiveDivergence`; `most` cuts pairs off, a declared bias."""

    least: int = 1
    most: int | None = None
    chains: int | None = None
    patience: int = 10_000


@dataclass(frozen=True)
class ExactOptions:
    """`objectives.ExactMaximumLikelihood` has none."""


@dataclass(frozen=True)
class ContrastOptions:
    """Options of `objectives.NoiseContrastiveEstimation`; "auto" noise is chosen from the data."""

    noise: Literal["auto", "gaussian", "diagonal", "bernoulli"] = "auto"
    noise_ratio: float = 5.0
    log_normalizer: Literal["learned", "fixed"] = "learned"


@dataclass(frozen=True)
class BregmanOptions(ContrastOptions):
    """Options of `objectives.BregmanNoiseContrastiveEstimation`."""

    divergence: Literal["logistic", "importance", "squared", "exponential"] = "logistic"


@dataclass(frozen=True)
class ConditionalContrastOptions:
    """Options of `objectives.ConditionalNoiseContrastiveEstimation`; an epsilon of null is looked for."""

    epsilon: float | None = None
    noise_points: int = 5
    kernel: Literal["gaussian", "flips"] = "gaussian"


@dataclass(frozen=True)
class ShiftedContrastOptions:
    """Options of `objectives.ShiftedNoiseContrastiveEstimation`."""

    shift: float = 0.3
    distribution: Literal["gaussian", "rademacher", "sphere"] = "gaussian"


@dataclass(frozen=True)
class FlowContrastOptions:
    """Options of `objectives.FlowContrastiveEstimation` and of its flow, `energies.Flow.coupling`."""

    layers: int = 5
    width: int = 64
    kind: Literal["spline", "affine"] = "spline"
    flow_learning_rate: float = 1e-3
    threshold: float = 0.6
    flow_steps: int = 5
    warmup: int = 500


@dataclass(frozen=True)
class AdversarialContrastOptions(FlowContrastOptions):
    """Options of `objectives.AdversarialContrastiveEstimation`."""

    noise: Literal["auto", "gaussian", "diagonal"] = "auto"
    share: float = 0.5


@dataclass(frozen=True)
class ProbabilityFlowOptions:
    """Options of `objectives.MinimumProbabilityFlow`."""

    moves: Literal["flips", "gaussian"] = "flips"
    epsilon: float = 0.3
    all_flip: bool = False


@dataclass(frozen=True)
class VelocityOptions:
    """Options of `objectives.MinimumVelocityLearning`."""

    step: float = 1e-3
    drift: Literal["half", "stopped"] = "half"
    control_variate: bool = True


@dataclass(frozen=True)
class CompositeOptions:
    """Options of `objectives.CompositeLikelihood`."""

    block: int = 1


@dataclass(frozen=True)
class LearnedSteinOptions:
    """Options of `objectives.LearnedSteinDiscrepancy`."""

    penalty: float = 0.5
    critic_steps: int = 5
    critic_learning_rate: float = 1e-3
    probes: int | None = None
    width: int = 128
    warmup: int = 200
    critic_beta1: float = 0.9
    critic_beta2: float = 0.999


@dataclass(frozen=True)
class KernelSteinOptions:
    """Options of `objectives.KernelSteinDiscrepancy`; a bandwidth of null is the data's median distance."""

    kernel: Literal["imq", "rbf"] = "imq"
    bandwidth: float | None = None


@dataclass(frozen=True)
class ICAOptions:
    """Options of `energies.LinearICA`."""

    source: Literal["logistic", "laplace"] = "logistic"


ENERGIES: dict[str, type] = {
    "mlp": MLPOptions,
    "mixer": PatchMixerOptions,
    "resnet": ResNetOptions,
    "mlp-field": MLPFieldOptions,
    "mixer-field": PatchMixerFieldOptions,
    "bernoulli-rbm": BernoulliRBMOptions,
    "gaussian-rbm": GaussianRBMOptions,
    "ising": IsingOptions,
    "ising-graph": IsingGraphOptions,
    "ica": ICAOptions,
    "multigrid": MultigridOptions,
    "deep-boltzmann": DeepBoltzmannOptions,
}
OBJECTIVES: dict[str, type] = {
    "multiscale": MDSMOptions,
    "denoising": DSMOptions,
    "noise-conditional": NoiseConditionalOptions,
    "score-matching": ScoreMatchingOptions,
    "sliced": SlicedOptions,
    "non-negative": NonNegativeOptions,
    "box": BoxOptions,
    "ratio": RatioOptions,
    "contrastive-divergence": ContrastiveDivergenceOptions,
    "persistent-cd": PersistentOptions,
    "replay-buffer": ReplayOptions,
    "short-run": ShortRunOptions,
    "improved-cd": ImprovedOptions,
    "mean-field-cd": MeanFieldOptions,
    "multigrid-cd": MultigridDivergenceOptions,
    "variational-pcd": VariationalOptions,
    "unbiased-cd": UnbiasedOptions,
    "exact-likelihood": ExactOptions,
    "nce": ContrastOptions,
    "bregman-nce": BregmanOptions,
    "conditional-nce": ConditionalContrastOptions,
    "shifted-nce": ShiftedContrastOptions,
    "flow-contrastive": FlowContrastOptions,
    "adversarial-contrastive": AdversarialContrastOptions,
    "probability-flow": ProbabilityFlowOptions,
    "composite-likelihood": CompositeOptions,
    "minimum-velocity": VelocityOptions,
    "learned-stein": LearnedSteinOptions,
    "kernel-stein": KernelSteinOptions,
}

MACHINES: dict[str, str | None] = {
    "bernoulli-rbm": "bits",
    "gaussian-rbm": None,
    "ising": "spins",
    "ising-graph": "spins",
    "deep-boltzmann": "bits",
}
"""Energies that can be drawn block by block, and the states they live on (None: the reals)."""

PAIRED = {"multigrid": "multigrid-cd", "deep-boltzmann": "variational-pcd"}
"""Models of more than one event of x alone, each with the one objective that learns all of it."""


def of_bits(objective: str, options: object) -> bool:
    """Whether an objective with these options is about bits, whatever the energy."""
    return (
        objective in ("ratio", "composite-likelihood")
        or getattr(options, "moves", None) == "flips"
        or getattr(options, "kernel", None) == "flips"
        or getattr(options, "noise", None) == "bernoulli"
    )


def walls_of(objective: str, options: object) -> tuple[float, float] | None:
    """Return the ends of the interval in which an objective's data live, the upper one perhaps infinite."""
    if isinstance(options, BoxOptions):
        return options.low, options.high
    return (0.0, float("inf")) if objective == "non-negative" else None
