"""A figure drawn once in ink for a light page and once for a dark one, as PNG data addresses.

A PNG has two pixels for each of the page's. Figures are made through matplotlib's objects, since
`pyplot` keeps global state.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from energax.report.figures.style import DARK, LIGHT, Ink, style
from energax.report.measure import Measurements

__all__ = ["Draw", "Picture", "encode"]

DPI = 200


@dataclass(frozen=True)
class Picture:
    """A figure as the page embeds it.

    Parameters
    ----------
    light, dark
        PNG data addresses, one for each theme.
    width, height
        Size on the page, in its pixels.
    """

    light: str
    dark: str
    width: int
    height: int


Draw = Callable[[Measurements, Ink], Figure]
T = TypeVar("T")


def encode(draw: Callable[[T, Ink], Figure], found: T) -> Picture:
    """Draw a figure of what was found in both themes."""
    addresses: dict[str, str] = {}
    width = height = 0.0
    for theme, ink in (("light", LIGHT), ("dark", DARK)):
        with matplotlib.rc_context(style(ink)):
            figure = draw(found, ink)
            stream = io.BytesIO()
            FigureCanvasAgg(figure)
            figure.savefig(stream, format="png", dpi=DPI, transparent=True, metadata={"Software": None})
        addresses[theme] = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
        width, height = figure.get_size_inches()
    return Picture(**addresses, width=round(100 * width), height=round(100 * height))
