"""Held-out rows before and after one jump, and its error against noise level beside Wiener's."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from energax.report.figures.axes import few_log_ticks, sigma_axis
from energax.report.figures.planar import frame, scatter
from energax.report.figures.sheet import LABEL, Sheet, as_images, tiles
from energax.report.figures.style import WIDTH, Ink, new_figure
from energax.report.measure import Measurements

__all__ = ["denoised", "denoising_error"]


def denoised(found: Measurements, ink: Ink) -> Figure:
    """Held-out rows clean, noisy and denoised at a few noise levels."""
    if found.image_shape is None:
        return _planar_denoised(found, ink)
    d = found.denoising
    assert d is not None
    clean, noisy, out = (as_images(found, rows) for rows in (d.clean, d.clean_noisy, d.clean_denoised))
    sheet = Sheet(ink)
    apart = 0.3
    width = (WIDTH - LABEL - apart) / 2
    top = 0.0
    for first in range(0, len(d.shown), 2):
        tall = 0.0
        for place in range(min(2, len(d.shown) - first)):
            i = first + place
            left = LABEL + place * (width + apart)
            sheet.word(left, top + 0.02, f"σ = {d.shown[i]:.2g}")
            tall = sheet.picture(tiles(np.stack([clean, noisy[i], out[i]])), left, top + 0.26, width)
        for row, name in enumerate(("clean", "noisy", "denoised")):
            color = ink.text if row == 2 else ink.muted
            sheet.word(0, top + 0.26 + tall * (row + 0.5) / 3, name, va="center", color=color)
        top += 0.26 + tall + 0.22
    return sheet.figure(top - 0.22)


def _planar_denoised(found: Measurements, ink: Ink) -> Figure:
    d = found.denoising
    assert d is not None
    figure = new_figure(4.6)
    axes = figure.subplots(2, len(d.shown), sharex=True, sharey=True, squeeze=False)
    limits = frame(found)
    for i, sigma in enumerate(d.shown):
        scatter(axes[0, i], d.clean_noisy[i], ink.muted, size=4)
        scatter(axes[1, i], d.clean, ink.text, size=4, alpha=0.3)
        scatter(axes[1, i], d.clean_denoised[i], ink.accent, size=4)
        axes[0, i].set_title(f"σ = {sigma:.2g}")
    for ax in axes.ravel():
        ax.set(xlim=limits[0], ylim=limits[1])
    axes[0, 0].set_ylabel("noisy")
    axes[1, 0].set_ylabel("denoised (grey: clean)")
    return figure


def denoising_error(found: Measurements, ink: Ink) -> Figure:
    """Error against noise level; the model's as a share of the linear denoiser's."""
    d = found.denoising
    assert d is not None
    figure = new_figure(2.9)
    left, right = figure.subplots(1, 2)
    left.plot(d.sigmas, d.noisy, color=ink.muted, linestyle=":", label="noisy input")
    left.plot(d.sigmas, d.linear, color=ink.text, linestyle="--", linewidth=1.1, label="best linear denoiser")
    left.plot(d.sigmas, d.model, color=ink.accent, marker="o", markersize=3.5, label="one jump of the model")
    left.set_yscale("log")
    few_log_ticks(left, np.concatenate([d.noisy, d.linear, d.model]))
    left.set(title="RMSE per coordinate, held-out rows", xlabel="noise σ")
    left.legend()
    ratio, error = d.ratio, 1.96 * d.ratio_error
    right.axhline(1, color=ink.text, linestyle="--", linewidth=1.1)
    right.fill_between(d.sigmas, ratio - error, ratio + error, color=ink.accent, alpha=0.18, linewidth=0)
    right.plot(d.sigmas, ratio, color=ink.accent, marker="o", markersize=3.5)
    right.set(title="Model ÷ linear (below 1: the model is better)", xlabel="noise σ")
    for ax in (left, right):
        sigma_axis(ax, d.sigmas)
        if found.protocol.way.sigmas == (found.protocol.sigma_0,) * 2:
            ax.axvline(found.protocol.sigma_0, color=ink.muted, linewidth=0.8)
    return figure
