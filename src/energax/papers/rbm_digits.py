r"""Restricted Boltzmann machines of binarised digits: what each way to follow the likelihood reaches.

With up to 20 hidden units log Z is a sum over at most a million states, so that log p(x) of held-out digits
is exact, and so, on 8 × 8 digits, is the gradient of the likelihood itself:

    CD-1, CD-10      chains of 1 or 10 sweeps from the minibatch (Hinton 2002)
    PCD-1            as many chains as a minibatch has rows, a sweep a step (Tieleman 2008)
    exact            the enumerated gradient, which has no noise but the minibatch's
    scikit-learn     its BernoulliRBM, which is PCD-1 with a constant rate

All descend plainly from N(0, 0.01²) weights and zero biases, as scikit-learn does, by the same minibatches.
Ours have a rate that falls linearly to zero, which persistent chains need to follow a model that comes to
rest, and each method the best rate of a grid, by training likelihood. "PCD-1, constant" is scikit-learn's
method at its rate, and its weights are judged by our log Z (`BernoulliRBM.from_parameters`). "PCD-1, fit" is
the same work by `energax.fit`: Adam with a cosine, averaged parameters, biases that start at the data's log
odds. "exact, fit" is so, too, on minibatches `LARGER` times as large: what nothing is saved on.

One rate for all would mislead. Descent on the exact gradient needs rate < 2/λ (`papers.descent`), and λ grows
as the machine learns. So the study also goes on along the exact gradient from where CD-10 ended, at each
rate of the grid, constant, on all rows at once: below 2/λ the likelihood rises, above it falls.

How long pairs of coupled chains take to meet at the machine that the exact gradient found says why
unbiased CD is dear on digits.

A machine of more hidden units has a log Z beyond enumeration. Annealed importance sampling puts it between
two ends (`evaluation.log_normalizer`), and with it the likelihood of ours and of scikit-learn's.

Sheets are p(x = 1 | h) after a long run of Gibbs sweeps from noise.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
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
from energax.papers.bracketed import Bracketed, ends
from energax.papers.descent import at_best_rate, curvature, descend, log_likelihood
from energax.papers.judge import difference, summary
from energax.papers.outcome import Outcome
from energax.samplers import BlockGibbs
from energax.samplers import run as run_chains
from energax.training import fit

__all__ = ["run"]

EXACT, SKLEARN = "exact", "scikit-learn"
CONSTANT, ADAM, EXACT_ADAM = "PCD-1, constant", "PCD-1, fit", "exact, fit"
CHAINS = ("CD-1", "CD-10", "PCD-1", CONSTANT, SKLEARN, ADAM)
ALL = (*CHAINS, EXACT, EXACT_ADAM)
COLORS = {"CD-1": "C0", "CD-10": "C1", "PCD-1": "C2", EXACT: "C3", SKLEARN: "C4"}
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
class Size:
    """What a scale means.

    Parameters
    ----------
    works
        Trainings of which the likelihood is exact.
    large
        Hidden units and updates of a machine whose log Z is estimated, on the last work's data.
    temperatures
        Of that estimate.
    most
        Steps after which a pair of chains is given up.
    """

    works: tuple[Work, ...]
    large: tuple[int, int]
    temperatures: int
    most: int


FEW = ("CD-10", CONSTANT, SKLEARN, EXACT, EXACT_ADAM)
ADAMS = (0.003, 0.03)
SIZES = {
    "smoke": Size((Work("digits", 1_500, 6, 0.5, 50, 200, (1.0,), (0.03,), 2, 50, FEW),), (24, 200), 100, 50),
    "cpu": Size(
        (
            Work("digits", 1_500, 12, 0.1, 20, 5_000, (0.1, 0.4, 1.0), ADAMS, 3, 5_000, ALL),
            Work("mnist", 20_000, 12, 0.1, 100, 2_000, (0.05, 0.2), ADAMS, 1, 2_000, CHAINS),
        ),
        (256, 6_000),
        20_000,
        1_000,
    ),
    "paper": Size(
        (
            Work("digits", 1_500, 16, 0.05, 20, 60_000, (0.02, 0.1, 0.5), ADAMS, 5, 20_000, ALL),
            Work("mnist", 60_000, 20, 0.05, 100, 60_000, (0.02, 0.1), ADAMS, 3, 20_000, CHAINS),
        ),
        (500, 120_000),
        100_000,
        10_000,
    ),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Train every case, measure the likelihood of held-out digits, draw sheets."""
    size = SIZES[scale]
    results: dict[str, dict[str, Any]] = {}
    sheets: dict[str, np.ndarray] = {}
    after: dict[str, Any] = {}
    larger: dict[str, Bracketed] = {}
    for work in size.works:
        bench = Bench(work)
        results[work.dataset] = bench.run(progress)
        sheets[f"{work.dataset}, held out"] = bench.test[:SHOWN].reshape(SHOWN, *bench.image_shape[:2])
        for case in (EXACT_ADAM, "PCD-1", SKLEARN):
            if case in bench.models:
                sheets[f"{work.dataset}, {case}"] = bench.sheet(bench.models[case])
        if work.exact:
            after[work.dataset] = found = bench.continued()
            found["meetings"] = _meeting(bench.models[EXACT_ADAM], bench.train, size.most)
            progress(f"{work.dataset}: {_went_on(found)}")
    hidden, steps = size.large
    named = f"{work.dataset}, {hidden} hidden"
    objective = PersistentContrastiveDivergence(BlockGibbs(), 1, chains=work.batch)
    machines = {
        ADAM: bench.fitted(objective, work.adam[0], 0, hidden, steps),
        SKLEARN: bench.scikits(work.rate, 0, hidden, steps),
    }
    for case, model in machines.items():
        larger[case] = bench.between(model, size.temperatures)
        sheets[f"{named}, {case}"] = bench.sheet(model)
        progress(f"{named}, {case}: {larger[case]} nats held out; log Z {larger[case].status}")
    rows = []
    for work in size.works:
        for case, found in results[work.dataset].items():
            below = _below(results[work.dataset], case)
            rows.append((work.dataset, case, found["rate"], _pm(found["test"]), _pm(found["train"]), below))
    for case, rate in ((ADAM, work.adam[0]), (SKLEARN, work.rate)):
        rows.append((named, case, rate, str(larger[case]), "–", "–"))
    columns = ("data", "case", "rate", "log p, held out", "log p, training", f"below {EXACT_ADAM}, held out")
    facts = {
        "results": results,
        "after": after,
        "larger": {case: found._asdict() for case, found in larger.items()},
        "works": {w.dataset: vars(w) for w in size.works},
    }
    verdict = _verdict(size, results, after) + "\n" + _likelier(named, larger)
    return Outcome(columns, rows, verdict, _draw(results, sheets), facts)


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
            progress(f"{work.dataset}, {case}: {_pm(results[case]['test'])} nats held out at rate {rate:g}")
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


def _meeting(model: BernoulliRBM, x: np.ndarray, most: int) -> dict[str, float]:
    """Return when pairs of coupled chains from data meet, those cut off counting as `most` + 1."""
    objective = UnbiasedContrastiveDivergence(most=most)
    batch = objectives.Batch(jnp.asarray(x[None, :PAIRS]))
    _, report = jax.jit(lambda m, b, k: objective.refresh(m, None, None, b, k))(
        model, batch, jax.random.key(0)
    )
    return {name: float(value) for name, value in report.items()} | {"most": most}


def _met(found: Mapping[str, float]) -> str:
    share = f"{found['met']:.0%} met within {found['most']:,} sweeps"
    return f"{share}, after {found['meeting_time']:.0f} on average (those that did not counted as such)"


def _pm(values: Sequence[float]) -> str:
    mean, error = summary(values)
    return f"{mean:.2f} ± {error:.2f}" if len(values) > 1 else f"{mean:.2f}"


def _below(results: Mapping[str, Any], case: str) -> str:
    if EXACT_ADAM not in results:
        return "–"
    gap = difference(results[EXACT_ADAM]["test"], results[case]["test"])
    return "0" if case == EXACT_ADAM else f"{gap.mean:.2f}{' (clear)' if gap.clear else ''}"


def _went_on(found: Mapping[str, Any]) -> str:
    limit = 2 / found["curvature"]["CD-10"]
    ends = ", ".join(f"{v:.2f} at rate {rate}" for rate, v in found["to"].items())
    below = [v for rate, v in found["to"].items() if float(rate) < limit]
    above = [v for rate, v in found["to"].items() if float(rate) > limit]
    said = []
    if below:
        said.append(
            f"below 2/λ the likelihood {'rises' if min(below) > found['from'] else 'does not always rise'}"
        )
    if above:
        said.append(f"above it {'it falls' if max(above) < found['from'] else 'it does not always fall'}")
    return (
        f"where CD-10 ended, 2/λ = {limit:.2f} and training log p is {found['from']:.2f}; after {CONTINUED}"
        f" more steps along the exact gradient it is {ends}: {', '.join(said)}"
    )


def _verdict(size: Size, results: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    lines = []
    for work in size.works:
        found = results[work.dataset]
        test = {case: summary(r["test"])[0] for case, r in found.items()}
        chains = [c for c in test if c not in (EXACT, EXACT_ADAM, SKLEARN)]
        best, worst = max(chains, key=lambda c: test[c]), min(chains, key=lambda c: test[c])
        trained = "one training" if work.seeds == 1 else f"{work.seeds} trainings"
        line = f"{work.dataset}, {work.hidden} hidden units, {trained}, held-out nats: "
        if work.exact:
            line += f"the exact gradient reaches {test[EXACT]:.2f} plainly, {test[EXACT_ADAM]:.2f} by fit; "
        line += (
            f"the best of ours by chains is {best}, {test[best]:.2f}, the worst {worst}, {test[worst]:.2f}"
        )
        lines.append(f"{line}.")
        if work.exact:
            gaps = {c: difference(found[EXACT_ADAM]["test"], found[c]["test"]) for c in chains}
            clear = [c for c in chains if gaps[c].clear and gaps[c].mean > 0]
            lines.append(
                f"{work.dataset}, clearly below the exact gradient by fit: {', '.join(clear) or 'none'}."
                f" By plain steps on training rows it reaches {_by_rate(found[EXACT])}, CD-10"
                f" {_by_rate(found['CD-10'])}."
            )
        against = "; ".join(
            f"{name} {_shown(difference(found[case]['test'], found[SKLEARN]['test']))}"
            for name, case in (
                ("the same method, PCD-1 at the same constant rate,", CONSTANT),
                ("with the best falling rate", "PCD-1"),
                ("by fit", ADAM),
            )
            if case in found
        )
        lines.append(f"{work.dataset}, against scikit-learn's {test[SKLEARN]:.2f}: {against}.")
        if work.dataset in after:
            met = after[work.dataset]["meetings"]
            lines.append(f"{work.dataset}, {_went_on(after[work.dataset])}.")
            lines.append(
                f"{work.dataset}, pairs of coupled chains at the exact gradient's machine: {_met(met)}."
            )
    return "\n".join(f"- {line}" for line in lines)


def _likelier(named: str, larger: Mapping[str, Bracketed]) -> str:
    """Say between which ends two machines are, and whether the ends tell them apart."""
    ours, theirs = larger[ADAM], larger[SKLEARN]
    if theirs.most < ours.least and ours.width >= 0:
        said = f"by these ends ours is likelier by {ours.least - theirs.most:.2f} nats at least"
    elif ours.most < theirs.least and theirs.width >= 0:
        said = f"by these ends scikit-learn's is likelier by {theirs.least - ours.most:.2f} nats at least"
    else:
        said = "these ends do not tell them apart"
    return f"- {named}, one training of each, held-out nats: {ends(larger)}: {said}."


def _by_rate(found: Mapping[str, Any]) -> str:
    return ", ".join(f"{v:.2f} at rate {rate}" for rate, v in found["training log p at each rate"].items())


def _shown(d: Any) -> str:
    if not np.isfinite(d.error):
        return f"{d.mean:+.2f} nats (tried once)"
    return f"{d.mean:+.2f} ± {d.error:.2f} nats ({'clear' if d.clear else 'not clear'})"


def _draw(results: Mapping[str, Any], sheets: Mapping[str, np.ndarray]) -> Any:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(11.0, 2.6 * len(sheets)), 8), layout="constrained")
    FigureCanvasAgg(figure)
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    top, bottom = halves
    every = top.subplots(1, len(results), squeeze=False)[0]
    for axes, (name, found) in zip(every, results.items(), strict=True):
        for case, r in found.items():
            curves = np.array(r["curves"])
            mean = curves.mean(0)
            method, _, kind = case.partition(", ")
            color = COLORS[method]
            if len(mean) > 1:
                axes.plot(mean[:, 0], mean[:, 1], ":" if kind else "-", color=color, label=case)
            else:
                marker = "*" if kind else "D"
                axes.plot(curves[:, 0, 0], curves[:, 0, 1], marker, ms=8, ls="", color=color, label=case)
        axes.set(title=name, xlabel="share of the updates", ylabel="log p(x) of held-out digits, nats")
        top_value = max(max(r["test"]) for r in found.values())
        low = min(min(r["test"]) for r in found.values())
        axes.set_ylim(low - 0.6 * (top_value - low) - 0.1, top_value + 0.1 * (top_value - low) + 0.1)
        axes.grid(color="0.92")
        axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right")
    for axes, (label, images) in zip(bottom.subplots(1, len(sheets)), sheets.items(), strict=True):
        h, w = images.shape[1:]
        tiles = np.pad(images, ((0, 0), (1, 1), (1, 1)), constant_values=0.35)
        tiles = tiles.reshape(8, 8, h + 2, w + 2).transpose(0, 2, 1, 3).reshape(8 * (h + 2), 8 * (w + 2))
        axes.imshow(tiles, cmap="gray", vmin=0, vmax=1)
        axes.set_title(label.replace(", ", "\n", 1), fontsize=9)
        axes.set_axis_off()
    return figure
