r"""Draws of a Markov chain, as rows that a test may take for independent.

A test of fit counts rows; a chain of N draws with effective sample size ESS is worth ESS of them, and a
test that takes them for N rejects a sampler that is right. Of each chain every k-th draw is kept,

    k = ⌈2 N/ESS⌉,      ESS the least over the coordinates and their squared distances from the mean:

for an autocorrelation ρᵗ, N/ESS = (1 + ρ)/(1 − ρ) and neighbours that are kept have one below e^{−4}. With
N/ESS < 1.2 all are kept: so much is within the error of an estimated ESS.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from energax.checks import InputError, check
from energax.samplers import diagnostics
from energax.typing import Float

__all__ = ["is_posterior", "posterior_rows", "read_inference_data"]

NEAR = 1.2  # N/ESS that passes for 1


def is_posterior(source: Any) -> bool:
    """Whether this is ArviZ's `InferenceData` with a posterior."""
    return hasattr(source, "posterior")


def posterior_rows(source: Any) -> tuple[Float[np.ndarray, "n d"], np.ndarray]:
    """Return all draws as rows, chain after chain, and the indices of those to be tested.

    Parameters
    ----------
    source
        `InferenceData` with a posterior. A row is all its variables in their order, flattened: what the
        log-density must take, on the scale on which the sampler's density is one over all of ℝᵈ.

    Raises
    ------
    InputError
        If draws are not finite, or a coordinate never moved.
    """
    owner = "posterior_rows"
    variables = {str(name): np.asarray(value) for name, value in source.posterior.data_vars.items()}
    check(variables, owner, "posterior", "one with variables", "none")
    real = [name for name, value in variables.items() if value.dtype.kind in "fiu"]
    rest = sorted(set(variables) - set(real))
    check(not rest, owner, "posterior", "of real variables", f"{', '.join(rest)} of another type")
    flat = [value.reshape(*value.shape[:2], -1).astype(np.float32) for value in variables.values()]
    chains = np.concatenate(flat, axis=-1)
    check(np.isfinite(chains).all(), owner, "posterior", "of finite draws", "some that are not")
    count = chains.shape[0] * chains.shape[1]
    from_mean = (chains - chains.mean((0, 1))) ** 2
    least = min(float(np.min(diagnostics.ess(a))) for a in (chains, from_mean))
    check(least > 0, owner, "posterior", "of draws that move in every coordinate", "one that never did")
    step = math.ceil(2 * count / least) if count / least > NEAR else 1
    kept = np.arange(count).reshape(chains.shape[:2])[:, ::step].ravel()
    return chains.reshape(count, -1), kept


def read_inference_data(path: str | Path) -> Any:
    """Return ArviZ's `InferenceData` of a NetCDF file (the extra `energax[arviz]`).

    Raises
    ------
    InputError
        If ArviZ is not there, or the file is not one of its own with a posterior.
    """
    owner = "read_inference_data"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version
            import arviz
    except ImportError:
        raise InputError(f"{owner}: ArviZ is an extra: pip install 'energax[arviz]'.") from None
    try:
        data = arviz.from_netcdf(str(path))
    except (OSError, ValueError) as error:
        got = type(error).__name__
        raise InputError(f"{owner}: {Path(path).name} must be a NetCDF file of ArviZ's; got {got}.") from None
    check(is_posterior(data), owner, Path(path).name, "InferenceData with a posterior", f"{data.groups()}")
    return data
