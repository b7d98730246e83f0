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

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from energax.objectives import PersistentContrastiveDivergence
from energax.papers.bracketed import Bracketed
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas, show_sheet
from energax.papers.rbm_digits_bench import (
    ADAM,
    CHAINS,
    CONSTANT,
    EXACT,
    EXACT_ADAM,
    SHOWN,
    SKLEARN,
    Bench,
    Work,
    meeting,
)
from energax.papers.rbm_digits_verdict import verdict, went_on
from energax.papers.repeats import difference, pm
from energax.samplers import BlockGibbs

__all__ = ["run"]

ALL = (*CHAINS, EXACT, EXACT_ADAM)
COLORS = {"CD-1": "C0", "CD-10": "C1", "PCD-1": "C2", EXACT: "C3", SKLEARN: "C4"}


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
            found["meetings"] = meeting(bench.models[EXACT_ADAM], bench.train, size.most)
            progress(f"{work.dataset}: {went_on(found)}")
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
            rows.append(
                (
                    work.dataset,
                    case,
                    found["rate"],
                    pm(found["test"], ".2f"),
                    pm(found["train"], ".2f"),
                    below,
                )
            )
    for case, rate in ((ADAM, work.adam[0]), (SKLEARN, work.rate)):
        rows.append((named, case, rate, str(larger[case]), "–", "–"))
    columns = ("data", "case", "rate", "log p, held out", "log p, training", f"below {EXACT_ADAM}, held out")
    facts = {
        "results": results,
        "after": after,
        "larger": {case: found._asdict() for case, found in larger.items()},
        "works": {w.dataset: vars(w) for w in size.works},
    }
    told = verdict(size.works, results, after, named, larger)
    return Outcome(columns, rows, told, _draw(results, sheets), facts)


def _below(results: Mapping[str, Any], case: str) -> str:
    if EXACT_ADAM not in results:
        return "–"
    gap = difference(results[EXACT_ADAM]["test"], results[case]["test"])
    return "0" if case == EXACT_ADAM else f"{gap.mean:.2f}{' (clear)' if gap.clear else ''}"


def _draw(results: Mapping[str, Any], sheets: Mapping[str, np.ndarray]) -> Any:
    figure = canvas(max(11.0, 2.6 * len(sheets)), 8)
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.5, 1))
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
        show_sheet(axes, images, 8, label.replace(", ", "\n", 1), 9)
    return figure
