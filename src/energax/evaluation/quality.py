"""What a measure of sample quality returns, and the sentence with which too few rows are told of."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Quality"]


class Quality(NamedTuple):
    """A number that says how near the law of samples is to that of reference rows, or how varied they are.

    Parameters
    ----------
    method
        What was computed.
    of
        What it was computed on. A Frechet distance of a small classifier's features is not one of
        Inception's, and the two must not be compared: so the name goes with the number.
    estimate
        Its value.
    standard_error
        Of the estimate; None where none is known.
    n
        Rows of the samples and of the reference (0 where there is none).
    status
        "ok", or what to be wary of.
    settings
        What was chosen on the way, and parts of the number.
    """

    method: str
    of: str
    estimate: float
    standard_error: float | None
    n: tuple[int, int]
    status: str
    settings: dict[str, object]

    @property
    def name(self) -> str:
        """The number's full name."""
        return f"{self.method} of {self.of}"
