"""One log-likelihood per row, of a noise-conditional model: normalised, unlike an energy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

from energax.checks import check, check_array, check_condition, check_integer
from energax.samplers import probability_flow_log_prob
from energax.tasks.generate import event_shape_of
from energax.tasks.rows import map_rows
from energax.typing import ArrayLike, Condition, Key, Model

__all__ = ["EXACT_TO", "Likelihood", "log_likelihood"]

EXACT_TO = 32  # coordinates: beyond, an exact trace costs many times what a few probes do
PROBES = 4
CHUNK = 64  # an ODE of hundreds of scores each: few rows should not wait for many copies


class Likelihood(NamedTuple):
    """What `log_likelihood` returns.

    Parameters
    ----------
    log_prob
        log p_{σ_min}(x) in nats, shape (n,).
    standard_error
        Of each row, from the spread of its probes; None where the trace is exact.
    """

    log_prob: np.ndarray
    standard_error: np.ndarray | None


def log_likelihood(
    model: Model,
    x: np.ndarray,
    *,
    sigma_min: float,
    sigma_max: float,
    probes: int | None = None,
    key: Key | None = None,
    condition: Condition | None = None,
    prior_mean: float | ArrayLike | None = None,
    prior_scale: float | None = None,
    event_shape: tuple[int, ...] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Likelihood:
    """Return log p_{σ_min}(x) of every row, by the probability flow (Song et al. 2021).

    Parameters
    ----------
    model
        A noise-conditional model, of energies or of scores.
    x
        Rows, shape (n, *event), in the units the model sees.
    sigma_min, sigma_max
        The ends of the ladder it was trained on. The density is that of data plus noise σ_min.
    probes
        How many probes a row's Hutchinson trace takes, 2 or more; 0 for the exact trace. If None,
        exact up to 32 coordinates, else 4.
    key
        Decides the probes, and is required with them.
    condition
        One condition per row.
    prior_mean, prior_scale
        Mean and standard deviation of the data per coordinate; the model's own if it has them
        (`NoiseConditional` does), else 0 and 1.
    event_shape
        Shape of one event, if the model does not say.
    progress
        Called as progress(rows done, rows).

    Returns
    -------
    Likelihood
        With a standard error where the trace is estimated.
    """
    owner = "log_likelihood"
    shape = event_shape_of(model, event_shape, owner)
    rows = check_array(owner, "x", x, event_shape=shape)
    condition = check_condition(owner, condition, len(rows))
    if probes is None:
        probes = 0 if math.prod(shape) <= EXACT_TO else PROBES
    check_integer(owner, "probes", probes, at_least=0)
    check(probes != 1, owner, "probes", "0 for the exact trace, or 2 and more for a standard error", probes)
    check(probes == 0 or key is not None, owner, "key", "given where the trace is estimated", None)
    mean = getattr(model, "mean", 0.0) if prior_mean is None else prior_mean
    scale = getattr(model, "scale", 1.0) if prior_scale is None else prior_scale

    def one(chunk):
        # Rows of different chunks have different probes: the chunk's first row numbers its key.
        inner, c, number = chunk
        found = probability_flow_log_prob(
            model,
            inner,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            condition=c,
            probes=probes or None,
            key=None if key is None else jax.random.fold_in(key, number[0]),
            per_probe=probes > 0,
            prior_mean=mean,
            prior_scale=scale,
        )
        if progress is not None:
            progress(min(int(number[0]) + CHUNK, len(rows)), len(rows))
        return found

    log_prob = map_rows(one, (rows, condition, np.arange(len(rows))), CHUNK)
    if probes == 0:
        return Likelihood(log_prob, None)
    return Likelihood(log_prob.mean(1), log_prob.std(1, ddof=1) / math.sqrt(probes))
