"""What the machine can do at most: the floating-point operations a second of plain matrix products."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

__all__ = ["matmul_peak", "mlp_gradient_flops"]

SIZE, REPEATS = 1024, 20


@lru_cache
def matmul_peak(clock: Callable[[], float]) -> float:
    """Return the most that a product of two float32 matrices of 1024² reached, in XLA or in PyTorch."""
    import jax
    import torch

    a = torch.randn(SIZE, SIZE)
    b = jax.numpy.asarray(a.numpy())
    ours = jax.jit(lambda b: b @ b)
    fastest = float("inf")
    for product in (lambda: torch.matmul(a, a), lambda: ours(b).block_until_ready()):
        product()
        for _ in range(REPEATS):
            began = clock()
            product()
            fastest = min(fastest, clock() - began)
    return 2 * SIZE**3 / fastest


def mlp_gradient_flops(d: int, width: int, *, backward: float = 1.0) -> float:
    """Return the operations in the products of E and `backward` times as many again, of one event.

    E is a perceptron d-width-width-1: its gradient in x alone takes as many products as E itself,
    the gradient in the parameters with it twice as many.
    """
    return (1 + backward) * 2 * (d * width + width**2 + width)
