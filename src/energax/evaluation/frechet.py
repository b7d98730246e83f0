r"""The Frechet distance of two samples: that of the normal laws with their means and covariances.

    d² = ‖μ₁ − μ₂‖² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁^½ Σ₂ Σ₁^½)^½

(Dowson & Landau 1982; on features of Inception it is the "FID" of Heusel et al. 2017). With Σ = RᵀR, R the
triangular factor of the centred rows over √(n − 1), the matrix under the root has the eigenvalues of MMᵀ for
M = R₁R₂ᵀ, so that

    tr (Σ₁^½ Σ₂ Σ₁^½)^½ = Σ_i s_i(M),    s the singular values:

no root of a matrix is taken, no covariance is formed, and n < d rows cost min(n, d)³.

It is biased upwards. For two samples of n₁ and n₂ rows of one normal law, λ the eigenvalues of its
covariance, to leading order,

    E d² ≈ tr Σ (1/n₁ + 1/n₂) + c (1/(n₁ − 1) + 1/(n₂ − 1)),    c = ½ Σ_ij λ_i λ_j/(λ_i + λ_j) + ¼ Σ_i λ_i,

the second part being the mean of the distance's quadratic form ½ Σ_ij Δ_ij²/(λ_i + λ_j) at a sample's error
Δ. So c is about d²/4 in d dimensions of variance 1, and rows are few or many by their number against d: the
customary 50,000 for Inception's 2,048 features are 24 each. The rule here: below 20 a dimension the status
says so, with that floor beside it; with no more rows than dimensions the covariance is singular, and the
number worth nothing but beside others of as many rows.
"""

from __future__ import annotations

import numpy as np

from energax.checks import check_array
from energax.evaluation.quality import Quality
from energax.typing import ArrayLike

__all__ = ["frechet_distance"]

ENOUGH = 20  # rows a dimension: the customary 50,000 of Inception's 2,048 features, less a little


def frechet_distance(x: ArrayLike, reference: ArrayLike, *, of: str = "rows") -> Quality:
    """Return d² between two samples of features.

    Parameters
    ----------
    x, reference
        Features, shapes (m, *event) and (n, *event).
    of
        What the features are, for the number's name.

    Returns
    -------
    Quality
        Its status names the bias where rows are few; `settings["floor"]` is what two samples of these sizes
        of one normal law would show, `settings["means"]` is ‖μ₁ − μ₂‖².
    """
    owner = "frechet_distance"
    first = check_array(owner, "x", x, at_least_rows=2)
    second = check_array(owner, "reference", reference, event_shape=first.shape[1:], at_least_rows=2)
    (mean, factor, m), (mean_2, factor_2, n) = map(_moments, (first, second))
    shift = float(np.sum((mean - mean_2) ** 2))
    overlap = np.linalg.svd(factor @ factor_2.T, compute_uv=False).sum()
    spread = np.sum(factor**2) + np.sum(factor_2**2) - 2 * overlap
    floor = _floor(factor, factor_2, m, n)
    return Quality(
        method="Frechet distance",
        of=of,
        estimate=shift + max(float(spread), 0.0),
        standard_error=None,
        n=(m, n),
        status=_status(min(m, n), len(mean), floor),
        settings={"dimension": len(mean), "means": shift, "floor": floor},
    )


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the mean, R with RᵀR the covariance, and how many rows there are."""
    flat = np.asarray(rows, np.float64).reshape(len(rows), -1)
    mean = flat.mean(axis=0)
    factor = np.asarray(np.linalg.qr((flat - mean) / np.sqrt(len(flat) - 1), mode="r"))
    return mean, factor, len(flat)


def _floor(factor: np.ndarray, factor_2: np.ndarray, m: int, n: int) -> float:
    pooled = np.concatenate([factor * np.sqrt(m - 1), factor_2 * np.sqrt(n - 1)]) / np.sqrt(m + n - 2)
    values = np.linalg.svd(pooled, compute_uv=False) ** 2
    values = values[values > 0]
    c = 0.5 * np.sum(np.outer(values, values) / np.add.outer(values, values)) + 0.25 * values.sum()
    return float(values.sum() * (1 / m + 1 / n) + c * (1 / (m - 1) + 1 / (n - 1)))


def _status(rows: int, dimension: int, floor: float) -> str:
    if rows >= ENOUGH * dimension:
        return "ok"
    if rows <= dimension:
        return f"worthless but for rows of the same number: {rows:,} rows in {dimension:,} dimensions"
    few = f"{rows:,} rows in {dimension:,} dimensions, where {ENOUGH * dimension:,} are asked"
    return f"biased upwards: {few}; samples of one normal law would show about {floor:.3g}"
