"""What the study of Boltzmann machines of digits says of its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from energax.papers.bracketed import Bracketed, ends
from energax.papers.outcome import bulleted
from energax.papers.rbm_digits_bench import ADAM, CONSTANT, CONTINUED, EXACT, EXACT_ADAM, SKLEARN, Work
from energax.papers.repeats import difference, summary

__all__ = ["verdict", "went_on"]


def went_on(found: Mapping[str, Any]) -> str:
    """Say where the exact gradient went from where CD-10 ended, and whether 2/λ told it."""
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


def verdict(
    works: Sequence[Work],
    results: Mapping[str, Any],
    after: Mapping[str, Any],
    named: str,
    larger: Mapping[str, Bracketed],
) -> str:
    """Return the verdict.

    Parameters
    ----------
    works
        The data sets' trainings.
    results, after
        By data set: what each case reached, and where the exact gradient went on.
    named, larger
        The larger machines, all together, and each by its case.
    """
    lines = []
    for work in works:
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
            lines.append(f"{work.dataset}, {went_on(after[work.dataset])}.")
            lines.append(
                f"{work.dataset}, pairs of coupled chains at the exact gradient's machine: {_met(met)}."
            )
    return bulleted(lines) + "\n" + _likelier(named, larger)


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
    return f"{d.mean:+.2f} ± {d.error:.2f} nats ({d.word})"


def _met(found: Mapping[str, float]) -> str:
    share = f"{found['met']:.0%} met within {found['most']:,} sweeps"
    return f"{share}, after {found['meeting_time']:.0f} on average (those that did not counted as such)"
