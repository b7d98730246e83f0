r"""How a trained model is to be used: its dynamics, and what it knows of noise.

    objective            dynamics                                        noise
    multiscale           annealed Langevin (MDSM appendix D), a jump     any of the ladder, untold; unit σ₀
    denoising            Langevin at T = 1 (appendix B), a jump          about σ, untold; unit σ
    noise-conditional    annealed over noise levels (lecture, alg. 1)    any of the ladder, told
    score-matching …     Langevin at T = 1                               none
    non-negative, box    reflected Langevin at T = 1                     none
    ratio, of flips …    Gibbs sampling of bits                          none
    by Markov chains     the training's own dynamics at T = 1            none
    … a Boltzmann machine  block Gibbs, whatever the objective           none
    multigrid-cd         the training's own, up the scales from roots    none
    variational-pcd      block Gibbs of all layers, x alone is shown     none

A noise-conditional model, which is told the noise, may be sampled in two other ways (`SAMPLERS`):

    reverse-diffusion    the variance exploding process backwards, from σ_max to σ_min, with
                         Langevin corrections; as many scores as the anneal has steps
    probability-flow     its deterministic flow, an ODE with adaptive steps; only the start is random

An energy of real numbers may be sampled by steps that are accepted or refused, exact at any step size
(`CORRECTED`), at walls reflected like the others:

    mala, hmc, nuts      at the same temperatures; where these are all 1 a warm-up finds step and masses

MALA takes as many steps as Langevin dynamics would; HMC and NUTS, whose steps are paths, a tenth of them.

Where nothing is annealed, an energy of reals or a Boltzmann machine may also be sampled by replicas at
several temperatures that change places, which pass between far modes:

    tempering            of HMC, the step times √T at each level; of a machine, of block Gibbs,
                         all layers of a deep one changing places together

This is the one place where a configuration becomes a sampler.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace as with_changes

import numpy as np

from energax.checks import check, check_choice, check_integer, check_number
from energax.config import RunConfig
from energax.derivatives import Score
from energax.energies import VisibleLayer
from energax.options import MACHINES, ChainOptions, of_bits, walls_of
from energax.samplers import (
    HMC,
    MALA,
    NUTS,
    AnnealedNoiseLangevin,
    BitGibbs,
    BlockGibbs,
    Climb,
    Langevin,
    ParallelTempering,
    ProbabilityFlow,
    Reflected,
    ReverseDiffusion,
    Sampler,
    VarianceExploding,
    VisibleGibbs,
    annealed_hmc,
    annealed_langevin,
    annealed_mala,
    schedules,
)
from energax.samplers.adaptation import FEWEST_STEPS
from energax.typing import Model

__all__ = ["CORRECTED", "LADDER", "SAMPLERS", "TEMPERED", "Way", "chain", "way"]

OF_NOISE = ("reverse-diffusion", "probability-flow")  # for models that are told the noise
CORRECTED = {"mala": 1, "hmc": 10, "nuts": 10}  # Langevin steps that one step stands for
TEMPERED = "tempering"
SAMPLERS = ("annealed", *OF_NOISE, *CORRECTED, TEMPERED)
LADDER = tuple(float(T) for T in np.geomspace(1.0, 10.0, 8))  # neighbours by a factor of 1.39
WARMUP = 500  # steps
DOUBLINGS = 6  # of a path in training, where all chains wait for the longest at every update


@dataclass(frozen=True)
class Way:
    """How a model is to be used, read from its configuration.

    Parameters
    ----------
    sampler
        The dynamics, with a horizon.
    start
        Standard deviation of the noise that chains start from.
    sigma_0
        The unit of the energy, of the jump x − σ₀²∇E(x) and of inpainting's noise; the smallest
        level of a noise-conditional model; None if the objective knows nothing of noise.
    told
        Whether the model must be told the noise level.
    sigmas
        Smallest and largest noise level that the model was trained on, or None.
    warmup
        Steps in which `tasks.warm_up` is to find the sampler's step and masses; 0 if they are known.
    rooted
        Whether chains start from training rows (their mean colours) rather than from noise, and take
        the steps they took in training.
    layered
        Whether an event of the model is a tuple of layers, of which data are the visible one.
    """

    sampler: Sampler
    start: float
    sigma_0: float | None
    told: bool = False
    sigmas: tuple[float, float] | None = None
    warmup: int = 0
    rooted: bool = False
    layered: bool = False

    @property
    def whole(self) -> bool:
        """Whether the model is one energy of x, which others may be added to."""
        return not self.rooted and not self.layered

    @property
    def of_one_law(self) -> bool:
        """Whether every step leaves the law at temperature 1 in place: its late states are draws."""
        name, values = self.schedule
        return name == "temperature" and bool(np.all(values == 1)) and not self.rooted

    @property
    def horizon(self) -> int:
        """How many steps the dynamics take."""
        assert self.sampler.horizon is not None
        return self.sampler.horizon

    @property
    def schedule(self) -> tuple[str, np.ndarray]:
        """What is annealed, "temperature" or "noise", and its value at each step."""
        if isinstance(self.sampler, Langevin | MALA | HMC | NUTS):
            return "temperature", np.asarray(self.sampler.temperature.values)
        if isinstance(self.sampler, AnnealedNoiseLangevin):
            return "noise", np.asarray(self.sampler.noise().values)
        if isinstance(self.sampler, ReverseDiffusion):
            return "noise", np.asarray(self.sampler.level.values)
        if isinstance(self.sampler, ProbabilityFlow):
            return "noise", np.asarray(self.sampler.sigmas)
        return "temperature", np.ones(self.horizon, np.float32)

    def law(self, model: Model) -> Model:
        """Return the energy or `Score` of x alone: at the smallest level if told."""
        return model.at(self.sigma_0) if self.told else model

    def of_rows(self, model: Model) -> Model:
        """Return the model as the law of rows of data that the dynamics move: of layers, the visible one."""
        return VisibleLayer(model) if self.layered else model

    def energy(self, model: Model) -> Model | None:
        """Return the energy of x alone, as `law` does; None for a vector field."""
        one = self.law(model)
        return None if isinstance(one, Score) else one


def way(
    config: RunConfig,
    sampler: str = "annealed",
    *,
    corrector_steps: int = 1,
    snr: float = 0.16,
    data_scale: float = 1.0,
    warmup: int = WARMUP,
    temperatures: Sequence[float] = LADDER,
) -> Way:
    """Return how a model of this configuration is to be used.

    Parameters
    ----------
    config
        The run's configuration.
    sampler
        "annealed", Langevin dynamics, or what the table above has instead; of a noise-conditional model also
        "reverse-diffusion" or "probability-flow", of an energy of reals "mala", "hmc" or "nuts", of one or of
        a Boltzmann machine "tempering". To inpaint and restore, take the first.
    corrector_steps, snr
        Those of `samplers.ReverseDiffusion`.
    data_scale
        Standard deviation of the data per coordinate, as the model sees them, for the prior that
        reverse diffusion and the flow start from.
    warmup
        Steps of the warm-up of mala, hmc, nuts and of tempering by HMC, where they need one.
    temperatures
        Of tempering: 1 = T_1 < T_2 < …

    Raises
    ------
    InputError
        If the objective has no such sampler.
    """
    options, s = config.objective_options, config.sampler
    check_choice("sample", "sampler", sampler, SAMPLERS)
    told = config.objective == "noise-conditional"
    allowed = (
        "'annealed' (the others need a model that is told the noise, of the objective noise-conditional)"
    )
    check(
        told or sampler not in OF_NOISE, "sample", "sampler", allowed, f"{sampler!r} for {config.objective}"
    )
    for name in ("hold", "anneal", "cool"):
        check_integer("sampler", name, getattr(s, name), at_least=1)
    total = s.hold + s.anneal + s.cool
    constant = schedules.constant(1.0, total)
    if sampler in CORRECTED:
        return _corrected(config, sampler, warmup)
    if sampler == TEMPERED:
        return _tempered(config, total, warmup, temperatures)
    if config.objective == "multiscale":
        tempered = annealed_langevin(
            sigma_0=options.sigma_0,
            noise_max=s.noise_max,
            epsilon=s.epsilon * options.sigma_0,
            hold=s.hold,
            anneal=s.anneal,
            cool=s.cool,
        )
        return Way(tempered, s.noise_max, options.sigma_0, False, (options.sigma_min, options.sigma_max))
    if config.objective == "denoising":
        sigma = options.sigma
        return Way(Langevin.mdsm(s.epsilon * sigma, constant), sigma, sigma, False, (sigma, sigma))
    if config.objective == "noise-conditional":
        low, high, count = options.sigma_min, options.sigma_max, options.levels
        known = high is not None and count is not None
        check(known, "sampler", "objective.sigma_max and levels", "resolved from the data", None)
        assert high is not None
        assert count is not None
        sigmas = np.geomspace(high, low, count)
        start = float(np.hypot(high, data_scale))
        if sampler == "reverse-diffusion":
            process = VarianceExploding(low, high)
            check_integer("sample", "corrector_steps", corrector_steps, at_least=0)
            predictor_steps = max(1, total // (1 + corrector_steps))
            backwards = ReverseDiffusion(process, predictor_steps, corrector_steps, snr)
            return Way(backwards, start, low, True, (low, high))
        if sampler == "probability-flow":
            return Way(ProbabilityFlow(sigmas), start, low, True, (low, high))
        dynamics = AnnealedNoiseLangevin(sigmas, s.epsilon * low**2, max(1, total // count))
        return Way(dynamics, high, low, True, (low, high))
    if config.objective == "multigrid-cd":
        levels = getattr(config.energy_options, "levels", None)
        check(levels is not None, "sampler", "energy.levels", "resolved from the data", None)
        assert levels is not None
        climb = Climb(chain(config, options.steps), levels, options.steps)
        return Way(climb, s.noise_max, None, rooted=True)
    if config.energy == "deep-boltzmann":
        return Way(VisibleGibbs(total), s.noise_max, None, layered=True)
    if isinstance(options, ChainOptions):
        steps = options.steps if config.objective == "short-run" else total
        return Way(chain(config, steps), s.noise_max, None)
    if config.energy in MACHINES:
        return Way(BlockGibbs(total), s.noise_max, None)
    if of_bits(config.objective, options):
        return Way(BitGibbs(total), s.noise_max, None)
    return Way(_within(config, Langevin.mdsm(s.epsilon, constant)), s.noise_max, None)


def _within(config: RunConfig, dynamics: Sampler) -> Sampler:
    """Return the dynamics, reflected at the walls that the objective's data have, if any."""
    walls = walls_of(config.objective, config.objective_options)
    return dynamics if walls is None else Reflected(dynamics, *walls)


def _corrected(config: RunConfig, named: str, warmup: int) -> Way:
    """Return the way by steps that are accepted or refused, of an energy that has them."""
    options, s, gradients = config.objective_options, config.sampler, CORRECTED[named]
    told = config.objective == "noise-conditional"
    kinds = {
        "a noise-conditional model": told,
        "an energy at each scale": config.energy == "multigrid",
        "states that are counted": MACHINES.get(config.energy) is not None
        or of_bits(config.objective, options),
    }
    kind = next((name for name, is_one in kinds.items() if is_one), None)
    other = ", ".join(repr(name) for name in ("annealed", *(OF_NOISE if told else ())))
    check(kind is None, "sample", "sampler", f"{other} for {kind}", repr(named))
    hold, anneal, cool = (max(1, steps // gradients) for steps in (s.hold, s.anneal, s.cool))
    if config.objective == "multiscale":
        made = annealed_mala if named == "mala" else annealed_hmc
        tempered = made(
            sigma_0=options.sigma_0,
            noise_max=s.noise_max,
            epsilon=s.epsilon * options.sigma_0,
            hold=hold,
            anneal=anneal,
            cool=cool,
        )
        if named == "nuts":
            tempered = NUTS(tempered.step_size, temperature=tempered.temperature)
        return Way(tempered, s.noise_max, options.sigma_0, False, (options.sigma_min, options.sigma_max))
    sigma = options.sigma if config.objective == "denoising" else None
    step, temperature = s.epsilon * (sigma or 1.0), schedules.constant(1.0, hold + anneal + cool)
    one: Sampler = MALA(step**2 / 2, temperature)
    if named != "mala":
        one = {"hmc": HMC, "nuts": NUTS}[named](step, temperature=temperature)
    check_integer("sample", "warmup", warmup, at_least=FEWEST_STEPS)
    sigmas = None if sigma is None else (sigma, sigma)
    start = s.noise_max if sigma is None else sigma
    return Way(_within(config, one), start, sigma, False, sigmas, warmup)


def _tempered(config: RunConfig, total: int, warmup: int, temperatures: Sequence[float]) -> Way:
    """Return the way by replicas at several temperatures, of a model that has one energy and one law."""
    objective, machine = config.objective, config.energy in MACHINES
    kinds = {
        "a noise-conditional model": objective == "noise-conditional",
        "an energy at each scale": config.energy == "multigrid",
        "an energy of many noise levels, which is annealed": objective == "multiscale",
        "a network of bits": not machine and of_bits(objective, config.objective_options),
        "chains that are to be short": objective == "short-run",
    }
    kind = next((name for name, is_one in kinds.items() if is_one), None)
    check(kind is None, "sample", "sampler", f"another for {kind}", repr(TEMPERED))
    T = np.asarray(temperatures, np.float32)
    if machine:
        layered = config.energy == "deep-boltzmann"
        sweeps = VisibleGibbs(total) if layered else BlockGibbs(total)
        return Way(ParallelTempering(sweeps, T), config.sampler.noise_max, None, layered=layered)
    one = _corrected(config, "hmc", warmup)
    return with_changes(one, sampler=ParallelTempering(one.sampler, T, step_factors=np.sqrt(T)))


def chain(config: RunConfig, steps: int = 1) -> Sampler:
    """Return the dynamics of an objective by Markov chains, with a horizon of `steps`."""
    options = config.objective_options
    named = options.chain
    if named == "auto":
        named = "gibbs" if config.energy in MACHINES else "langevin"
    if named == "gibbs":
        allowed = f"'langevin', 'mala', 'hmc' or 'nuts' for the energy {config.energy}"
        check(config.energy in MACHINES, "train", "objective.chain", allowed, "'gibbs'")
        return BlockGibbs(steps)
    of_states = MACHINES.get(config.energy)
    check(of_states is None, "train", "objective.chain", f"'gibbs' for {of_states}", repr(named))
    size = check_number("train", "objective.step_size", options.step_size, above=0)
    temperature = schedules.constant(1.0, steps)
    if named == "hmc":
        return HMC(size, temperature=temperature)
    if named == "nuts":
        return NUTS(size, max_doublings=DOUBLINGS, temperature=temperature)
    return {"langevin": Langevin, "mala": MALA}[named](size, temperature)
