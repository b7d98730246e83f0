"""How likely a trained model finds rows it has not seen, in nats and in bits per dimension."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from energax.checks import check, check_integer
from energax.cli.evaluate import HeldOut
from energax.cli.trained import Trained
from energax.energies import Uniform, VisibleLayer
from energax.evaluation import (
    GreyLevels,
    LikelihoodSummary,
    LogNormalizerEstimate,
    Quantity,
    dequantised,
    log_normalizer,
    summarise_likelihood,
)
from energax.progress import ProgressBar
from energax.report.figures.likelihood import likelihood
from energax.report.findings import Finding, drawn

__all__ = ["LogLikelihood"]

FLOW_ROWS = 500  # that a probability flow is asked of: each is an ODE of hundreds of scores
SEEN = 2000  # training rows that levels, or bits, are read off
DRAWS = 4  # of a row's place in its cell
BITS = "bits"


@dataclass(frozen=True)
class LogLikelihood:
    """The mean log-density of held-out rows; the fields are the flags of the command."""

    temperatures: int = 1000
    chains: int = 100
    schedule: str = "adaptive"
    width: float = 1.0

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return the mean log-density of the rows; of an energy, log Z and a verdict on it."""
        check_integer(trained.command, "--temperatures", self.temperatures, at_least=1)
        rows, what, found = held_out.rows, held_out.what, None
        box = _box(trained)
        if box is not None:
            x = trained.to_model(rows)
            outside = int(np.sum(np.any((x < box.low) | (x > box.high), axis=tuple(range(1, x.ndim)))))
            allowed = "within the box that the run was trained for"
            check(outside == 0, trained.command, "rows", allowed, f"{outside} of {what} outside")
        if trained.way.told:
            if len(rows) > FLOW_ROWS:
                rows, what = rows[:FLOW_ROWS], f"the first {FLOW_ROWS} of {what}"
        else:
            found = self._log_z(trained, box, seed)
        values, levels, unit = _log_densities(trained, rows, seed)
        summary = summarise_likelihood(values, trained.size, log_z=found, levels=levels, unit=unit)
        lines = [("rows", what), *_lines(found, summary, trained)]
        shown = values - (0.0 if found is None else found.estimate)
        return Finding(
            "log-likelihood",
            "Likelihood",
            lines,
            drawn(lambda ink: likelihood(found, shown, ink)),
            _caption(found, levels),
            _facts(found, summary),
        )

    def _log_z(self, trained: Trained, box: Uniform | None, seed: int) -> LogNormalizerEstimate:
        """Return log Z of a run's energy, or refuse what has none, or none that chains could find."""
        command, objective = trained.command, trained.config.objective
        energy = trained.way.energy(trained.energy)
        field = "a vector field that was not told the noise"
        allowed = "a run of an energy, or noise-conditional (by the probability flow)"
        check(energy is not None, command, "RUN", allowed, field)
        allowed = "of a law on all of ℝᵈ, on a box, or of bits or spins: chains would leave a half-space"
        check(objective != "non-negative", command, "RUN", allowed, f"one of {objective}")
        if isinstance(energy, VisibleLayer):  # Z is that of all layers
            energy = energy.machine
        size = math.prod(trained.energy.event_shape)
        allowed = "a run without pad, whose frame has a density of its own"
        check(size == trained.size, command, "RUN", allowed, f"{size} entries for {trained.size} of the data")
        with ProgressBar(None, 0, 2 * self.temperatures, "annealing") as bar:
            return log_normalizer(
                energy,
                box,
                exact=box is None,  # what is known or integrated is log Z on all of ℝᵈ
                data=trained.to_model(trained.run.load_data().train),
                temperatures=self.temperatures,
                chains=self.chains,
                schedule=self.schedule,
                width=self.width,
                key=jax.random.key(seed),
                progress=lambda done, total: bar.update(done),
            )


def _box(trained: Trained) -> Uniform | None:
    """Return the uniform law on the box that a run's energy was trained for; None where that is all of ℝᵈ."""
    if trained.config.objective != "box":
        return None
    allowed = "of a table's rows: a grey level's cell at an edge would lie half outside the box"
    check(trained.image is None, trained.command, "RUN", allowed, "one of images")
    ends: Any = trained.config.objective_options
    return Uniform(*(np.full(trained.energy.event_shape, end) for end in (ends.low, ends.high)))


def _log_densities(
    trained: Trained, rows: np.ndarray, seed: int
) -> tuple[np.ndarray, GreyLevels | None, str]:
    """Return log p of rows (−E of an energy) in the data's units, images' levels, and how bits are called."""
    seen = trained.run.load_data().train[:SEEN]
    states = np.unique(trained.to_model(seen))
    discrete = len(states) == 2 and tuple(states) in ((0, 1), (-1, 1))
    levels = None if trained.image is None or discrete else GreyLevels.of(seen)
    if trained.way.told:
        place = jax.random.uniform(jax.random.key(seed), rows.shape) - 0.5
        places = 0.0 if levels is None else levels.spacing * np.asarray(place)
        values = trained.log_likelihood(rows + np.float32(places), probes=None, seed=seed).log_prob
    elif levels is None:
        values = -trained.score(rows)
    else:
        key = jax.random.key(seed)
        values = dequantised(lambda x: -trained.score(x), rows, levels, draws=DRAWS, key=key).bound
    return np.asarray(values, np.float64), levels, BITS if discrete else "the data's units"


def _lines(
    found: LogNormalizerEstimate | None, summary: LikelihoodSummary, trained: Trained
) -> list[tuple[str, str]]:
    """Return everything in words."""
    ends = found is not None and not found.exact
    lines = []
    if found is None:
        lines.append(("log p", f"by the probability flow, of data with noise σ = {trained.unit:.3g}"))
    elif ends:
        interval = f"{found.lower:.4f} to {found.upper:.4f}"
        lines.append(("log Z", f"{interval}, estimate {found.estimate:.4f} ± {found.standard_error:.2g}"))
    else:
        lines.append(("log Z", f"{found.estimate:.4f}, {found.status}"))
    few = "" if summary.effective > 30 else f"; {summary.effective:.1f} rows decide it"
    if trained.way.layered:
        lines.append(("log p", "its variational bound, below it by what hidden layers hang together given x"))
    lines += [
        ("mean log-density", _told(summary.mean, ends, " nats a row") + " by the choice of rows"),
        ("log of mean density", _told(summary.log_mean, ends, " nats") + few),
    ]
    lines += [(f"bits/dim, {name}", _told(bits, ends)) for name, bits in summary.bits.items()]
    if found is None or not ends:
        return lines
    ran: dict[str, Any] = found.settings
    forward, reverse = found.deviation
    how = f"{ran['temperatures']:,} temperatures, {ran['schedule']}; {ran['chains']} chains each way"
    return [
        *lines,
        ("verdict", found.status),
        ("sd(log w)", f"{forward:.2f} forward, {reverse:.2f} in reverse"),
        ("annealing", f"{how} by {ran['transition']}; length {ran['length']:.1f}"),
    ]


def _told(value: Quantity, ends: bool, unit: str = "") -> str:
    between = f", from {value.least:.4f} to {value.most:.4f}" if ends else ""
    return f"{value.value:.4f}{unit}{between}, ± {value.standard_error:.2g}"


def _caption(found: LogNormalizerEstimate | None, levels: GreyLevels | None) -> str:
    text = "log p of single rows."
    if found is not None and not found.exact:
        text = (
            "Left: the log weights of chains annealed from the base to the model, and of chains that go "
            f"back; log Z lies between their means. Right: {text}"
        )
    if levels is None:
        return text
    return (
        f"{text} Each grey level was placed uniformly in its cell; the bits of the two conventions differ by "
        f"log₂ {levels.count}."
    )


def _facts(found: LogNormalizerEstimate | None, summary: LikelihoodSummary) -> dict[str, Any]:
    told = {name: getattr(summary, name)._asdict() for name in ("mean", "log_mean")}
    bits = {name: quantity._asdict() for name, quantity in summary.bits.items()}
    log_z = None if found is None else found._asdict() | {"work": [w.tolist() for w in found.work]}
    return {"log Z": log_z, "rows": summary.rows, **told, "bits per dimension": bits}
