r"""MDSM figure F.1A and what it hides: other data that an energy finds likelier than its own.

Li, Chen & Sommer (2019, appendix F) show energies of CIFAR-10's training and test images, which overlap, and
of SVHN's, which are lower: the model finds them likelier than what it learned from. Here every score of
`evaluation.outlier_scores` is asked, after noise σ₀ on which the energy is trained, beside one that knows no
model, how much an image varies:

    contrast     Σ_i (x_i − x̄)²

At scale "cpu" Fashion-MNIST and MNIST stand in for the paper's pair, each the other's outliers, with
notMNIST, with images of one grey, and with their own training rows, which nothing should tell.

Areas under the receiver's curve: ½ says nothing, below ½ the score finds the other data more normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.checks import InputError
from energax.data import load
from energax.evaluation import Detection, detection, detections
from energax.evaluation.outliers import rank_correlation
from energax.papers.models import PERCEPTRON, TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas

__all__ = ["run"]

TRAINING, FLAT, SHUFFLED = "training rows", "one grey", "shuffled pixels"
CONTRAST = "contrast"
SCORES = ("energy", "denoising", "score-norm", "typicality", CONTRAST)
CLEAR = 4.0  # standard errors from ½ that make a statement


class Size(NamedTuple):
    """How large the study is: data set → others; rows of each; changes to the presets."""

    pairs: dict[str, tuple[str, ...]]
    rows: int
    changes: dict[str, Any]


SIZES = {
    "smoke": Size({"digits": (SHUFFLED, FLAT)}, 200, TINY),
    "cpu": Size(
        {"fashion-mnist": ("mnist", "notmnist", FLAT), "mnist": ("fashion-mnist", "notmnist", FLAT)},
        2000,
        PERCEPTRON,
    ),
    "paper": Size({"cifar10": ("svhn", FLAT)}, 10_000, {}),
}
NETWORK = {"paper": "cifar10-res18"}


def other(name: str, model: Studied, rows: int, rng: np.random.Generator) -> np.ndarray:
    """Return rows of other data in the units of the model's."""
    own = model.dataset
    if name == TRAINING:
        return own.train[rng.permutation(len(own.train))[:rows]]
    if name == SHUFFLED:
        return rng.permuted(own.test[:rows].reshape(min(rows, len(own.test)), -1), axis=1).reshape(
            -1, *own.event_shape
        )
    if name == FLAT:
        level = rng.uniform(own.train.min(), own.train.max(), (rows, *[1] * len(own.event_shape)))
        return np.broadcast_to(level, (rows, *own.event_shape)).astype(np.float32)
    return load(name).test[:rows].reshape(-1, *own.event_shape)


def contrast(x: np.ndarray) -> np.ndarray:
    """Return Σ (x_i − x̄)² of every row."""
    return x.reshape(len(x), -1).var(1) * x[0].size


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train an energy of each data set, and ask every score about the others."""
    size = SIZES[scale]
    found: dict[str, dict[str, dict[str, Detection]]] = {}
    ranks, energies, missing = {}, {}, []
    for own, others in size.pairs.items():
        model = trained(own, size.changes, network=NETWORK.get(scale), progress=progress)
        rng = np.random.default_rng(0)
        inliers = model.dataset.test[: size.rows]
        rows = {TRAINING: other(TRAINING, model, size.rows, rng)}
        for name in others:
            try:
                rows[name] = other(name, model, size.rows, rng)
            except InputError:
                missing.append(name)
        judged = detections(
            model.energy,
            model.to_model(inliers),
            {name: model.to_model(x) for name, x in rows.items()},
            sigma=model.way.sigma_0 or 0.0,
            reference=model.to_model(rows[TRAINING]),
            key=jax.random.key(0),
        )
        found[own] = judged.found | {
            CONTRAST: {name: detection(contrast(x), contrast(inliers)) for name, x in rows.items()}
        }
        ranks[own] = rank_correlation(judged.scores["denoising"]["inliers"], contrast(inliers))
        energies[own] = judged.scores["energy"]
        progress(
            f"{own}: energy { ({name: round(d.auroc, 3) for name, d in judged.found['energy'].items()}) }"
        )
    table = [
        [own, name, *(found[own][score][name].auroc for score in SCORES), found[own]["energy"][name].fpr95]
        for own in found
        for name in found[own]["energy"]
    ]
    return Outcome(
        columns=["trained on", "rows", *SCORES, "FPR95 of energy"],
        rows=table,
        verdict=verdict(found, ranks, missing),
        figure=_figure(energies),
        facts={
            "found": {
                own: {s: {n: d._asdict() for n, d in of.items()} for s, of in scores.items()}
                for own, scores in found.items()
            },
            "rank correlation of denoising error and contrast": ranks,
            "missing": missing,
        },
    )


def verdict(
    found: dict[str, dict[str, dict[str, Detection]]], ranks: dict[str, float], missing: list[str]
) -> str:
    """Say what each model finds likelier than its own data, and which score is best where it is worst."""
    said = []
    for own, scores in found.items():
        energy = scores["energy"]
        lower = [n for n, d in energy.items() if n != TRAINING and 0.5 - d.auroc > CLEAR * d.auroc_error]
        text = f"Trained on {own}, the energy is lower on {' and '.join(lower)}" if lower else (
            f"Trained on {own}, the energy is lower on none of the others"
        )  # fmt: skip
        own_rows = energy[TRAINING]
        overlap = abs(own_rows.auroc - 0.5) <= CLEAR * own_rows.auroc_error
        overlaps = "overlap" if overlap else "do not overlap"
        text += f"; training and held-out rows {overlaps} ({own_rows.auroc:.3f} ± {own_rows.auroc_error:.3f})"
        others = [n for n in energy if n != TRAINING]
        worst = {s: min(scores[s][n].auroc for n in others) for s in SCORES}
        best = max(worst, key=lambda s: worst[s])
        text += f"; the score with the best worst case is {best} ({worst[best]:.2f}; "
        text += f"energy {worst['energy']:.2f})"
        text += f"; denoising error and contrast have rank correlation {ranks[own]:.2f}."
        said.append(text)
    if missing:
        said.append(f"Not run here: needs {', '.join(sorted(set(missing)))}.")
    return " ".join(said)


def _figure(energies: dict[str, dict[str, np.ndarray]]) -> Any:
    figure = canvas(8, 3.2 * len(energies))
    for ax, (own, kinds) in zip(
        figure.subplots(len(energies), 1, squeeze=False)[:, 0], energies.items(), strict=True
    ):
        joined = np.concatenate(list(kinds.values()))
        low, high = np.quantile(joined, [0.002, 0.998])
        bins = np.linspace(low, high, 80).tolist()
        for name, values in kinds.items():
            look: dict[str, Any] = {"histtype": "step", "linewidth": 1.6}
            if name == "inliers":
                look |= {"linewidth": 1.2, "color": "k"}
            if name == TRAINING:
                look = {"histtype": "stepfilled", "color": "0.8"}
            label = f"{own}, held out" if name == "inliers" else name
            ax.hist(np.clip(values, bins[0], bins[-1]), bins, density=True, label=label, **look)
        ax.set(title=f"trained on {own}", xlabel="energy, nats up to a constant", yticks=[])
        ax.legend(fontsize="small")
    return figure
