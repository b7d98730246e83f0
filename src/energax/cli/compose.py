"""`energax compose`: a run whose energy is made of the energies of others."""

from __future__ import annotations

import datetime
import shlex
from collections.abc import Sequence
from pathlib import Path

import equinox as eqx

from energax import tasks
from energax.checks import InputError, check
from energax.cli.run_folder import RunFolder
from energax.cli.trained import Trained
from energax.training import modelfile

__all__ = ["compose"]


def compose(runs: Sequence[Path], *, weights: str | None, temperature: float, out: Path) -> int:
    """Make a run of others; see the help of `energax compose`."""
    command = "compose"
    check(len(runs) > 0, command, "RUN", "at least one run", "none")
    given = None if weights is None else _numbers(weights)
    every = [Trained(path, command) for path in runs]
    first = every[0]
    for other in every[1:]:
        path = other.run.path
        same = bool(eqx.tree_equal(first.pipeline, other.pipeline))
        allowed = f"a run whose preprocessing is that of {first.run.path}: energies add in the same units"
        check(same, command, "RUN", allowed, str(path))
        named = None in (first.names, other.names) or first.names == other.names
        allowed = f"a run of the columns of {first.run.path}, in their order"
        check(named, command, "RUN", allowed, f"{path} of {', '.join(other.columns[:6])}")
        units = (first.way.sigma_0, first.config.objective == "multiscale")
        alike = units == (other.way.sigma_0, other.config.objective == "multiscale")
        allowed = f"a run whose energy has the unit of {first.run.path} (σ₀ = {units[0]})"
        check(alike, command, "RUN", allowed, f"{path} of σ₀ = {other.way.sigma_0}")
    energies = []
    for one in every:
        what = f"{one.run.path} of {one.config.energy}"
        allowed = "runs of one energy each: scales and hidden layers do not add"
        check(one.way.whole, command, "RUN", allowed, what)
        energy = None if one.way.told else one.way.energy(one.energy)
        allowed = "runs of energies that are not told the noise"
        check(energy is not None, command, "RUN", allowed, f"{one.run.path} of {one.config.objective}")
        energies.append(energy)
    whole = tasks.compose(energies, given, temperature=temperature)
    parts = [str(one.run.path.resolve()) for one in every]
    composed = {
        "runs": parts,
        "weights": given or [1.0] * len(parts),
        "temperature": temperature,
    }
    facts = {
        **first.run.facts,
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "status": "finished",
        "seconds": 0.0,
        "parameters": sum(one.run.facts.get("parameters", 0) for one in every),
        "composed": composed,
    }
    facts.pop("log_normalizer", None)
    about = {**first.about, "log_normalizer": None, "composed": composed}

    def fill(run: RunFolder) -> None:
        modelfile.save(run.model, whole, preprocessing=first.pipeline, about=about)

    RunFolder.create(out, first.config, facts, owner=command, fill=fill)
    print(f"{out}: {len(parts)} energies in one; next: energax sample {shlex.quote(str(out))}")
    return 0


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"compose: --weights must be numbers with commas between; got {text!r}.") from None
