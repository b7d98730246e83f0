r"""Training by the kernel Stein discrepancy: the model whose Stein kernel has the least mean on the data.

    J(θ) = Σ_{i≠j} H_θ(x_i, x_j) / n(n − 1),      E J = KSD²(p ‖ p_θ) ≥ 0

with the Stein kernel H_θ of the model's score (`energax.stein`). No sampler, no normaliser, one derivative
in x; what the kernel does not see, this loss does not either. Barp et al. (2019); Liu & Wang (2017).

The diagonal is left out: with it the mean is larger by E[H(x, x)]/n, which depends on θ (‖s_θ‖² enters
it) and moves the minimum by O(1/n) of a minibatch.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.core import Tracer

from energax.checks import check, check_choice, check_number
from energax.derivatives import score
from energax.kernels import NAMES, kernel_named, median_bandwidth
from energax.objectives.base import Batch, Objective
from energax.objectives.requirements import WALLED, require_array, require_continuous, require_no_edge
from energax.objectives.targets import Density
from energax.stein import stein_kernel
from energax.typing import Array, Key, Metrics, Model, Scalar

__all__ = ["KernelSteinDiscrepancy"]


class KernelSteinDiscrepancy(Objective):
    """J = mean of H_θ over pairs of different rows of the minibatch.

    Minimiser: the density. Cost: the square of the minibatch, in products of matrices.

    Parameters
    ----------
    kernel
        "imq" or "rbf".
    bandwidth
        In the units the model sees; the median distance between rows of the data if None.
    """

    bandwidth: Array | None
    kernel: str = eqx.field(static=True)

    def __init__(self, kernel: str = "imq", bandwidth: float | None = None):
        owner = "KernelSteinDiscrepancy"
        self.kernel = check_choice(owner, "kernel", kernel, NAMES)
        if bandwidth is not None:
            bandwidth = check_number(owner, "bandwidth", bandwidth, above=0)
        self.bandwidth = None if bandwidth is None else jnp.asarray(bandwidth)

    @property
    def target(self) -> Density:
        """The density of the data."""
        return Density()

    def init(self, model: Model, data: Batch, key: Key, rows: int) -> tuple[Any, Any]:
        """Return (None, the bandwidth), from the data where it is not given; refuse batches of one row."""
        owner = type(self).__name__
        require_array(owner, data.x)
        check(rows > 1, owner, "batch_size", "at least 2, for pairs", rows)
        require_continuous(owner, data.x, "RatioMatching or MinimumProbabilityFlow")
        require_no_edge(owner, "model", model, data.x, data.condition, instead=WALLED)
        if self.bandwidth is not None:
            return None, None
        if isinstance(data.x, Tracer):  # a dry run of shapes
            return None, jnp.ones(())
        return None, jnp.asarray(median_bandwidth(data.x.reshape(len(data), -1), key), jnp.float32)

    def loss(self, model: Model, nuisance: Any, state: Any, batch: Batch, key: Key) -> tuple[Scalar, Metrics]:
        """Return the mean over pairs of different rows."""
        n = len(batch)
        s = jax.vmap(lambda x, c: score(model, x, c))(batch.x, batch.condition).reshape(n, -1)
        x = batch.x.reshape(n, -1)
        kernel = kernel_named(self.kernel, state if self.bandwidth is None else self.bandwidth)
        H = stein_kernel(kernel, x, s, x, s)
        return (jnp.sum(H) - jnp.trace(H)) / (n * (n - 1)), {}
