r"""Outlier scores of energies on the tables of ADBench, beside scikit-learn's: one configuration for all.

Han et al. (2022): real tables whose outliers are labelled, the labels unseen. Every detector sees all rows
of a table, columns put on mean 0 and standard deviation 1, and scores the same rows.

    energy              multiscale denoising score matching as tables are trained, σ from 0.05, σ₀ = 0.1
    smooth energy       the same with both at 0.5, as `energax outliers` trains: no row is a mode of its own
    typicality          |E − mean E| of the smooth energy
    Gaussian            (x − x̄)ᵀ S⁻¹ (x − x̄)
    IsolationForest     scikit-learn's, as it comes
    LocalOutlierFactor  scikit-learn's, as it comes

Judged by the area under the receiver's curve, ½ for scores that say nothing, and by mean rank over tables.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from energax.checks import InputError
from energax.data import load
from energax.energies import MLP
from energax.evaluation import detection, outlier_scores
from energax.objectives import MultiscaleDenoisingScoreMatching
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.training import fit
from energax.typing import Key

__all__ = ["run"]

ENERGY, SMOOTH, TYPICAL = "energy", "smooth energy", "typicality"
GAUSSIAN, FOREST, FACTOR = "Gaussian", "IsolationForest", "LocalOutlierFactor"
DETECTORS = (ENERGY, SMOOTH, TYPICAL, GAUSSIAN, FOREST, FACTOR)
SIGMA = {ENERGY: 0.05, SMOOTH: 0.5}  # the least noise; σ₀ is 0.1 or that
BUNDLED = "breast cancer"  # scikit-learn's, its malignant rows thinned to one in ten
MOST = 10_000  # rows of a table that are used


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    tables
        What `data.load` calls them, or `BUNDLED`.
    steps
        Of each energy's training.
    width, depth
        Of its perceptron.
    seeds
        Trainings of each detector that has a seed.
    """

    tables: tuple[str, ...]
    steps: int
    width: int
    depth: int
    seeds: int


SMALL = ("14_glass", "18_Ionosphere", "29_Pima", "40_vowels", "42_WBC", "45_wine", "4_breastw", "6_cardio")
LARGE = (
    *("20_letter", "23_mammography", "26_optdigits", "28_pendigits", "2_annthyroid", "30_satellite"),
    *("31_satimage-2", "32_shuttle", "38_thyroid", "41_Waveform"),
)
SIZES = {
    "smoke": Size((BUNDLED,), 60, 32, 2, 1),
    "cpu": Size(tuple(f"adbench/{name}" for name in SMALL), 1000, 128, 3, 1),
    "paper": Size(tuple(f"adbench/{name}" for name in (*SMALL, *LARGE)), 3000, 256, 4, 5),
}


def table(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return standardised rows, and which are outliers."""
    if name == BUNDLED:
        from sklearn.datasets import load_breast_cancer

        found: Any = load_breast_cancer(return_X_y=True)
        x, marked = found[0], found[1] == 0
        keep = ~marked | (np.cumsum(marked) % 10 == 0)
        x, marked = x[keep], marked[keep]
    else:
        data = load(name)
        assert data.train_labels is not None
        assert data.test_labels is not None
        x = np.concatenate([data.train, data.test])[:MOST]
        marked = np.concatenate([data.train_labels, data.test_labels])[:MOST] == 1
    x = np.asarray(x, np.float64)
    spread = x.std(0)
    return ((x - x.mean(0)) / np.where(spread > 0, spread, 1)).astype(np.float32), marked


def trained(x: np.ndarray, sigma: float, size: Size, key: Key) -> Any:
    """Return an energy of the rows."""
    start = MLP(x.shape[1:], width=size.width, depth=size.depth, key=key)
    objective = MultiscaleDenoisingScoreMatching(sigma, 2.0, sigma_0=max(0.1, sigma))
    how = {"batch_size": 128, "learning_rate": 1e-3, "weight_decay": 1e-4, "ema": 0.99, "progress": False}
    return fit(start, objective, x, key=key, steps=size.steps, **how).energy


def scores(x: np.ndarray, size: Size, seed: int) -> dict[str, np.ndarray]:
    """Return every detector's scores, larger for stranger rows."""
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import LocalOutlierFactor

    key, found = jax.random.key(seed), {}
    for name, sigma in SIGMA.items():
        energy = trained(x, sigma, size, key)
        found[name] = outlier_scores(energy, x, sigma=max(0.1, sigma), key=key)
        if name == SMOOTH:
            found[TYPICAL] = outlier_scores(energy, x, "typicality", sigma=sigma, reference=x, key=key)
    centred = x - x.mean(0)
    inverse = np.linalg.pinv(np.atleast_2d(np.cov(x.T)))
    found[GAUSSIAN] = np.einsum("ni,ij,nj->n", centred, inverse, centred)
    found[FOREST] = -IsolationForest(random_state=seed).fit(x).score_samples(x)
    found[FACTOR] = -LocalOutlierFactor().fit(x).negative_outlier_factor_
    return found


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Score every table by every detector, and judge by the labels."""
    size = SIZES[scale]
    areas: dict[str, dict[str, list[float]]] = {}
    missing = []
    for name in size.tables:
        try:
            x, marked = table(name)
        except InputError:
            missing.append(name)
            continue
        areas[name] = {detector: [] for detector in DETECTORS}
        for seed in range(size.seeds):
            for detector, found in scores(x, size, seed).items():
                areas[name][detector].append(detection(found[marked], found[~marked]).auroc)
        told = ", ".join(f"{d} {np.mean(areas[name][d]):.3f}" for d in DETECTORS)
        progress(f"{name}, {len(x):,} × {x.shape[1]}: {told}")
    if not areas:
        raise InputError(
            "adbench: the tables must be in the folder adbench of $ENERGAX_DATA; got none of them."
        )
    means = np.array([[np.mean(areas[name][d]) for d in DETECTORS] for name in areas])
    ranks = mean_ranks(means)
    rows: list[list[Any]] = [[name, *map(float, row)] for name, row in zip(areas, means, strict=True)]
    rows += [["mean", *map(float, means.mean(0))], ["mean rank", *map(float, ranks)]]
    return Outcome(
        columns=["table", *DETECTORS],
        rows=rows,
        verdict=verdict(means, ranks, missing),
        figure=_figure(list(areas), means),
        facts={"areas": areas, "missing": missing},
    )


def mean_ranks(areas: np.ndarray) -> np.ndarray:
    """Return each column's mean rank over the rows, 1 for the largest, ties sharing theirs."""
    import scipy.stats

    return scipy.stats.rankdata(-areas, axis=1).mean(0)


def verdict(means: np.ndarray, ranks: np.ndarray, missing: list[str]) -> str:
    """Say who ranks best, and where the energies stand."""
    order = np.argsort(ranks)
    told = ", ".join(f"{DETECTORS[i]} {ranks[i]:.2f} (mean area {means[:, i].mean():.3f})" for i in order)
    best = np.argmax(means, axis=1)
    ours = int(np.isin(best, [DETECTORS.index(d) for d in (ENERGY, SMOOTH, TYPICAL)]).sum())
    text = f"Mean ranks over {len(means)} tables: {told}. An energy's score is the best on {ours} of them."
    return text + (f" Not there: {', '.join(missing)}." if missing else "")


def _figure(names: list[str], means: np.ndarray) -> Any:
    figure = canvas(2 + 1.2 * len(names), 4)
    ax = figure.subplots()
    for i, detector in enumerate(DETECTORS):
        ours = detector in (ENERGY, SMOOTH, TYPICAL)
        ax.plot(means[:, i], "o-" if ours else "s--", label=detector, alpha=0.9 if ours else 0.6)
    ax.axhline(0.5, color="0.6", linewidth=0.8)
    labels = [name.removeprefix("adbench/") for name in names]
    ax.set(xticks=range(len(names)), ylabel="area under the receiver's curve")
    ax.set_xticklabels(labels, rotation=30, ha="right")
    ax.legend(ncols=3, fontsize="small")
    return figure
