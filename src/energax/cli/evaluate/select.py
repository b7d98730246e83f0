"""Which of a run's checkpoints has the best samples (MDSM appendix D: every 5,000 updates, lowest FID)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.cli.build import build
from energax.cli.evaluate import HeldOut
from energax.cli.evaluate.judged import features_for
from energax.cli.sample import draw
from energax.cli.trained import Trained
from energax.evaluation import Quality, frechet_distance
from energax.objectives import Batch
from energax.report.figures.selection import selection
from energax.report.findings import Finding, drawn
from energax.training.kept import kept_models
from energax.training.state import seen

__all__ = ["Selection"]

FEWEST = 40


@dataclass(frozen=True)
class Selection:
    """Checkpoints by the Frechet distance of their samples; the fields are flags of the command.

    Parameters
    ----------
    n
        Samples of each.
    use
        Whether the best becomes the run's model.
    """

    n: int = 1000
    use: bool = False

    def find(self, trained: Trained, held_out: HeldOut, seed: int) -> Finding:
        """Return the distance of each kept checkpoint's samples, and which is least."""
        check_integer(trained.command, "-n", self.n, at_least=FEWEST)
        features = features_for(trained, trained.run.load_data())
        reference = features.of(held_out.rows)
        found: dict[int, Quality] = {}
        energies, now = dict(kept_energies(trained)), trained.energy
        for step, energy in energies.items():
            trained.energy = trained.way.of_rows(energy)
            samples = draw(trained, self.n, seed).samples
            found[step] = frechet_distance(features.of(samples), reference, of=features.name)
        trained.energy = now
        best = min(found, key=lambda step: found[step].estimate)
        what = f"of {features.name}; {self.n:,} samples of each, judged by {held_out.what}"
        lines = [("Frechet distance", what)]
        for step, q in found.items():
            lines.append((f"step {step:,}", f"{q.estimate:.4g}{', the least' * (step == best)}"))
        status = found[best].status
        if status != "ok":
            lines.append(("note", f"{status}; alike for all, which have as many samples"))
        if self.use:
            _use(trained, energies[best], best)
            lines.append(("the run's model", f"is now that of step {best:,}"))
        values = {step: q.estimate for step, q in found.items()}
        caption = (
            "Frechet distance between held-out rows and samples of each kept checkpoint, drawn with the same "
            "noise. The choice has looked at these rows: the chosen model's distance to them flatters it."
        )
        picture = drawn(lambda ink: selection(values, best, ink))
        return Finding("selection", "Selection", lines, picture, caption, {"best": best, "distances": values})


def kept_energies(trained: Trained) -> list[tuple[int, Any]]:
    """Return each kept checkpoint's step and energy, but for the untrained one's."""
    dataset = trained.run.load_data()
    parts = build(trained.config, dataset)
    rows = seen(Batch(jnp.asarray(dataset.train)), parts.pipeline, jax.random.key(0)).x
    fit, folder = parts.config.fit, trained.run.checkpoints
    kept = kept_models(parts.energy, parts.objective, rows, config=fit, checkpoints=folder)
    found = [(step, energy) for step, energy in kept if step > 0]
    hint = "train with --set fit.keep=all, and fit.checkpoint_every steps apart"
    allowed = f"a run that kept two checkpoints or more ({hint})"
    check(len(found) > 1, trained.command, "RUN", allowed, f"one with {len(found)}")
    return found


def _use(trained: Trained, energy: Any, step: int) -> None:
    from energax.training.modelfile import save

    about = {**trained.about, "steps": step}
    save(trained.run.model, energy, preprocessing=trained.pipeline, about=about)
    trained.run.add_facts(selected=step)
