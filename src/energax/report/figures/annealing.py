"""Chains on their way from noise to samples, and their energy against temperature (slope d/2)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from energax.report.figures.planar import frame, scatter
from energax.report.figures.sheet import LABEL, Sheet, as_images, tiles
from energax.report.figures.style import WIDTH, Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["strip", "trace"]


def strip(found: Measurements, ink: Ink) -> Figure:
    """A few chains over time, noisy above, one jump on below: MDSM figure 3."""
    if found.image_shape is None:
        return _planar_strip(found, ink)
    t = found.trace
    assert t is not None
    noisy, clean = as_images(found, t.noisy), as_images(found, t.denoised)
    final = as_images(found, found.samples.data[: noisy.shape[1]])
    sheet = Sheet(ink)
    times = len(t.shown_steps)
    apart = 0.22  # between the chain and where it ended
    tile = (WIDTH - LABEL - apart) / (times + 1)
    for i in range(times):
        sheet.word(
            LABEL + (i + 0.46) * tile, 0.02, _moment(found, i), ha="center", fontsize=7.5, color=ink.muted
        )
    last = LABEL + times * tile + apart
    sheet.word(last + 0.46 * tile, 0.02, "sample", ha="center", fontsize=7.5, color=ink.accent)
    top = 0.24
    for chain in range(noisy.shape[1]):
        pair = np.stack([noisy[:, chain], clean[:, chain]])
        tall = sheet.picture(tiles(pair), LABEL, top, times * tile - 0.05)
        single = final[chain][None, None]
        sheet.picture(tiles(single), last, top + tall / 2, tile - 0.05)
        sheet.word(0, top + tall * 0.25, "noisy", va="center", color=ink.muted)
        sheet.word(0, top + tall * 0.75, "one jump on", va="center")
        top += tall + 0.16
    return sheet.figure(top - 0.16)


def _planar_strip(found: Measurements, ink: Ink) -> Figure:
    t = found.trace
    assert t is not None
    chosen = np.unique(np.linspace(0, len(t.shown_steps) - 1, 6).round().astype(int))
    figure = new_figure(3.4)
    axes = figure.subplots(2, len(chosen), sharex=True, sharey=True, squeeze=False)
    limits = frame(found, t.noisy[0])
    for column, at in enumerate(chosen):
        scatter(axes[0, column], t.noisy[at], ink.muted, size=4)
        scatter(axes[1, column], t.denoised[at], ink.accent, size=4)
        axes[0, column].set_title(_moment(found, at))
    axes[0, 0].set_ylabel("noisy")
    axes[1, 0].set_ylabel("one jump on")
    for ax in axes.ravel():
        ax.set(xlim=limits[0], ylim=limits[1])
        ax.xaxis.set_major_locator(MaxNLocator(3))
    return figure


def _moment(found: Measurements, at: int) -> str:
    t = found.trace
    assert t is not None
    temperature = t.temperature[np.searchsorted(t.steps, t.shown_steps[at])]
    value = f"{temperature:.0f}" if temperature >= 10 else f"{temperature:.2g}"
    annealed = np.ptp(found.protocol.temperatures) > 0
    return f"{found.protocol.symbol} = {value}" if annealed else f"step {t.shown_steps[at]:,}"


def trace(found: Measurements, ink: Ink) -> Figure:
    """Energy and temperature against step, and against one another."""
    t = found.trace
    assert t is not None
    anneals = np.isfinite(t.slope)
    figure = new_figure(2.6)
    axes = figure.subplots(1, 3 if anneals else 1, squeeze=False)[0]
    band = {"color": ink.accent, "alpha": 0.18, "linewidth": 0}
    axes[0].fill_between(t.steps, t.energy - t.spread, t.energy + t.spread, **band)
    axes[0].plot(t.steps, t.energy, color=ink.accent)
    axes[0].set(title="Energy, mean ± sd over chains", xlabel="step")
    if anneals:
        temperatures = found.protocol.temperatures
        axes[1].plot(np.arange(len(temperatures)), temperatures, color=ink.text)
        axes[1].set_yscale("symlog", linthresh=1.0, linscale=0.4)
        axes[1].yaxis.set_minor_locator(NullLocator())
        axes[1].set(title="Temperature T", xlabel="step")
        down = t.steps >= found.protocol.settled
        hot, energy = t.temperature[down], t.energy[down]
        axes[2].plot(hot, energy, color=ink.accent, marker="o", markersize=3, label="while annealing")
        axes[2].set_ylim(axes[2].get_ylim())
        rise = found.dimension / 2 * (hot - hot.max())
        axes[2].plot(hot, rise + energy[np.argmax(hot)], color=ink.text, ls="--", lw=1.1, label="slope d/2")
        axes[2].set(title="Energy against temperature", xlabel="T")
        axes[2].legend()
    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(5))
    return figure
