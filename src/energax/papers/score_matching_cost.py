r"""What a score-matching gradient costs as the dimension grows: exact, sliced, denoising.

For a perceptron d → w → w → 1 one score costs d w + w² multiplications a row up to a constant, and so
does one Hessian-vector product; the loss's gradient in the parameters multiplies both by another
constant. A row then costs

    denoising, sliced        d w + w²              (one score; one product)
    exact, chunked           d (d w + w²)          (d products for tr ∇²E)
    exact, forward           d w²                  (∂h/∂x, w × d numbers, through the second layer)

"Exact score matching is quadratic", d times a score, holds for products, once d > w. The forward
Laplacian escapes it at a fixed width: the first layer's Jacobian is its weight matrix, the same for
every row, and what it then carries has w rows, not d. It is linear in d, and w d/(d + w) times a score
instead of d times. (With w ∝ d all is larger and both are about d times a score.) The d measured are
not asymptotic, w = 128 being no small number beside them: each measured slope stands beside the slope
of its own count, fitted over the same d, and beside that of the operations XLA counts in the compiled
program (not for "chunked", of whose loop XLA counts one turn). Memory: "forward" carries d w numbers
a row; "chunked" 32 products of d + w numbers a row at a time, recomputed in the reverse pass; the
others d + w; and all of them the parameters' own d w.

Time is that of one compiled gradient on a batch: processor time over all threads, which other jobs on
the machine disturb less than the clock (the clock's is in result.json). All programs are compiled
first, then timed in turn, round after round, and the *minimum* over rounds is kept. Memory is the
compiled program's temporary buffers as XLA counts them, and has no noise. Slopes are least squares
over the upper half of the d; beside them is the slope of the last step, where products are nearest to
their asymptote but two points carry all the noise. The comparison is of one gradient, not of what it
is worth: sliced gradients are noisier than exact ones, and denoising has another minimum.

Song & Kingma (2021), §4 (score matching is quadratic in d, so it does not scale) and §4.2 (sliced score
matching is linear); neither gives a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import numpy as np

from energax.energies import MLP
from energax.objectives import Batch, DenoisingScoreMatching, Objective, ScoreMatching, SlicedScoreMatching
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.papers.timing import seconds_of

__all__ = ["run"]

EXACT = ("exact, forward", "exact, chunked")
METHODS = (*EXACT, "sliced", "denoising")
LOOPED = "exact, chunked"
LEAST_SECONDS = 0.02  # that one timing lasts
AGREES = 0.3  # how far a measured slope may lie from the counted one
LINEAR, QUADRATIC = 1.25, 1.75  # slopes up to which growth is called linear; from which on quadratic


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    dimensions: tuple[int, ...]
    width: int
    batch: int
    rounds: int


SIZES = {
    "smoke": Size((4, 16), width=8, batch=8, rounds=2),
    "cpu": Size((8, 16, 32, 64, 128, 256, 512, 1024), width=128, batch=64, rounds=25),
    "paper": Size((8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096), width=128, batch=128, rounds=15),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Compile and time every method at every dimension."""
    size = SIZES[scale]
    programs: dict[tuple[str, int], Callable[[], Any]] = {}
    memory: dict[str, list[float]] = {name: [] for name in METHODS}
    operations: dict[str, list[float]] = {name: [] for name in METHODS}
    for d in size.dimensions:
        for name in METHODS:
            programs[name, d], used, by_xla = _compiled(_objective(name), d, size)
            memory[name].append(used / 2**20)
            operations[name].append(by_xla)
        progress(f"d = {d}: compiled, {', '.join(f'{memory[name][-1]:.2f}' for name in METHODS)} MiB")
    least = {case: np.full(2, np.inf) for case in programs}
    for _ in range(size.rounds):
        for case, call in programs.items():
            least[case] = np.minimum(least[case], seconds_of(call, LEAST_SECONDS))
    seconds, by_clock = (
        {name: [float(least[name, d][which]) for d in size.dimensions] for name in METHODS}
        for which in (0, 1)
    )
    upper = _upper(size.dimensions)
    d = np.array(size.dimensions[upper:])
    slopes = {name: _slope(d, seconds[name][upper:]) for name in METHODS}
    counted = {name: _slope(d, _count(name, d, size.width)) for name in METHODS}
    last_slopes = {name: _slope(d[-2:], seconds[name][-2:]) for name in METHODS}
    operation_slopes = {name: _slope(d, operations[name][upper:]) for name in METHODS if name != LOOPED}
    memory_slopes = {name: _slope(d, memory[name][upper:]) for name in METHODS}
    progress("; ".join(f"{name}: slope {slope:.2f}" for name, slope in slopes.items()))

    rows: list[tuple[Any, ...]] = [
        (n, *(1e3 * seconds[m][i] for m in METHODS), *(memory[m][i] for m in METHODS))
        for i, n in enumerate(size.dimensions)
    ]
    none = ["–"] * len(METHODS)
    measured = (*(slopes[m] for m in METHODS), *(memory_slopes[m] for m in METHODS))
    rows.append((f"slope, d ≥ {d[0]}", *measured))
    rows.append((f"slope, {d[-2]} to {d[-1]}", *(last_slopes[m] for m in METHODS), *none))
    rows.append(("slope of the count", *(counted[m] for m in METHODS), *none))
    rows.append(("slope of XLA's operations", *(operation_slopes.get(m, "–") for m in METHODS), *none))
    columns = ("d", *(f"{m}, ms" for m in METHODS), *(f"{m}, MiB" for m in METHODS))
    facts = {
        "dimensions": size.dimensions,
        "width": size.width,
        "batch": size.batch,
        "seconds": seconds,
        "seconds_by_clock": by_clock,
        "temporary_mebibytes": memory,
        "slopes": slopes,
        "last_slopes": last_slopes,
        "counted_slopes": counted,
        "operations": {name: found for name, found in operations.items() if name != LOOPED},
        "operation_slopes": operation_slopes,
        "memory_slopes": memory_slopes,
    }
    figure = _draw(size, seconds, memory, slopes, counted, memory_slopes)
    return Outcome(columns, rows, _verdict(facts), figure, facts)


def _objective(name: str) -> Objective:
    if name in EXACT:
        return ScoreMatching(method=name.split(", ")[1])
    return SlicedScoreMatching() if name == "sliced" else DenoisingScoreMatching(0.1)


def _compiled(objective: Objective, d: int, size: Size) -> tuple[Callable[[], Any], int, float]:
    """Return a call of the compiled gradient, its temporary bytes, and its operations."""
    key = jax.random.key(d)
    x = jax.random.normal(key, (size.batch, d))
    model = MLP((d,), width=size.width, depth=2, activation="softplus", key=key)
    parameters, static = eqx.partition(model, eqx.is_array)

    def gradient(parameters, x, key):
        def loss(p):
            return objective.loss(eqx.combine(p, static), None, None, Batch(x), key)[0]

        return jax.grad(loss)(parameters)

    program = jax.jit(gradient).lower(parameters, x, key).compile()
    memory, cost = program.memory_analysis(), program.cost_analysis()
    assert memory is not None
    assert cost is not None
    return lambda: program(parameters, x, key), memory.temp_size_in_bytes, cost["flops"]


def _count(name: str, d: np.ndarray, width: int) -> np.ndarray:
    """Multiplications of one row, up to a constant."""
    one = d * width + width**2
    return {"exact, forward": d * width**2, "exact, chunked": d * one}.get(name, one)


def _upper(dimensions: tuple[int, ...]) -> int:
    """Where the upper half of the dimensions begins; two of them at least."""
    return len(dimensions) - max(2, len(dimensions) // 2)


def _slope(d: np.ndarray, values: Any) -> float:
    """Log-log slope by least squares."""
    return float(np.polyfit(np.log(d), np.log(np.asarray(values, float)), 1)[0])


def _verdict(facts: dict[str, Any]) -> str:
    slopes, counted, memory = facts["slopes"], facts["counted_slopes"], facts["memory_slopes"]
    at_last = facts["last_slopes"]

    def compared(name: str) -> str:
        away = slopes[name] - counted[name]
        says = "as counted" if abs(away) <= AGREES else "flatter" if away < 0 else "steeper"
        return f"{name} d^{slopes[name]:.2f} (counted {counted[name]:.2f}: {says})"

    def grows(slope: float) -> str:
        if slope >= QUADRATIC:
            return "quadratically or nearly so"
        return "no faster than linearly" if slope <= LINEAR else "between linearly and quadratically"

    last = {name: facts["seconds"][name][-1] for name in METHODS}
    forward, chunked, sliced = (last[m] / last["denoising"] for m in METHODS if m != "denoising")
    linear = [m for m in METHODS if memory[m] <= LINEAR]
    more = [f"{m} (d^{memory[m]:.2f})" for m in METHODS if m not in linear]
    return (
        f"Processor time over the upper half of the d: {'; '.join(compared(name) for name in METHODS)}."
        f" At the last step, d = {facts['dimensions'][-2]} to {facts['dimensions'][-1]}, exact score matching"
        f" by products grows {grows(at_last[EXACT[1]])} (d^{at_last[EXACT[1]]:.2f}), by the forward Laplacian"
        f" at this fixed width ({facts['width']}) {grows(at_last[EXACT[0]])} (d^{at_last[EXACT[0]]:.2f}),"
        f" sliced {grows(at_last['sliced'])}, denoising {grows(at_last['denoising'])}. There a gradient takes"
        f" {forward:.0f} (forward), {chunked:.0f} (chunked) and {sliced:.1f} (sliced) times denoising's."
        f" Memory grows no faster than linearly for {', '.join(linear) or 'none'}"
        f"{'; faster for ' + ', '.join(more) if more else ''}."
    )


def _draw(
    size: Size,
    seconds: dict[str, list[float]],
    memory: dict[str, list[float]],
    slopes: dict[str, float],
    counted: dict[str, float],
    memory_slopes: dict[str, float],
) -> Any:
    figure = canvas(11, 4.4)
    left, right = figure.subplots(1, 2)
    d, upper = np.array(size.dimensions), _upper(size.dimensions)
    for name, marker in zip(METHODS, "osv^", strict=True):
        line = left.loglog(
            d,
            1e3 * np.array(seconds[name]),
            marker,
            label=f"{name}: slope {slopes[name]:.2f}, counted {counted[name]:.2f}",
        )
        shape = _count(name, d, size.width)
        level = np.exp(np.mean(np.log(1e3 * np.array(seconds[name])[upper:] / shape[upper:])))
        left.loglog(d, level * shape, "-", color=line[0].get_color(), linewidth=0.8)
        right.loglog(d, memory[name], marker + "-", label=f"{name}: slope {memory_slopes[name]:.2f}")
    left.set(
        xlabel="dimension d",
        ylabel="milliseconds of processor time",
        title="time of one gradient (lines: the count's shape)",
    )
    right.set(xlabel="dimension d", ylabel="MiB", title="temporary memory of the compiled gradient")
    for axes in (left, right):
        axes.legend(fontsize=8, title=f"slopes over d ≥ {d[upper]}", title_fontsize=8)
    return figure
