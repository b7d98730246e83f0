"""Chains that are kept while samples are drawn: what they are worth, and a file that ArviZ reads.

Each chain is kept every k steps of the last half, by when it should have forgotten its start. Of all
chains together at most `NUMBERS` numbers are kept, so that k follows from their number and size.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np

from energax.checks import check
from energax.cli.trained import Trained
from energax.files import write_whole
from energax.samplers import diagnostics

__all__ = ["NETCDF", "check_target", "chosen", "keep", "spacing", "summary"]

NETCDF = ".nc"
OWNER, FLAG = "sample", "--inference-data"
DRAWS = 1000  # of a chain at most
NUMBERS = 2**24  # in the file, 64 MiB
FEWEST = 4  # two in each half of a chain, which split R̂ compares
MIXED = 1.01  # largest split R̂ of chains that agree: Vehtari et al. (2021), §2


def check_target(path: Path) -> None:
    """Refuse a file that could not be written, before any chain runs."""
    check(path.suffix == NETCDF, OWNER, FLAG, f"a {NETCDF} file", str(path))
    check(path.parent.is_dir(), OWNER, FLAG, "in an existing folder", str(path))
    diagnostics.to_inference_data(np.zeros((1, FEWEST)))  # is ArviZ there?


def spacing(trained: Trained, n: int) -> int:
    """Return k, the least number of steps between draws with which n chains can be kept."""
    the_way = trained.way
    allowed = (
        "left out: only where the temperature is 1 throughout are a chain's late states draws of one law, "
        "not in an anneal, a diffusion or a climb"
    )
    check(the_way.of_one_law, OWNER, FLAG, allowed, trained.config.objective)
    half, size = the_way.horizon // 2, math.prod(trained.energy.event_shape)
    allowed = f"asked of at least {2 * FEWEST} steps (--hold, --anneal, --cool)"
    check(half >= FEWEST, OWNER, FLAG, allowed, f"{the_way.horizon}")
    draws = min(DRAWS, half, NUMBERS // (n * size))
    most = NUMBERS // (FEWEST * size)
    check(draws >= FEWEST, OWNER, "-n", f"at most {most} chains with {FLAG}", n)
    return -(-half // draws)


def chosen(steps: np.ndarray, every: int) -> np.ndarray:
    """Return which records are of the last half, evenly spaced; the last of a run may not be."""
    return (steps % every == 0) & (steps > steps[-1] - steps[-1] // 2)


def summary(x: np.ndarray, columns: tuple[str, ...]) -> tuple[float, float, list[str]]:
    """Return the worst split R̂, the least effective sample size, and what to say of them.

    Parameters
    ----------
    x
        Draws of chains, shape (chains, draws, *event).
    columns
        What the coordinates are called.
    """
    chains, draws = x.shape[:2]
    flat = x.reshape(chains, draws, -1)
    moved = np.ptp(flat, axis=(0, 1)) > 0
    lines = [f"{chains:,} chains of {draws:,} draws"]
    if not moved.all():
        lines.append(f"{int((~moved).sum())} of {len(moved)} coordinates never moved, and are left out below")
    if not moved.any():
        return math.nan, 0.0, lines
    names = np.asarray(columns)[moved]
    rhat, ess = (measure(flat[..., moved]) for measure in (diagnostics.split_rhat, diagnostics.ess))
    # A coordinate in which no chain moves though they differ has an R̂ that is NaN or infinite: the worst.
    worst, least = int(np.argmax(np.nan_to_num(rhat, nan=np.inf))), int(np.argmin(np.nan_to_num(ess)))
    lines.append(f"worst split R̂ {rhat[worst]:.4g} ({names[worst]})")
    lines.append(f"least effective sample size {ess[least]:,.0f} of {chains * draws:,} ({names[least]})")
    return float(rhat[worst]), float(ess[least]), lines


def keep(path: Path, trained: Trained, z: np.ndarray, every: int, sampler: str) -> None:
    """Write the chains in the data's own units, and say what they are worth.

    Parameters
    ----------
    z
        Draws in the model's units, shape (chains, draws, *event).
    every
        Steps between draws.
    sampler
        What drew them.
    """
    x = trained.to_data(z.reshape(-1, *z.shape[2:]))
    x = x.reshape(*z.shape[:2], *x.shape[1:])
    data: Any = diagnostics.to_inference_data(x)
    data.posterior.attrs.update({"sampler": sampler, "steps_between_draws": every})
    write_whole(path, lambda part: data.to_netcdf(str(part)))
    rhat, _, lines = summary(x, trained.columns)
    apart = "each step" if every == 1 else f"each {every} steps"
    print(f"{lines[0]}, one for {apart} of the last half, in {path}", *lines[1:], sep="\n")
    if not rhat <= MIXED:
        print(
            f"note: R̂ above {MIXED}: the chains do not agree, and their draws are not yet the model's; take "
            "more steps (--anneal), or a sampler that mixes better",
            file=sys.stderr,
        )
