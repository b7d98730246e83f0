r"""The best linear denoiser: the yardstick that every one-step denoiser must beat.

For x of mean μ and covariance C = V diag(λ) Vᵀ and x̃ = x + σz, z ~ N(0, I), the affine function
of x̃ nearest to x in mean square is

    x̂(x̃) = μ + V diag(λ / (λ + σ²)) Vᵀ (x̃ − μ),      E‖x̂ − x‖² = Σ_i λ_i σ² / (λ_i + σ²),

Wiener's filter. It is told σ, and it is the best denoiser of all if x is Gaussian; what a model
gains on it is what it knows beyond two moments.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Wiener"]


@dataclass(frozen=True)
class Wiener:
    """Mean and principal axes of some rows, and the denoiser they define.

    Parameters
    ----------
    mean
        μ, shape (d,).
    axes
        V, shape (d, r), orthonormal columns; directions outside their span have no variance.
    variances
        λ ≥ 0, shape (r,).
    """

    mean: np.ndarray
    axes: np.ndarray
    variances: np.ndarray

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Wiener:
        """Return the denoiser of the rows' own mean and covariance (divisor n).

        Parameters
        ----------
        rows
            Shape (n, *event), flattened here. The smaller of X Xᵀ and XᵀX is diagonalised.
        """
        x = np.asarray(rows, np.float64).reshape(len(rows), -1)
        mean = x.mean(axis=0)
        x = x - mean
        n, d = x.shape
        if n >= d:
            variances, axes = np.linalg.eigh(x.T @ x / n)
        else:
            variances, left = np.linalg.eigh(x @ x.T / n)
            kept = variances > 1e-10 * max(variances.max(initial=0.0), np.finfo(np.float64).tiny)
            variances = variances[kept]
            axes = x.T @ left[:, kept] / np.sqrt(n * variances)
        return cls(mean, axes, np.maximum(variances, 0.0))

    def __call__(self, noisy: np.ndarray, sigma: float) -> np.ndarray:
        """Return x̂ of rows with noise σ, in their shape."""
        x = np.asarray(noisy, np.float64).reshape(len(noisy), -1) - self.mean
        gain = self.variances / (self.variances + sigma**2)
        return (self.mean + (x @ self.axes * gain) @ self.axes.T).reshape(noisy.shape)

    def squared_error(self, sigma: float | np.ndarray) -> np.ndarray:
        """Return E‖x̂ − x‖² = Σ λσ²/(λ+σ²) at each σ, for data of exactly these moments."""
        variance = np.square(np.asarray(sigma, np.float64))[..., None]
        return np.sum(self.variances * variance / (self.variances + variance), axis=-1)
