"""From the names of transforms to a pipeline fitted to a data set's training rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import InputError, check, check_choice
from energax.data.dataset import Dataset
from energax.data.transforms import (
    Affine,
    Binarise,
    Dequantise,
    HorizontalFlip,
    Logit,
    Pad,
    Pipeline,
    Reshape,
    Transform,
)

__all__ = ["preprocessing"]

OWNER = "preprocessing"
# name → what may follow its colon, with the type to read it as
NAMES: dict[str, type | None] = {
    "standardise": None,
    "scale": None,
    "range": None,
    "unit": None,
    "pad": int,
    "dequantise": int,
    "logit": float,
    "binarise": float,
    "bernoulli": None,
    "spins": None,
    "flip": None,
    "image": None,
    "flatten": None,
}


def _unit(rows: np.ndarray) -> Affine:
    """Map bytes by 255 whatever the brightest one seen is; other units by their range."""
    if rows.min() >= 0 and 1 < rows.max() <= 255:
        return Affine.unit_interval(rows, 0, 255)
    return Affine.unit_interval(rows)


def _automatic(dataset: Dataset, states: str | None, walls: tuple[float, float] | None) -> list[str]:
    low, high = dataset.train.min(), dataset.train.max()
    beyond = high > 1 or low < 0
    if states is None:
        if dataset.kind == "table" and walls is not None:
            if np.isinf(walls[1]):  # a mean taken off would be a wall moved
                return ["scale"]
            return [] if walls[0] <= low and high <= walls[1] else ["range"]
        if dataset.kind == "table":
            return ["standardise"]
        return ["unit"] if dataset.kind == "image" and beyond else []
    two = np.isin(dataset.train, (low, high)).all()
    if two and low == (-1 if states == "spins" else 0) and high == 1:
        return []
    if dataset.kind != "image":  # black and white is what pictures lose little by; of numbers nobody can say
        said = (
            "'binarise:T', T the value above which an entry is 1, where real numbers are to be made states "
            "(--energy gaussian-rbm takes them as they are)"
        )
        check(two, OWNER, "names", said, f"'auto' for entries between {low:g} and {high:g}")
        return ["range", "binarise", *(["spins"] if states == "spins" else [])]
    return [*(["unit"] if beyond else []), "binarise", *(["spins"] if states == "spins" else [])]


def _argument(spelled: object) -> tuple[str, Any]:
    """Split "pad:2" into its name and number; a name alone has None."""
    name, colon, text = str(spelled).strip().partition(":")
    check_choice(OWNER, "names", name, NAMES)
    read = NAMES[name]
    if not colon:
        check(name != "pad", OWNER, "names", "'pad:WIDTH'", repr(spelled))
        return name, None
    check(read is not None, OWNER, "names", f"{name!r} without a number", repr(spelled))
    assert read is not None
    try:
        return name, read(text)
    except ValueError:
        raise InputError(f"{OWNER}: names must be '{name}:' with a number; got {str(spelled)!r}.") from None


def _check_levels(rows: np.ndarray, levels: int) -> None:
    """Refuse noise that is not one grey level wide: it would blur the data or leave gaps."""
    steps = rows * (levels - 1)
    off = np.abs(steps - np.round(steps)) > 1e-3
    got = f"{rows[off][0]:g}" if off.any() else ""
    allowed = f"used on values k/{levels - 1} (state the number of levels, as in 'dequantise:17')"
    check(not off.any(), OWNER, f"dequantise:{levels}", allowed, got)


def preprocessing(
    dataset: Dataset,
    names: str | Sequence[str] = "auto",
    *,
    states: str | None = None,
    walls: tuple[float, float] | None = None,
) -> Pipeline:
    """Build the pipeline from a data set's units to a model's.

    Parameters
    ----------
    dataset
        Its training rows alone give means, standard deviations and ranges.
    names
        ``"auto"``: tables are standardised; images outside [0, 1] are mapped to it (from 0 to
        255 where they lie there, otherwise from their own range); images in [0, 1] and points
        are left alone; `states` and `walls` have their own. Otherwise transforms in the order of their
        use, as a list or one string with commas: ``standardise``, ``scale`` (each entry by its standard
        deviation, zero staying zero), ``range`` (each entry's range to [0, 1]), ``unit``,
        ``pad:WIDTH``, ``dequantise`` or ``dequantise:LEVELS``, ``logit`` or ``logit:ALPHA``,
        ``binarise`` or ``binarise:THRESHOLD``
        (bits), ``bernoulli`` (bits drawn anew in training, an entry in [0, 1] being their
        probability), ``spins`` (bits to −1 and 1), ``flip``, ``image`` (a flat image in
        its `image_shape`), ``flatten``. Each is fitted to the rows that reach it.
    states
        "bits" or "spins", if the model counts states: then ``"auto"`` binarises images that are not yet so,
        takes the two values of other data for these states, and refuses data of more values.
    walls
        Ends of every coordinate's interval, if the model lives between them, the upper one perhaps infinite:
        then ``"auto"`` keeps a table's zero, or brings columns that lie beyond between 0 and 1.

    Returns
    -------
    Pipeline
        Acts on one event of `dataset`.

    Raises
    ------
    InputError
        For an unknown name, a wrong number, or a transform that does not fit the events.
    """
    if isinstance(names, str):
        names = (
            _automatic(dataset, states, walls)
            if names == "auto"
            else [n for n in names.split(",") if n.strip()]
        )
    transforms: list[Transform] = []
    shape = dataset.event_shape

    reached, mapped = dataset.train, 0

    def rows() -> np.ndarray:
        """Training rows as they reach the next transform, mapped only when one asks for them."""
        nonlocal reached, mapped
        for step in transforms[mapped:]:
            reached = np.asarray(jax.vmap(step.forward)(jnp.asarray(reached)))
        mapped = len(transforms)
        return reached

    for spelled in names:
        name, number = _argument(spelled)
        if name in ("pad", "flip"):
            fits = len(shape) == 3
            check(fits, OWNER, name, "used on image events (height, width, channels)", f"events {shape}")
        if name == "standardise":
            step: Transform = Affine.standardise(rows())
        elif name == "scale":
            step = Affine.standardise(rows(), shifted=False)
        elif name == "range":
            step = Affine.ranges(rows())
        elif name == "unit":
            step = _unit(rows())
        elif name == "pad":
            step = Pad(number)
        elif name == "dequantise":
            step = Dequantise() if number is None else Dequantise(number)
        elif name == "logit":
            step = Logit() if number is None else Logit(number)
        elif name == "binarise":
            step = Binarise() if number is None else Binarise(number)
        elif name == "bernoulli":
            step = Binarise(None)
        elif name == "spins":
            step = Affine(shift=0.5, scale=0.5)
        elif name == "flip":
            step = HorizontalFlip()
        elif name == "flatten":
            step = Reshape(shape, (int(np.prod(shape)),))
        else:
            check(dataset.image_shape is not None, OWNER, name, "used on a data set of images", dataset.kind)
            assert dataset.image_shape is not None
            step = Reshape(shape, dataset.image_shape)
        if name in ("dequantise", "logit", "bernoulli"):
            seen = rows()
            low, high = float(seen.min()), float(seen.max())
            fits = low >= 0 and high <= 1
            check(fits, OWNER, name, "used on values in [0, 1] ('unit' first)", f"values {low:g} to {high:g}")
        if isinstance(step, Dequantise):
            _check_levels(seen[:1000], step.levels)
        transforms.append(step)
        shape = jax.eval_shape(step.forward, jax.ShapeDtypeStruct(shape, np.float32)).shape
    return Pipeline(transforms)
