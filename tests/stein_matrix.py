"""The matrix of Stein kernels in double precision, written out from the kernel's formula."""

import numpy as np

from energax.kernels import RBF


def stein_matrix(kernel, x, s):
    """Return H of all pairs of rows x with scores s, in float64: φ, φ′ and φ″ are written here once more."""
    a, b, h = np.asarray(x, np.float64), np.asarray(s, np.float64), float(kernel.bandwidth)
    difference = a[:, None] - a[None]
    u = (difference**2).sum(-1)
    if isinstance(kernel, RBF):
        phi = np.exp(-u / (2 * h**2))
        first, second = -phi / (2 * h**2), phi / (4 * h**4)
    else:
        base, beta = 1 + u / h**2, float(kernel.exponent)
        phi = base**-beta
        first = -beta / h**2 * base ** (-beta - 1)
        second = beta * (beta + 1) / h**4 * base ** (-beta - 2)
    across = np.einsum("ijd,ijd->ij", b[None] - b[:, None], difference)
    return phi * (b @ b.T) + 2 * first * (across - a.shape[1]) - 4 * u * second
