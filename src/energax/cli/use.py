"""`energax denoise`, `score`, `report`: what a trained run says of rows, and of itself."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from energax import tasks
from energax.checks import check, check_finite_rows, check_seed
from energax.cli.flips import Flips, restore_by_hand, restore_run
from energax.cli.images import IMAGES_SHOWN, save_grid
from energax.cli.show import counted
from energax.cli.targets import save_array, target_file, write_csv
from energax.cli.trained import Trained
from energax.energies import Ising
from energax.training.log import read_metrics

__all__ = ["denoise", "report", "score"]

NEAR = "of rows of which the model says something finite"


def denoise(
    run: Path | str, file: str, *, sigma: float | None, out: Path | None, asked: Flips | None = None
) -> int:
    """Remove noise in one step, or restore flipped pixels; see the help of `energax denoise`."""
    asked = Flips() if asked is None else asked
    if run == "ising":
        return restore_by_hand(file, asked, sigma=sigma, out=out)
    trained = Trained(Path(run), "denoise")
    if isinstance(trained.energy, Ising):
        return restore_run(trained, file, asked, sigma=sigma, out=out)
    asked.refuse("only an Ising grid (--energy ising) speaks of flipped pixels")
    noisy, layout = trained.read(file)
    target = target_file(out, file, "denoised.npy", "denoise")
    told = trained.way.told
    allowed = "given for a noise-conditional model" if told else "left out: this model is not told the noise"
    unit = trained.unit
    check((sigma is not None) == told, "denoise", "--sigma", allowed, sigma)
    z = trained.to_model(noisy)
    clean = trained.to_data(tasks.denoise(trained.energy, z, sigma_0=unit, sigma=sigma))
    check_finite_rows("denoise", Path(file).name, clean, NEAR)
    trained.tell_of_units(z, Path(file).name)
    save_array(target, layout.back(clean).reshape(layout.shape))
    moved = float(np.sqrt(np.mean((clean - noisy) ** 2)))
    removed = f"the noise removed has root mean square {moved:.4g} an entry"
    print(f"{counted(len(noisy), 'row')} in {target}; {removed}")
    if trained.image is not None:
        shown = slice(IMAGES_SHOWN)
        save_grid(target.with_suffix(".png"), [trained.pixels(noisy[shown]), trained.pixels(clean[shown])])
        print(f"shown in {target.with_suffix('.png')}: noisy above, denoised below")
    return 0


def score(
    run: Path,
    file: str,
    *,
    out: Path | None,
    likelihood: bool = False,
    probes: int | None = None,
    seed: int | None = None,
) -> int:
    """Print or write one energy a row, or its log-likelihood; see the help of `energax score`."""
    if likelihood:
        return _score_likelihood(run, file, probes=probes, seed=seed or 0, out=out)
    for flag, value in {"--probes": probes, "--seed": seed}.items():
        check(value is None, "score", flag, "given together with --likelihood", value)
    trained = Trained(run, "score")
    rows, _ = trained.read(file)
    target = None if out is None else target_file(out, file, out.name, "score", suffix=".csv")
    energies = trained.score(rows)
    check_finite_rows("score", Path(file).name, energies, NEAR)
    trained.tell_of_units(trained.to_model(rows), Path(file).name)
    if target is None:
        print("\n".join(f"{energy:.7g}" for energy in energies))
        return 0
    write_csv(target, ("energy",), energies[:, None])
    spread = f"median {np.median(energies):.4g}, largest {energies.max():.4g}"
    print(f"{counted(len(rows), 'energy', 'energies')} in {target}: {spread}")
    return 0


def _score_likelihood(run: Path, file: str, *, probes: int | None, seed: int, out: Path | None) -> int:
    check_seed("score", "--seed", seed)
    trained = Trained(run, "score")
    rows, _ = trained.read(file)
    target = None if out is None else target_file(out, file, out.name, "score", suffix=".csv")
    found = trained.log_likelihood(rows, probes=probes, seed=seed)
    bits = -found.log_prob / (trained.size * np.log(2))
    columns = {"log_likelihood": found.log_prob, "bits_per_dimension": bits}
    if found.standard_error is not None:
        columns["standard_error"] = found.standard_error
    table = np.stack(list(columns.values()), axis=1)
    spread = found.log_prob.std(ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else np.nan
    mean = f"mean {found.log_prob.mean():.4g}" + (f" ± {spread:.2g}" if len(rows) > 1 else "")
    said = f"{mean} nats, {bits.mean():.4g} bits per dimension"
    if target is None:
        print(",".join(columns))
        print("\n".join(",".join(f"{value:.7g}" for value in row) for row in table))
        print(f"{counted(len(rows), 'log-likelihood')}: {said}", file=sys.stderr)
        return 0
    write_csv(target, tuple(columns), table)
    print(f"{counted(len(rows), 'log-likelihood')} in {target}: {said}")
    return 0


def report(run: Path, *, seed: int) -> int:
    """Write the run's report; see the help of `energax report`."""
    from energax.report import build
    from energax.report.findings import kept

    check_seed("report", "--seed", seed)
    trained = Trained(run, "report")
    folder = trained.run
    path = build(
        folder.report,
        config=trained.config,
        model=trained.energy,
        preprocessing=trained.pipeline,
        dataset=folder.load_data(),
        history=read_metrics(folder.metrics),
        about={**folder.facts, **trained.about},
        seed=seed,
        findings=kept(folder.evaluation),
        progress=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(f"Open {path}")
    return 0
