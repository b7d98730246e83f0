"""Model files: one safetensors file whose header carries a JSON description of the model.

The description is a tree of class names, plain values and names of arrays. Reading one looks
each class up in a fixed table of the library's own classes and sets its fields; no pickle and no
code of the file's author ever runs.

    {"format": 1, "model": {"class": "MLP", "fields": {"layers": [...], "activation": "silu"}},
     "preprocessing": {...} or null, "about": {...}}

An array stands as {"array": "model.layers[0].weight"}, its values in the safetensors body. What is built
of another library's classes (a coupling flow) stands as the plain values it is made from, and its arrays;
it is the only thing that reading builds by a constructor, and only if the arrays are of its shapes:

    {"class": "CouplingFlow", "blueprint": {"d": 2, "layers": 5, ...}, "arrays": [...]}
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax import data, derivatives, energies
from energax.checks import InputError, check
from energax.energies import layers, mixer, resnet
from energax.typing import Model

__all__ = ["ModelFile", "load", "save"]

FORMAT = 1

CLASSES: dict[str, type] = {
    cls.__name__: cls
    for module in (energies, layers, mixer, resnet, data, derivatives)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, eqx.Module) and cls.__module__.startswith("energax.")
} | {"Linear": eqx.nn.Linear}


class ModelFile(NamedTuple):
    """What a model file holds.

    Parameters
    ----------
    model
        The energy (or `Score`), in the units it was trained in.
    preprocessing
        The invertible transform from the data's units to the model's, or None.
    about
        Plain facts: how it was trained, on what, by which version.
    """

    model: Model
    preprocessing: Any
    about: dict[str, Any]


def save(
    path: Path | str, model: Model, *, preprocessing: Any = None, about: Mapping[str, Any] | None = None
) -> None:
    """Write a model file, atomically: an old file is replaced only by a whole new one.

    Parameters
    ----------
    path
        The file; its folder must exist.
    model
        A model made of the library's classes.
    preprocessing
        A transform to keep with it, or None.
    about
        Plain JSON values to keep with it.

    Raises
    ------
    InputError
        If the model holds something that is not the library's (a user's function, say), or
        the file cannot be written.
    """
    from safetensors.numpy import save as encode

    arrays: dict[str, np.ndarray] = {}
    description = {
        "format": FORMAT,
        "model": _describe(model, "model", arrays),
        "preprocessing": _describe(preprocessing, "preprocessing", arrays),
        "about": dict(about or {}),
    }
    blob = encode(arrays, metadata={"energax": json.dumps(description)})
    path = Path(path)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"save: cannot write the model file {path}: {error.strerror}.") from error


def load(path: Path | str) -> ModelFile:
    """Read a model file. No code in it can run.

    Raises
    ------
    InputError
        If the file is missing, damaged, of a later format, names an unknown class, or holds a model
        that cannot be evaluated at an event of its own shape.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    check(path.is_file(), "load", "path", "an existing model file", str(path))
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        description = json.loads(metadata["energax"])
        version = description["format"]
    except (SafetensorError, KeyError, ValueError, TypeError, OSError, RecursionError) as error:
        raise InputError(f"load: {path} is damaged or is not an Energax model file.") from error
    known = type(version) is int and 1 <= version <= FORMAT  # true is no number here
    allowed = f"a whole number from 1 to {FORMAT}, which this version reads"
    check(known, "load", f"the format of {path}", allowed, repr(version))
    try:
        found = ModelFile(
            _build(description["model"], arrays),
            _build(description["preprocessing"], arrays),
            dict(description["about"]),
        )
        _check_model(found.model)
        there = found.preprocessing is None or isinstance(found.preprocessing, data.Transform)
        check(there, "load", "preprocessing", "a transform", type(found.preprocessing).__name__)
        return found
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = str(error) if isinstance(error, InputError) else "its description does not fit its arrays."
        raise InputError(f"load: {path} is damaged: {reason}") from error


def _check_model(model: Any) -> None:
    """Refuse what is no model, and one whose arrays do not fit together: only shapes are computed."""
    levels = hasattr(model, "at")
    ours = issubclass(type(model), eqx.Module)
    whole = ours and hasattr(model, "event_shape") and (levels or callable(model))
    check(whole, "load", "model", "one of Energax's models", type(model).__name__)
    if _parts(model, energies.Posterior):  # its condition is of the shape of whatever was observed
        return
    event = model.event_shape
    try:
        x, condition = _event(model), _condition(model)
        evaluated = lambda x: derivatives.evaluate(model.at(1.0) if levels else model, x, condition)  # noqa: E731
        shape = jax.eval_shape(evaluated, x).shape
    except Exception as error:  # whatever the library's own code stumbles over
        allowed = f"one that can be evaluated at an event of shape {event}"
        raise InputError(f"load: model must be {allowed}; got {type(error).__name__} from it.") from error
    check(shape in ((), event), "load", "model", f"a map to a number or an event of shape {event}", shape)


def _event(model: Any) -> Any:
    """Return the shapes of what a model takes: an event, a generator's latents, or all layers."""
    of_shape = lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    if isinstance(model, energies.Generator):
        return of_shape((model.latent,))
    deep = _parts(model, energies.DeepBoltzmannMachine, energies.VisibleLayer)  # this finds the layers itself
    hidden = [
        b.shape for part in deep if not isinstance(part, energies.VisibleLayer) for b in part.biases[1:]
    ]
    return tuple(map(of_shape, (model.event_shape, *hidden))) if hidden else of_shape(model.event_shape)


def _condition(model: Any) -> Any:
    """Return a condition of the size that a conditional model is told, apart from the noise, or None."""
    parts = jax.tree.leaves(model, is_leaf=lambda part: hasattr(part, "condition_size"))
    told = max((part.condition_size for part in parts if hasattr(part, "condition_size")), default=0)
    told -= energies.NOISE_FEATURES if isinstance(model, energies.NoiseConditional) else 0
    return jnp.zeros(told) if told else None


def _parts(model: Any, *classes: type) -> list[Any]:
    leaves = jax.tree.leaves(model, is_leaf=lambda part: isinstance(part, classes))
    return [part for part in leaves if isinstance(part, classes)]


def _fields(cls: type) -> list[str]:
    """Return the fields that are stored: an abstract one that a property answers is not."""
    return [f.name for f in dataclasses.fields(cls) if not isinstance(getattr(cls, f.name, None), property)]


def _describe(value: Any, where: str, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if eqx.is_array(value) or isinstance(value, np.ndarray):
        arrays[where] = np.array(value, order="C")
        return {"array": where}
    if isinstance(value, tuple | list):
        return [_describe(item, f"{where}[{i}]", arrays) for i, item in enumerate(value)]
    known = CLASSES.get(type(value).__name__) is type(value)
    check(
        known, "save", where, "made of Energax's own classes, arrays and plain values", type(value).__name__
    )
    if hasattr(value, "blueprint"):
        leaves = jax.tree.leaves(eqx.filter(value, eqx.is_array))
        named = [_describe(leaf, f"{where}[{i}]", arrays) for i, leaf in enumerate(leaves)]
        return {"class": type(value).__name__, "blueprint": value.blueprint(), "arrays": named}
    fields = {
        name: _describe(getattr(value, name), f"{where}.{name}", arrays) for name in _fields(type(value))
    }
    return {"class": type(value).__name__, "fields": fields}


def _build(node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if node is None or isinstance(node, bool | int | float | str):
        return node
    if isinstance(node, list):
        return tuple(_build(item, arrays) for item in node)
    if set(node) == {"array"}:
        return jnp.asarray(arrays[node["array"]])
    cls = CLASSES.get(node["class"])
    check(cls is not None, "load", "class", "one this version knows", node["class"])
    assert cls is not None
    if "blueprint" in node:
        return _built_from(cls, node, arrays)
    names = _fields(cls)
    check(
        sorted(names) == sorted(node["fields"]), "load", cls.__name__, f"given {names}", list(node["fields"])
    )
    instance = object.__new__(cls)
    for name, value in node["fields"].items():
        object.__setattr__(instance, name, _build(value, arrays))
    return instance


def _built_from(cls: Any, node: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return what a blueprint describes, with the file's arrays: built only if those are of its shapes."""
    make = lambda: cls.from_blueprint(**node["blueprint"])  # noqa: E731
    shapes = [leaf.shape for leaf in jax.tree.leaves(eqx.filter_eval_shape(make)) if hasattr(leaf, "shape")]
    given = [_build(leaf, arrays) for leaf in node["arrays"]]
    got = [a.shape for a in given]
    check(got == shapes, "load", cls.__name__, f"given arrays of shapes {shapes}", got)
    wanted, rest = eqx.partition(make(), eqx.is_array)
    return eqx.combine(jax.tree.unflatten(jax.tree.structure(wanted), given), rest)
