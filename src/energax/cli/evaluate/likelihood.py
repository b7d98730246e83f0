"""How likely a trained energy finds rows it has not seen, between two ends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import numpy as np

from energax.checks import check, check_integer
from energax.cli.evaluate import HeldOut
from energax.cli.use import Trained
from energax.evaluation import LogNormalizerEstimate, log_normalizer
from energax.progress import ProgressBar
from energax.report.findings import Finding

__all__ = ["LogLikelihood"]


@dataclass(frozen=True)
class LogLikelihood:
    """The mean log-density of held-out rows; the fields are the flags of the command."""

    temperatures: int = 1000
    chains: int = 100
    schedule: str = "adaptive"
    width: float = 1.0

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return log Z and the mean log-density of the rows, with a verdict."""
        command = trained.command
        check_integer(command, "--temperatures", self.temperatures, at_least=1)
        config = trained.config
        energy = trained.way.energy(trained.energy)
        field = "a vector field, which has none"
        hint = " (of a noise-conditional field: energax score --likelihood, by the probability flow)"
        check(energy is not None, command, "RUN", "a run of an energy" + hint, field)
        edged = config.objective in ("non-negative", "box")
        allowed = "of a law on all of ℝᵈ, or of bits or spins: chains from a Gaussian would leave a box"
        check(not edged, command, "RUN", allowed, f"one of the objective {config.objective}")
        size = math.prod(trained.energy.event_shape)
        allowed = "a run without pad, whose frame has a density of its own"
        check(size == trained.size, command, "RUN", allowed, f"{size} entries for {trained.size} of the data")
        data = trained.run.load_data()
        with ProgressBar(None, 0, 2 * self.temperatures, "annealing") as bar:
            found = log_normalizer(
                energy,
                data=trained.to_model(data.train),
                temperatures=self.temperatures,
                chains=self.chains,
                schedule=self.schedule,
                width=self.width,
                key=jax.random.key(seed),
                progress=lambda done, total: bar.update(done),
            )
        lines = [("rows", held_out.what), *_lines(found, trained.score(held_out.rows))]
        return Finding("log-likelihood", "Likelihood", lines, facts=found._asdict())


def _lines(found: LogNormalizerEstimate, energies: np.ndarray) -> list[tuple[str, str]]:
    """Return log Z and the mean log-density of rows with these energies, in words."""
    mean = -float(np.mean(energies, dtype=np.float64))
    error = float(np.std(energies, dtype=np.float64)) / math.sqrt(len(energies))
    spread = f"± {error:.2g} by the choice of rows"
    if found.status == "exact":
        return [
            ("log Z", f"{found.estimate:.4f}, exact"),
            ("mean log-density", f"{mean - found.estimate:.4f} nats a row, {spread}"),
        ]
    ran = found.settings
    forward, reverse = found.deviation
    ends = f"{found.lower:.4f} to {found.upper:.4f}"
    least, middle, most = (mean - end for end in (found.upper, found.estimate, found.lower))
    how = f"{ran['temperatures']:,} temperatures, {ran['schedule']}; {ran['chains']} chains each way"
    return [
        ("log Z", f"{ends}, estimate {found.estimate:.4f} ± {found.standard_error:.2g}"),
        ("mean log-density", f"{middle:.4f} nats a row, from {least:.4f} to {most:.4f}, {spread}"),
        ("verdict", found.status),
        ("sd(log w)", f"{forward:.2f} forward, {reverse:.2f} in reverse"),
        ("annealing", f"{how} by {ran['transition']}; length {ran['length']:.1f}"),
    ]
