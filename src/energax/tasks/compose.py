r"""Models made of models: products, and temperature.

    E(x) = (1/T) Σ_k w_k E_k(x)            p ∝ (Π_k p_k^{w_k})^{1/T}

A product of densities is high where all of them are ("and"); w_k > 1 makes a model's say stronger, T < 1
sharpens the whole. No log Z of any part is needed (Song & Kingma 2021, §1).
"""

from __future__ import annotations

from collections.abc import Sequence

from energax.checks import check, check_number
from energax.derivatives import Score
from energax.energies import Energy, Sum, Tempered

__all__ = ["compose"]


def compose(
    energies: Sequence[Energy], weights: Sequence[float] | None = None, *, temperature: float = 1.0
) -> Energy:
    """Return the energy (1/T) Σ_k w_k E_k(x).

    Parameters
    ----------
    energies
        Of events of one shape, in the same units.
    weights
        w_k > 0; all 1 if None.
    temperature
        T > 0.

    Raises
    ------
    InputError
        For vector fields, noise-conditional models, events of several shapes, weights that do not fit.
    """
    owner = "compose"
    parts = list(energies)
    check(len(parts) > 0, owner, "energies", "at least one", "none")
    for part in parts:
        field = isinstance(part, Score) or hasattr(part, "at")
        check(not field, owner, "energies", "energies of the event alone", type(part).__name__)
    given = [1.0] * len(parts) if weights is None else list(weights)
    check(len(given) == len(parts), owner, "weights", f"{len(parts)} numbers, one a model", f"{len(given)}")
    for weight in given:
        check_number(owner, "weights", weight, above=0)
    check_number(owner, "temperature", temperature, above=0)
    scales = [temperature / weight for weight in given]
    tempered = [e if scale == 1 else Tempered(e, scale) for e, scale in zip(parts, scales, strict=True)]
    return tempered[0] if len(tempered) == 1 else Sum(tempered)
