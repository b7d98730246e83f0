"""Loss against step, and against noise level beside that of the best linear denoiser."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.axes import log_if_wide, sigma_axis
from energax.report.figures.style import Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["losses"]


def losses(found: Measurements, ink: Ink) -> Figure:
    """Loss against step, and by noise level if the objective reports that."""
    t = found.training
    figure = new_figure(2.9)
    both = len(t.levels) > 0
    axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    left = axes[0]
    left.plot(t.steps, t.loss, color=ink.accent, label="training")
    if len(t.validation):
        held_out = {"color": ink.text, "marker": "o", "markersize": 4, "linestyle": "none"}
        left.plot(t.validation_steps, t.validation, **held_out, label="held out")
    log_if_wide(left, np.concatenate([t.loss, t.validation]))
    left.set(title="Loss", xlabel="step")
    left.legend()
    if both:
        right = axes[1]
        right.plot(t.levels, t.first, color=ink.muted, linestyle=":", label="at the start")
        right.plot(
            t.levels, t.linear, color=ink.text, linestyle="--", linewidth=1.1, label="best linear denoiser"
        )
        right.plot(t.levels, t.last, color=ink.accent, marker="o", markersize=3.5, label="at the end")
        sigma_axis(right, t.levels)
        log_if_wide(right, np.concatenate([t.first, t.last, t.linear]))
        right.set(title="Loss by noise level", xlabel="noise σ")
        right.legend()
    return figure
