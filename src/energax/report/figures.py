"""The report's figures: one function each, from `Measurements` to a matplotlib figure.

No number is computed here beyond a histogram's bins. Figures are made through matplotlib's
objects (`pyplot` keeps global state), in one style that is applied by `encode` around the
drawing and nowhere else. A figure is drawn once in ink for a light page and once for a dark
one, on no background, and becomes a PNG of two pixels for each of the page's.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter, NullLocator

from energax.report.measure import Inpainting, Measurements

__all__ = [
    "DARK",
    "LIGHT",
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

WIDTH = 9.2  # inches; the page shows 100 of its pixels to an inch
DPI = 200
LABEL = 0.86  # inches kept at the left of rows of pictures for their names


@dataclass(frozen=True)
class Ink:
    """The colours of one theme: one accent, and three strengths of grey."""

    text: str
    muted: str
    faint: str
    paper: str
    accent: str


LIGHT = Ink(text="#23272d", muted="#757d88", faint="#d9dce0", paper="#fcfcfa", accent="#0a6c8e")
DARK = Ink(text="#dfe3e8", muted="#8f98a4", faint="#3b424b", paper="#15181c", accent="#56bcdb")


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


def encode(draw: Draw, found: Measurements) -> Picture:
    """Draw a figure in both themes."""
    addresses: dict[str, str] = {}
    width = height = 0.0
    for theme, ink in (("light", LIGHT), ("dark", DARK)):
        with matplotlib.rc_context(_style(ink)):
            figure = draw(found, ink)
            stream = io.BytesIO()
            FigureCanvasAgg(figure)
            figure.savefig(stream, format="png", dpi=DPI, transparent=True, metadata={"Software": None})
        addresses[theme] = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
        width, height = figure.get_size_inches()
    return Picture(**addresses, width=round(100 * width), height=round(100 * height))


def _style(ink: Ink) -> dict[Any, Any]:
    return {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.titlesize": 9,
        "axes.titlelocation": "left",
        "axes.titlepad": 7,
        "axes.labelsize": 8.5,
        "axes.labelcolor": ink.muted,
        "axes.edgecolor": ink.faint,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": ink.text,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": ink.faint,
        "grid.linewidth": 0.5,
        "grid.alpha": 0.6,
        "text.color": ink.text,
        "xtick.color": ink.faint,
        "ytick.color": ink.faint,
        "xtick.labelcolor": ink.muted,
        "ytick.labelcolor": ink.muted,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "legend.labelcolor": ink.text,
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "figure.constrained_layout.h_pad": 0.06,
        "figure.constrained_layout.w_pad": 0.08,
    }


def _figure(height: float) -> Figure:
    return Figure(figsize=(WIDTH, height), layout="constrained")


# ---- charts ----------------------------------------------------------------------------------


def losses(found: Measurements, ink: Ink) -> Figure:
    """Loss against step, and by noise level if the objective reports that."""
    t = found.training
    figure = _figure(2.9)
    both = len(t.levels) > 0
    axes = figure.subplots(1, 2 if both else 1, squeeze=False)[0]
    left = axes[0]
    left.plot(t.steps, t.loss, color=ink.accent, label="training")
    if len(t.validation):
        held_out = {"color": ink.text, "marker": "o", "markersize": 4, "linestyle": "none"}
        left.plot(t.validation_steps, t.validation, **held_out, label="held out")
    _log_if_wide(left, np.concatenate([t.loss, t.validation]))
    left.set(title="Loss", xlabel="step")
    left.legend()
    if both:
        right = axes[1]
        right.plot(t.levels, t.first, color=ink.muted, linestyle=":", label="at the start")
        right.plot(
            t.levels, t.linear, color=ink.text, linestyle="--", linewidth=1.1, label="best linear denoiser"
        )
        right.plot(t.levels, t.last, color=ink.accent, marker="o", markersize=3.5, label="at the end")
        _sigma_axis(right, t.levels)
        _log_if_wide(right, np.concatenate([t.first, t.last, t.linear]))
        right.set(title="Loss by noise level", xlabel="noise σ")
        right.legend()
    return figure


def trace(found: Measurements, ink: Ink) -> Figure:
    """Energy and temperature against step, and against one another."""
    t = found.trace
    assert t is not None
    anneals = np.isfinite(t.slope)
    figure = _figure(2.6)
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


def denoising_error(found: Measurements, ink: Ink) -> Figure:
    """Error against noise level; the model's as a share of the linear denoiser's."""
    d = found.denoising
    figure = _figure(2.9)
    left, right = figure.subplots(1, 2)
    left.plot(d.sigmas, d.noisy, color=ink.muted, linestyle=":", label="noisy input")
    left.plot(d.sigmas, d.linear, color=ink.text, linestyle="--", linewidth=1.1, label="best linear denoiser")
    left.plot(d.sigmas, d.model, color=ink.accent, marker="o", markersize=3.5, label="one jump of the model")
    left.set_yscale("log")
    _few_log_ticks(left, np.concatenate([d.noisy, d.linear, d.model]))
    left.set(title="RMSE per coordinate, held-out rows", xlabel="noise σ")
    left.legend()
    ratio, error = d.ratio, 1.96 * d.ratio_error
    right.axhline(1, color=ink.text, linestyle="--", linewidth=1.1)
    right.fill_between(d.sigmas, ratio - error, ratio + error, color=ink.accent, alpha=0.18, linewidth=0)
    right.plot(d.sigmas, ratio, color=ink.accent, marker="o", markersize=3.5)
    right.set(title="Model ÷ linear (below 1: the model is better)", xlabel="noise σ")
    for ax in (left, right):
        _sigma_axis(ax, d.sigmas)
        if len(found.training.levels) == 0:
            ax.axvline(found.protocol.sigma_0, color=ink.muted, linewidth=0.8)
    return figure


def energies(found: Measurements, ink: Ink) -> Figure:
    """Histograms of energies of the kinds that should agree; the range of every kind."""
    e = found.energies
    figure = _figure(2.9)
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    core = {name: e.values[name] for name in ("train", "held out", "samples") if name in e.values}
    joined = np.concatenate(list(core.values()))
    bins = np.linspace(*_padded(*np.quantile(joined, [0.003, 0.997])), 33)
    look = {
        "train": {"histtype": "stepfilled", "color": ink.faint},
        "held out": {"histtype": "step", "color": ink.text, "linewidth": 1.2},
        "samples": {"histtype": "step", "color": ink.accent, "linewidth": 1.6},
    }
    for name, values in core.items():
        # Shares of all rows, so that what lies beyond the bins is missing rather than moved.
        left.hist(values, bins, weights=np.full(len(values), 1 / len(values)), label=name, **look[name])
    left.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    left.set(title="Share of rows", xlabel="energy, nats up to a constant")
    left.grid(axis="x", visible=False)
    left.legend()

    centre = np.median(e.values["held out"])
    names = {"noisy": f"held out + {e.sigma:.2g} noise", "uniform": "uniform noise"}
    kinds = list(e.values)[::-1]
    for row, kind in enumerate(kinds):
        q = np.quantile(e.values[kind] - centre, [0.01, 0.25, 0.5, 0.75, 0.99])
        color = ink.accent if kind == "samples" else ink.text if kind in core else ink.muted
        right.plot(q[[0, 4]], [row, row], color=color, linewidth=1)
        right.plot(q[[1, 3]], [row, row], color=color, linewidth=5, solid_capstyle="butt")
        right.plot(q[2], row, marker="o", color=ink.paper, markeredgecolor=color, markersize=5)
    scale = max(float(np.quantile(np.abs(joined - centre), 0.99)), 1e-6)
    largest = max(np.abs(np.quantile(v - centre, [0.01, 0.99])).max() for v in e.values.values())
    if largest > 4 * scale:
        unit = 10.0 ** np.ceil(np.log10(scale))
        right.set_xscale("symlog", linthresh=unit, linscale=1.5)
        lowest = min(np.quantile(v - centre, 0.01) for v in e.values.values())
        tens = unit * 10.0 ** np.arange(np.floor(np.log10(max(largest / unit, 1.0))) + 1)
        ticks = np.r_[-tens[::-1][tens[::-1] <= -lowest], 0, tens[tens <= largest]]
        right.set_xticks(ticks, [f"{t:,g}".replace("-", "−") for t in ticks])
        right.xaxis.set_minor_locator(NullLocator())
    right.axvline(0, color=ink.muted, linewidth=0.8)
    right.set_yticks(range(len(kinds)), [names.get(k, k) for k in kinds])
    right.tick_params(axis="y", labelcolor=ink.text)
    right.set(title="Energy less the held-out median", xlabel="nats")
    right.grid(axis="y", visible=False)
    return figure


def neighbour_distances(found: Measurements, ink: Ink) -> Figure:
    """Distances to the nearest training row: of samples, and of rows that were held out."""
    n = found.neighbours
    figure = _figure(2.4)
    ax = figure.subplots()
    low, high = np.quantile(np.concatenate([n.from_samples, n.from_held_out]), [0.005, 0.995])
    wide = low > 0 and high > 30 * low
    bins = (np.geomspace(low, high, 46) if wide else np.linspace(0, high or 1.0, 46)).tolist()
    if wide:
        ax.set_xscale("log")
    kinds = (("held out", n.from_held_out, ink.text, 1.2), ("samples", n.from_samples, ink.accent, 1.6))
    for name, values, color, width in kinds:
        share = np.full(len(values), 1 / len(values))
        filled = {"histtype": "stepfilled", "alpha": 0.14} if name == "held out" else {}
        ax.hist(values, bins, weights=share, histtype="step", color=color, lw=width, label=name)
        if filled:
            ax.hist(values, bins, weights=share, color=color, linewidth=0, **filled)
        ax.axvline(float(np.median(values)), color=color, linewidth=0.9, linestyle="--")
    ax.yaxis.set_major_formatter(lambda v, _: f"{100 * v:g} %")
    ax.set(title="Distance to the nearest training row (dashed: medians)", xlabel="L2 distance, model units")
    ax.grid(axis="x", visible=False)
    ax.legend()
    return figure


def _log_if_wide(ax: Axes, values: np.ndarray) -> None:
    """Take a logarithmic axis for positive values that span more than a factor of three."""
    if len(values) and values.min() > 0 and values.max() > 3 * values.min():
        ax.set_yscale("log")
        _few_log_ticks(ax, values)


def _few_log_ticks(ax: Axes, values: np.ndarray) -> None:
    ax.yaxis.set_minor_formatter(NullFormatter())
    ticks = _log_ticks(float(values.min()), float(values.max()))
    ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
    ax.yaxis.set_minor_locator(NullLocator())


def _sigma_axis(ax: Axes, sigmas: np.ndarray) -> None:
    ax.set_xscale("log")
    ticks = _log_ticks(float(sigmas.min()), float(sigmas.max()))
    ax.set_xticks(ticks, [f"{t:g}" for t in ticks])
    ax.xaxis.set_minor_locator(NullLocator())


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return numbers of one digit, 1, 2 or 5, within a range; 1 alone if those are many."""
    tens = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    digits = (1.0,) if np.log10(high / low) > 3 else (1.0, 2.0, 5.0)
    ticks = np.sort(np.concatenate([np.round(d * tens, 12) for d in digits]))
    inside = ticks[(ticks >= low * 0.999) & (ticks <= high * 1.001)]
    return inside if len(inside) else np.array([low, high])


def _padded(low: float, high: float) -> tuple[float, float]:
    room = 0.03 * (high - low) or 1.0
    return low - room, high + room


# ---- rows of a table or points of the plane --------------------------------------------------


def _plane(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first two columns; a single column stands over the rows' own number."""
    flat = rows.reshape(len(rows), -1)
    second = flat[:, 1] if flat.shape[1] > 1 else np.linspace(0, 1, len(flat))
    return flat[:, 0], second


def _frame(found: Measurements, *others: np.ndarray) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return limits that hold all held-out rows, and nearly all of the others."""
    x, y = _plane(found.samples.held_out)
    limits = []
    for held_out, column in ((x, 0), (y, 1)):
        near = [np.quantile(_plane(o)[column], [0.02, 0.98]) for o in others]
        ends = np.concatenate([held_out, *near])
        low, high = float(ends.min()), float(ends.max())
        room = 0.08 * (high - low) or 1.0
        limits.append((low - room, high + room))
    return limits[0], limits[1]


def _scatter(
    ax: Axes, rows: np.ndarray, color: str, size: float = 5, alpha: float = 0.7, **more: Any
) -> None:
    x, y = _plane(rows)
    ax.scatter(x, y, s=size, color=color, alpha=alpha, linewidths=0, **more)


def _planar_samples(found: Measurements, ink: Ink) -> Figure:
    s, map_ = found.samples, found.landscape
    panels = 2 if map_ is None else 3
    figure = _figure(3.3)
    axes = figure.subplots(1, panels, sharex=True, sharey=True)
    _scatter(axes[0], s.data, ink.accent)
    _scatter(axes[1], s.held_out, ink.text, alpha=0.55)
    axes[0].set_title("Samples")
    axes[1].set_title("Held-out rows")
    x_limits, y_limits = _frame(found)
    if map_ is not None:
        shades = LinearSegmentedColormap.from_list("accent", [ink.accent, to_rgba(ink.accent, 0.0)])
        axes[2].contourf(map_.first, map_.second, map_.energy, np.linspace(0, 10, 21), cmap=shades)
        axes[2].contour(
            map_.first, map_.second, map_.energy, np.arange(1, 10, 2), colors=ink.muted, linewidths=0.5
        )
        axes[2].set_title("Energy: 0 to 10 nats above its least")
        (a, b), (c, d) = x_limits, y_limits
        x_limits = (max(a, map_.first[0]), min(b, map_.first[-1]))
        y_limits = (max(c, map_.second[0]), min(d, map_.second[-1]))
    for ax in axes:
        ax.set(xlim=x_limits, ylim=y_limits, xlabel=_name(found, 0))
    axes[0].set_ylabel(_name(found, 1))
    return figure


def _pairs(found: Measurements, ink: Ink) -> Figure:
    """Pair marginals of the first columns: held out above the diagonal, samples below."""
    s = found.samples
    k = min(4, len(found.columns))
    samples, held_out = s.data.reshape(len(s.data), -1), s.held_out.reshape(len(s.held_out), -1)
    figure = Figure(figsize=(WIDTH, 2.05 * k), layout="constrained")
    axes = figure.subplots(k, k, squeeze=False)
    limits = [_padded(*np.quantile(held_out[:, i], [0.002, 0.998])) for i in range(k)]
    for i in range(k):
        for j in range(k):
            ax = axes[i, j]
            if i == j:
                _histogram(ax, samples[:, i], held_out[:, i], limits[i], ink)
            else:
                rows, color = (samples, ink.accent) if i > j else (held_out, ink.text)
                ax.scatter(rows[:, j], rows[:, i], s=4, color=color, alpha=0.5, linewidths=0)
                ax.set_ylim(limits[i])
            ax.set_xlim(limits[j])
            ax.xaxis.set_major_locator(MaxNLocator(3))
            ax.yaxis.set_major_locator(NullLocator() if i == j else MaxNLocator(3))
            ax.tick_params(labelbottom=i == k - 1, labelleft=j == 0 and i != 0)
        axes[i, 0].set_ylabel(_name(found, i))
        axes[-1, i].set_xlabel(_name(found, i))
    return figure


def columns(found: Measurements, ink: Ink) -> Figure:
    """One histogram per column, with its distance from the held-out one."""
    s = found.samples
    k = min(12, len(found.columns))
    across = min(4, k)
    down = -(-k // across)
    samples, held_out = s.data.reshape(len(s.data), -1), s.held_out.reshape(len(s.held_out), -1)
    figure = Figure(figsize=(WIDTH, 1.75 * down + 0.1), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for i, ax in enumerate(axes):
        if i >= k:
            ax.set_axis_off()
            continue
        limits = _padded(*np.quantile(held_out[:, i], [0.002, 0.998]))
        _histogram(ax, samples[:, i], held_out[:, i], limits, ink)
        ax.set_title(f"{_name(found, i)}   KS {s.distances[i]:.2f}")
        ax.set_xlim(limits)
        ax.xaxis.set_major_locator(MaxNLocator(4))
        ax.yaxis.set_major_locator(NullLocator())
    return figure


def _histogram(
    ax: Axes, samples: np.ndarray, held_out: np.ndarray, limits: Sequence[float], ink: Ink
) -> None:
    bins = np.linspace(limits[0], limits[1], 26).tolist()
    ax.hist(held_out, bins, weights=np.full(len(held_out), 1 / len(held_out)), color=ink.faint)
    ax.hist(
        samples,
        bins,
        weights=np.full(len(samples), 1 / len(samples)),
        histtype="step",
        color=ink.accent,
        lw=1.4,
    )
    ax.grid(visible=False)


def _name(found: Measurements, i: int) -> str:
    if i >= len(found.columns):
        return "row"
    name = found.columns[i].replace("$", r"\$")
    return name if len(name) <= 18 else name[:17] + "…"


def _planar_strip(found: Measurements, ink: Ink) -> Figure:
    t = found.trace
    assert t is not None
    chosen = np.unique(np.linspace(0, len(t.shown_steps) - 1, 6).round().astype(int))
    figure = _figure(3.4)
    axes = figure.subplots(2, len(chosen), sharex=True, sharey=True, squeeze=False)
    limits = _frame(found, t.noisy[0])
    for column, at in enumerate(chosen):
        _scatter(axes[0, column], t.noisy[at], ink.muted, size=4)
        _scatter(axes[1, column], t.denoised[at], ink.accent, size=4)
        axes[0, column].set_title(_moment(found, at))
    axes[0, 0].set_ylabel("noisy")
    axes[1, 0].set_ylabel("one jump on")
    for ax in axes.ravel():
        ax.set(xlim=limits[0], ylim=limits[1])
        ax.xaxis.set_major_locator(MaxNLocator(3))
    return figure


def _planar_denoised(found: Measurements, ink: Ink) -> Figure:
    d = found.denoising
    figure = _figure(4.6)
    axes = figure.subplots(2, len(d.shown), sharex=True, sharey=True, squeeze=False)
    limits = _frame(found)
    for i, sigma in enumerate(d.shown):
        _scatter(axes[0, i], d.clean_noisy[i], ink.muted, size=4)
        _scatter(axes[1, i], d.clean, ink.text, size=4, alpha=0.3)
        _scatter(axes[1, i], d.clean_denoised[i], ink.accent, size=4)
        axes[0, i].set_title(f"σ = {sigma:.2g}")
    for ax in axes.ravel():
        ax.set(xlim=limits[0], ylim=limits[1])
    axes[0, 0].set_ylabel("noisy")
    axes[1, 0].set_ylabel("denoised (grey: clean)")
    return figure


def _moment(found: Measurements, at: int) -> str:
    t = found.trace
    assert t is not None
    temperature = t.temperature[np.searchsorted(t.steps, t.shown_steps[at])]
    value = f"{temperature:.0f}" if temperature >= 10 else f"{temperature:.2g}"
    return f"T = {value}" if np.isfinite(t.slope) else f"step {t.shown_steps[at]:,}"


# ---- pictures --------------------------------------------------------------------------------


class _Sheet:
    """A figure of pictures and words laid out in inches from the top left corner."""

    def __init__(self, ink: Ink):
        self.ink = ink
        self.pictures: list[tuple[np.ndarray, float, float, float]] = []
        self.words: list[tuple[float, float, str, dict[str, object]]] = []

    def picture(self, canvas: np.ndarray, left: float, top: float, width: float) -> float:
        """Place a canvas; return its height."""
        self.pictures.append((canvas, left, top, width))
        return width * canvas.shape[0] / canvas.shape[1]

    def word(self, left: float, top: float, text: str, **look: object) -> None:
        self.words.append((left, top, text, look))

    def figure(self, height: float) -> Figure:
        figure = Figure(figsize=(WIDTH, height))
        for canvas, left, top, width in self.pictures:
            tall = width * canvas.shape[0] / canvas.shape[1]
            box = (left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height)
            ax = figure.add_axes(box)
            ax.imshow(canvas, interpolation="nearest", aspect="auto")
            ax.set_axis_off()
        for left, top, text, look in self.words:
            options = {"va": "top", "ha": "left", "fontsize": 9, "color": self.ink.text, **look}
            figure.text(left / WIDTH, 1 - top / height, text, **options)
        return figure


def _images(found: Measurements, rows: np.ndarray) -> np.ndarray:
    """Return rows in data units as RGBA images, shape (..., H, W, 4), clipped to the data's range."""
    shape = found.image_shape
    assert shape is not None
    lead = rows.shape[: rows.ndim - 1] if rows.shape[-3:] != shape else rows.shape[:-3]
    images = rows.reshape(*lead, *shape)
    span = (found.high - found.low) or 1.0
    images = np.clip((images - found.low) / span, 0, 1)
    if shape[2] != 3:
        images = np.repeat(images[..., :1], 3, axis=-1)
    # What a lost chain left is transparent.
    opaque = np.isfinite(images).all(axis=-1, keepdims=True)
    return np.concatenate([np.nan_to_num(images), opaque], axis=-1)


def _tiles(images: np.ndarray) -> np.ndarray:
    """Lay images (rows, columns, H, W, 4) out with transparent gaps of an eighth of their side."""
    r, c, h, w, _ = images.shape
    # Gaps finer than a pixel of a small image: enlarge before laying out.
    grow = max(1, 32 // max(h, w))
    images = images.repeat(grow, axis=2).repeat(grow, axis=3)
    h, w = images.shape[2:4]
    gap = max(1, h // 12)
    canvas = np.zeros((r * (h + gap) - gap, c * (w + gap) - gap, 4))
    for i in range(r):
        for j in range(c):
            canvas[i * (h + gap) : i * (h + gap) + h, j * (w + gap) : j * (w + gap) + w] = images[i, j]
    return canvas


def samples(found: Measurements, ink: Ink) -> Figure:
    """Samples beside held-out rows."""
    if found.image_shape is None:
        return _planar_samples(found, ink) if len(found.columns) <= 2 else _pairs(found, ink)
    sheet = _Sheet(ink)
    width, bottom = (WIDTH - 0.5) / 2, 0.0
    for left, name, rows in (
        (0.0, "Samples", found.samples.data),
        (width + 0.5, "Held-out rows", found.samples.held_out),
    ):
        images = _images(found, rows)
        across = min(8, len(images))
        empty = np.zeros((-len(images) % across, *images.shape[1:]))
        images = np.concatenate([images, empty])
        sheet.word(left, 0.02, name)
        grid = _tiles(images.reshape(-1, across, *images.shape[1:]))
        bottom = max(bottom, 0.26 + sheet.picture(grid, left, 0.26, width))
    return sheet.figure(bottom)


def strip(found: Measurements, ink: Ink) -> Figure:
    """A few chains over time, noisy above, one jump on below: MDSM figure 3."""
    if found.image_shape is None:
        return _planar_strip(found, ink)
    t = found.trace
    assert t is not None
    noisy, clean = _images(found, t.noisy), _images(found, t.denoised)
    final = _images(found, found.samples.data[: noisy.shape[1]])
    sheet = _Sheet(ink)
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
        tall = sheet.picture(_tiles(pair), LABEL, top, times * tile - 0.05)
        single = final[chain][None, None]
        sheet.picture(_tiles(single), last, top + tall / 2, tile - 0.05)
        sheet.word(0, top + tall * 0.25, "noisy", va="center", color=ink.muted)
        sheet.word(0, top + tall * 0.75, "one jump on", va="center")
        top += tall + 0.16
    return sheet.figure(top - 0.16)


def denoised(found: Measurements, ink: Ink) -> Figure:
    """Held-out rows clean, noisy and denoised at a few noise levels."""
    if found.image_shape is None:
        return _planar_denoised(found, ink)
    d = found.denoising
    clean, noisy, out = (_images(found, rows) for rows in (d.clean, d.clean_noisy, d.clean_denoised))
    sheet = _Sheet(ink)
    apart = 0.3
    width = (WIDTH - LABEL - apart) / 2
    top = 0.0
    for first in range(0, len(d.shown), 2):
        tall = 0.0
        for place in range(min(2, len(d.shown) - first)):
            i = first + place
            left = LABEL + place * (width + apart)
            sheet.word(left, top + 0.02, f"σ = {d.shown[i]:.2g}")
            tall = sheet.picture(_tiles(np.stack([clean, noisy[i], out[i]])), left, top + 0.26, width)
        for row, name in enumerate(("clean", "noisy", "denoised")):
            color = ink.text if row == 2 else ink.muted
            sheet.word(0, top + 0.26 + tall * (row + 0.5) / 3, name, va="center", color=color)
        top += 0.26 + tall + 0.22
    return sheet.figure(top - 0.22)


def inpainted(found: Measurements, ink: Ink) -> Figure:
    """What was known, the completion, the truth."""
    sheet = _Sheet(ink)
    apart = 0.3
    width = (WIDTH - LABEL - apart) / 2
    tall = 0.0
    for place, part in enumerate(found.inpainting):
        left = LABEL + place * (width + apart)
        sheet.word(left, 0.02, f"{part.name} missing")
        rows = (_known(found, part, ink), _images(found, part.completed), _images(found, part.truth))
        tall = sheet.picture(_tiles(np.stack(rows)), left, 0.26, width)
    for row, name in enumerate(("known", "completed", "truth")):
        color = ink.text if row == 1 else ink.muted
        sheet.word(0, 0.26 + tall * (row + 0.5) / 3, name, va="center", color=color)
    return sheet.figure(0.26 + tall)


def _known(found: Measurements, part: Inpainting, ink: Ink) -> np.ndarray:
    """Return the images with a tint where nothing was known."""
    images = _images(found, part.truth)
    assert found.image_shape is not None
    missing = ~part.known.reshape(found.image_shape).all(axis=-1)
    images[:, missing] = to_rgba(ink.accent, 0.25)
    return images


def neighbours(found: Measurements, ink: Ink) -> Figure:
    """Each sample before its nearest training rows."""
    n = found.neighbours
    first, others = _images(found, n.samples), _images(found, n.neighbours)
    sheet = _Sheet(ink)
    half = -(-len(first) // 2)
    across = others.shape[1] + 1
    apart, nudge = 0.5, 0.14
    tile = ((WIDTH - apart) / 2 - nudge) / across
    bottom = 0.0
    for place, rows in enumerate((slice(0, half), slice(half, len(first)))):
        if len(first[rows]) == 0:
            continue
        left = place * ((WIDTH - apart) / 2 + apart)
        sheet.word(left, 0.02, "sample", color=ink.accent)
        sheet.word(left + tile + nudge, 0.02, "nearest training rows, nearest first", color=ink.muted)
        tall = sheet.picture(_tiles(first[rows][:, None]), left, 0.26, tile * 0.94)
        sheet.picture(_tiles(others[rows]), left + tile + nudge, 0.26, tile * (across - 1) - tile * 0.06)
        bottom = max(bottom, 0.26 + tall)
    return sheet.figure(bottom)
