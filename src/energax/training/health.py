r"""What goes wrong with a fit, named: a monitor that reads the metrics in order.

It knows metrics by name and judges those that an objective reports: `loss`, `gradient_norm`; of
chains `energy_gap` (mean E of data less mean E of chains), `score_norm`, `acceptance`,
`chain_step`, `chain_ess`, of pairs of chains `unmet`. `chain_age` is quoted, not judged: chains that
never start anew are meant to grow old. Nothing is compared with a fixed scale but shares and counts of
chains, and the gap, and the loss where it is one: they are in nats, and under three nothing is beyond,
however small they were (a machine that leaves the saddle of independent units has had a gap of nearly
zero). The *usual level* r of a
quantity q is the upper quartile of |q| in the last 100 healthy steps, f the median of its first
ten, and

    |q| > max(10 r, √(f r))

is *beyond*: ten times the usual, or half the way back up to where it began on a log scale, if it
has fallen so far that this is more. For the gradient it is a hundred times, since it rises tenfold
in fits that only find a steeper place. The first such step is the first sign; the sign ends when
five steps in a row are within. As long as there is a sign, steps do not count as healthy. The
rules, by the name of what they find:

    non-finite           loss, gradient, gap or score is not a number, or infinite: at once
    exploding-energy     the gap is beyond and negative: chains are driven up the energy
    collapsing-energy    the gap is beyond and positive: chains find ever lower energy
    exploding-score      the slope of the energy at the chains is beyond
    exploding-loss       the loss is beyond, and neither of these
    exploding-gradient   the gradient of the loss is beyond, and none of these
    rejecting            under 1 % of proposals accepted in each of 25 steps, or of a shorter fit's
    frozen-chains        chains move under 1 % of their usual step, or not at all, in each of 25
    chains-do-not-meet   pairs of chains were given up before they met: at once
    slow-chains          all chains together are worth under 1/1000 of an independent draw, in each of 25

Beyond is a finding when, since the first sign, half of the steps were beyond and either there are
15 and the later half lies above the earlier by 1.5, or there are 40 and the last ten do not lie
below the ten before by 3: growing, or staying there. What comes back by itself is none. In the
first 40 steps there is no usual level yet: a thousand times the first step's gradient or score is
beyond, and only staying there is a finding.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Diagnosis", "Monitor"]

WATCHED = ("energy_gap", "score_norm", "loss", "gradient_norm")  # the first that is beyond gives the name
LEVELS = (*WATCHED, "chain_step")
READ = (*LEVELS, "acceptance", "chain_age", "chain_ess", "unmet", "longest_meeting_time")

WINDOW = 100
LEVEL = 0.75  # quantile
FACTORS = {"energy_gap": 10.0, "score_norm": 10.0, "loss": 10.0, "gradient_norm": 100.0}
RENEW = 10  # healthy steps between two looks at the level
FIRST = 10
START = 40
START_FACTOR = 1000.0
GROWING, GROWTH = 15, 1.5
STAYING, FALL = 40, 3.0
SHARE = 0.5
NATS = 3.0  # of a gap: a ratio of densities of 20
RETURNED = 5
STILL = 25  # steps without acceptance or movement
LEAST = 0.01
FEWEST_DRAWS = 0.001  # independent ones that all chains bring together in a step

WORDS = {"energy_gap": "the energy gap", "score_norm": "the score at the chains", "loss": "the loss"}
REMEDIES = {
    "non-finite": "A smaller learning rate or clipping the gradient (clip=1) often helps; with chains, a "
    "smaller step size, too.",
    "exploding-energy": "Chains overshoot: a smaller step size of the chains, then a smaller learning rate.",
    "collapsing-energy": "Chains run downhill faster than the energy is raised there: an energy that is "
    "bounded below, fresh chains now and then (restart), a smaller learning rate or step size.",
    "exploding-score": "The energy is too steep for its chains: a smaller step size or learning rate, or a "
    "gradient_penalty.",
    "exploding-loss": "A smaller learning rate, a warm-up or clipping the gradient (clip=1) often helps.",
    "exploding-gradient": "A smaller learning rate, a warm-up or clipping the gradient (clip=1) often helps.",
    "rejecting": "A smaller step size of the chains (objective.step_size): a tenth of it is a good next try.",
    "frozen-chains": "Fresh chains, or a smaller learning rate: the energy has become too rough to move on.",
    "chains-do-not-meet": "Weights have grown until chains hardly leave their patterns: a smaller learning "
    "rate or a weight decay, or another objective (pcd). most=100 cuts pairs off there, with the bias of as "
    "many steps of CD.",
    "slow-chains": "More steps of the chains between updates, or larger ones: as they are they bring nothing "
    "of their own to learn from.",
}


@dataclass(frozen=True)
class Diagnosis:
    """What was found wrong.

    Parameters
    ----------
    name
        One of the names in `REMEDIES`; the rules are in this module's head.
    since
        The step of the first sign.
    step
        The step at which it was certain.
    quantity
        The metric that shows it.
    value
        The metric at that step.
    reference
        Its usual level, or the least acceptance; NaN where there is none.
    sentence
        What happened, in words, without a full stop.
    """

    name: str
    since: int
    step: int
    quantity: str
    value: float
    reference: float
    sentence: str

    @property
    def remedy(self) -> str:
        """What to try."""
        return REMEDIES[self.name]


@dataclass
class Excursion:
    """The steps since one quantity was first beyond."""

    since: int
    level: float
    values: list[float] = field(default_factory=list)
    beyond: int = 0
    within: int = 0  # steps in a row

    def found(self, starting: bool) -> bool:
        """Whether it grows, or stays."""
        n = len(self.values)
        if self.beyond < SHARE * n:
            return False
        sizes = np.abs(self.values)
        if not starting and n >= GROWING:
            half = n // 2
            if np.median(sizes[-half:]) > GROWTH * np.median(sizes[:half]):
                return True
        return n >= STAYING and FALL * np.median(sizes[-10:]) > np.median(sizes[-20:-10])


class Monitor:
    """Reads rows of metrics in the order of their steps; see the module's head.

    Parameters
    ----------
    memory
        What `memory` returned at a step without signs: the monitor goes on from there.
    """

    def __init__(self, memory: Mapping[str, Any] | None = None):
        size = len(LEVELS)
        memory = memory or {
            "window": np.full((WINDOW, size), -1.0),
            "first": np.full(size, -1.0),
            "level": np.full(size, -1.0),
            "healthy": 0,
        }
        self.window = np.array(memory["window"], np.float32)  # −1: not reported
        self.first = np.array(memory["first"], np.float32)
        self.level = np.array(memory["level"], np.float32)
        self.healthy = int(memory["healthy"])
        self.excursions: dict[str, Excursion] = {}
        self.rejecting: list[float] = []
        self.frozen: list[float] = []
        self.slow: list[float] = []

    @property
    def memory(self) -> dict[str, np.ndarray]:
        """All that later verdicts depend on, at a step without signs."""
        return {
            "window": self.window.copy(),
            "first": self.first.copy(),
            "level": self.level.copy(),
            "healthy": np.asarray(self.healthy, np.int32),
        }

    @property
    def sign(self) -> bool:
        """Whether there is a sign that is neither a finding yet nor over."""
        return bool(self.excursions or self.rejecting or self.frozen or self.slow)

    def see(self, step: int, row: Mapping[str, Any]) -> Diagnosis | None:
        """Return what is certain after this step's metrics, if anything is."""
        values = {name: float(row[name]) for name in READ if name in row and np.ndim(row[name]) == 0}
        found = self._apart(step, values) or self._non_finite(step, values)
        for name in WATCHED:
            if name in values and found is None:
                in_nats = name == "energy_gap" or (name == "loss" and "energy_gap" in values)
                self._follow(step, name, values[name], NATS if in_nats else 0.0)
        found = found or self._still(step, values) or self._beyond(step, values) or self._slow(step, values)
        if found is None and not self.sign:
            self._remember(values)
        return found

    def at_end(self, step: int) -> Diagnosis | None:
        """Return what is certain once there are no steps after this one: that all of a short fit rejected."""
        return self._rejected(step) if 0 < len(self.rejecting) == step + 1 else None

    def _non_finite(self, step: int, values: Mapping[str, float]) -> Diagnosis | None:
        for name in ("loss", "gradient_norm", "energy_gap", "score_norm"):
            value = values.get(name, 0.0)
            if math.isfinite(value):
                continue
            stopped = " and the update was not applied" if name in ("loss", "gradient_norm") else ""
            sentence = f"{_words(name)} became {value} at step {step}{stopped}"
            since = step
            if self.excursions:
                leader = min(self.excursions, key=lambda q: self.excursions[q].since)
                since = self.excursions[leader].since
                what = "it" if leader == name else _words(leader)
                sentence += f", after {what} had left its usual level at step {since}"
            return Diagnosis("non-finite", since, step, name, value, math.nan, sentence)
        return None

    def _fence(self, name: str) -> tuple[float, float]:
        """Return (fence, usual level) of a quantity; an infinite fence where nothing can be said."""
        i = LEVELS.index(name)
        if self.healthy < START:
            start = float(self.window[0, i])
            known = self.healthy > 0 and start > 0 and name in ("gradient_norm", "score_norm")
            return (START_FACTOR * start, start) if known else (math.inf, math.nan)
        level, first = float(self.level[i]), float(self.first[i])
        # Of something that has been zero all along nothing can be said.
        return (
            (max(FACTORS[name] * level, math.sqrt(first * level)), level)
            if level > 0
            else (math.inf, math.nan)
        )

    def _follow(self, step: int, name: str, value: float, least: float) -> None:
        fence, level = self._fence(name)
        out = abs(value) > max(fence, least)
        if out and name not in self.excursions:
            self.excursions[name] = Excursion(step, level)
        if name not in self.excursions:
            return
        excursion = self.excursions[name]
        excursion.values.append(value)
        excursion.beyond += out
        excursion.within = 0 if out else excursion.within + 1
        if excursion.within == RETURNED:
            del self.excursions[name]

    def _beyond(self, step: int, values: Mapping[str, float]) -> Diagnosis | None:
        starting = self.healthy < START
        if not any(excursion.found(starting) for excursion in self.excursions.values()):
            return None
        name = next(name for name in WATCHED if name in self.excursions)
        excursion = self.excursions[name]
        since = min(e.since for e in self.excursions.values())
        value = values[name]
        called = {
            "energy_gap": "collapsing-energy"
            if np.median(excursion.values[-10:]) > 0
            else "exploding-energy",
            "score_norm": "exploding-score",
            "loss": "exploding-loss",
            "gradient_norm": "exploding-gradient",
        }[name]
        what = (
            f"its level of {excursion.level:.3g} at the start"
            if starting
            else f"its usual {excursion.level:.3g}"
        )
        sentence = f"{_words(name)} left {what} at step {excursion.since} and is {value:.3g} at step {step}"
        return Diagnosis(called, since, step, name, value, excursion.level, sentence)

    def _still(self, step: int, values: Mapping[str, float]) -> Diagnosis | None:
        """Return whether chains are rejected, or have stopped."""
        accepted, moved = values.get("acceptance", 1.0), values.get("chain_step", math.inf)
        usual = float(self.level[LEVELS.index("chain_step")]) if self.healthy >= START else 0.0
        self.rejecting = [*self.rejecting, accepted] if accepted < LEAST else []
        self.frozen = [*self.frozen, moved] if moved <= LEAST * usual else []
        if len(self.rejecting) == STILL:
            return self._rejected(step)
        # Chains that are rejected stand still, too: let that be the name.
        if len(self.frozen) >= STILL and not self.rejecting:
            since = step - len(self.frozen) + 1
            age = f", at a mean age of {values['chain_age']:.0f} updates" if "chain_age" in values else ""
            sentence = f"chains have moved {moved:.2g} a step since step {since}, of a usual {usual:.2g}{age}"
            return Diagnosis("frozen-chains", since, step, "chain_step", moved, usual, sentence)
        return None

    def _rejected(self, step: int) -> Diagnosis:
        since, mean = step - len(self.rejecting) + 1, float(np.mean(self.rejecting))
        sentence = f"{mean:.2g} of the chains' proposals were accepted in steps {since} to {step}"
        return Diagnosis("rejecting", since, step, "acceptance", mean, LEAST, sentence)

    def _slow(self, step: int, values: Mapping[str, float]) -> Diagnosis | None:
        """Return whether chains that go on hardly leave where they are, on the scale of their own spread."""
        draws = values.get("chain_ess", math.inf)
        self.slow = [*self.slow, draws] if draws < FEWEST_DRAWS else []
        if len(self.slow) < STILL:
            return None
        since, mean = step - len(self.slow) + 1, float(np.mean(self.slow))
        sentence = (
            f"the chains together brought {mean:.2g} independent draws a step in steps {since} to {step}"
        )
        return Diagnosis("slow-chains", since, step, "chain_ess", mean, FEWEST_DRAWS, sentence)

    def _apart(self, step: int, values: Mapping[str, float]) -> Diagnosis | None:
        """Return whether pairs of chains were given up; what their step would have taught is not finite."""
        unmet = values.get("unmet", 0.0)
        if not unmet > 0:
            return None
        after = values.get("longest_meeting_time", math.nan) - 1
        met = f"{unmet:.0f} pairs of chains had not met after {after:,.0f} sweeps at step {step}"
        sentence = f"{met}, and the update was not applied"
        return Diagnosis("chains-do-not-meet", step, step, "unmet", unmet, math.nan, sentence)

    def _remember(self, values: Mapping[str, float]) -> None:
        row = [abs(values[name]) if name in values else -1.0 for name in LEVELS]
        if self.healthy < WINDOW:
            self.window[self.healthy] = row
        else:
            self.window[:-1] = self.window[1:].copy()
            self.window[-1] = row
        self.healthy += 1
        if self.healthy == FIRST:
            self.first = np.median(self.window[:FIRST], axis=0).astype(np.float32)
        if self.healthy % RENEW == 0:
            rows = self.window[: self.healthy]
            at = int(LEVEL * (len(rows) - 1))
            self.level = np.partition(rows, at, axis=0)[at]


def _words(name: str) -> str:
    return WORDS.get(name, f"the {name.replace('_', ' ')}")
