"""Log weights of chains both ways around log Z, and log-densities of rows held out."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from energax.evaluation import LogNormalizerEstimate
from energax.report.figures.style import Ink, new_figure

__all__ = ["likelihood"]

BINS = 24


def likelihood(found: LogNormalizerEstimate | None, log_density: np.ndarray, ink: Ink) -> Figure:
    """Return the picture of log Z between its ends and of normalised log-densities.

    Parameters
    ----------
    found
        log Z; the left half is left out where it took no chains, or is None.
    log_density
        In nats, of rows held out.
    """
    annealed = found is not None and found.work[0].size > 0
    figure = new_figure(3.0 if annealed else 2.6)
    axes = figure.subplots(1, 2 if annealed else 1, squeeze=False)[0]
    if found is not None and annealed:
        both = np.concatenate(found.work)
        edges = np.linspace(both.min(), both.max() + 1e-6, BINS + 1)
        names = "forward, from the base", "in reverse, from data or draws"
        for work, name, colour in zip(found.work, names, (ink.accent, ink.muted), strict=True):
            axes[0].hist(work, edges, color=colour, alpha=0.6, label=name)
        axes[0].axvspan(
            found.lower, found.upper, color=ink.text, alpha=0.15, linewidth=0, label="between the ends"
        )
        axes[0].axvline(found.estimate, color=ink.text, lw=1.1, label="Bennett's estimate of log Z")
        axes[0].set(title="log Z₀ + log weight of each chain", xlabel="nats")
        axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    axes[-1].hist(log_density, BINS, color=ink.accent, alpha=0.8)
    axes[-1].axvline(float(np.mean(log_density)), color=ink.text, lw=1.1, label="mean")
    axes[-1].set(title="log p(x) of rows held out", xlabel="nats, in the data's units")
    axes[-1].legend()
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(6))
        ax.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return figure
