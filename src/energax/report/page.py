"""The report's head, facts and headlines, and the one template that they and its sections go into.

Every text that comes from outside (names, configuration, facts) reaches the page through
jinja2 with escaping on; nothing here writes HTML.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import jinja2
import numpy as np

from energax.config import RunConfig, to_dict
from energax.data import Dataset
from energax.report import figures
from energax.report.findings import Finding
from energax.report.measure import Measurements
from energax.report.sections import of_finding, sections

__all__ = ["headlines", "render"]

ENERGY_NAMES = {
    "mlp": "residual perceptron",
    "mixer": "patch mixer",
    "resnet": "residual network",
    "mlp-field": "vector field by a residual perceptron",
    "mixer-field": "vector field by a patch mixer",
    "bernoulli-rbm": "restricted Boltzmann machine",
    "gaussian-rbm": "Gaussian–Bernoulli restricted Boltzmann machine",
    "ising": "Ising model",
    "ising-graph": "Ising model of all pairs",
    "multigrid": "energy at each scale of an image",
    "deep-boltzmann": "deep Boltzmann machine",
}
OBJECTIVE_NAMES = {
    "multiscale": "multiscale denoising score matching",
    "denoising": "denoising score matching",
    "noise-conditional": "noise-conditional score matching",
    "score-matching": "score matching",
    "sliced": "sliced score matching",
    "non-negative": "score matching of non-negative data",
    "box": "score matching on a box",
    "ratio": "ratio matching",
    "contrastive-divergence": "contrastive divergence",
    "persistent-cd": "persistent contrastive divergence",
    "replay-buffer": "maximum likelihood with a replay buffer",
    "short-run": "maximum likelihood by short runs",
    "improved-cd": "improved contrastive divergence",
    "mean-field-cd": "mean-field contrastive divergence",
    "multigrid-cd": "multigrid contrastive divergence",
    "variational-pcd": "mean-field posteriors and persistent chains",
    "unbiased-cd": "unbiased contrastive divergence",
    "exact-likelihood": "exact maximum likelihood",
}


def render(
    found: Measurements,
    *,
    config: RunConfig,
    dataset: Dataset,
    about: Mapping[str, Any],
    seed: int,
    findings: Sequence[Finding] = (),
) -> str:
    """Return the page as text."""
    source = resources.files("energax.report").joinpath("template.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        data=dataset.name,
        subtitle=_subtitle(config),
        light=figures.LIGHT,
        dark=figures.DARK,
        facts=_facts(found, config, dataset, about, seed),
        headlines=headlines(found),
        sections=[*sections(found, config), *map(of_finding, findings)],
        configuration=json.dumps(to_dict(config), indent=2, ensure_ascii=False),
    )


def _subtitle(config: RunConfig) -> str:
    energy = ENERGY_NAMES.get(config.energy, config.energy)
    objective = OBJECTIVE_NAMES.get(config.objective, config.objective)
    return f"An energy-based model: a {energy}, trained by {objective}"


def _facts(
    found: Measurements, config: RunConfig, dataset: Dataset, about: Mapping[str, Any], seed: int
) -> list[tuple[str, str]]:
    sides = dataset.image_shape or dataset.event_shape
    shape = " × ".join(map(str, sides)) if len(sides) > 1 else f"{dataset.train[0].size} columns"
    return [
        (
            "data",
            f"{dataset.name}: {len(dataset.train):,} training rows, {len(dataset.test):,} held out, {shape}",
        ),
        ("preprocessing", f"{config.preprocess} ({', '.join(found.transforms) or 'nothing to do'})"),
        ("energy", f"{config.energy} ({_options(config.energy_options)}), {found.parameters:,} parameters"),
        ("objective", f"{config.objective} ({_options(config.objective_options)})"),
        ("trained", _trained(config, about)),
        ("versions", _versions(about)),
        ("report", f"seed {seed}; everything below is measured on this page's own draws"),
    ]


def _trained(config: RunConfig, about: Mapping[str, Any]) -> str:
    steps, wanted = about.get("steps"), config.fit.steps
    done = f"{steps:,} of {wanted:,}" if isinstance(steps, int) and steps != wanted else f"{wanted:,}"
    text = f"{done} steps of {config.fit.batch_size} rows, seed {config.seed}"
    seconds = about.get("seconds")
    return f"{text}, {_duration(seconds)}" if isinstance(seconds, int | float) else text


def _options(options: Any) -> str:
    values = vars(options).items()
    return ", ".join(f"{name} = {value}" for name, value in values if value is not None)


def _versions(about: Mapping[str, Any]) -> str:
    """Return what the model was trained with, or else what the report was made with."""
    trained = about.get("environment")
    if isinstance(trained, Mapping):
        return ", ".join(f"{name} {version}" for name, version in trained.items())
    import jax

    from energax import __version__

    return (
        f"energax {__version__}, jax {jax.__version__}, python {platform.python_version()} (of this report)"
    )


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def headlines(found: Measurements) -> list[tuple[str, str]]:
    """Return what the report found, a name and one line each."""
    t, d, n, e = found.training, found.denoising, found.neighbours, found.energies
    lines = []
    if len(t.loss):
        text = f"{t.loss[-1]:.4g} at the end"
        if len(t.validation):
            text += f", {t.validation[-1]:.4g} on held-out rows"
        lines.append(("Loss", text))
    if t.rollbacks:
        names = ", ".join(f"{name} (back to step {step})" for step, name, *_ in t.rollbacks)
        lines.append(("Rollbacks", f"{len(t.rollbacks)}: {names}"))
    if d is not None:
        at = int(np.argmin(np.abs(d.sigmas - d.shown[min(1, len(d.shown) - 1)])))
        lines.append(
            (
                "Denoising",
                f"noise {d.sigmas[at]:.2g} left at {d.model[at]:.3g} per coordinate (best linear denoiser "
                f"{d.linear[at]:.3g}); {_verdict(d.sigmas, d.verdict)}",
            )
        )
    if found.samples.lost:
        total = len(found.samples.data) + found.samples.lost
        lines.append(("Chains", f"{found.samples.lost} of {total} ran away from the data and were left out"))
    if found.trace is not None and np.isfinite(found.trace.slope):
        lines.append(("Annealing", f"energy rises with temperature at {found.trace.slope:.2f} × d/2"))
    if len(found.samples.distances):
        worst = int(np.argmax(found.samples.distances))
        lines.append(
            (
                "Samples",
                f"Kolmogorov–Smirnov distance from held-out rows at most "
                f"{found.samples.distances[worst]:.2f} in a column ({found.columns[worst]})",
            )
        )
    if len(n.from_samples):
        near, far = np.median(n.from_samples), np.median(n.from_held_out)
        text = f"nearest training row at {near:.3g} for samples, {far:.3g} for held-out rows (medians)"
        if n.tested is not None:
            text += f"; {n.tested.copies} samples nearer than any held-out row, p = {n.tested.p_value:.2g}"
        lines.append(("Memory", text))
    if e is None:
        return lines
    gap, error = e.gap
    kinds = (("samples", "samples"), ("uniform", "uniform noise"))
    higher = ", ".join(f"{e.auroc[kind]:.2f} for {name}" for kind, name in kinds if kind in e.auroc)
    text = f"held-out less training {_signed(gap)} ± {error:.2g} nats"
    lines.append(("Energy", f"{text}; higher than held-out with probability {higher}"))
    return lines


def _verdict(sigmas: np.ndarray, verdict: np.ndarray) -> str:
    """Say at which noise levels the model is better than the linear denoiser, and at which worse."""

    def spans(where: np.ndarray) -> str:
        edges = np.flatnonzero(np.diff(np.r_[0, where.astype(int), 0])).reshape(-1, 2)
        runs = [(sigmas[a], sigmas[b - 1]) for a, b in edges]
        return " and ".join(f"{a:.2g}" if a == b else f"{a:.2g} to {b:.2g}" for a, b in runs)

    words = {1: "better", -1: "worse"}
    for sign, word in words.items():
        if (verdict == sign).all():
            return f"{word} than it at every σ measured"
    said = [
        f"{word} at σ {spans(verdict == sign)}" for sign, word in words.items() if (verdict == sign).any()
    ]
    if not said:
        return "level with it at every σ measured"
    return ", ".join(said) + (", level elsewhere" if (verdict == 0).any() else "")


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")
