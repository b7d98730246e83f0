r"""Whether a critic finds the best one in a hundred dimensions: two pairs of Gaussians.

Grathwohl et al. (2020), figure 3. The model is N(0, I), and the law of the rows

    means     N(½1, I):   Δ = s − s_p = −½1,      E‖Δ‖² = d/4
    scales    N(0, 2I):   Δ(x) = −½x,             E‖Δ‖² = d/2

so that the best critic f* = Δ/2λ is a constant, or linear. The critic's discrepancy tends to E‖Δ‖²/2λ and
its cosine with f* to 1, the latter whatever λ is (eq. 9: "depends on λ only up to a constant multiplier").
Both are measured in truth (`critic_path`) along training, and at the look that the objective on the
validation rows chooses. The paper does not say how many rows its critic saw. Here it is 1,000, as many as its
tests of fit have, to 20,000: the d² numbers of a linear critic ask for more rows than the d of a constant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.energies import Critic
from energax.papers.critic_path import Known, Path, Sample, chosen, follow, taken
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.papers.repeats import pm
from energax.typing import Array, Key

__all__ = ["pair", "run"]

MEANS, SCALES_ = "means", "scales"
SHARE = 0.1  # of the rows, held out to choose
FRESH = 2_000
NEAR = 0.9  # a cosine, and a share of the discrepancy, from which a critic counts as near the best


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    d
        Dimension.
    cases
        (Rows in all, λ), each for both pairs.
    seeds
        Samples, each with a critic, of each case.
    width
        Hidden units of a layer.
    batch, every, looks
        Rows of a step, steps between two looks, and how many there are.
    rate
        Adam's.
    """

    d: int
    cases: tuple[tuple[int, float], ...]
    seeds: int
    width: int
    batch: int
    every: int
    looks: int
    rate: float = 2e-3


SIZES = {
    "smoke": Size(10, ((4_000, 0.5),), seeds=2, width=50, batch=100, every=25, looks=12, rate=5e-3),
    "cpu": Size(100, ((1_000, 0.5), (5_000, 0.5), (20_000, 0.5), (20_000, 5.0)), 3, 128, 128, 50, 20),
    "paper": Size(
        100, tuple((n, p) for n in (1_000, 5_000, 20_000, 100_000) for p in (0.5, 5.0)), 5, 300, 256, 100, 50
    ),
}


def pair(case: str, key: Key, n: int, d: int) -> tuple[Array, Array, Array]:
    """Return rows of the law, the model's scores there, and Δ."""
    z = jax.random.normal(key, (n, d))
    if case == MEANS:
        x = 0.5 + z
        return x, -x, jnp.full_like(x, -0.5)
    x = jnp.sqrt(2.0) * z
    return x, -x, -0.5 * x


def theory(case: str, d: int, penalty: float) -> float:
    """Return E‖Δ‖²/2λ."""
    return (0.25 if case == MEANS else 0.5) * d / (2 * penalty)


def paths(case: str, rows: int, penalty: float, size: Size, key: Key) -> Path:
    """Return the paths of all seeds of a case."""
    held = int(SHARE * rows)

    def one(key):
        data_key, fresh_key, critic_key, train_key = jax.random.split(key, 4)
        x, s, _ = pair(case, data_key, rows, size.d)
        fresh, _, difference = pair(case, fresh_key, FRESH, size.d)
        return follow(
            Critic((size.d,), width=size.width, key=critic_key),
            Sample(x[held:], s[held:]),
            Sample(x[:held], s[:held]),
            Known(fresh, difference),
            penalty=jnp.asarray(penalty),
            rate=jnp.asarray(size.rate),
            batch=size.batch,
            every=size.every,
            looks=size.looks,
            key=train_key,
        )

    # One seed after the other: stacked matrices of this size gain nothing on a processor.
    return jax.device_get(
        eqx.filter_jit(lambda keys: jax.lax.map(one, keys))(jax.random.split(key, size.seeds))
    )


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Follow critics in every case."""
    size = SIZES[scale]
    results: dict[str, Any] = {}
    for j, case in enumerate((MEANS, SCALES_)):
        for i, (rows, penalty) in enumerate(size.cases):
            path = paths(case, rows, penalty, size, jax.random.fold_in(jax.random.key(j), i))
            pick = chosen(path, "objective", penalty)
            exact = theory(case, size.d, penalty)
            at = {"step": path.step, "cosine": path.cosine, "share": path.value / exact}
            found = {n: taken(a, pick).tolist() for n, a in at.items()}
            name = f"{case}, {rows:,} rows, λ = {penalty:g}"
            record = {"case": case, "rows": rows, "penalty": penalty, "theory": exact, "chosen": found}
            results[name] = {**record, "path": path._asdict()}
            cosine, share = (np.mean(found[k]) for k in ("cosine", "share"))
            progress(f"{name}: cosine {cosine:.3f}, discrepancy {share:.3f} of theory")
    columns = ("pair", "rows", "λ", "E‖Δ‖²/2λ", "step chosen", "discrepancy, in truth", "share of theory",
               "cosine with f*", "cosine at the end", "h on the rows learned from, at the end")  # fmt: skip
    table = [
        (
            r["case"],
            f"{r['rows']:,}",
            r["penalty"],
            r["theory"],
            f"{np.median(r['chosen']['step']):g}",
            pm(np.array(r["chosen"]["share"]) * r["theory"]),
            pm(r["chosen"]["share"]),
            pm(r["chosen"]["cosine"]),
            pm(r["path"]["cosine"][:, -1]),
            pm(r["path"]["train_mean"][:, -1]),
        )
        for r in results.values()
    ]
    return Outcome(columns, table, _verdict(size, results), _draw(results), {"results": results})


def _verdict(size: Size, results: Mapping[str, Any]) -> str:
    lines = []
    for name, r in results.items():
        cosine, share = (float(np.mean(r["chosen"][k])) for k in ("cosine", "share"))
        near = cosine > NEAR and NEAR < share < 1 / NEAR
        over = float(np.mean(r["path"]["train_mean"][:, -1])) / r["theory"]
        lines.append(
            f"{name}: the critic chosen has cosine {cosine:.3f} with the best one and {share:.2f} of the"
            f" discrepancy in truth ({'near the best' if near else 'not near the best'}: both within"
            f" {NEAR:g}); at the end of training mean h on the rows learned from is {over:.2f} of theory."
        )
    groups: dict[tuple[str, int], dict[float, float]] = {}
    for r in results.values():
        groups.setdefault((r["case"], r["rows"]), {})[r["penalty"]] = float(np.mean(r["chosen"]["cosine"]))
    for (case, rows), cosines in groups.items():
        if len(cosines) > 1:
            told = ", ".join(f"{c:.3f} with λ = {p:g}" for p, c in cosines.items())
            found = min(cosines.values()) > NEAR
            lines.append(
                f"{case}, {rows:,} rows: cosines {told}: the best critic's direction is"
                f" {'found with each' if found else 'not found with each'}."
            )
    return bulleted(lines)


def _draw(results: Mapping[str, Any]) -> Any:
    figure = canvas(11, 7.5)
    panels = np.asarray(figure.subplots(2, 2, sharex=True))
    for row, case in zip(panels, (MEANS, SCALES_), strict=True):
        shown = [(n, r) for n, r in results.items() if r["case"] == case]
        for i, (name, r) in enumerate(shown):
            path = r["path"]
            step = path["step"][0]
            label = name.removeprefix(f"{case}, ")
            at = np.median(r["chosen"]["step"])
            for axes, curve in ((row[0], path["cosine"]), (row[1], path["value"] / r["theory"])):
                axes.plot(step, curve.mean(0), color=f"C{i}", lw=1.3, label=label)
                axes.plot(at, np.interp(at, step, curve.mean(0)), "o", color=f"C{i}", ms=5)
            row[1].plot(step, path["train_mean"].mean(0) / r["theory"], color=f"C{i}", lw=0.8, ls=":")
        row[0].set(ylabel=f"{case}: cosine with f*", ylim=(-0.05, 1.05))
        row[1].set(ylabel="discrepancy over E‖Δ‖²/2λ", ylim=(-0.1, 2.0))
        for axes in row:
            axes.axhline(1, color="0.4", ls="--", lw=1)
            axes.grid(color="0.92")
    panels[0, 1].set_title("in truth; dotted: on the rows learned from; dots: chosen", fontsize=9)
    panels[0, 0].legend(fontsize=8, frameon=False)
    for axes in panels[1]:
        axes.set_xlabel("steps of the critic")
    return figure
