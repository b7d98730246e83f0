"""`energax denoise` for binary images: pixels that were flipped, under an Ising grid.

The grid is a run's, trained with `--energy ising`, or set by hand. Pixels have two values, 0 and 1,
−1 and 1, or 0 and 255, and what is written has the two that were read; a picture with other greys is
split at the middle, and that is said.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from energax.checks import check, check_number, check_seed
from energax.cli.images import save_grid
from energax.cli.targets import target_file
from energax.cli.trained import Trained
from energax.data import read_table
from energax.data.images import SUFFIXES, open_image
from energax.energies import Ising
from energax.files import write_whole
from energax.progress import ProgressBar
from energax.tasks import Restoration, restore_flips

__all__ = ["Flips", "restore_by_hand", "restore_run"]

OWNER = "denoise"
UNITS = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
MIDDLE = 127.5
SHOWN = 16
SWEEPS, BURN_IN = 500, 100


@dataclass(frozen=True)
class Flips:
    """What the command line says of flipped pixels; None where it says nothing.

    Parameters
    ----------
    flip
        The probability with which each pixel was flipped.
    method
        "gibbs", "icm" or "cut".
    coupling
        J of a grid set by hand.
    seed
        Decides the draws of "gibbs".
    """

    flip: float | None = None
    method: str | None = None
    coupling: float | None = None
    seed: int | None = None

    def refuse(self, allowed: str) -> None:
        """Refuse every option that was given."""
        for name, value in vars(self).items():
            check(value is None, OWNER, f"--{name}", f"left out: {allowed}", value)


@dataclass(frozen=True)
class Bits:
    """A file of binary images.

    Parameters
    ----------
    rows
        Booleans, in the file's own layout.
    low, high
        The two values that stand for them there.
    picture
        Whether it was a picture rather than an array.
    """

    rows: np.ndarray
    low: float
    high: float
    picture: bool

    def write(self, bits: np.ndarray) -> np.ndarray:
        """Return bits in the file's own layout and values."""
        return np.where(bits, self.high, self.low).reshape(self.rows.shape).astype(np.float32)


def restore_by_hand(file: str, asked: Flips, *, sigma: float | None, out: Path | None) -> int:
    """Restore the images of a file under a grid of one coupling; see the help of `energax denoise`."""
    from energax.cli.device import prepare

    _check(asked, sigma)
    J = 1.0 if asked.coupling is None else check_number(OWNER, "--coupling", asked.coupling)
    found = _read(file)
    rows = found.rows[..., 0] if found.rows.ndim == 4 and found.rows.shape[-1] == 1 else found.rows
    wanted = "one image (h, w), or images (n, h, w) or (n, h, w, 1)"
    check(rows.ndim in (2, 3), OWNER, Path(file).name, wanted, f"shape {found.rows.shape}")
    images = rows[None] if rows.ndim == 2 else rows
    target = _target(out, file, found)
    prepare()
    grid = Ising(images.shape[1:], horizontal=J, vertical=J)
    restored = _restore(grid, np.where(images, 1.0, -1.0), asked)
    _write(target, found, images, restored.spins > 0, restored.probability)
    return _tell(target, images, restored, asked, f"J = {J:g} by hand")


def restore_run(trained: Trained, file: str, asked: Flips, *, sigma: float | None, out: Path | None) -> int:
    """Restore the images of a file under a run's grid; see the help of `energax denoise`."""
    _check(asked, sigma)
    allowed = "left out: a run has learned its own"
    check(asked.coupling is None, OWNER, "--coupling", allowed, asked.coupling)
    found = _read(file)
    target = _target(out, file, found)
    low, span = trained.low, trained.high - trained.low
    rows, _ = trained.events(low + span * found.rows, Path(file).name)
    restored = _restore(trained.energy, trained.to_model(rows), asked)

    def back(spins: np.ndarray) -> np.ndarray:
        """From −1 to 1 on the grid to 0 to 1 in the data's layout."""
        return (trained.to_data(spins) - low) / span

    probability = None if restored.probability is None else back(2 * restored.probability - 1)
    assert trained.image is not None
    images = found.rows.reshape(-1, *trained.image[:2])
    bits = (back(restored.spins) > 0.5).reshape(images.shape)
    _write(target, found, images, bits, probability)
    grid = trained.energy
    J = ", ".join(
        f"{name} {float(np.mean(v)):.3g}" for name, v in (("→", grid.horizontal), ("↓", grid.vertical))
    )
    return _tell(target, images, restored._replace(spins=np.where(bits, 1, -1)), asked, f"J learned: {J}")


def _check(asked: Flips, sigma: float | None) -> None:
    """Refuse what the flipping of pixels cannot be told, before anything is read."""
    check(sigma is None, OWNER, "--sigma", "left out: pixels are flipped, with --flip", sigma)
    check(asked.flip is not None, OWNER, "--flip", "given: how likely each pixel was flipped", None)
    f = check_number(OWNER, "--flip", asked.flip, above=0)
    check(f < 1, OWNER, "--flip", "below 1", f"{f:g}")
    drawn = asked.method in (None, "gibbs")
    check(drawn or asked.seed is None, OWNER, "--seed", f"left out: {asked.method} draws nothing", asked.seed)
    check_seed(OWNER, "--seed", asked.seed or 0)


def _read(file: str) -> Bits:
    """Return the bits of a picture or of an array of two values."""
    path = Path(file)
    if path.suffix.lower() in SUFFIXES:
        check(path.is_file(), OWNER, "FILE", "an existing file", repr(file))
        grey = np.asarray(open_image(OWNER, path).convert("L"))
        others = np.count_nonzero((grey != 0) & (grey != 255))
        if others:
            said = f"{others} of {grey.size} pixels of {path.name} are neither black nor white"
            print(f"note: {said}; those above {MIDDLE:g} are taken as white", file=sys.stderr)
        return Bits(grey > MIDDLE, 0.0, 255.0, True)
    rows = read_table(path).rows
    for low, high in UNITS:
        if np.isin(rows, (low, high)).all():
            return Bits(rows == high, low, high, False)
    strange = rows[~np.isin(rows, (-1, 0, 1, 255))]
    got = f"{strange[0]:g} among its entries" if strange.size else f"{rows.min():g} to {rows.max():g}"
    check(False, OWNER, path.name, "binary: 0 and 1, −1 and 1, or 0 and 255", got)
    raise AssertionError


def _target(out: Path | None, file: str, found: Bits) -> Path:
    suffix = ".png" if found.picture else ".npy"
    return target_file(out, file, f"denoised{suffix}", OWNER, suffix)


def _restore(grid: Ising, spins: np.ndarray, asked: Flips) -> Restoration:
    method = asked.method or "gibbs"
    assert asked.flip is not None
    if method != "gibbs":
        return restore_flips(grid, spins, asked.flip, method)
    key = jax.random.key(asked.seed or 0)
    with ProgressBar(None, 0, BURN_IN + SWEEPS, "restoring") as bar:
        return restore_flips(
            grid,
            spins,
            asked.flip,
            key=key,
            sweeps=SWEEPS,
            burn_in=BURN_IN,
            progress=lambda done, total: bar.update(done),
        )


def _write(
    target: Path, found: Bits, before: np.ndarray, after: np.ndarray, probability: np.ndarray | None
) -> None:
    """Write what was restored, with the estimated probabilities, and a picture of before and after."""
    noisy, clean = (np.where(bits, 255, 0).astype(np.uint8)[..., None] for bits in (before, after))
    if found.picture:
        from PIL import Image

        write_whole(target, lambda part: Image.fromarray(clean[0, ..., 0]).save(part, format="PNG"))
    else:
        write_whole(target, lambda part: np.save(part, found.write(after)))
    if probability is not None:
        shaped = probability.reshape(found.rows.shape)
        write_whole(_beside(target, "probability.npy"), lambda part: np.save(part, shaped))
    rows: Sequence[np.ndarray] = [noisy[:SHOWN], clean[:SHOWN]]
    save_grid(_beside(target, "shown.png"), [np.concatenate(rows)] if len(noisy) == 1 else rows)


def _beside(target: Path, name: str) -> Path:
    return target.with_name(f"{target.stem}-{name}")


def _tell(target: Path, before: np.ndarray, restored: Restoration, asked: Flips, grid: str) -> int:
    after = restored.spins.reshape(before.shape) > 0
    n, method = len(before), asked.method or "gibbs"
    turned = f"{(after != before).mean():.2%} of the pixels turned"
    print(f"{n} image{'s' if n > 1 else ''} in {target}: {turned}, by {method}; {grid}")
    if restored.gap is not None:
        print(f"the mode of p(y | x), to {restored.gap.max():.2g} nats")
    if restored.probability is not None:
        print(f"how likely each pixel is to be {'white' if target.suffix == '.png' else 'the higher value'}: "
              f"{_beside(target, 'probability.npy')}")  # fmt: skip
    where = "before left, after right" if n == 1 else "before above, after below"
    print(f"shown in {_beside(target, 'shown.png')}: {where}")
    return 0
