"""`energax inpaint`: what is missing of rows, filled in by a trained run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import tasks
from energax.checks import InputError, check, check_seed, first_few
from energax.cli.images import IMAGES_SHOWN, save_grid
from energax.cli.sample import holding, sampling
from energax.cli.show import counted
from energax.cli.targets import save_array, target_file
from energax.cli.trained import Trained
from energax.tasks.rows import map_rows

__all__ = ["inpaint"]

MISSING = 128  # the grey of what an inpainted image did not know


def inpaint(run: Path, file: str, *, mask: str, seed: int, out: Path | None) -> int:
    """Fill in what is missing; see the help of `energax inpaint`."""
    check_seed("inpaint", "--seed", seed)
    trained = Trained(run, "inpaint")
    unit, the_way = trained.unit, trained.way
    rows, layout = trained.read(file)
    known = layout.arrange(_known(trained, mask, rows))  # a mask's columns are those of the file
    missing = not known.all()
    check(missing, "inpaint", "--mask", "false somewhere: there nothing is known", "all of it known")
    target = target_file(out, file, "inpainted.npy", "inpaint")
    # What is missing is set to the middle of the data, so that nothing of it can leak through.
    given = np.where(known, rows, np.float32((trained.low + trained.high) / 2))
    reached = map_rows(lambda c: _reached(trained.pipeline, *c), (given, (~known).astype(np.float32)))
    start = trained.to_model(given)
    trained.tell_of_units(start, Path(file).name)
    with sampling(the_way.horizon, "inpainting") as progress:
        filled = tasks.inpaint(
            trained.energy,
            start,
            ~reached,
            key=jax.random.key(seed),
            sigma_0=unit,
            noise_max=the_way.start,
            sampler=the_way.sampler,
            center=trained.center,
            progress=progress,
        )
    lost = np.flatnonzero(~trained.stayed(filled))
    hint = holding(trained.config, the_way.sampler)
    allowed = f"a model that holds its chains ({hint})"
    check(len(lost) < len(rows), "inpaint", "RUN", allowed, f"{len(rows)} chains of {len(rows)} that left")
    if len(lost):
        print(f"note: the chains of rows {first_few(lost)} left all bounds; {hint}", file=sys.stderr)
    whole = np.where(known, rows, trained.to_data(filled))
    save_array(target, layout.back(whole).reshape(layout.shape))
    print(f"{counted(len(rows), 'row')} in {target}; what was known is kept bit for bit")
    if trained.image is not None:
        shown = slice(IMAGES_SHOWN)
        before = trained.pixels(rows[shown])
        seen = known[shown].reshape(-1, *trained.image)[..., : before.shape[-1]]
        masked = np.where(seen, before, np.uint8(MISSING))
        save_grid(target.with_suffix(".png"), [masked, trained.pixels(whole[shown]), before])
        print(f"shown in {target.with_suffix('.png')}: what was known, the completion, the input")
    return 0


def _known(trained: Trained, mask: str, rows: np.ndarray) -> np.ndarray:
    """Return a boolean array of the shape of the rows, true where they are known."""
    if mask.endswith(".npy"):
        return _mask_file(trained, Path(mask), rows)
    allowed = "a .npy file unless events are images"
    check(trained.image is not None, "inpaint", "--mask", allowed, repr(mask))
    assert trained.image is not None
    one = tasks.named_mask(mask, trained.image).reshape(trained.event)
    return np.broadcast_to(one, rows.shape)


def _mask_file(trained: Trained, path: Path, rows: np.ndarray) -> np.ndarray:
    check(path.is_file(), "inpaint", "--mask", "an existing file", str(path))
    try:
        mask = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"inpaint: --mask must be a plain NumPy array; got {type(error).__name__}."
        ) from None
    check(isinstance(mask, np.ndarray), "inpaint", "--mask", "a single array", path.name)
    truths = mask.dtype == bool or (mask.dtype.kind in "iuf" and np.isin(mask, (0, 1)).all())
    check(
        truths, "inpaint", "--mask", "an array of booleans, true where known", f"entries of type {mask.dtype}"
    )
    mask = mask.astype(bool)
    n, size = rows.shape[0], int(np.prod(trained.event))
    events = {trained.event, (size,)}
    if trained.image is not None:
        events |= {trained.image}
        if mask.shape[-2:] == trained.image[:2]:  # one truth for all channels of a pixel
            mask = np.repeat(mask[..., None], trained.image[2], axis=-1)
    if mask.shape in events:
        return np.broadcast_to(mask.reshape(trained.event), rows.shape)
    fits = mask.shape[:1] == (n,) and mask.shape[1:] in events
    shapes = " or ".join(map(str, sorted(events, key=len)))
    check(
        fits,
        "inpaint",
        "--mask",
        f"of shape {shapes}, or one such for each of {n} rows",
        f"shape {mask.shape}",
    )
    return mask.reshape(rows.shape)


@eqx.filter_jit
def _reached(pipeline: Any, x: jax.Array, missing: jax.Array) -> jax.Array:
    """Return which entries of the model's event depend on missing entries of the data's."""

    def one(x, missing):
        return jax.jvp(pipeline.forward, (x,), (missing,))[1] != 0

    return jax.vmap(one)(x, missing)
