r"""Outlier scores of an energy, larger for what the model finds stranger, and how well scores tell.

    energy         E_z[E(x + σ₀ z)]                          low density (Li, Chen & Sommer 2019, appendix F)
    denoising      E_z‖x̃ − σ₀²∇E(x̃) − x‖², x̃ = x + σ₀ z      what the model does not bring back
    score-norm     ‖∇E(x)‖                                   where the density is steep
    typicality     |E(x) − mean of E over reference rows|    not where the mass is (Nalisnick et al. 2019)

None needs log Z. Energy ranks by density, and a density can be high where nothing ever falls: in many
dimensions the mode of a law is no typical point of it, and smooth images are likelier than those a model
learned from. Typicality asks for the height of typical points instead; denoising error follows how much
an image varies. None is best everywhere, and a comparison says which was.

Scores s of outliers and t of inliers are judged by

    AUROC = P(s > t) + ½ P(s = t), with DeLong, DeLong & Clarke-Pearson's (1988) standard error;
    AUPRC, the average precision;    FPR95, the share of inliers above what 95 % of outliers exceed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.checks import check, check_array, check_choice, check_integer, check_number
from energax.derivatives import energy_and_score
from energax.typing import Array, ArrayLike, Float, Key, Model

__all__ = [
    "OUTLIER_SCORES",
    "Detection",
    "Detections",
    "detection",
    "detections",
    "outlier_scores",
    "rank_correlation",
]

OUTLIER_SCORES = ("energy", "denoising", "score-norm", "typicality")
CHUNK = 1024


class Detection(NamedTuple):
    """How well scores tell outliers from inliers.

    Parameters
    ----------
    auroc, auroc_error
        Area under the receiver's curve, ½ for scores that say nothing, and its standard error.
    auprc
        Average precision; the share of outliers for scores that say nothing.
    fpr95
        False alarms where 95 % of outliers are found.
    outliers, inliers
        How many.
    """

    auroc: float
    auroc_error: float
    auprc: float
    fpr95: float
    outliers: int
    inliers: int


class Detections(NamedTuple):
    """What each score makes of several kinds of rows.

    Parameters
    ----------
    scores
        Score → kind → one number a row; the kind "inliers" stands first.
    found
        Score → kind → how well the score tells its rows from inliers.
    """

    scores: dict[str, dict[str, np.ndarray]]
    found: dict[str, dict[str, Detection]]


def outlier_scores(
    energy: Model,
    x: ArrayLike,
    score: str = "energy",
    *,
    sigma: float = 0.0,
    draws: int = 10,
    reference: ArrayLike | None = None,
    key: Key,
) -> Float[np.ndarray, " n"]:
    """Return one number a row, larger for stranger rows.

    Parameters
    ----------
    energy
        An energy on events.
    x
        Rows, shape (n, *event).
    score
        "energy", "denoising", "score-norm" or "typicality".
    sigma
        σ₀ of the noise, in the model's units; 0 adds none ("denoising" needs some).
    draws
        Of the noise, that are averaged.
    reference
        Rows that are typical: training rows, for "typicality".
    key
        Decides the noise: the same for every row, so that no score depends on the others.

    Raises
    ------
    InputError
        For rows that no energy could take, noise that is missing, or a reference that is.
    """
    owner = "outlier_scores"
    check_choice(owner, "score", score, OUTLIER_SCORES)
    sigma = check_number(owner, "sigma", sigma, at_least=0)
    check_integer(owner, "draws", draws, at_least=1)
    rows = check_array(owner, "x", x)
    check(score != "denoising" or sigma > 0, owner, "sigma", "above 0, noise to be removed", sigma)
    if score != "typicality":
        return _rows(energy, rows, score, sigma, draws, key)
    got = "nothing"
    check(reference is not None, owner, "reference", "rows that are typical, such as those of training", got)
    typical = check_array(owner, "reference", reference, event_shape=rows.shape[1:])
    height = _rows(energy, typical, "energy", sigma, draws, key).mean()
    return np.abs(_rows(energy, rows, "energy", sigma, draws, key) - height)


def detection(outliers: ArrayLike, inliers: ArrayLike) -> Detection:
    """Judge scores that should be larger for outliers.

    Parameters
    ----------
    outliers, inliers
        Scores, shapes (m,) and (n,).
    """
    s, t = (
        np.asarray(check_array("detection", name, a, event_shape=(), at_least_rows=2), np.float64)
        for name, a in (("outliers", outliers), ("inliers", inliers))
    )
    from sklearn.metrics import average_precision_score

    m, n = len(s), len(t)
    whole = scipy.stats.rankdata(np.concatenate([s, t]))
    # Placements: how many of the other kind each score beats, ties for half.
    above = (whole[:m] - scipy.stats.rankdata(s)) / n
    below = 1 - (whole[m:] - scipy.stats.rankdata(t)) / m
    error = np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n)
    labels = np.r_[np.ones(m), np.zeros(n)]
    found_from = np.sort(s)[int(np.floor(0.05 * m))]  # 95 % of outliers score at least this
    return Detection(
        auroc=float(above.mean()),
        auroc_error=float(error),
        auprc=float(average_precision_score(labels, np.r_[s, t])),
        fpr95=float(np.mean(t >= found_from)),
        outliers=m,
        inliers=n,
    )


def detections(
    energy: Model,
    inliers: ArrayLike,
    others: Mapping[str, ArrayLike],
    *,
    sigma: float = 0.0,
    reference: ArrayLike | None = None,
    key: Key,
) -> Detections:
    """Judge every score on several kinds of rows, against the same inliers.

    Parameters
    ----------
    energy
        An energy on events.
    inliers
        Rows of the law it learned that it has not seen, shape (n, *event).
    others
        Name → rows that are to be told from them. Training rows belong here, too: what tells them
        from rows of the same law has learned them by heart.
    sigma
        As for `outlier_scores`; without noise "denoising" is left out.
    reference
        Training rows; without them "typicality" is left out.
    key
        Decides the noise.
    """
    rows = {"inliers": inliers, **others}
    scores, found = {}, {}
    for score in OUTLIER_SCORES:
        if (score == "denoising" and sigma == 0) or (score == "typicality" and reference is None):
            continue
        how = {"sigma": sigma, "reference": reference, "key": key}
        scores[score] = {name: outlier_scores(energy, x, score, **how) for name, x in rows.items()}
        found[score] = {name: detection(scores[score][name], scores[score]["inliers"]) for name in others}
    return Detections(scores, found)


def rank_correlation(a: ArrayLike, b: ArrayLike) -> float:
    """Return Spearman's rank correlation of two numbers of each row."""
    return float(np.corrcoef(scipy.stats.rankdata(a), scipy.stats.rankdata(b))[0, 1])


def _rows(
    energy: Model, rows: np.ndarray, score: str, sigma: float, draws: int, key: Key
) -> Float[np.ndarray, " n"]:
    size = min(CHUNK, 1 << (len(rows) - 1).bit_length())  # powers of two: few programs for all sizes
    padded = np.concatenate([rows, np.repeat(rows[-1:], -len(rows) % size, axis=0)])
    noise = jax.random.normal(key, (draws if sigma else 1, *rows.shape[1:]))
    level = jnp.asarray(sigma, jnp.float32)
    parts = [
        np.asarray(_chunk(energy, jnp.asarray(padded[i : i + size]), noise, level, score))
        for i in range(0, len(padded), size)
    ]
    return np.concatenate(parts)[: len(rows)].astype(np.float64)


@eqx.filter_jit
def _chunk(energy: Model, rows: Array, noise: Array, sigma: Array, score: str) -> Array:
    def one(x, z):
        noisy = x + sigma * z
        if score == "score-norm":
            return jnp.linalg.norm(energy_and_score(energy, noisy)[1])
        if score == "energy":
            return energy(noisy)
        return jnp.sum((noisy + sigma**2 * energy_and_score(energy, noisy)[1] - x) ** 2)

    return jnp.mean(jax.vmap(lambda z: jax.vmap(lambda x: one(x, z))(rows))(noise), axis=0)
