r"""MDSM figure F.1B: the mean energy against temperature, and whether the annealing is slow enough for it.

Li, Chen & Sommer (2019, appendix F) plot the mean energy of chains against temperature while they are
annealed: a line. In equilibrium at temperature T, of any smooth energy and for any centre c,

    E[(x − c)·∇E(x)] = T d,

and where E is quadratic with all curvatures 1/σ₀² also E = E_min + T d/2, a line of slope d/2. So three
things are measured at some temperatures on the way from 100 to 1:

    on the way      energy and virial, (x − c)·∇E/(T d), of the chains as they pass
    held            the same after these chains stayed at that temperature for many relaxation times
    on the way up   the same of chains that came from 1, the schedule turned round

and for annealings of several lengths. A quasi-static annealing passes each temperature with the energy of
chains held there, and has the same one on its way up; what is left is told in units of T d/2. The virial says
more than the line: it is 1 in equilibrium whatever the shape of E. Langevin's steps are not corrected, and of
curvature 1/σ₀² their variance is too wide by 1/(1 − ε²/4σ₀²), one part in a hundred.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import score
from energax.papers.models import TINY, Studied, trained
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.samplers import Langevin, observers
from energax.samplers import run as run_chains
from energax.samplers.schedules import Schedule, geometric
from energax.typing import Key

__all__ = ["run"]

CENTER = 0.5  # of pixels in [0, 1]; the virial's law holds for any
HOT = 10.0  # above it an energy is asked to be quadratic: √T σ₀ ≥ 0.3
NEAR = 0.05  # of T d/2, and of 1 for the virial: what passes for quasi-static
FAR = 20.0  # from the centre: a chain there has left
NAMES = ("on the way", "held", "on the way up")


class Size(NamedTuple):
    """How large the study is.

    Parameters
    ----------
    datasets
        Whose energies.
    lengths
        Steps of the anneal from the first temperature to 1, one annealing each.
    temperatures
        At which chains are held.
    held
        For how many steps; the second half counts.
    chains
        In each annealing.
    changes
        To the presets.
    """

    datasets: tuple[str, ...]
    lengths: tuple[int, ...]
    temperatures: int
    held: int
    chains: int
    changes: dict[str, Any]


SIZES = {
    "smoke": Size(("digits",), (40,), 3, 20, 16, TINY),
    "cpu": Size(("digits",), (100, 1000, 4000), 7, 1000, 64, {}),
    "paper": Size(("digits", "mnist"), (200, 2000, 20_000), 13, 5000, 256, {}),
}


class Passage(NamedTuple):
    """Chains at some temperatures, one row for each temperature and one column for each chain."""

    energy: np.ndarray
    virial: np.ndarray


def virial(model: Any, x: jax.Array, i: jax.Array) -> jax.Array:
    """Return (x − c)·∇E(x) of each chain."""
    return -jnp.sum((x - CENTER) * score(model, x))


SEEN = {"energy": observers.energy, "virial": virial, "position": observers.position}


def passages(
    energy: Any, x: np.ndarray, step_size: float, hottest: float, length: int, size: Size, key: Key
) -> tuple[np.ndarray, dict[str, Passage], tuple[np.ndarray, np.ndarray]]:
    """Return temperatures, what was measured at them in the three ways, and the energy all the way down.

    Parameters
    ----------
    x
        Chains that are in equilibrium at the hottest temperature.
    step_size, hottest, length
        η of the dynamics, where the geometric anneal starts, and its steps.
    """
    down_key, up_key, *keys = jax.random.split(key, 2 + size.temperatures)
    table = np.asarray(geometric(hottest, 1.0, length).values)
    every = max(1, length // 100)
    down = run_chains(
        Langevin(step_size, Schedule(table)),
        energy,
        x,
        key=down_key,
        steps=length,
        observers=SEEN,
        every=every,
    )
    up = run_chains(
        Langevin(step_size, Schedule(table[::-1])), energy, down.x, key=up_key, steps=length, observers=SEEN,
        every=every,
    )  # fmt: skip
    passed = table[np.minimum(down.steps, length - 1)]
    back = table[::-1][np.minimum(up.steps, length - 1)]
    wanted = np.geomspace(hottest, 1.0, size.temperatures)
    at = [int(np.argmin(np.abs(np.log(passed / t)))) for t in wanted]
    at_back = [int(np.argmin(np.abs(np.log(back / t)))) for t in wanted]
    there = np.abs(down.observed["position"] - CENTER).reshape(len(passed), len(x), -1).max(2)
    stayed = np.isfinite(there[-1]) & (there[-1] < FAR)
    held = [
        run_chains(
            Langevin(step_size, float(passed[i])), energy, down.observed["position"][i], key=k,
            steps=size.held, observers=SEEN, every=max(1, size.held // 40),
        ).observed
        for i, k in zip(at, keys, strict=True)
    ]  # fmt: skip
    late = {n: [o[n][len(o[n]) // 2 :].mean(0) for o in held] for n in ("energy", "virial")}
    found = {
        NAMES[0]: Passage(*(down.observed[n][at][:, stayed] for n in ("energy", "virial"))),
        NAMES[1]: Passage(*(np.stack(late[n])[:, stayed] for n in ("energy", "virial"))),
        NAMES[2]: Passage(*(up.observed[n][at_back][:, stayed] for n in ("energy", "virial"))),
    }
    return passed[at], found, (passed, down.observed["energy"][:, stayed].mean(1))


def slope(temperature: np.ndarray, energy: np.ndarray, d: int) -> tuple[float, float]:
    """Return the slope of a line through mean energies, in units of d/2, and the share it explains (R²)."""
    b, a = np.polyfit(temperature, energy, 1)
    left = energy - a - b * temperature
    return float(b / (d / 2)), float(1 - left.var() / energy.var())


def lag(temperature: np.ndarray, one: Passage, other: Passage, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the difference of two mean energies in units of T d/2 at each temperature, and its error."""
    unit = temperature * d / 2
    error = np.hypot(*(p.energy.std(1, ddof=1) / np.sqrt(p.energy.shape[1]) for p in (one, other)))
    return (one.energy.mean(1) - other.energy.mean(1)) / unit, error / unit


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Anneal chains at several speeds, hold them, and bring them back."""
    size = SIZES[scale]
    facts: dict[str, Any] = {}
    rows, curves = [], {}
    for name in size.datasets:
        model = trained(name, size.changes, progress=progress)
        for length in size.lengths:
            case = f"{name}, {length:,} steps"
            t, found, curve = measured(model, length, size)
            d = int(np.prod(model.dataset.event_shape))
            facts[case] = judged(t, found, d) | {"curve": [c.tolist() for c in curve], "d": d}
            curves[case] = curve, d
            rows += table(case, t, found, d)
            rise, worst = facts[case]["slope hot"][0], max(map(abs, facts[case]["lag"]))
            progress(f"{case}: slope {rise:.3f} × d/2, lag at most {worst:.1%}")
    return Outcome(
        columns=("annealing", "T", *(f"E {n}" for n in NAMES), "lag", *(f"virial {n}" for n in NAMES)),
        rows=rows,
        verdict=verdict(facts),
        figure=_figure(curves, facts),
        facts=facts,
    )


def measured(model: Studied, length: int, size: Size) -> Any:
    """Return `passages` of a trained energy, its chains warmed at its own schedule's first temperature."""
    sampler: Any = model.way.sampler
    hottest, step = float(sampler.temperature.values[0]), float(sampler.step_size.values[0])
    start_key, warm_key, key = jax.random.split(jax.random.key(1), 3)
    shape = (size.chains, *model.energy.event_shape)
    x = CENTER + model.way.start * np.asarray(jax.random.normal(start_key, shape))
    warm = run_chains(Langevin(step, hottest), model.energy, x, key=warm_key, steps=model.config.sampler.hold)
    return passages(model.energy, warm.x, step, hottest, length, size, key)


def judged(t: np.ndarray, found: dict[str, Passage], d: int) -> dict[str, Any]:
    """Return slopes, lags behind held chains, the difference of both ways, and virials."""
    down, held, up = (found[n] for n in NAMES)
    hot = t >= HOT
    # Two points make a line of any energies; with three and more, R² says something.
    both = [
        slope(t[part], down.energy.mean(1)[part], d) if part.sum() > 1 else (float("nan"),) * 2
        for part in (hot, ~hot)
    ]
    lags, errors = lag(t, down, held, d)
    return {
        "temperature": t.tolist(),
        "slope hot": both[0],
        "slope cold": both[1],
        "lag": lags.tolist(),
        "lag's error": errors.tolist(),
        "both ways": lag(t, up, down, d)[0].tolist(),
        **{f"virial {n}": (found[n].virial.mean(1) / (t * d)).tolist() for n in NAMES},
        **{f"energy {n}": found[n].energy.mean(1).tolist() for n in NAMES},
    }


def table(case: str, t: np.ndarray, found: dict[str, Passage], d: int) -> list[list[Any]]:
    """Return one row for each temperature."""
    lags, errors = lag(t, found[NAMES[0]], found[NAMES[1]], d)
    return [
        [
            case,
            f"{t[i]:.1f}",
            *(f"{found[n].energy[i].mean():.1f}" for n in NAMES),
            f"{lags[i]:+.3f} ± {errors[i]:.3f}",
            *(f"{found[n].virial[i].mean() / (t[i] * d):.3f}" for n in NAMES),
        ]
        for i in range(len(t))
    ]


def verdict(facts: dict[str, Any]) -> str:
    """Say where the line is one, and which annealings were quasi-static."""
    lines = []
    for case, f in facts.items():
        t, lags, errors = (np.array(f[n]) for n in ("temperature", "lag", "lag's error"))
        (hot, straight), (cold, _) = f["slope hot"], f["slope cold"]
        worst = int(np.argmax(np.abs(lags)))
        off = float(np.abs(np.array(f[f"virial {NAMES[0]}"]) - 1).max())
        held = float(np.abs(np.array(f[f"virial {NAMES[1]}"]) - 1).max())
        clear = (np.abs(lags) > NEAR) & (np.abs(lags) > 4 * errors)
        where = ", ".join(f"{x:.2g}" for x in t[clear])
        kind = f"not quasi-static at T = {where}" if where else f"none above {NEAR:.0%} is clear of its error"
        lines.append(
            f"{case}: above T = {HOT:g} the energy rises by {hot:.2f} × d/2 (R² {straight:.4f}), below by "
            f"{cold:.2f}; it lags behind held chains by at most {abs(lags[worst]):.1%} of T d/2, at "
            f"T = {t[worst]:.2g}: {kind}. The virial is off by at most {off:.1%} on the way, by "
            f"{held:.1%} held."
        )
    return bulleted(lines)


def _figure(curves: dict[str, Any], facts: dict[str, Any]) -> Any:
    figure = canvas(12, 3.8)
    left, middle, right = figure.subplots(1, 3)
    for i, (case, ((t, energy), _)) in enumerate(curves.items()):
        found, colour = facts[case], f"C{i}"
        at = np.array(found["temperature"])
        held = np.array(found[f"energy {NAMES[1]}"])
        left.plot(t, energy - held[-1], color=colour, label=case)
        left.plot(at, held - held[-1], "o", color=colour, mfc="none")
        middle.errorbar(
            at, found["lag"], 4 * np.array(found["lag's error"]), color=colour, marker="o", capsize=2
        )
        middle.plot(at, found["both ways"], "x:", color=colour)
        right.plot(at, found[f"virial {NAMES[0]}"], "o-", color=colour)
        right.plot(at, found[f"virial {NAMES[1]}"], "o:", color=colour, mfc="none")
    (t, _), d = next(iter(curves.values()))
    line = np.array([1.0, max(t)])
    left.plot(line, (line - 1) * d / 2, "k--", lw=0.8, label="slope d/2")
    left.set(title="mean energy on the way (rings: held)", xlabel="T", ylabel="E − E held at 1, nats")
    left.legend(fontsize="small")
    middle.set(title="lag behind held chains (dotted: up − down)", xlabel="T", ylabel="of T d/2")
    middle.set_yscale("symlog", linthresh=0.1)
    right.set(title="virial (x − c)·∇E/(T d) (rings: held)", xlabel="T", yscale="log")
    for ax, level in ((middle, 0.0), (right, 1.0)):
        ax.set_xscale("log")
        ax.axhline(level, color="0.6", lw=0.8)
    return figure
