"""The sections of the report: of each kind of measurement its figures, captions and tables, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energax.config import RunConfig
from energax.report import figures
from energax.report.figures import Draw, Picture, encode
from energax.report.findings import Finding
from energax.report.measure import Measurements

__all__ = ["Section", "of_finding", "sections"]

LOSSES = {
    "denoising": "The loss of denoising score matching (Vincent 2011; MDSM eq. 2).",
    "score-matching": "The loss of score matching, ½‖∇E‖² − ΔE (Hyvärinen 2005).",
    "sliced": "The loss of sliced score matching (Song, Garg, Shi & Ermon 2019).",
    "non-negative": "The loss of score matching with the weight x² (Hyvärinen 2007).",
    "box": "The loss of score matching with a weight that vanishes at the edge (Hyvärinen 2007).",
    "ratio": "The loss of ratio matching (Hyvärinen 2007).",
    **dict.fromkeys(
        (
            "contrastive-divergence",
            "persistent-cd",
            "replay-buffer",
            "short-run",
            "improved-cd",
            "unbiased-cd",
            "multigrid-cd",
            "variational-pcd",
        ),
        "Mean energy of data less that of chains: near zero where the chains look like data to the energy; "
        "it is no likelihood.",
    ),
    "exact-likelihood": "The negative log-likelihood, in nats.",
}
DYNAMICS = {
    "multiscale": "by annealed Langevin dynamics, {steps} steps (MDSM eq. 8), and one denoising jump (eq. 9)",
    "denoising": "by Langevin dynamics at T = 1 from noise of σ = {sigma:g} and one denoising jump "
    "(MDSM appendix B)",
    "noise-conditional": "by annealed Langevin dynamics over noise levels, {steps} steps (Song & Ermon 2019)",
    "non-negative": "by reflected Langevin dynamics at T = 1, {steps} steps",
    "box": "by reflected Langevin dynamics at T = 1, {steps} steps",
    "ratio": "by Gibbs sampling, {steps} steps of one bit",
    "multigrid-cd": "by the Markov chains of training, {steps} steps up the scales from the mean colours of "
    "training rows",
    "variational-pcd": "by block Gibbs sampling of all layers, {steps} sweeps from noise",
    **dict.fromkeys(
        ("contrastive-divergence", "persistent-cd", "replay-buffer", "short-run", "improved-cd"),
        "by the Markov chains of training, {steps} steps from noise",
    ),
}


@dataclass(frozen=True)
class Plate:
    """A figure with its caption; `alt` says what it is to who cannot see it."""

    picture: Picture
    caption: str
    alt: str


@dataclass(frozen=True)
class Table:
    """A table: a heading for each column, and rows of text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """One part of the page."""

    name: str
    title: str
    plates: Sequence[Plate]
    tables: Sequence[Table] = ()
    lines: Sequence[tuple[str, str]] = ()


def sections(found: Measurements, config: RunConfig) -> list[Section]:
    """Return the parts of the page that there is something to say in, in their order."""
    parts = [_training, _samples, _annealing, _denoising, _inpainting, _neighbours, _energies]
    made = (part(found, config) for part in parts)
    return [section for section in made if section is not None]


def of_finding(finding: Finding) -> Section:
    """Return what a command found, kept in the run's folder, as a part of the page."""
    plates = [] if finding.picture is None else [Plate(finding.picture, finding.caption, finding.title)]
    return Section(finding.name, finding.title, plates, lines=finding.lines)


def _plate(draw: Draw, found: Measurements, caption: str, alt: str) -> Plate:
    return Plate(encode(draw, found), caption, alt)


def _training(found: Measurements, config: RunConfig) -> Section | None:
    t = found.training
    if len(t.loss) == 0:
        return None
    if len(t.levels) == 0:
        caption = LOSSES.get(config.objective, "The loss.")
        plates = [_plate(figures.losses, found, caption, "Loss against step")]
        return Section("training", "Training", plates, _rollbacks(found))
    source = "MDSM eq. 7" if config.objective == "multiscale" else "Song & Ermon (2019), eq. 5–6"
    caption = (
        f"Left: {source}, summed over {found.dimension:,} coordinates. Right: the same by noise level; "
        "where the line lies below the dashed one, the energy knows more of the data than their mean and "
        "covariance."
    )
    rows = [
        (f"{s:.3g}", f"{a:.4g}", f"{b:.4g}", f"{c:.4g}")
        for s, a, b, c in zip(t.levels, t.first, t.last, t.linear, strict=True)
    ]
    table = Table("Loss by noise level", ("σ", "at the start", "at the end", "best linear denoiser"), rows)
    alt = "Loss against step, and final loss against noise level"
    plates = [_plate(figures.losses, found, caption, alt)]
    return Section("training", "Training", plates, [table, *_rollbacks(found)])


def _rollbacks(found: Measurements) -> list[Table]:
    """Return the table of what diverged and was taken back, if anything was."""
    rows = found.training.rollbacks
    head = ("back to step", "diagnosis", "what was seen", "what was changed")
    return [Table("Rollbacks", head, rows)] if rows else []


def _samples(found: Measurements, config: RunConfig) -> Section | None:
    count, lost = len(found.samples.data), found.samples.lost
    if count == 0:
        return None
    plain = "by Langevin dynamics at T = 1, {steps} steps"
    steps = f"{len(found.protocol.temperatures):,}"
    how = "drawn " + DYNAMICS.get(config.objective, plain).format(steps=steps, sigma=found.protocol.sigma_0)
    whole = f"{lost} more ran away and are left out" if lost else "none left out"
    if found.image_shape is None and len(found.columns) > 2:
        caption = (
            f"Pairs of columns: {count} samples below the diagonal ({whole}), held-out rows above; on it "
            f"both (line: samples, grey: held out); {how}."
        )
    else:
        caption = f"{count} samples ({whole}), {how}; beside them rows never trained on."
    plates = [_plate(figures.samples, found, caption, "Samples of the model beside held-out rows")]
    tables = []
    if found.image_shape is None:
        caption = (
            "Columns one by one (line: samples, grey: held out), with the largest difference of their "
            "distribution functions (Kolmogorov–Smirnov)."
        )
        plates.append(_plate(figures.columns, found, caption, "Histograms of columns"))
        rows = [(name, f"{d:.3f}") for name, d in zip(found.columns, found.samples.distances, strict=True)]
        tables = [Table("Distance in each column", ("column", "Kolmogorov–Smirnov"), rows)]
    return Section("samples", "Samples", plates, tables)


def _annealing(found: Measurements, config: RunConfig) -> Section | None:
    if found.trace is None:
        return None
    slope = found.trace.slope
    strip = (
        "Chains on their way, from left to right, each above its own one-step denoising, which shows what "
        "a chain has settled on long before its noise is gone (MDSM figure 3)."
    )
    caption = "The chains' energy over the run, at constant temperature."
    if np.isfinite(slope):
        caption = (
            "An anneal slow enough keeps energy in step with temperature (MDSM figure F.1B); the dashed "
            f"slope, d/2 = {found.dimension / 2:g}, is that of a quadratic energy, and the measured one is "
            f"{slope:.2f} times it."
        )
    plates = []
    if found.denoising is not None:
        plates.append(_plate(figures.strip, found, strip, "Chains over time with their denoised jumps"))
    if np.isfinite(found.trace.energy).all():
        plates.append(_plate(figures.trace, found, caption, "Energy and temperature over the run"))
    if not plates:
        return None
    return Section("annealing", "From noise to samples", plates)


def _denoising(found: Measurements, config: RunConfig) -> Section | None:
    d = found.denoising
    if d is None:
        return None
    told = found.protocol.way.told
    how = "which is told σ (Tweedie's formula)" if told else "which is not told σ (MDSM eq. 9)"
    shown = f"Held-out rows with noise added, and one jump of the model, {how}."
    curve = (
        f"Root mean square error on {d.rows} held-out rows, with the same noise for both: Wiener's filter is "
        "told σ and is made of the training rows' mean and covariance, the model is told "
        f"{'σ too' if told else 'nothing'}. Shaded: ± 1.96 standard errors."
    )
    if config.objective == "denoising":
        curve += " The upright line is the one level it was trained at."
    levels = zip(d.sigmas, d.noisy, d.linear, d.model, d.ratio, d.ratio_error, strict=True)
    rows = [
        (f"{s:.3g}", f"{a:.4f}", f"{b:.4f}", f"{c:.4f}", f"{r:.3f} ± {e:.3f}") for s, a, b, c, r, e in levels
    ]
    head = ("σ", "noisy", "best linear", "model", "model ÷ linear (± se)")
    plates = [
        _plate(figures.denoised, found, shown, "Held-out rows clean, noisy and denoised"),
        _plate(figures.denoising_error, found, curve, "Denoising error against noise level"),
    ]
    return Section("denoising", "Denoising", plates, [Table("RMSE per coordinate", head, rows)])


def _inpainting(found: Measurements, config: RunConfig) -> Section | None:
    if not found.inpainting:
        return None
    caption = (
        "Held-out images with a part taken away, one completion each, and the truth; the known part is "
        "clamped, with the noise of the sampling temperature or level (MDSM §4). A completion need not be "
        "the truth to be right."
    )
    lost = sum(
        int(np.isnan(part.completed).reshape(len(part.completed), -1).any(axis=1).sum())
        for part in found.inpainting
    )
    if lost:
        caption += f" {lost} chains ran away and left a gap."
    plate = _plate(figures.inpainted, found, caption, "Known parts, completions and true images")
    return Section("inpainting", "Inpainting", [plate])


def _neighbours(found: Measurements, config: RunConfig) -> Section | None:
    n = found.neighbours
    if len(n.samples) == 0:
        return None
    plates, tables = [], []
    if found.image_shape is not None:
        caption = (
            "Samples before the training rows nearest to them: they should be alike, not the same (MDSM "
            "figure C.1)."
        )
        plates.append(_plate(figures.neighbours, found, caption, "Samples with their nearest training rows"))
    else:
        rows: list[tuple[str, ...]] = []
        for i, sample in enumerate(n.samples):
            rows.append((f"sample {i + 1}", "", *(f"{v:.4g}" for v in sample.reshape(-1)[:4])))
            for j, row in enumerate(n.neighbours[i]):
                values = (f"{v:.4g}" for v in row.reshape(-1)[:4])
                rows.append((f"neighbour {j + 1}", f"{n.distances[i, j]:.3g}", *values))
        head = ("row", "distance", *found.columns[:4])
        tables = [Table("Samples and their nearest training rows", head, rows)]
    caption = (
        "Were samples copies, their distances would pile up near zero; those of held-out rows show how near "
        "a new row comes by chance."
    )
    if n.tested is not None:
        p = n.tested.p_value
        caption += f" Are samples nearer than held-out rows? p = {p:.2g} (small: copies; large: no proof)."
    alt = "Distances to the nearest training row"
    plates.append(_plate(figures.neighbour_distances, found, caption, alt))
    return Section("neighbours", "Nearest training rows", plates, tables)


def _energies(found: Measurements, config: RunConfig) -> Section | None:
    e = found.energies
    if e is None:
        return None
    caption = "Training and held-out rows should agree, noise should lie higher. "
    if e.sigma_0:
        caption = (
            f"Energies after noise of σ₀ = {e.sigma_0:g} is added to every row, for the energy is trained on "
            "noisy rows only (MDSM §4, figure F.1A): training and held-out rows should agree, noise should "
            "lie higher. "
        )
    caption += "Right: median, quartiles, and 1 % to 99 %."
    names = {"noisy": f"held out + {e.sigma:.2g} noise", "uniform": "uniform noise"}
    rows = []
    for kind, v in e.values.items():
        area = f"{e.auroc[kind]:.3f}" if kind in e.auroc else ""
        rows.append((names.get(kind, kind), f"{len(v)}", f"{v.mean():.2f}", f"{v.std():.2f}", area))
    head = ("rows", "count", "mean energy", "sd", "P(higher than held out)")
    plate = _plate(figures.energies, found, caption, "Energies of several kinds of rows")
    return Section("energies", "Energies", [plate], [Table("Energies, nats up to one constant", head, rows)])
