"""`energax demo`: the main job, whole, on data that need no download."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import numpy as np

from energax.cli.inpaint import inpaint
from energax.cli.run_folder import check_free
from energax.cli.sample import sample
from energax.cli.train import train_run
from energax.cli.use import denoise, report, score
from energax.files import write_whole

__all__ = ["demo"]

NOISE = 0.3  # of the images that are denoised, whose ink runs from 0 to 1
SHOWN = 16
SETTINGS: tuple[str, ...] = ()  # as `--set` takes them: none, for the demo is what the preset does


def demo(out: Path | None) -> int:
    """Train, sample, denoise, inpaint, score and report; see the help of `energax demo`."""
    from energax.data import digits

    run = _first_free(Path("runs/demo")) if out is None else out
    check_free("demo", run)
    began = time.perf_counter()

    print(f"1 of 6: training on scikit-learn's digits, in {run}\n", flush=True)
    train_run("digits", out=run, sets=SETTINGS)

    print("\n2 of 6: sampling by annealed Langevin dynamics", flush=True)
    sample(run, n=64, seed=0, changes={}, out=None)

    test = digits().test
    noise = np.random.default_rng(0).standard_normal((SHOWN, *test.shape[1:]))
    noisy = (test[:SHOWN] + NOISE * noise).astype(np.float32)
    files = {"images.npy": test[:SHOWN], "noisy.npy": noisy, "held-out.npy": test}
    for name, rows in files.items():
        write_whole(run / name, lambda part, rows=rows: np.save(part, rows))

    print(
        f"\n3 of 6: denoising held-out digits with noise of {NOISE}, which the model is not told", flush=True
    )
    denoise(run, str(run / "noisy.npy"), sigma=None, out=None)

    print("\n4 of 6: inpainting the left half of held-out digits", flush=True)
    inpaint(run, str(run / "images.npy"), mask="left", seed=0, out=None)

    print("\n5 of 6: scoring held-out digits", flush=True)
    score(run, str(run / "held-out.npy"), out=run / "scores.csv")

    print(f"\n6 of 6: reporting ({time.perf_counter() - began:.0f} s so far)", flush=True)
    return report(run, seed=0)


def _first_free(base: Path) -> Path:
    """Return the first of base, base-2, base-3, … that is not there."""
    candidates = itertools.chain([base], (base.with_name(f"{base.name}-{i}") for i in itertools.count(2)))
    return next(path for path in candidates if not path.exists())
