"""The trainings of one data set of binarised digits by every method, and how each machine is judged."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax import data, objectives
from energax.data import Dataset
from energax.energies import BernoulliRBM
from energax.evaluation import log_normalizer
from energax.objectives import (
    ContrastiveDivergence,
    ExactMaximumLikelihood,
    Objective,
    PersistentContrastiveDivergence,
    UnbiasedContrastiveDivergence,
)
from energax.papers.bracketed import Bracketed
from energax.papers.descent import at_best_rate, curvature, descend, log_likelihood
from energax.papers.repeats import pm
from energax.samplers import BlockGibbs
from energax.samplers import run as run_chains
from energax.training import fit

__all__ = [
    "ADAM",
    "CHAINS",
    "CONSTANT",
    "CONTINUED",
    "EXACT",
    "EXACT_ADAM",
    "SHOWN",
    "SKLEARN",
    "Bench",
    "Work",
    "meeting",
]

EXACT, SKLEARN = "exact", "scikit-learn"
CONSTANT, ADAM, EXACT_ADAM = "PCD-1, constant", "PCD-1, fit", "exact, fit"
CHAINS = ("CD-1", "CD-10", "PCD-1", CONSTANT, SKLEARN, ADAM)
CONTINUED = 300  # exact steps from CD-10's machine
POINTS = 10  # of a curve
LARGER = 25  # minibatches of exact, fit
PAIRS = 32  # coupled chains whose meeting is watched
SHOWN = 64  # samples in a sheet


@dataclass(frozen=True)
class Work:
    """One data set's trainings.

    Parameters
    ----------
    dataset, rows
        Its loader's name, and how many training rows are taken.
    hidden
        Hidden units, at most 20.
    rate, batch, steps
        scikit-learn's rate, and the minibatch and updates of all.
    rates
        The grid of the falling rates.
    adam
        The grid of `fit`'s learning rates.
    seeds
        Trainings of each case.
    sweeps
        Of the chains in a sheet.
    cases
        Those there is time for, at least CD-10 and scikit-learn's; with the exact gradient, both of its.
    """

    dataset: str
    rows: int
    hidden: int
    rate: float
    batch: int
    steps: int
    rates: tuple[float, ...]
    adam: tuple[float, ...]
    seeds: int
    sweeps: int
    cases: tuple[str, ...]

    @property
    def exact(self) -> bool:
        """Whether there is time for the enumerated gradient."""
        return EXACT in self.cases


@dataclass(frozen=True)
class Training:
    """Where one training ended, and (share done, held out, training) log p along it."""

    model: BernoulliRBM
    curve: list[list[float]]

    @property
    def log_p(self) -> float:
        """Mean log p of training rows at the end."""
        return self.curve[-1][2]


class Bench:
    """The trainings of one data set."""

    def __init__(self, work: Work):
        self.work = work
        dataset: Dataset = getattr(data, work.dataset)()
        assert dataset.image_shape is not None
        self.image_shape = dataset.image_shape
        bits = data.Binarise()
        self.train, self.test = (
            np.asarray(bits.forward(jnp.asarray(a.reshape(len(a), -1))))
            for a in (dataset.train[: work.rows], dataset.test)
        )
        self.models: dict[str, BernoulliRBM] = {}

    def run(self, progress: Callable[[str], None]) -> dict[str, Any]:
        """Return, for each case, held-out and training log-likelihoods of all seeds, and the curves."""
        work, gibbs, exact = self.work, BlockGibbs(), ExactMaximumLikelihood()
        persistent = PersistentContrastiveDivergence(gibbs, 1, chains=work.batch)
        chains = {
            "CD-1": ContrastiveDivergence(gibbs, 1),
            "CD-10": ContrastiveDivergence(gibbs, 10),
            "PCD-1": persistent,
        }
        cases: dict[str, tuple[tuple[float, ...], Callable[[float, int], Training]]] = {}
        for name, objective in chains.items():
            cases[name] = work.rates, functools.partial(self.descended, objective)
        cases[CONSTANT] = (work.rate,), functools.partial(self.descended, persistent, falling=False)
        cases[SKLEARN] = (
            (work.rate,),
            lambda rate, seed: self.once(self.scikits(rate, seed, work.hidden, work.steps)),
        )
        cases[ADAM] = work.adam, lambda rate, seed: self.once(self.fitted(persistent, rate, seed))
        cases[EXACT] = work.rates, functools.partial(self.descended, exact)
        cases[EXACT_ADAM] = work.adam, lambda rate, seed: self.once(self.fitted(exact, rate, seed))
        results = {}
        for case in work.cases:
            rates, train = cases[case]
            rate, found, values = at_best_rate(rates, work.seeds, train, lambda t: t.log_p)
            self.models[case] = found[0].model
            ends = np.array([t.curve[-1] for t in found])
            results[case] = {
                "test": ends[:, 1].tolist(),
                "train": ends[:, 2].tolist(),
                "rate": rate,
                "training log p at each rate": {f"{r:g}": v for r, v in values.items()},
                "curves": [t.curve for t in found],
            }
            progress(
                f"{work.dataset}, {case}: {pm(results[case]['test'], '.2f')} nats held out at rate {rate:g}"
            )
        return results

    def descended(self, objective: Objective, rate: float, seed: int, falling: bool = True) -> Training:
        """Descend plainly, as scikit-learn does."""
        w = self.work
        model_key, key = jax.random.split(jax.random.key(seed))
        model = BernoulliRBM(self.train.shape[1:], w.hidden, scale=0.01, key=model_key)
        every = max(1, w.steps // POINTS)
        pace = {"rate": rate, "falling": falling, "batch": w.batch, "steps": every * POINTS, "every": every}
        curve = []
        for done, trained, _ in descend(model, objective, self.train, key=key, **pace):
            model = trained
            curve.append([done / (POINTS * every), *self.judged(model)])
        return Training(model, curve)

    def continued(self) -> dict[str, Any]:
        """Go on from CD-10's machine along the exact gradient of all rows, at each constant rate."""
        start = self.models["CD-10"]
        rows = jnp.asarray(self.train)
        sharp = {c: float(curvature(self.models[c], rows)) for c in ("CD-10", EXACT_ADAM)}
        ends = {}
        for rate in self.work.rates:
            pace = {"rate": rate, "batch": len(self.train), "steps": CONTINUED, "every": CONTINUED}
            ((_, model, _),) = descend(
                start, ExactMaximumLikelihood(), self.train, key=jax.random.key(0), **pace
            )
            ends[f"{rate:g}"] = self.judged(model)[1]
        return {"curvature": sharp, "from": self.judged(start)[1], "to": ends}

    def scikits(self, rate: float, seed: int, hidden: int, steps: int) -> BernoulliRBM:
        """Train scikit-learn's machine on the same work, and take its weights."""
        from sklearn.neural_network import BernoulliRBM as Theirs

        w = self.work
        epochs = max(round(steps * w.batch / len(self.train)), 1)
        theirs = Theirs(hidden, learning_rate=rate, batch_size=w.batch, n_iter=epochs, random_state=seed)
        theirs.fit(self.train)
        biases = theirs.intercept_visible_, theirs.intercept_hidden_
        return BernoulliRBM.from_parameters(theirs.components_.T, *biases)

    def fitted(
        self,
        objective: Objective,
        rate: float,
        seed: int,
        hidden: int | None = None,
        steps: int | None = None,
    ) -> BernoulliRBM:
        """Train by `fit`: Adam, a cosine, averaged parameters."""
        w = self.work
        model_key, key = jax.random.split(jax.random.key(seed))
        model = BernoulliRBM.from_data(self.train, hidden or w.hidden, key=model_key)
        exact = isinstance(objective, ExactMaximumLikelihood)
        batch = min(LARGER * w.batch, len(self.train)) if exact else w.batch
        settings = {"steps": steps or w.steps, "batch_size": batch, "learning_rate": rate}
        return fit(model, objective, self.train, key=key, progress=False, **settings).energy

    def once(self, model: BernoulliRBM) -> Training:
        """Return a curve of one point."""
        return Training(model, [[1.0, *self.judged(model)]])

    def judged(self, model: BernoulliRBM) -> list[float]:
        """Return mean log p of held-out and of as many training rows (all of them, if few)."""
        rows = jnp.asarray(self.test), jnp.asarray(self.train[: max(1_500, len(self.test))])
        return [float(v) for v in log_likelihood(model, *rows)]

    def between(self, model: BernoulliRBM, temperatures: int) -> Bracketed:
        """Return mean log p of held-out rows, log Z between two ends."""
        found = log_normalizer(model, data=self.train, temperatures=temperatures, key=jax.random.key(0))
        return Bracketed.of(-float(jnp.mean(jax.vmap(model)(jnp.asarray(self.test)))), found)

    def sheet(self, model: BernoulliRBM) -> np.ndarray:
        """Return p(x = 1 | h) of chains from noise, as images."""
        start_key, run_key, hidden_key = jax.random.split(jax.random.key(0), 3)
        start = jax.random.bernoulli(start_key, 0.5, (SHOWN, self.train.shape[1])).astype(jnp.float32)
        x = run_chains(BlockGibbs(), model, start, key=run_key, steps=self.work.sweeps).x
        keys = jax.random.split(hidden_key, SHOWN)
        hidden = jax.vmap(model.sample_hidden)(x, keys)
        shades = jax.nn.sigmoid(jax.vmap(model.visible_logits)(hidden))
        return np.asarray(shades).reshape(SHOWN, *self.image_shape[:2])


def meeting(model: BernoulliRBM, x: np.ndarray, most: int) -> dict[str, float]:
    """Return when pairs of coupled chains from data meet, those cut off counting as `most` + 1."""
    objective = UnbiasedContrastiveDivergence(most=most)
    batch = objectives.Batch(jnp.asarray(x[None, :PAIRS]))
    _, report = jax.jit(lambda m, b, k: objective.refresh(m, None, None, b, k))(
        model, batch, jax.random.key(0)
    )
    return {name: float(value) for name, value in report.items()} | {"most": most}
