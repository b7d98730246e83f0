"""`energax outliers`: fit an energy to rows and say which are strange, in one go; or ask a run."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from energax.checks import check, check_integer, check_seed
from energax.cli.run_folder import check_free
from energax.cli.show import print_table
from energax.cli.targets import target_file, write_csv
from energax.cli.train import train_run
from energax.cli.trained import Trained
from energax.data import read_table
from energax.evaluation import detection, outlier_scores

__all__ = ["outliers"]

# So much noise that no row is a mode of its own: `energax reproduce adbench` compares it with the preset's.
SMOOTH = ("objective.sigma_min=0.5", "objective.sigma_0=0.5")


def outliers(
    file: str,
    *,
    run: Path | None,
    folder: Path | None,
    score: str,
    steps: int | None,
    top: int,
    out: Path | None,
    seed: int,
) -> int:
    """Write one outlier score a row; see the help of `energax outliers`."""
    command = "outliers"
    check_integer(command, "--top", top, at_least=0)
    check_seed(command, "--seed", seed)
    if run is not None:
        for flag, value in {"--folder": folder, "--steps": steps}.items():
            check(value is None, command, flag, "left out with --run, which is trained already", value)
    table = read_table(file)
    if table.labels is not None:
        _check_labels(table.labels)
    if out is not None:
        target_file(out, file, out.name, command, suffix=".csv")  # refused now, not after the training
    if run is None:
        run = Path("runs") / f"{Path(file).resolve().stem}-outliers" if folder is None else folder
        check_free(command, run, " (or ask what is there with --run)", flag="--folder")
        flags = {"seed": seed} if steps is None else {"seed": seed, "fit.steps": steps}
        status = train_run(file, out=run, sets=SMOOTH, flags=flags)
        if status:
            return status
        print()
    trained = Trained(run, command)
    energy = trained.way.energy(trained.energy)
    check(energy is not None, command, "--run", "a run of an energy", "a vector field, which has none")
    sigma = trained.way.sigma_0 or 0.0
    allowed = "energy, score-norm or typicality for a run that knows of no noise"
    check(sigma > 0 or score != "denoising", command, "--score", allowed, score)
    # Scores are those of rows in the model's units, in which columns weigh alike.
    rows = trained.to_model(trained.of_table(table, Path(file).name)[0])
    reference = trained.to_model(trained.run.load_data().train) if score == "typicality" else None
    how = {"sigma": sigma, "reference": reference, "key": jax.random.key(seed)}
    found = outlier_scores(energy, rows, score, **how)
    target = target_file(out or run / "outliers.csv", file, "outliers.csv", command, suffix=".csv")
    strangest = np.argsort(-found)
    rank = np.empty(len(found), int)
    rank[strangest] = np.arange(1, len(found) + 1)
    write_csv(
        target, ("row", score.replace("-", "_"), "rank"), np.stack([np.arange(len(found)), found, rank], 1)
    )
    if top:
        shown = [(str(i), f"{found[i]:.5g}") for i in strangest[:top]]
        print_table(("row, from 0", score), shown)
    if table.labels is not None:
        marked = np.asarray(table.labels).astype(bool)
        told = detection(found[marked], found[~marked])
        print(
            f"by the labels: AUROC {told.auroc:.3f} ± {told.auroc_error:.3f}, AUPRC {told.auprc:.3f}, "
            f"FPR95 {told.fpr95:.3f} ({told.outliers:,} outliers, {told.inliers:,} others)"
        )
    print(f"{len(found):,} scores in {target}: the larger, the stranger")
    return 0


def _check_labels(labels: np.ndarray) -> None:
    values = np.unique(np.asarray(labels))
    allowed = "0 for rows like the rest and 1 for outliers, both there, or left out of the file"
    two = len(values) == 2 and set(values.tolist()) <= {0, 1}
    check(two, "outliers", "the labels", allowed, ", ".join(map(str, values[:5].tolist())))
