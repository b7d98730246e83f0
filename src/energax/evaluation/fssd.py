r"""The finite-set Stein discrepancy: where the sample does not fit, in time linear in n.

With J locations v_j, and for each row the d·J features

    τ(x) = [s(x) k(x, v_j) + ∇_x k(x, v_j)]_j / √(dJ),

of mean zero under the model,

    FSSD² = ‖E τ‖²,  unbiased: n/(n−1) ‖τ̄‖² − mean ‖τ‖²/(n−1).

Under the model n·FSSD² tends to Σ_i λ_i (χ²_1 − 1), λ the eigenvalues of cov τ; under an alternative
√n (FSSD² − its mean) is normal with variance 4 [mean (τ·τ̄)² − ‖τ̄‖⁴]. Jitkrittum et al. (2017).
Locations and bandwidth are drawn from a Gaussian fitted to the rows with the median distance, or
chosen on a fifth of the rows for FSSD² over the root of that variance, which power grows with.

Two things make the test reject less often than it says. With more features than rows their covariance is
poorly known. And locations that were chosen where there is no misfit may lie where the features of a few rows
outweigh all others: then the rows count as

    (Σ ‖τ‖²)² / Σ ‖τ‖⁴,    n if all are of one size, 1 if one decides,

and sums of so few are far from normal. The status says both.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize
from threadpoolctl import threadpool_limits

from energax.checks import check, check_integer, check_number
from energax.evaluation.result import FEW_DECIDE, TestResult, bootstrap_p_value, effective_rows
from energax.evaluation.scores import sample_and_scores
from energax.kernels import Kernel, kernel_named, median_bandwidth, squared_distances
from energax.typing import Array, ArrayLike, Float, Key, Model

__all__ = ["fssd_test", "located", "row_means"]

SHARE = 0.2
THIN = 1e-6  # of a variance: what is added to it, that rows in a plane have a Cholesky factor, too
SMALL = 1e-2  # beside the variance of the alternative, Jitkrittum et al.'s
ITERATIONS = 40
AT_ONCE = 2**20  # features of rows in memory
REACH = 10.0  # standard deviations beyond the rows where a location may go


def fssd_test(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    locations: int = 5,
    optimise: bool = True,
    kernel: str = "rbf",
    bandwidth: str | float | None = None,
    draws: int = 2000,
    key: Key,
) -> TestResult:
    """Test whether x are independent draws of the model, at a few locations.

    Parameters
    ----------
    x, model, scores
        Those of `ksd_test`.
    locations
        J.
    optimise
        Choose locations and bandwidth on a fifth of the rows and test on the rest; else draw them. The search
        is not free of units: rows of another scale than about one are better divided by it (and their scores
        multiplied), or it finds little. The level is kept all the same.
    kernel
        "rbf" or "imq".
    bandwidth
        With `optimise` "power": it is chosen together with the locations. Without, "median" or a number.
    draws
        Of the null law.
    key
        Decides the locations, the split and the null's draws.

    Returns
    -------
    TestResult
        Its settings hold the `locations`, shape (J, d), where the fit was looked at.
    """
    owner = "fssd_test"
    check_integer(owner, "draws", draws, at_least=1)
    width, places, rows, s = located(owner, x, model, scores, locations, optimise, kernel, bandwidth, key)
    null_key = _keys(key)[-1]
    n, features = len(rows), places.size
    unbiased, eigenvalues, deciding = _moments(kernel_named(kernel, width), places, rows, s)
    value = n * unbiased
    chi = np.asarray(jax.random.normal(null_key, (draws, len(eigenvalues))), np.float64) ** 2
    null = (chi - 1) @ eigenvalues
    return TestResult(
        method="fssd (optimised)" if optimise else "fssd (random)",
        statistic=float(value),
        p_value=bootstrap_p_value(value, null),
        null=f"weighted χ², {draws} draws",
        status=_status(deciding, features),
        n=n,
        settings={
            "kernel": kernel,
            "bandwidth": float(width),
            "locations": places,
            "discrepancy": float(value) / n,
        },
    )


def located(
    owner: str,
    x: ArrayLike,
    model: Model | None,
    scores: ArrayLike | None,
    locations: int,
    optimise: bool,
    kernel: str,
    bandwidth: str | float | None,
    key: Key,
) -> tuple[float, Float[np.ndarray, "J d"], Float[np.ndarray, "n d"], Float[np.ndarray, "n d"]]:
    """Return the bandwidth and the locations, and the rows left to look at there, with their scores."""
    check_integer(owner, "locations", locations, at_least=1)
    given = _given_width(owner, bandwidth, optimise)
    rows, s = sample_and_scores(owner, x, model, scores)
    place_key, split_key, median_key, _ = _keys(key)
    chosen = rows
    if optimise:
        order = np.asarray(jax.random.permutation(split_key, len(rows)))
        held = int(SHARE * len(rows))
        check(held >= 8, owner, "x", "at least 40 rows, of which a fifth chooses the locations", len(rows))
        chosen, chosen_s = rows[order[:held]], s[order[:held]]
        rows, s = rows[order[held:]], s[order[held:]]
    noise = np.asarray(jax.random.normal(place_key, (locations, chosen.shape[1])))
    places = (chosen.mean(0) + noise @ _factor(chosen).T).astype(np.float32)
    width = median_bandwidth(chosen, median_key) if given is None else given
    if optimise:
        width, places = _optimised(kernel, width, places, chosen, chosen_s)
    return width, places, rows, s


def _factor(rows: np.ndarray) -> Float[np.ndarray, "d d"]:
    """Return the Cholesky factor of the rows' covariance, each variance raised by a millionth of itself."""
    cov = np.atleast_2d(np.cov(rows.T))
    variances = np.diag(cov)
    added = np.where(variances > 0, variances, variances.mean() or 1.0)
    return np.linalg.cholesky(cov + THIN * np.diag(added))


def row_means(kernel: Kernel, places: np.ndarray, x: np.ndarray, s: np.ndarray) -> Float[np.ndarray, " n"]:
    """Return Σ_{j≠i} τ_i·τ_j/(n − 1) of each row, of mean FSSD² without bias, in float64."""
    total = sum(tau.sum(0) for tau in _taus(kernel, places, x, s))
    parts = [tau @ total - np.sum(tau**2, 1) for tau in _taus(kernel, places, x, s)]
    return np.concatenate(parts) / (len(x) - 1)


def _keys(key: Key) -> Key:
    """Return what decides the locations, the split, the median's rows and the null's draws."""
    return jax.random.split(key, 4)


def _given_width(owner: str, bandwidth: str | float | None, optimise: bool) -> float | None:
    """Return the bandwidth if it is a number, and refuse what cannot be had."""
    if optimise:
        allowed = "left out or 'power' with optimise=True, which chooses it with the locations"
        check(bandwidth is None or bandwidth == "power", owner, "bandwidth", allowed, repr(bandwidth))
        return None
    if isinstance(bandwidth, str):
        allowed = "'median' or a number with optimise=False: no rows are held out to choose it on"
        check(bandwidth == "median", owner, "bandwidth", allowed, repr(bandwidth))
    if bandwidth is None or isinstance(bandwidth, str):
        return None
    return check_number(owner, "bandwidth", bandwidth, above=0)


def _status(deciding: np.ndarray, features: int) -> str:
    """Return what the squares ‖τ‖² of the rows tell of the level."""
    n = len(deciding)
    if n < features:
        return f"conservative: {n} rows for {features} features"
    counted = effective_rows(deciding)
    few = f"conservative: at the locations {n} rows count as {counted:.0f}"
    return "ok" if counted >= FEW_DECIDE else few


def _moments(
    kernel: Kernel, places: np.ndarray, x: np.ndarray, s: np.ndarray
) -> tuple[float, Float[np.ndarray, " k"], Float[np.ndarray, " n"]]:
    """Return the unbiased ‖E τ‖², the eigenvalues of cov τ that may differ from 0, and each ‖τ‖².

    τ is read twice, for of a covariance about a known mean every digit is good.
    """
    n, features = len(x), places.size
    total, squares = np.zeros(features), []
    for tau in _taus(kernel, places, x, s):
        total += tau.sum(0)
        squares.append(np.sum(tau**2, 1))
    mean, square = total / n, np.concatenate(squares)
    unbiased = float(n / (n - 1) * mean @ mean - square.mean() / (n - 1))
    if n < features:  # then the rows' products are the smaller matrix, and all τ no larger than the other
        centred = np.concatenate(list(_taus(kernel, places, x, s))) - mean
        gram = centred @ centred.T
    else:
        gram = sum((tau - mean).T @ (tau - mean) for tau in _taus(kernel, places, x, s))
    # Threads meet a thousand times on the way to eigenvalues, and beside other jobs wait each time.
    with threadpool_limits(1, user_api="blas"):
        eigenvalues = scipy.linalg.eigvalsh(gram)
    return unbiased, np.maximum(eigenvalues, 0) / n, square


def _taus(kernel: Kernel, places: np.ndarray, x: np.ndarray, s: np.ndarray) -> Iterator[np.ndarray]:
    """Yield τ of some rows at a time, in float64: it is never whole."""
    size = max(1, AT_ONCE // places.size)
    for i in range(0, len(x), size):
        tau = _features(kernel, places, jnp.asarray(x[i : i + size]), jnp.asarray(s[i : i + size]))
        yield np.asarray(tau, np.float64)


@jax.jit
def _features(kernel: Kernel, places: Float[Array, "J d"], x: Array, s: Array) -> Float[Array, "n dJ"]:
    """Return τ of each row."""
    k, first, _ = kernel.profile(squared_distances(x, places))
    gradient = 2 * first[:, :, None] * (x[:, None] - places)
    tau = s[:, None] * k[:, :, None] + gradient
    return tau.reshape(len(x), -1) / jnp.sqrt(places.size)


@partial(jax.jit, static_argnames=("kernel", "shape"))
@jax.value_and_grad
def _misfit(values: Array, x: Array, s: Array, kernel: str, shape: tuple[int, int]) -> Array:
    """Return −FSSD²/√(variance) of the rows at (log bandwidth, locations)."""
    tau = _features(kernel_named(kernel, jnp.exp(values[0])), values[1:].reshape(shape), x, s)
    mean, n = tau.mean(0), len(x)
    unbiased = n / (n - 1) * mean @ mean - jnp.mean(jnp.sum(tau**2, 1)) / (n - 1)
    variance = 4 * (jnp.mean((tau @ mean) ** 2) - (mean @ mean) ** 2)
    return -unbiased / jnp.sqrt(jnp.maximum(variance, 0) + SMALL)


def _optimised(
    kernel: str, width: float, places: np.ndarray, x: np.ndarray, s: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return bandwidth and locations of largest FSSD²/√(variance) on the held-out rows, from those given."""
    rows, scores = jnp.asarray(x), jnp.asarray(s)
    shape = places.shape

    def in_double(values):
        found = _misfit(jnp.asarray(values, jnp.float32), rows, scores, kernel, shape)
        return tuple(np.asarray(a, np.float64) for a in found)

    low, high = (x.mean(0) + sign * REACH * x.std(0) for sign in (-1, 1))
    bounds = [
        (np.log(width / 16), np.log(width * 16)),
        *zip(np.tile(low, len(places)), np.tile(high, len(places)), strict=True),
    ]
    tries = [np.concatenate([[np.log(width * f)], places.ravel()]) for f in 2.0 ** np.linspace(-3, 3, 5)]
    start = min(tries, key=lambda t: in_double(t)[0])
    options = {"maxiter": ITERATIONS}
    end = scipy.optimize.minimize(
        in_double, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options
    ).x
    return float(np.exp(end[0])), end[1:].reshape(shape).astype(np.float32)
