r"""MDSM's likelihoods: annealed importance sampling both ways, and what bits per dimension can be expected.

Li, Chen & Sommer (2019, §4) start reverse annealed importance sampling from test images, anneal to a
Gaussian, and report the mean log-density in bits per dimension: 7.04 for CIFAR-10, which is −0.96 + 8 and
so in [0, 255] pixels, and "a density of 1.21 bits/dim" for MNIST in another convention. Here log Z of the
same kind of energy comes between two ends, with a verdict, and held-out rows are asked in three ways: as
they are, which is the paper's; with noise σ₀, whose density the energy is meant to be; and with grey levels
placed in their cells, in [0, L − 1].

What to expect is known before. No density p ∗ N(0, σ₀²I) is higher than the noise's own peak, and at rows
that carry the noise its mean log is at most minus the noise's entropy, since the entropy of a sum is no
less than a summand's. In bits per dimension of pixels k/(L − 1), about

    as they are     ≥ log₂(σ₀ √(2π))   = −2.00 for σ₀ = 0.1
    with noise σ₀   ≥ log₂(σ₀ √(2πe))  = −1.27

Beside the energies stand two densities with the noise built in: the Parzen density, a Gaussian of variance
σ₀² about each training row, which the objective is derived from; and one Gaussian, the rows' covariance and
σ₀²I.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.special

from energax.evaluation import (
    GreyLevels,
    LogNormalizerEstimate,
    Quantity,
    dequantised,
    log_normalizer,
    summarise_likelihood,
)
from energax.evaluation.bases import fitted_base
from energax.papers.models import PERCEPTRON, TINY, Studied, trained
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.samplers import HMC
from energax.tasks import score
from energax.tasks.rows import map_rows

__all__ = ["gaussian", "parzen", "run"]

WAYS = ("as they are", "with noise σ₀", "in levels")
PAPER = {"mnist": 1.21}  # bits per dimension, as printed
NEAR = 0.2  # bits per dimension, within which a number may be the paper's
SEEN = 2000  # rows that grey levels are read off
PARZEN, GAUSSIAN = "Parzen", "one Gaussian"


class Annealed(NamedTuple):
    """One annealing: temperatures, leapfrog steps of each move, chains."""

    temperatures: int
    leapfrogs: int
    chains: int


class Size(NamedTuple):
    """How large the study is: annealings of each data set's energy, rows asked, changes to its preset."""

    annealings: dict[str, tuple[Annealed, ...]]
    rows: int
    changes: dict[str, dict[str, Any]]


SIZES = {
    "smoke": Size({"digits": (Annealed(5, 2, 8),)}, 50, {"digits": TINY}),
    "cpu": Size(
        {
            "digits": (Annealed(200, 10, 32), Annealed(800, 10, 32), Annealed(3200, 10, 32)),
            "mnist": (Annealed(300, 10, 32), Annealed(1200, 10, 32)),
        },
        1000,
        {"mnist": PERCEPTRON},
    ),
    "paper": Size({"mnist": (Annealed(1000, 10, 100), Annealed(10_000, 10, 100))}, 10_000, {}),
}


def parzen(train: np.ndarray, x: np.ndarray, sigma: float) -> np.ndarray:
    """Return log (1/n) Σ_i N(x; x_i, σ²I) of every row of x."""
    flat, rows = (a.reshape(len(a), -1).astype(np.float64) for a in (train, x))
    d, squares = flat.shape[1], (flat**2).sum(1)
    found = []
    for block in np.array_split(rows, max(1, len(rows) // 100)):
        distance = (block**2).sum(1)[:, None] + squares - 2 * block @ flat.T
        found.append(scipy.special.logsumexp(-distance / (2 * sigma**2), axis=1))
    return np.concatenate(found) - math.log(len(flat)) - d * math.log(sigma * math.sqrt(2 * math.pi))


def gaussian(train: np.ndarray, x: np.ndarray, sigma: float) -> np.ndarray:
    """Return log N(x; mean, covariance + σ²I) of every row of x, mean and covariance the training rows'."""
    flat, rows = (a.reshape(len(a), -1).astype(np.float64) for a in (train, x))
    d = flat.shape[1]
    values, axes = np.linalg.eigh(np.cov(flat.T) + sigma**2 * np.eye(d))
    squares = ((rows - flat.mean(0)) @ axes) ** 2 / values
    return -0.5 * squares.sum(1) - 0.5 * np.log(2 * np.pi * values).sum()


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Bracket log Z of each energy, and ask its held-out rows."""
    size = SIZES[scale]
    rows: list[list[Any]] = []
    facts: dict[str, Any] = {}
    pictures = {}
    for name, annealings in size.annealings.items():
        model = trained(name, size.changes.get(name), progress=progress)
        bench = Bench(model, size.rows)
        found = facts[name] = {"floors": bench.floors, "densities": {}}
        for density in (GAUSSIAN, PARZEN):
            bits = bench.bits({GAUSSIAN: gaussian, PARZEN: parzen}[density])
            found["densities"][density] = {way: q._asdict() for way, q in bits.items()}
            rows.append([name, density, "0", "–", *(_told(bits[way]) for way in WAYS), "exact"])
            progress(f"{name}, {density}: {_told(bits[WAYS[0]])} bits/dim {WAYS[0]}")
        for settings in annealings:
            log_z = bench.log_z(settings)
            bits = bench.bits(None, log_z)
            case = f"energy, {settings.temperatures:,} temperatures"
            found["densities"][case] = {way: q._asdict() for way, q in bits.items()} | {
                "log Z": log_z._replace(work=())._asdict()
            }
            spread = " / ".join(f"{sd:.2g}" for sd in log_z.deviation)
            ends = f"{log_z.lower:.1f} to {log_z.upper:.1f}"
            said = "converged" if log_z.converged else "not converged"
            rows.append([name, case, ends, spread, *(_told(bits[way]) for way in WAYS), said])
            progress(f"{name}, {case}: log Z {ends}, {_told(bits[WAYS[0]])} bits/dim {WAYS[0]}, {said}")
            pictures[name] = log_z
        if name in PAPER:
            rows.append([name, "the paper's Res12", "–", "–", f"{PAPER[name]}", "–", "–", "no interval"])
    return Outcome(
        columns=("data", "density", "log Z", "sd(log w) forward / reverse", *WAYS, "verdict"),
        rows=rows,
        verdict=verdict(facts),
        figure=_figure(facts, pictures),
        facts=facts,
    )


class Bench:
    """A trained energy, and its held-out rows in each of the ways that they are asked."""

    def __init__(self, model: Studied, rows: int):
        self.model, self.rows = model, model.dataset.test[:rows]
        assert model.way.sigma_0 is not None
        self.sigma, self.d = model.way.sigma_0, int(np.prod(model.dataset.event_shape))
        levels = GreyLevels.of(model.dataset.train[:SEEN])
        assert levels is not None
        self.levels: GreyLevels = levels
        self.unit, self.counts = levels.conventions  # the names
        noise = np.asarray(jax.random.normal(jax.random.key(3), self.rows.shape))
        self.noisy = self.rows + self.sigma * noise

    @property
    def floors(self) -> dict[str, float]:
        """The least bits per dimension that a density with noise σ₀ can have."""
        moved = self.levels.conventions[self.unit] / math.log(2)
        peak = math.log2(self.sigma * math.sqrt(2 * math.pi)) - moved
        return {WAYS[0]: peak, WAYS[1]: peak + 0.5 * math.log2(math.e)}

    def log_z(self, settings: Annealed) -> LogNormalizerEstimate:
        """Return log Z of the energy, its reverse chains from training rows."""
        rows = self.model.to_model(self.model.dataset.train)
        mass = fitted_base("mdsm-likelihood", rows).variance
        return log_normalizer(
            self.model.energy,
            data=rows,
            transition=HMC(0.5, settings.leapfrogs, inverse_mass=mass),
            temperatures=settings.temperatures,
            chains=settings.chains,
            key=jax.random.key(5),
        )

    def bits(
        self,
        density: Callable[[np.ndarray, np.ndarray, float], np.ndarray] | None,
        log_z: LogNormalizerEstimate | None = None,
    ) -> dict[str, Quantity]:
        """Return bits per dimension in each way, of a density of rows or, if None, of the energy."""

        def log_p(x: np.ndarray) -> np.ndarray:
            if density is not None:
                return density(self.model.dataset.train, x, self.sigma)
            volume = map_rows(lambda chunk: jax.vmap(self.model.pipeline.log_det)(chunk), x)
            return volume - score(self.model.energy, self.model.to_model(x))

        placed = dequantised(log_p, self.rows, self.levels, draws=2, key=jax.random.key(4)).bound
        asked = (log_p(self.rows), self.unit), (log_p(self.noisy), self.unit), (placed, self.counts)
        return {
            way: summarise_likelihood(values, self.d, log_z=log_z, levels=self.levels).bits[convention]
            for way, (values, convention) in zip(WAYS, asked, strict=True)
        }


def _told(bits: Quantity) -> str:
    if bits.least == bits.most:
        return f"{bits.value:.3f} ± {bits.standard_error:.3f}"
    return f"{bits.value:.3f} ({bits.least:.3f} to {bits.most:.3f})"


def verdict(facts: dict[str, Any]) -> str:
    """Say how wide the ends are, in nats and bits, where the energies stand, and what 1.21 can be."""
    lines = []
    for name, found in facts.items():
        densities = found["densities"]
        case, best = next((c, b) for c, b in reversed(densities.items()) if "log Z" in b)
        log_z, clean, noisy = best["log Z"], *(best[way] for way in WAYS[:2])
        floor, entropy = (found["floors"][way] for way in WAYS[:2])
        others = ", ".join(
            f"{other} {densities[other][WAYS[0]]['value']:.2f} and {densities[other][WAYS[1]]['value']:.2f}"
            for other in (GAUSSIAN, PARZEN)
        )
        said = "converged" if log_z["converged"] else "not converged"
        width = log_z["upper"] - log_z["lower"]
        below = [
            way for way, bits, least in zip(WAYS, (clean, noisy), (floor, entropy), strict=False)
            if bits["most"] < least
        ]  # fmt: skip
        kept = f"below the floor {' and '.join(below)}: no such density" if below else "above the floors"
        lines.append(
            f"{name}, {case}: {said}, {width:.1f} nats between the ends, "
            f"{clean['most'] - clean['least']:.3f} bits per dimension. In [0, 1] pixels held-out rows take "
            f"{clean['value']:.2f} bits as they are and {noisy['value']:.2f} with noise σ₀, {kept} "
            f"({floor:.2f} and {entropy:.2f}); {others}."
        )
        annealed = {c: b["log Z"] for c, b in densities.items() if "log Z" in b}
        highest = max(annealed, key=lambda c: annealed[c]["lower"])
        for one, ends in annealed.items():
            if ends["upper"] < annealed[highest]["lower"]:
                lines.append(
                    f"{name}: the upper end of {one}, {ends['upper']:.1f}, is below the lower end of "
                    f"{highest}, {annealed[highest]['lower']:.1f}: started from data it was none."
                )
        if name in PAPER:
            printed = PAPER[name]
            as_bits, as_density = (abs(sign * printed - clean["value"]) for sign in (1, -1))
            reading = "a log-density, bits with their sign turned" if as_density < as_bits else "bits"
            likely = f"it may be {reading}" if min(as_bits, as_density) < NEAR else "neither is near"
            lines.append(
                f"The paper's {printed} for {name} is {as_bits:.2f} off this energy's bits as it stands, "
                f"{as_density:.2f} off read as a log-density: {likely}. One Gaussian has "
                f"{densities[GAUSSIAN][WAYS[0]]['value']:.2f}; the uniform density on [0, 1] pixels has 0."
            )
    return bulleted(lines)


def _figure(facts: dict[str, Any], pictures: dict[str, LogNormalizerEstimate]) -> Any:
    figure = canvas(13, 3.6 * len(facts))
    axes = figure.subplots(len(facts), 2, squeeze=False)
    for (left, right), (name, found) in zip(axes, facts.items(), strict=True):
        log_z = pictures[name]
        for work, label, colour in zip(
            log_z.work, ("forward", "reverse, from data"), ("C0", "C1"), strict=True
        ):
            left.hist(work, 20, color=colour, alpha=0.6, label=label)
        left.axvspan(*sorted((log_z.lower, log_z.upper)), color="0.5", alpha=0.3, label="between the ends")
        left.axvline(log_z.estimate, color="k", lw=1, label="estimate")
        left.set(title=f"{name}: log Z₀ + log weights, the longest annealing", xlabel="nats")
        left.legend(fontsize="small")
        densities = found["densities"]
        for i, way in enumerate(WAYS[:2]):
            places = np.arange(len(densities)) + 0.3 * i
            values = [bits[way]["value"] for bits in densities.values()]
            right.barh(places, values, 0.28, color=f"C{i}", label=way)
            right.axvline(found["floors"][way], color=f"C{i}", ls="--", lw=1)
        right.set_yticks(np.arange(len(densities)) + 0.15, list(densities))
        right.invert_yaxis()
        right.set(
            title=f"{name}: bits per dimension, [0, 1] pixels (dashed: the floors)", xlabel="left is better"
        )
        right.legend(fontsize="small")
    return figure
