"""MDSM's sentences on training and sampling, each with what the ablations say of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from energax.papers.mdsm_ablations_cases import (
    BASE,
    BOTH_LONG,
    CONSTANT_RATE,
    ENOUGH,
    INSIDE,
    LINEAR_HEAD,
    LINEAR_LADDER,
    NO_ANNEAL,
    OUTSIDE_HIGH,
    OUTSIDE_LOW,
    STARTS,
    STEP,
    TRAININGS,
    WARM,
    WARM_JUMP,
    inside,
)
from energax.papers.repeats import difference, summary, word

__all__ = ["claims"]

LITTLE = 0.2  # a change of distance below this share of the baseline's is "little"


def _values(results: Mapping[str, Any], case: str, name: str) -> list[Any]:
    return [r[name] for r in results[case]]


class Compared(NamedTuple):
    """A case against another: positive means that the case is worse."""

    by: float
    error: float
    clear: bool
    relative: float

    @property
    def worse(self) -> bool:
        """Whether it is clearly worse."""
        return self.clear and self.by > 0

    @property
    def better(self) -> bool:
        """Whether it is clearly better."""
        return self.clear and self.by < 0

    @property
    def little(self) -> bool:
        """Whether the mean change is below a fifth of the baseline's."""
        return abs(self.relative) < LITTLE

    def __str__(self) -> str:
        return f"{self.by:+.3f} ± {self.error:.3f} ({self.relative:+.0%}, {word(self.clear)})"


def _against(results: Mapping[str, Any], case: str, other: str = BASE, name: str = "distance") -> Compared:
    these, those = _values(results, case, name), _values(results, other, name)
    relative = float(np.mean(these) / np.mean(those) - 1) if np.mean(those) else float("nan")
    return Compared(*difference(these, those), relative)


def claims(results: Mapping[str, Any], floor: float, chance: float) -> dict[str, str]:
    """Return the paper's sentences in our words, each with what the numbers say."""
    return {
        "head": _head(results),
        "largest noise": _largest_noise(results),
        "small noise": _small_noise(results),
        "large noise": _large_noise(results),
        "spacing": _spacing(results),
        "robust": _robust(results),
        "start": _start(results),
        "step": _step(results),
        "step outside": _step_outside(results),
        "jump": _jump(results),
        "anneal": _anneal(results),
        "shape": _shape(results),
        "energy": _energy(results),
        "copies": _overfit(results, floor, chance),
    }


def _says(place: str, sentence: str, holds: bool, evidence: str) -> str:
    return f'{place}, "{sentence}": {"holds" if holds else "does not hold"} here. {evidence}'


def _head(results: Mapping[str, Any]) -> str:
    d, e = _against(results, LINEAR_HEAD), _against(results, LINEAR_HEAD, name="denoise")
    return _says(
        "§4 and appendix D",
        "a quadratic head is significantly better than a linear one",
        d.worse and not e.better,
        f"With a linear head the distance changes by {d}, the denoising error by {e}.",
    )


def _largest_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in (*ENOUGH, inside(1.2)) if c != BASE}
    return _says(
        "§4",
        "the largest noise level matters little once it is large enough",
        all(d.little for c, d in found.items() if c != inside(1.2)),
        f"Against σ_max = 2 the distance changes by {_listed(found)}; chains lost: {_lost(results, found)}.",
    )


def _small_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for s in (0.3, 0.6) for c in (f"σ_max = {s:g}", inside(s))}
    return _says(
        "§4",
        "too small a largest level is harmful",
        all(d.worse for d in found.values()),
        f"The distance changes by {_listed(found)}; chains lost: {_lost(results, found)}.",
    )


def _large_noise(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in ("σ_max = 10", BOTH_LONG)}
    stopped = sum(sum(_values(results, c, "diverged")) for c in TRAININGS)
    return _says(
        "§4",
        "too large a largest level is harmful, and extremes can destabilise training",
        all(d.worse for d in found.values()) and stopped > 0,
        f"The distance changes by {_listed(found)}; of all trainings, on short ladders or long, {stopped} "
        "diverged.",
    )


def _lost(results: Mapping[str, Any], cases: Mapping[str, Any]) -> str:
    return ", ".join(f"{np.mean(_values(results, c, 'lost')):.0%} for {c}" for c in cases)


def _spacing(results: Mapping[str, Any]) -> str:
    d, e = _against(results, LINEAR_LADDER), _against(results, LINEAR_LADDER, name="denoise")
    return _says(
        "§4",
        "geometric and linear ladders both work, with little between them",
        d.little,
        f"A linear ladder changes the distance by {d}, the denoising error by {e}.",
    )


def _robust(results: Mapping[str, Any]) -> str:
    rise = _against(results, "σ_max = 10"), _against(results, BOTH_LONG, LINEAR_LADDER)
    spread = [np.std(_values(results, c, "distance"), ddof=1) for c in (BASE, LINEAR_LADDER)]
    return _says(
        "§4",
        "linear spacing is somewhat more robust",
        rise[1].by < rise[0].by and bool(spread[1] < spread[0]),
        f"A ladder to σ = 10 instead of 2 changes the distance by {rise[0].by:+.3f} if geometric and "
        f"{rise[1].by:+.3f} if linear; over seeds the distance has a standard deviation of {spread[0]:.4f} "
        f"and {spread[1]:.4f}.",
    )


def _start(results: Mapping[str, Any]) -> str:
    found = {f"noise {s:g}": _against(results, f"start at noise {s:g}") for s in STARTS}
    low = found["noise 0.2"]
    return _says(
        "§4",
        "T = 100, noise 1, is a sufficient start",
        not found["noise 1.5"].better,
        f"The distance changes by {_listed(found)}. That so high a start is needed "
        f"{'shows' if low.worse else 'does not show'}.",
    )


def _step(results: Mapping[str, Any]) -> str:
    cases = [f"ε = {e:g} σ₀" for e in INSIDE]
    found = {c: _against(results, c) for c in cases}
    seen = {c: _against(results, c, name="recognised") for c in cases}
    return _says(
        "§4",
        "any ε within 0.15 … 0.5 σ₀ works",
        all(d.little or d.by < 0 for d in found.values()),
        f"Against ε = {STEP} σ₀ the distance changes by {_listed(found)}; the share recognised by "
        f"{_listed(seen)}.",
    )


def _step_outside(results: Mapping[str, Any]) -> str:
    found = {f"ε = {e:g} σ₀": _against(results, f"ε = {e:g} σ₀") for e in (*OUTSIDE_LOW, *OUTSIDE_HIGH)}
    bad = [c for c, d in found.items() if d.by > 0 and not d.little]
    fine = [c for c in found if c not in bad]
    return (
        "Outside that range, of which the paper says nothing: the distance changes by "
        f"{_listed(found)}. Worse by more than a fifth: {', '.join(bad) or 'none'}; not so: "
        f"{', '.join(fine) or 'none'}."
    )


def _jump(results: Mapping[str, Any]) -> str:
    pairs = {"after cooling to T = 0": (BASE, "no jump"), "if the anneal ends at T = 1": (WARM_JUMP, WARM)}
    by = {w: _against(results, *pair) for w, pair in pairs.items()}
    seen = {w: _against(results, *pair, name="recognised") for w, pair in pairs.items()}
    helps = all(d.by < 0 for d in by.values()) and all(d.by > 0 for d in seen.values())
    clear = any(d.clear for d in (*by.values(), *seen.values()))
    told = "; ".join(f"{w} the distance by {by[w]} and the share recognised by {seen[w]}" for w in pairs)
    return _says(
        "§4", "a jump after the anneal further enhances samples", helps and clear, f"It changes {told}."
    )


def _anneal(results: Mapping[str, Any]) -> str:
    d, r = _against(results, NO_ANNEAL), _against(results, NO_ANNEAL, name="recognised")
    return _says(
        "§3.2",
        "annealing improves the exploration of modes",
        d.worse,
        f"Without it, T = 1 from the start, the distance changes by {d}, the share recognised by {r}.",
    )


def _shape(results: Mapping[str, Any]) -> str:
    found = {c: _against(results, c) for c in ("linear anneal", "anneal at once")}
    return _says(
        "Appendix D",
        "but for CIFAR-10, the shape of the anneal has less effect",
        all(d.little for d in found.values()),
        f"The distance changes by {_listed(found)}.",
    )


def _energy(results: Mapping[str, Any]) -> str:
    """Compare how far the mean energy moves in the halves of a fit, with and without the cosine."""
    told, holds = [], True
    for case in (BASE, CONSTANT_RATE):
        halves = [_halves(e) for e in _values(results, case, "energy")]
        first, second = (float(np.mean([h[i] for h in halves])) for i in (0, 1))
        holds = holds and second < first
        told.append(f"{first:.1f} and {second:.1f} ({case})")
    return _says(
        "Appendix D",
        "energies, though unbounded in principle, stabilise by themselves",
        holds,
        f"The mean energy of data + σ₀z moves by {'; '.join(told)} in the first and second half of a fit.",
    )


def _halves(energies_: list[float]) -> tuple[float, float]:
    start, middle, end = energies_[0], energies_[(len(energies_) - 1) // 2], energies_[-1]
    return abs(middle - start), abs(end - middle)


def _overfit(results: Mapping[str, Any], floor: float, chance: float) -> str:
    shares = _values(results, BASE, "copies")
    mean, error = summary(shares)
    d = difference(shares, [chance] * len(shares))
    return _says(
        "§4",
        "nearest neighbours give no sign of overfitting",
        not (d.clear and d.mean > 0),
        f"The nearest digit of {mean:.1%} ± {error:.1%} of the samples is a training one, and would be of "
        f"{chance:.1%} if none were memorised. Training digits are at distance {floor:.3f} of held-out ones.",
    )


def _listed(found: Mapping[str, Compared]) -> str:
    return ", ".join(f"{d} for {case}" for case, d in found.items())
