"""Mean log p of rows under a model whose log Z is only known to lie between two ends.

With U the mean of log p̃(x), a log-density that lacks log Z, or of a lower bound of one,

    U − upper ≤ mean log p(x) ≤ U − lower.

The lower end of log Z is on its side however short the chains were, so that the likelihood said here is never
less than what it is by more than chance. The upper end comes from chains that began at data: where the model
has mass elsewhere it is too low, and the least likelihood too high (`evaluation.partition`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from energax.evaluation import LogNormalizerEstimate

__all__ = ["Bracketed", "ends"]


class Bracketed(NamedTuple):
    """Mean log p in nats, between two ends.

    Parameters
    ----------
    least, most
        The ends.
    estimate, standard_error
        With Bennett's log Z, and what that is uncertain by.
    width
        Nats between the ends of log Z; negative where they cross.
    converged, status
        What is said of log Z.
    """

    least: float
    most: float
    estimate: float
    standard_error: float
    width: float
    converged: bool
    status: str

    @classmethod
    def of(cls, unnormalised: float, found: LogNormalizerEstimate) -> Bracketed:
        """Return U − log Z with the ends of log Z."""
        return cls(
            unnormalised - found.upper,
            unnormalised - found.lower,
            unnormalised - found.estimate,
            found.standard_error,
            found.upper - found.lower,
            found.converged,
            found.status,
        )

    def __str__(self) -> str:
        """Both ends; the upper one alone where they cross, since the other is then known to be wrong."""
        if self.width < 0:
            return f"at most {self.most:.2f}"
        return f"{self.least:.2f} to {self.most:.2f}"


def ends(found: Mapping[str, Bracketed]) -> str:
    """Return each case's ends and what is said of its log Z, once where it is the same of all."""
    said = {b.status for b in found.values()}
    if len(found) > 1 and len(said) == 1:
        return f"{', '.join(f'{case} {b}' for case, b in found.items())}; log Z of each {said.pop()}"
    return "; ".join(f"{case} {b}, log Z {b.status}" for case, b in found.items())
