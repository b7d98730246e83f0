r"""Which dynamics find the modes of one energy: Langevin, HMC and parallel tempering, at equal gradients.

Li, Chen & Sommer (2019, §4) find 966 of the 1,000 modes of stacked MNIST in 8,000 samples of annealed
Langevin dynamics, and expect more of better samplers ("such as HMC"). An energy of stacked digits, three
channels with a digit each, is trained once; every way of drawing then gets as many gradients a sample:

    Langevin              MDSM's annealing from noise, T = 100 to 1 and to 0
    HMC                   the same temperatures, ten leapfrog steps to a move, accepted or not
    parallel tempering    K replicas of Langevin steps at T = 1 … 100, neighbours changing places; the coldest
                          is looked at ten times on its way, as often as its replicas have spent a sample's
                          gradients

and each ends in the denoising jump. A classifier of one channel tells the digits; n exact samples find fewer
than 1,000, too, and have a KL to uniform above zero: both stand beside what was found
(`evaluation.mode_coverage`), with what the classifier makes of held-out stacks. Noise falls into modes, too:
*recognised* are samples each of whose channels the classifier is 90 % sure of, and their modes are counted
apart.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from energax.data import load
from energax.evaluation import Classifier, Coverage, classified, classifier_of, mode_coverage
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.samplers import Langevin, ParallelTempering, Sampler, annealed_hmc, observers, schedules
from energax.tasks.generate import anneal

__all__ = ["run", "samplers", "verdict"]

SURE = 0.9
LEAPFROG = 10
REPLICAS = 8
VISITS = 10  # samples that one ladder of replicas gives
EXACT = "held-out stacks"


class Size(NamedTuple):
    """How large the study is: channels' data, samples of each way, changes to the preset."""

    data: str
    samples: int
    changes: dict[str, Any]
    replicas: int = REPLICAS


SMOKE = {**TINY, "sampler.hold": 20, "sampler.anneal": 40, "sampler.cool": 20}
CPU = {"fit.steps": 3000, "energy.width": 256, "sampler.hold": 150, "sampler.anneal": 600, "sampler.cool": 50}
SIZES = {
    "smoke": Size("digits", 50, SMOKE, 2),
    "cpu": Size("digits", 2000, CPU),
    "paper": Size("mnist", 8000, {}),
}


def samplers(model: Studied, replicas: int) -> dict[str, Sampler]:
    """Return the ways of drawing, each of the horizon that spends the configuration's gradients a sample."""
    s, unit, noise = model.config.sampler, model.way.sigma_0, model.way.start
    assert unit is not None
    total = s.hold + s.anneal + s.cool
    epsilon = s.epsilon * unit
    top = (noise / unit) ** 2
    temperatures = np.geomspace(1.0, top, replicas)
    steps = VISITS * (total // replicas)
    langevin = Langevin(schedules.constant(epsilon**2 / 2, steps), schedules.constant(1.0, 1))
    hmc = annealed_hmc(
        sigma_0=unit,
        noise_max=noise,
        epsilon=epsilon,
        leapfrog_steps=LEAPFROG,
        hold=s.hold // LEAPFROG,
        anneal=s.anneal // LEAPFROG,
        cool=s.cool // LEAPFROG,
    )
    # The energy is that over T: a step ηT of it is Langevin's step η at temperature T.
    tempering = ParallelTempering(langevin, temperatures, step_factors=temperatures)
    return {"Langevin": model.way.sampler, "HMC": hmc, "parallel tempering": tempering}


def gradients(sampler: Sampler) -> int:
    """Return how many gradients one sample takes."""
    steps = sampler.horizon
    assert steps is not None
    if isinstance(sampler, ParallelTempering):
        return steps * sampler.temperatures.size // VISITS
    return steps * getattr(sampler, "leapfrog_steps", 1)


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Draw by every way from one energy, and count the modes of each."""
    size = SIZES[scale]
    model = trained(f"stacked-{size.data}", size.changes, progress=progress)
    judge = classifier_of(load(size.data))
    drawn: dict[str, np.ndarray] = {EXACT: model.dataset.test[: size.samples]}
    spent: dict[str, tuple[int, float]] = {EXACT: (0, 0.0)}
    for name, sampler in samplers(model, size.replicas).items():
        began = time.perf_counter()
        drawn[name] = draws(model, sampler, size.samples)
        spent[name] = gradients(sampler), time.perf_counter() - began
        progress(f"{name}: {spent[name][0]:,} gradients a sample, {spent[name][1]:.0f} s")
    found = {name: counted(judge, x) for name, x in drawn.items()}
    rows = [
        (name, spent[name][0], c.n, c.found, c.expected, c.kl, c.floor, share, sure.found, sure.expected)
        for name, (c, share, sure) in found.items()
    ]
    columns = (
        "drawn by",
        "gradients",
        "samples",
        "modes",
        "of exact",
        "KL",
        "of exact",
        "recognised",
        "modes of these",
        "of exact",
    )
    facts = {
        "classifier": judge.accuracy,
        "seconds": {name: s for name, (_, s) in spent.items()},
        "counts": {name: c.counts for name, (c, _, _) in found.items()},
    }
    return Outcome(columns, rows, verdict(found), _draw(found, drawn, model), facts)


def draws(model: Studied, sampler: Sampler, n: int) -> np.ndarray:
    """Return n samples in the data's units, each after the denoising jump."""
    unit, steps = model.way.sigma_0, sampler.horizon
    assert unit is not None
    assert steps is not None
    visits = VISITS if isinstance(sampler, ParallelTempering) else 1
    seen = anneal(
        model.energy,
        n // visits,
        key=jax.random.key(1),
        sigma_0=unit,
        noise_max=model.way.start,
        sampler=sampler,
        center=float(model.to_model(model.dataset.train[:1000]).mean()),
        final_jump=False,
        observers={"jumped": observers.denoised(unit)},
        every=steps // visits,
    ).observed["jumped"][-visits:]
    return model.to_data(seen.reshape(-1, *seen.shape[2:]))


class Counted(NamedTuple):
    """Modes of all samples, the share that is recognised, and the modes of those."""

    every: Coverage
    recognised: float
    sure: Coverage


def counted(judge: Classifier, x: np.ndarray) -> Counted:
    """Count the modes of the rows that are finite, and of those whose every channel is recognised."""
    whole = x[np.isfinite(x.reshape(len(x), -1)).all(axis=1)]
    modes, total = classified(judge, whole)
    channels = np.moveaxis(whole.reshape(len(whole), -1, 3), -1, 0)
    sure = np.all([judge.probabilities(channel).max(1) >= SURE for channel in channels], axis=0)
    chosen = modes[sure] if sure.any() else modes[:1]
    return Counted(mode_coverage(modes, total), float(sure.sum() / len(x)), mode_coverage(chosen, total))


def verdict(found: Mapping[str, Counted]) -> str:
    """Say who found most, and whether by more than chance."""
    ways = {name: c.sure for name, c in found.items() if name != EXACT}
    best, plain = max(ways, key=lambda name: ways[name].found), ways["Langevin"]
    gain = ways[best].found - plain.found
    beyond = gain > 3 * np.hypot(ways[best].deviation, plain.deviation)
    told = ", ".join(
        f"{name} {c.every.found} (KL {c.every.kl:.3f}; {c.recognised:.0%} recognised, {c.sure.found} modes)"
        for name, c in found.items()
    )
    holds = "holds" if best != "Langevin" and beyond else "does not hold"
    more = "no other way found more" if best == "Langevin" else f"{best} found {gain:+d} against Langevin"
    exact = found["Langevin"].every
    return (
        f"Modes found: {told}; exact samples {exact.expected:.0f} ± {exact.deviation:.0f} "
        f"(KL {exact.floor:.3f}). That a better sampler finds more modes than annealed Langevin dynamics at "
        f"equal gradients {holds} here: among recognised samples {more}."
    )


def _draw(found: Mapping[str, Counted], drawn: Mapping[str, np.ndarray], model: Studied) -> Any:
    figure = canvas(3.4 * len(found), 6)
    shape = model.dataset.image_shape
    assert shape is not None
    axes = figure.subplots(2, len(found), height_ratios=(1.4, 1), sharey="row", squeeze=False)
    for column, (name, (c, share, _)) in enumerate(found.items()):
        above, below = axes[:, column]
        images = np.clip(np.nan_to_num(drawn[name][:49]), 0, 1).reshape(-1, *shape)
        images = np.pad(images, ((0, 49 - len(images)), (1, 1), (1, 1), (0, 0)), constant_values=0.35)
        h, w = images.shape[1:3]
        above.imshow(images.reshape(7, 7, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(7 * h, 7 * w, 3))
        above.set_title(f"{name}: {share:.0%} recognised", fontsize=10)
        above.set_axis_off()
        below.plot(np.sort(c.counts)[::-1], color="C0")
        below.axhline(c.n / c.total, color="0.5", lw=0.8, ls="--")
        below.set(title=f"{c.found} modes, KL {c.kl:.3f} ({c.floor:.3f})", xlabel="mode, the fullest first")
    axes[1, 0].set_ylabel("samples in it")
    return figure
