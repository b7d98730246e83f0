"""A trained run as the commands that use it see it.

Everything that goes in or comes out is in the data's own units; the pipeline stored with the
model translates, and what it does to volumes is part of every energy reported.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax import tasks
from energax.checks import InputError, check
from energax.cli.columns import Layout, in_order
from energax.cli.device import prepare
from energax.cli.distilled import Distilled
from energax.cli.images import to_pixels
from energax.cli.run_folder import RunFolder
from energax.config import RunConfig, from_dict
from energax.data.tables import Table, read_table
from energax.options import MACHINES, of_bits, walls_of
from energax.progress import ProgressBar
from energax.tasks import way
from energax.tasks.rows import map_rows, to_data, to_model

__all__ = ["Trained"]

FAR = 4  # so many times farther out than data and noise together the typical row is in other units
LOST = 10  # a chain so many times farther out than data and noise together will not come back


class Trained:
    """A run's model with what it takes to use it in the data's units.

    Parameters
    ----------
    path
        The run folder.
    command
        Who asks, for the refusing sentence.
    generators
        Whether a generator will do, which draws and has no energy (`energax distil`).
    """

    def __init__(self, path: Path, command: str, *, generators: bool = False):
        self.run = RunFolder.open(path, command)
        self.command = command
        prepare()
        file = self.run.load_model(command)
        self.pipeline, self.about = file.preprocessing, file.about
        self.distilled = Distilled.of(self.about, str(self.run.model))
        if self.distilled is not None:
            got = f"{path}, a generator of {self.distilled.run}, which only draws (energax sample {path})"
            check(generators, command, "RUN", "a run with an energy or a score", got)
        try:
            self.config: RunConfig = from_dict(self.about["config"])
            self.way, self.center = way(self.config), float(self.about["center"])
            self.energy: Any = self.way.of_rows(file.model)
            self.bound = float(self.about["reach"]) + self.way.start
            facts = self.about["data"]
            self.kind, self.event = facts["kind"], tuple(facts["event_shape"])
            self.image = None if facts["image_shape"] is None else tuple(facts["image_shape"])
            self.low, self.high = float(facts["low"]), float(facts["high"])
            size = int(np.prod(self.event))
            self.names = None if facts["columns"] is None else tuple(facts["columns"])
            self.columns = self.names or tuple(f"x{j}" for j in range(1, size + 1))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{command}: {self.run.model} does not say how it was trained ({error})."
            ) from None

    def require_steins_identity(self, flag: str) -> None:
        """Refuse a law without a score, and one whose density ends at an edge.

        There E_p[s·f + tr ∇f] = 0, on which every Stein discrepancy rests, lacks the edge's part.
        """
        allowed = "of an energy over real numbers, which has a score"
        check(self.states is None, self.command, flag, allowed, f"one over {self.states}")
        edged = walls_of(self.config.objective, self.config.objective_options) is not None
        allowed = "of a law on all of ℝᵈ: where a density ends at an edge, Stein's identity fails"
        check(not edged, self.command, flag, allowed, f"one of the objective {self.config.objective}")

    def read(self, file: str) -> tuple[np.ndarray, Layout]:
        """Return the rows of a file as events, and how the file holds them."""
        return self.of_table(read_table(file), Path(file).name)

    def of_table(self, table: Table, name: str) -> tuple[np.ndarray, Layout]:
        """Return the rows of a table as events, its columns by their names if both sides have them."""
        layout = in_order(table, self.names, command=self.command, file=name, of=str(self.run.path))
        return self.events(layout.arrange(table.rows), name)[0], layout

    def events(self, rows: np.ndarray, name: str) -> tuple[np.ndarray, tuple[int, ...]]:
        """Return the rows of a file of that name as events, and the shape in which they came."""
        came, size = rows.shape, int(np.prod(self.event))
        if self.image is not None:
            single = (self.image, self.image[:2]) if self.image[2] == 1 else (self.image,)
            if came in single:
                rows = rows[None]
            layouts = {self.event, self.image, (size,), *single}
        else:
            layouts = {self.event, (size,)}
        wanted = " or ".join(f"(n, {', '.join(map(str, s))})" for s in sorted(layouts, key=len))
        check(rows.shape[1:] in layouts, self.command, name, f"of shape {wanted}", f"shape {came}")
        return rows.reshape(-1, *self.event), came

    def to_model(self, x: np.ndarray) -> np.ndarray:
        """Return rows in the units the model sees."""
        return to_model(self.pipeline, x)

    def to_data(self, z: np.ndarray) -> np.ndarray:
        """Return rows in the data's own units."""
        return to_data(self.pipeline, z)

    def pixels(self, x: np.ndarray) -> np.ndarray:
        """Return images in the data's units as bytes."""
        assert self.image is not None
        return to_pixels(x, self.image, self.low, self.high)

    def stayed(self, z: np.ndarray) -> np.ndarray:
        """Return which rows of model units lie where a chain can be, shape (n,)."""
        # Written so that NaN compares as lost.
        return self._extent(z) <= LOST * self.bound

    def tell_of_units(self, z: np.ndarray, name: str) -> None:
        """Say that most rows of a file, given in model units, are far from all that was learned from."""
        if np.median(self._extent(z)) > FAR * self.bound:
            span = f"training data from {self.low:.4g} to {self.high:.4g}"
            print(
                f"note: most rows of {name} are far from all {span}: are the units the same?", file=sys.stderr
            )

    def _extent(self, z: np.ndarray) -> np.ndarray:
        return np.abs(z - self.center).reshape(len(z), -1).max(axis=1)

    @property
    def states(self) -> str | None:
        """What the model's rows consist of, "bits" or "spins"; None for real numbers."""
        config = self.config
        if config.energy in MACHINES:
            return MACHINES[config.energy]
        return "bits" if of_bits(config.objective, config.objective_options) else None

    @property
    def unit(self) -> float:
        """σ₀, or the refusal of a model that knows nothing of noise."""
        objective = self.config.objective
        allowed = "a run of an objective that knows of noise (multiscale, denoising, noise-conditional)"
        check(self.way.sigma_0 is not None, self.command, "RUN", allowed, objective)
        assert self.way.sigma_0 is not None
        return self.way.sigma_0

    def score(self, x: np.ndarray) -> np.ndarray:
        """Return E(f(x)) − log|det ∂f/∂x|, the energy of x in its own units.

        Of a noise-conditional energy, that of its smallest level.
        """
        energy = self.way.energy(self.energy)
        check(energy is not None, self.command, "RUN", "a run of an energy", "a vector field, which has none")
        assert energy is not None
        volume = map_rows(lambda chunk: _log_det(self.pipeline, chunk), x)
        return tasks.score(energy, self.to_model(x)) - volume

    @property
    def size(self) -> int:
        """How many numbers a row has."""
        return int(np.prod(self.event))

    def log_likelihood(self, x: np.ndarray, *, probes: int | None, seed: int) -> tasks.Likelihood:
        """Return log p(x) in the data's own units.

        Of a noise-conditional run, that of data plus the smallest noise of the ladder; of an energy
        whose log Z was learned, −E − log Z, with the standard error of log Z; of one that
        knows its own (ica), exactly.
        """
        known = self.about.get("log_normalizer")
        exact = hasattr(self.energy, "log_prob")
        allowed = (
            "asked of a run whose log Z is known: of noise-conditional, nce, bregman-nce, flow-contrastive, "
            "adversarial-contrastive, or of the energy ica"
        )
        normal = self.way.told or known is not None or exact
        check(
            normal, self.command, "--likelihood", allowed, f"{self.config.objective} ({self.config.energy})"
        )
        if not self.way.told:
            check(probes is None, self.command, "--probes", "left out: there is no trace to estimate", probes)
            if exact:
                return tasks.Likelihood(-self.score(x) - float(self.energy.log_normalizer()), None)
            assert known is not None
            error = np.full(len(x), known["standard_error"])
            return tasks.Likelihood(-self.score(x) - known["value"], error)
        assert self.way.sigmas is not None
        size = int(np.prod(self.energy.event_shape))
        allowed = "a run without pad for --likelihood, whose frame has a density of its own"
        check(size == self.size, self.command, "RUN", allowed, f"{size} entries for {self.size} of the data")
        low, high = self.way.sigmas
        volume = map_rows(lambda chunk: _log_det(self.pipeline, chunk), x)
        with ProgressBar(None, 0, len(x), "likelihood") as bar:
            found = tasks.log_likelihood(
                self.energy,
                self.to_model(x),
                sigma_min=low,
                sigma_max=high,
                probes=probes,
                key=jax.random.key(seed),
                progress=lambda done, total: bar.update(done),
            )
        return found._replace(log_prob=found.log_prob + volume)


@eqx.filter_jit
def _log_det(pipeline: Any, x: jax.Array) -> jax.Array:
    return jax.vmap(pipeline.log_det)(x)
