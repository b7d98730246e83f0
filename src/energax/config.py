"""The one typed configuration that flags, files and Python share.

Plain frozen dataclasses, free of JAX, so that the command line can show its help at once. The
options of each energy and objective that has a name are in `energax.options`.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from energax.checks import check, check_choice, check_integer, check_number, check_seed
from energax.options import ENERGIES, OBJECTIVES, MDSMOptions, MLPOptions

__all__ = ["FitConfig", "RunConfig", "SamplerConfig", "from_dict", "replace", "to_dict"]


@dataclass(frozen=True)
class FitConfig:
    """How a fit descends.

    Parameters
    ----------
    steps
        Updates in all; the horizon of the learning-rate schedule.
    batch_size
        Rows per minibatch, over all devices; a multiple of their number.
    learning_rate
        Adam's step at the top of the schedule.
    schedule
        "cosine" from learning_rate to final_learning_rate, or "constant".
    final_learning_rate
        Where the cosine ends.
    warmup
        Steps of linear warm-up from zero.
    beta1, beta2
        Adam's decay rates.
    weight_decay
        Decoupled decay (AdamW) of the model's parameters, none of the nuisance's.
    clip
        Largest global norm of the gradient, or 0 for no clipping.
    ema
        Decay of the average of the parameters (bias-corrected), which is what `fit` returns
        as its energy; 0 for the last parameters themselves.
    log_every
        Steps averaged into one record of metrics.
    checkpoint_every
        Steps between checkpoints; 0 for none but the last.
    keep
        "last" keep_count checkpoints, the "best" keep_count by validation loss (and, of a fit that
        was stopped by Ctrl-C, where it stopped, until it is resumed), or "all".
    keep_count
        How many are kept.
    on_divergence
        What a fit does that `training.health` finds to diverge: "stop" with the diagnosis and
        the last healthy model, or go back there and change what the diagnosis names
        ("rollback"), at most `rollbacks` times.
    rollbacks
        Tries before a fit that rolls back gives up.
    """

    steps: int = 3000
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: Literal["cosine", "constant"] = "cosine"
    final_learning_rate: float = 0.0
    warmup: int = 0
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    clip: float = 0.0
    ema: float = 0.999
    log_every: int = 50
    checkpoint_every: int = 500
    keep: Literal["last", "best", "all"] = "last"
    keep_count: int = 3
    on_divergence: Literal["stop", "rollback"] = "stop"
    rollbacks: int = 3

    def __post_init__(self) -> None:
        for name, least in {
            "steps": 1,
            "batch_size": 1,
            "warmup": 0,
            "log_every": 1,
            "checkpoint_every": 0,
            "keep_count": 1,
            "rollbacks": 1,
        }.items():
            check_integer("fit", name, getattr(self, name), at_least=least)
        check_number("fit", "learning_rate", self.learning_rate, above=0)
        check_number(
            "fit", "final_learning_rate", self.final_learning_rate, at_least=0, at_most=self.learning_rate
        )
        for name in ("weight_decay", "clip"):
            check_number("fit", name, getattr(self, name), at_least=0)
        for name in ("beta1", "beta2", "ema"):
            value = check_number("fit", name, getattr(self, name), at_least=0)
            check(value < 1, "fit", name, "below 1", value)
        check_choice("fit", "schedule", self.schedule, ("cosine", "constant"))
        check_choice("fit", "keep", self.keep, ("last", "best", "all"))
        check_choice("fit", "on_divergence", self.on_divergence, ("stop", "rollback"))


@dataclass(frozen=True)
class SamplerConfig:
    """How samples are drawn; `tasks.way` says what each objective makes of it.

    Parameters
    ----------
    noise_max
        Standard deviation of the noise that chains start from, in the units the model sees
        (√T σ₀ of an anneal). A noise-conditional model starts from its own largest level.
    epsilon
        Step in units of σ₀: the paper's 0.02 at σ₀ = 0.1. Of a noise-conditional model in units
        of each level; where the objective has no noise, in the units the model sees.
    hold, anneal, cool
        Steps at the first temperature, of the geometric anneal to 1, and from 1 to 0; where
        there is no anneal, their sum is the number of steps.
    """

    noise_max: float = 1.0
    epsilon: float = 0.2
    hold: int = 500
    anneal: int = 2000
    cool: int = 200


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run.

    Parameters
    ----------
    data
        A name (`energax train --help` lists them) or a path to a file or a folder.
    preprocess
        "auto", or a comma-separated list such as "standardise" or "unit,pad:2,flip".
    energy, energy_options
        Name of the energy and its options.
    objective, objective_options
        Name of the objective and its options.
    fit
        How the fit descends.
    sampler
        How samples are drawn.
    seed
        Decides everything random.
    """

    data: str = "digits"
    preprocess: str = "auto"
    energy: str = "mlp"
    energy_options: Any = field(default_factory=MLPOptions)
    objective: str = "multiscale"
    objective_options: Any = field(default_factory=MDSMOptions)
    fit: FitConfig = field(default_factory=FitConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("configuration", "energy", self.energy, ENERGIES)
        check_choice("configuration", "objective", self.objective, OBJECTIVES)
        check_seed("configuration", "seed", self.seed)
        for name, table in {"energy": ENERGIES, "objective": OBJECTIVES}.items():
            options, wanted = getattr(self, f"{name}_options"), table[getattr(self, name)]
            ok = isinstance(options, wanted)
            check(ok, "configuration", f"{name}_options", wanted.__name__, type(options).__name__)


Config = TypeVar("Config")

SECTIONS = {"energy_options": "energy", "objective_options": "objective", "fit": "fit", "sampler": "sampler"}


def to_dict(config: Any) -> dict[str, Any]:
    """Return the configuration as plain JSON values."""
    return dataclasses.asdict(config)


def from_dict(values: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that `to_dict` (or a user's file) describes.

    Missing entries keep their defaults; unknown ones and wrong types are refused by name.
    """
    return replace(RunConfig(), values)


def replace(config: RunConfig, changes: Mapping[str, Any]) -> RunConfig:
    """Return the configuration with some entries changed.

    Parameters
    ----------
    changes
        Entries by name; nested mappings and dotted names both reach into a section, so that
        {"fit": {"steps": 10}} and {"fit.steps": "10"} are the same. `energy.width` is short
        for `energy_options.width`, and changing `energy` resets its options. Strings are
        read as the type the entry has.
    """
    flat: dict[str, Any] = {}
    for name, value in changes.items():
        section = name.split(".")[0]
        if isinstance(value, Mapping):
            flat.update({f"{name}.{k}": v for k, v in value.items()})
        elif "." not in name and section in SECTIONS:
            check(False, "configuration", name, "a mapping of options", repr(value))
        else:
            flat[name] = value

    top = {f.name: f for f in dataclasses.fields(RunConfig)}
    for name, table in {"energy": ENERGIES, "objective": OBJECTIVES}.items():
        if name in flat:
            chosen = check_choice("configuration", name, flat.pop(name), table)
            if chosen != getattr(config, name):
                fresh = {name: chosen, f"{name}_options": table[chosen]()}
                config = dataclasses.replace(config, **fresh)

    together: dict[str, dict[str, Any]] = {}
    for name, value in flat.items():
        head, _, tail = name.partition(".")
        head = (
            {"energy": "energy_options", "objective": "objective_options"}.get(head, head) if tail else head
        )
        names = [n for n in top if n not in SECTIONS] if not tail else list(SECTIONS)
        if tail and head not in names:
            check_choice("configuration", "section", head, SECTIONS.values())
        check_choice("configuration", "option", head, names)
        if tail:
            section = getattr(config, head)
            options = [f.name for f in dataclasses.fields(section)]
            check_choice("configuration", f"option of {SECTIONS[head]}", tail, options)
            together.setdefault(head, {})[tail] = _typed(type(section), tail, value)
        else:
            config = dataclasses.replace(config, **{head: _typed(RunConfig, head, value)})
    # A section's entries change at once: one may be allowed only beside another.
    sections = {head: dataclasses.replace(getattr(config, head), **new) for head, new in together.items()}
    return dataclasses.replace(config, **sections)


def _typed(owner: type, name: str, value: Any) -> Any:
    """Return `value` as the annotated type of the entry, reading strings as JSON where that helps."""
    wanted = typing.get_type_hints(owner)[name]
    options = typing.get_args(wanted) if isinstance(wanted, types.UnionType) else (wanted,)
    if typing.get_origin(wanted) is Literal:
        return check_choice("configuration", name, value, typing.get_args(wanted))
    if str in options:
        check(isinstance(value, str), "configuration", name, "a string", repr(value))
        return value
    parsed = value
    if bool in options:
        parsed = {"true": True, "false": False}.get(value.lower()) if isinstance(value, str) else value
        check(isinstance(parsed, bool), "configuration", name, "true or false", repr(value))
        return parsed
    if isinstance(value, str):
        try:
            parsed = json.loads(value.lower())
        except json.JSONDecodeError:
            parsed = float(value) if value.lower() in ("inf", "nan") else None if value == "None" else value
    if parsed is None and type(None) in options:
        return None
    if float in options and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        return float(parsed)
    if int in options and isinstance(parsed, int | float) and not isinstance(parsed, bool):
        whole = isinstance(parsed, int) or parsed.is_integer()  # float() of a long integer overflows
        check(whole, "configuration", name, "a whole number", repr(value))
        return int(parsed)
    names = {int: "a whole number", float: "a number", type(None): "null"}
    check(False, "configuration", name, " or ".join(names[o] for o in options), repr(value))
    raise AssertionError
