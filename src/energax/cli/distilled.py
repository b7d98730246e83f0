"""What is known of a generator that `energax distil` made: kept in run.json and in the model file.

Free of JAX, so that `energax info` need not load it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from energax.checks import InputError

__all__ = ["Distilled"]

ENTRY = "distilled"


@dataclass(frozen=True)
class Distilled:
    """How a generator was made, and how it was judged.

    Parameters
    ----------
    run
        The run whose energy its draws are to have.
    method
        "fisher" or "kernel".
    steps, batch_size, learning_rate, seed
        Of its training.
    latent, width
        Of the network.
    bandwidth
        Of the kernels of its training and its test, in the units the model sees.
    draws
        That were judged.
    discrepancy, before
        KSD² of them, and of as many draws of the untrained network.
    p_value
        Of the kernel Stein test.
    """

    run: str
    method: str
    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    latent: int
    width: int
    bandwidth: float
    draws: int
    discrepancy: float
    before: float
    p_value: float

    @classmethod
    def of(cls, facts: Mapping[str, Any], where: str) -> Distilled | None:
        """Return what the facts of a run say, or None of a run that is no generator.

        Raises
        ------
        InputError
            If the entry is not what `energax distil` writes.
        """
        if facts.get(ENTRY) is None:
            return None
        try:
            return cls(**facts[ENTRY])
        except TypeError as error:
            raise InputError(f"{where} is damaged: its entry {ENTRY!r} does not fit ({error}).") from None

    def told(self) -> dict[str, str]:
        """Return the lines that `energax info` shows."""
        return {
            "distilled": f"by {self.method}, {self.latent} latents through layers of {self.width}",
            "steps": f"{self.steps:,}, batches of {self.batch_size}, learning rate {self.learning_rate:g}",
            "judged": self.judgement,
        }

    @property
    def judgement(self) -> str:
        """What the kernel Stein test said."""
        return (
            f"KSD² {self.discrepancy:.3g} (untrained {self.before:.3g}), p-value {self.p_value:.3g}, "
            f"by {self.draws:,} fresh draws"
        )
