r"""MDSM appendix B: why one noise level is not enough.

An energy is trained by denoising score matching at σ = 0.3, 0.6 and 1.0, each alone, and one
by the multiscale objective. The single ones are sampled as in the paper: start from noise of
the same level, 1,000 Langevin steps at T = 1, one denoising jump. The paper shows the samples
(figure B.1); here they are also judged. What counts as *recognised* is said in
`energax.papers.judge`; the entropy of the recognised classes tells whether all digits are there.

The network, data and number of updates are those of the data set's preset, not the paper's
Res12 and 100,000 updates, which want a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import data, energies
from energax.config import RunConfig, replace
from energax.objectives import DenoisingScoreMatching, MultiscaleDenoisingScoreMatching
from energax.papers.judge import Judge
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas, show_sheet
from energax.presets import preset
from energax.samplers import Langevin, annealed_langevin, schedules
from energax.tasks import generate
from energax.training import fit
from energax.training.bases import network_options, on_base

__all__ = ["run"]

SIGMAS = (0.3, 0.6, 1.0)
SAMPLES = 100
LANGEVIN_STEPS = 1000
SMOKE = {"fit.steps": 50, "energy.width": 32, "sampler.hold": 5, "sampler.anneal": 20, "sampler.cool": 5}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train, sample and judge the four energies."""
    name = "mnist" if scale == "paper" else "digits"
    dataset, config = getattr(data, name)(), preset(name, name)
    if scale == "smoke":
        config = replace(config, SMOKE)
    assert dataset.image_shape is not None
    judge = Judge.of(dataset)
    grids = {"test data": dataset.test[:SAMPLES]}
    results: dict[str, Any] = {"test data": judge.verdict(grids["test data"])}
    for sigma in (*SIGMAS, None):
        label = "all levels" if sigma is None else f"σ = {sigma}"
        grids[label], loss = _samples(config, dataset.train, sigma)
        results[label] = {"final_loss": loss, **judge.verdict(grids[label])}
        found = results[label]
        progress(f"{label}: {found['recognised']:.0%} recognised, class entropy {found['entropy']:.2f} nats")
    rows = [(label, r["recognised"], r["entropy"]) for label, r in results.items()]
    best = max((r for r in rows[1:-1]), key=lambda r: r[1])
    verdict = (
        f"Recognised: {rows[-1][1]:.0%} with all levels, {best[1]:.0%} with the best single one ({best[0]}), "
        f"{rows[0][1]:.0%} of test data."
    )
    columns = ("trained at", "share recognised", "entropy of the classes, nats (at most 2.30)")
    figure = _draw(grids, results, dataset.image_shape)
    return Outcome(columns, rows, verdict, figure, {"cases": results})


def _samples(config: RunConfig, x: np.ndarray, sigma: float | None) -> tuple[np.ndarray, float]:
    model_key, fit_key, sample_key = jax.random.split(jax.random.key(config.seed), 3)
    network = {"mlp": energies.MLP, "mixer": energies.PatchMixer}[config.energy]
    options = network_options(config)
    energy = eqx.filter_jit(lambda k: network(x.shape[1:], **options, key=k))(model_key)
    if sigma is None:
        energy = on_base(energy, config, x[:1000])  # of many levels: one needs no base
        settings = vars(config.objective_options)
        objective: Any = MultiscaleDenoisingScoreMatching(**settings)
        unit, s = settings["sigma_0"], config.sampler
        sampler = annealed_langevin(
            sigma_0=unit,
            noise_max=s.noise_max,
            epsilon=s.epsilon * unit,
            hold=s.hold,
            anneal=s.anneal,
            cool=s.cool,
        )
        start = None
    else:
        objective, unit = DenoisingScoreMatching(sigma), sigma
        sampler = Langevin.mdsm(0.2 * sigma, schedules.constant(1.0, _langevin_steps(config)))
        start = 0.5 + sigma * np.asarray(jax.random.normal(sample_key, (SAMPLES, *x.shape[1:])))
    result = fit(energy, objective, x, key=fit_key, config=config.fit)
    samples = generate(result.energy, SAMPLES, key=sample_key, sigma_0=unit, sampler=sampler, start=start)
    return samples, result.history[-1]["loss"]


def _langevin_steps(config: RunConfig) -> int:
    """The paper's 1,000, or as few as a small run anneals."""
    return min(LANGEVIN_STEPS, config.sampler.hold + config.sampler.anneal + config.sampler.cool)


def _draw(grids: dict[str, np.ndarray], results: dict[str, Any], shape: tuple[int, ...]) -> Any:
    figure = canvas(3 * len(grids), 3.5)
    for axes, (label, samples) in zip(figure.subplots(1, len(grids)), grids.items(), strict=True):
        images = np.clip(samples.reshape(-1, *shape[:2]), 0, 1)
        title = f"{label}\n{results[label]['recognised']:.0%} recognised"
        show_sheet(axes, images, 10, title, 11, frame=0.3)
    return figure
