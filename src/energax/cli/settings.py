"""From preset, file, `--set` and flags, in this order of growing precedence, to one configuration.

Free of JAX and of data: a mistake in a setting is found before anything is loaded.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from energax.checks import InputError, check, check_choice
from energax.config import RunConfig, replace, to_dict

__all__ = ["describe", "parse_sets", "read_file", "resolve", "seed_of"]

SECTIONS = {"energy_options": "energy", "objective_options": "objective", "fit": "fit", "sampler": "sampler"}

ORDER = ["data", "preprocess", "seed", "energy", "objective", "fit", "sampler"]


def read_file(path: Path | None) -> dict[str, Any]:
    """Return the settings in a .json or .toml file, or none for None."""
    if path is None:
        return {}
    check(path.suffix.lower() in (".json", ".toml"), "train", "--config", "a .json or .toml file", str(path))
    check(path.is_file(), "train", "--config", "an existing file", str(path))
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".toml":
            import tomllib

            values = tomllib.loads(text)
        else:
            values = json.loads(text)
    except OSError as error:
        raise InputError(f"train: --config must be a readable file; got {path}: {error.strerror}.") from None
    except ValueError as error:  # what both parsers, and a wrong encoding, raise
        raise InputError(
            f"train: --config must be a valid {path.suffix[1:]} file; got {path}: {error}."
        ) from None
    check(isinstance(values, dict), "train", "--config", "a mapping of settings", type(values).__name__)
    return values


def parse_sets(texts: Iterable[str]) -> dict[str, str]:
    """Return the settings of `--set KEY=VALUE`; a key that wants its section is told so."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        check(equals and key.strip(), "train", "--set", "KEY=VALUE, as in fit.steps=3000", repr(text))
        found[key.strip()] = value.strip()
    config = RunConfig()
    for key in found:
        homes = [
            f"{short}.{key}"
            for section, short in SECTIONS.items()
            if key in {f.name for f in dataclasses.fields(getattr(config, section))}
        ]
        check(not homes, "train", "--set", f"spelled with its section, {' or '.join(homes)}", repr(key))
    return found


def seed_of(*layers: Mapping[str, Any]) -> int:
    """Return the seed that the last of the layers to name one asks for."""
    named = [layer["seed"] for layer in layers if "seed" in layer]
    return replace(RunConfig(), {"seed": named[-1]}).seed if named else RunConfig().seed


def resolve(
    source: str,
    preset: str,
    file: Mapping[str, Any],
    sets: Mapping[str, Any],
    flags: Mapping[str, Any],
) -> RunConfig:
    """Return the configuration for a data source.

    What the objective changes comes after the preset, before all that the user says. A flag
    overrides `--set` entry by entry, but whichever of them names the energy, options that `--set`
    gives are that energy's.
    """
    from energax.presets import PRESETS, changes

    check_choice("train", "--preset", preset, PRESETS)
    config = RunConfig()
    named = {**file, **sets, **flags}.get("objective")
    for layer in (changes(preset, named), file, {**sets, **flags}):
        config = replace(config, {name: value for name, value in layer.items() if name != "data"})
    return dataclasses.replace(config, data=source)


def describe(config: RunConfig) -> str:
    """Return the configuration as aligned lines, each key spelled as `--set` takes it."""
    entries: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        if name not in SECTIONS:
            entries[name] = value
        else:
            entries.update({f"{SECTIONS[name]}.{option}": v for option, v in value.items()})
    # Options stand below what they are options of.
    order = sorted(entries, key=lambda name: ORDER.index(name.partition(".")[0]))
    width = max(map(len, order))
    return "\n".join(
        f"{name:<{width}}  {'null' if entries[name] is None else entries[name]}" for name in order
    )
