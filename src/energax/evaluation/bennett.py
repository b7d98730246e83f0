r"""Bennett's acceptance ratio: log Z from work done in both directions.

Let w be log weights of the forward annealing, n of them, and u those of its reversal in time, m of them, the
same function of a path. Crooks: the density of u is that of w times e^{w−c}, c = log Z − log Z_0. So of
a weight of unknown origin P(forward | w) = σ(log(n/m) + c − w), a logistic regression with one unknown. Its
likelihood is greatest where

    Σ_i σ(w_i − c − log(n/m)) = Σ_j σ(c + log(n/m) − u_j),

and c has, f and g being the terms of the two sums, the variance

    (mean f²/(mean f)² − 1)/n + (mean g²/(mean g)² − 1)/m.

Among all estimates from the two samples it has the least asymptotic variance.

Sources: Bennett (1976); Shirts, Bair, Hooker & Pande (2003) for the likelihood.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.special

from energax.checks import check
from energax.typing import ArrayLike

__all__ = ["Bennett", "bennett_acceptance_ratio"]


class Bennett(NamedTuple):
    """What `bennett_acceptance_ratio` returns.

    Parameters
    ----------
    estimate
        c, the log of the ratio of the two normalisers.
    standard_error
        Of the estimate, by the delta method.
    """

    estimate: float
    standard_error: float


def bennett_acceptance_ratio(forward: ArrayLike, reverse: ArrayLike) -> Bennett:
    """Return log Z − log Z_0 from log weights of both directions.

    Parameters
    ----------
    forward
        w, of paths from the base, E[e^w] = Z/Z_0.
    reverse
        u, of paths from the model, E[e^{−u}] = Z_0/Z.

    Raises
    ------
    InputError
        If there are fewer than two of either, or one is not finite.
    """
    owner = "bennett_acceptance_ratio"
    w, u = (np.asarray(a, np.float64).ravel() for a in (forward, reverse))
    for name, values in (("forward", w), ("reverse", u)):
        check(len(values) > 1, owner, name, "two or more log weights", len(values))
        bad = int(np.sum(~np.isfinite(values)))
        check(bad == 0, owner, name, "finite log weights", f"{bad} of {len(values)} that are not")
    ratio = math.log(len(w) / len(u))

    def terms(c):
        return scipy.special.log_expit(w - c - ratio), scipy.special.log_expit(c + ratio - u)

    def excess(c):
        f, g = terms(c)
        return scipy.special.logsumexp(f) - scipy.special.logsumexp(g)

    both = np.concatenate([w, u])
    # Beyond these all of one sum is less than all of the other, whatever the weights.
    reach = 2 + abs(ratio) + math.log(len(both))
    low, high = both.min() - reach, both.max() + reach
    c: float = scipy.optimize.brentq(excess, low, high, xtol=1e-10)  # pyright: ignore[reportAssignmentType]
    variance = sum(_relative_variance(a) / len(a) for a in terms(c))
    return Bennett(c, math.sqrt(variance))


def _relative_variance(log_terms: np.ndarray) -> float:
    """Return the variance of terms over their squared mean, n − 1 in the denominator."""
    terms = np.exp(log_terms - log_terms.max())
    return float(terms.var(ddof=1) / terms.mean() ** 2)
