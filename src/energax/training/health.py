"""What goes wrong with a fit, named: never masked, never repaired in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energax.training.fit import Fit

__all__ = ["DivergenceError", "first_non_finite"]

WATCHED = ("loss", "gradient_norm")


class DivergenceError(ArithmeticError):
    """A fit that met a non-finite value and stopped before applying it.

    Parameters
    ----------
    step
        The step that failed; `step` updates had been made.
    quantity
        Which quantity was not finite, and its value.
    checkpoint
        The newest whole checkpoint (a step), or None.
    fit
        The fit as it stood after the last healthy step.
    """

    def __init__(self, step: int, quantity: str, value: float, checkpoint: int | None, where: str, fit: Fit):
        self.step, self.quantity, self.value = step, quantity, value
        self.checkpoint, self.fit = checkpoint, fit
        kept = (
            f"the last good checkpoint is of step {checkpoint} in {where}"
            if checkpoint is not None
            else "no checkpoint had been written"
        )
        super().__init__(
            f"fit: the {quantity.replace('_', ' ')} became {value} at step {step} and the update was not "
            f"applied; {kept}. A smaller learning rate or clipping the gradient (clip=1) often helps."
        )


def first_non_finite(metrics: dict[str, float]) -> tuple[str, float] | None:
    """Return the first watched metric that is not finite, with its value."""
    import math

    for name in WATCHED:
        if not math.isfinite(metrics[name]):
            return name, metrics[name]
    return None
