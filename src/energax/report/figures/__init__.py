"""The report's figures: one function each, from `Measurements` to a matplotlib figure.

No number is computed here beyond a histogram's bins. `style` holds the look and `encode` draws a
figure for both themes; `axes`, `planar` and `sheet` are what charts, points and pictures share;
every other file is one section of the page.
"""

from energax.report.figures.annealing import strip, trace
from energax.report.figures.denoising import denoised, denoising_error
from energax.report.figures.encode import Draw, Picture, encode
from energax.report.figures.energies import energies
from energax.report.figures.inpainting import inpainted
from energax.report.figures.neighbours import neighbour_distances, neighbours
from energax.report.figures.samples import columns, samples
from energax.report.figures.style import DARK, LIGHT
from energax.report.figures.training import losses

__all__ = [
    "DARK",
    "LIGHT",
    "Draw",
    "Picture",
    "columns",
    "denoised",
    "denoising_error",
    "encode",
    "energies",
    "inpainted",
    "losses",
    "neighbour_distances",
    "neighbours",
    "samples",
    "strip",
    "trace",
]
