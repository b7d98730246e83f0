"""The cases of MDSM's ablations: a baseline, and changes of one thing in its training or its sampling."""

from __future__ import annotations

from typing import Any

__all__ = [
    "BASE", "BOTH_LONG", "CONSTANT_RATE", "ENOUGH", "INSIDE", "LINEAR_HEAD", "LINEAR_LADDER", "NO_ANNEAL",
    "OUTSIDE_HIGH", "OUTSIDE_LOW", "SAMPLINGS", "SHORT", "STARTS", "STEP", "TRAININGS", "WARM", "WARM_JUMP",
    "inside",
]  # fmt: skip

STEP = 0.2  # ε in units of σ₀, in which the paper's range is 0.15 … 0.5
BASE = "baseline"
LINEAR_HEAD, LINEAR_LADDER, CONSTANT_RATE = "linear head", "linear ladder", "constant learning rate"
BOTH_LONG = "linear ladder, σ_max = 10"
TRAININGS: dict[str, dict[str, Any]] = {
    BASE: {},
    LINEAR_HEAD: {"head": "linear"},
    LINEAR_LADDER: {"spacing": "linear"},
    **{f"σ_max = {s:g}": {"sigma_max": s} for s in (0.3, 0.6, 1.2, 3.0, 10.0)},
    BOTH_LONG: {"spacing": "linear", "sigma_max": 10.0},
    CONSTANT_RATE: {"schedule": "constant"},
}
ENOUGH = ("σ_max = 1.2", BASE, "σ_max = 3")  # the paper's two ranges end at 1.2 and 3
INSIDE, OUTSIDE_LOW, OUTSIDE_HIGH = (0.15, 0.3, 0.5), (0.02, 0.05), (1.0, 1.5)
STARTS = (0.2, 0.5, 1.5)
SHORT = (0.3, 0.6, 1.2)
NO_ANNEAL, WARM, WARM_JUMP = "T = 1 throughout", "no cooling, no jump", "no cooling, jump"
SAMPLINGS: dict[str, dict[str, Any]] = {
    **{f"ε = {e:g} σ₀": {"epsilon": e} for e in (*OUTSIDE_LOW, *INSIDE, *OUTSIDE_HIGH)},
    **{f"start at noise {s:g}": {"noise_max": s} for s in STARTS},
    "linear anneal": {"shape": "linear"},
    "anneal at once": {"shape": "at once"},
    NO_ANNEAL: {"shape": "constant"},
    "no jump": {"jump": False},
    WARM: {"shape": "warm", "jump": False},
    WARM_JUMP: {"shape": "warm"},
}


def inside(sigma_max: float) -> str:
    """Return the name of the case that samples a short ladder from half its largest level."""
    return f"σ_max = {sigma_max:g}, start at {sigma_max / 2:g}"
