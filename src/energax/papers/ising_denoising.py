r"""The lecture's Ising denoising, measured on a photograph.

A photograph that comes with scikit-learn is made black and white at its median, each pixel flipped with
probability f, and restored under the posterior of an Ising grid (`tasks.restore_flips`),

    p(y | x) ∝ exp(Σ J→ y y′ + Σ J↓ y y′ + Σ b y + ½ log((1 − f)/f) Σ x y),

by Gibbs marginals, by conditional modes (ICM) and by the mode itself (a minimum cut). The lecture asks
for the last, "maximize p(y|x)", and sets the potentials by hand; here

    by hand    J→ = J↓ = 1, b = 0
    learned    by maximum likelihood from patches of *another* photograph: exactly, log Z being summed by
               the transfer matrix, and again by persistent contrastive divergence

and in between a range of couplings, since the error depends on them at least as much as on the method. What
counts is the share of wrong pixels, beside that of the flipped picture and of the majority in 3 × 3 pixels,
which knows neither f nor a model. f is told to all others. Repetitions differ in what is flipped.

Under its own model the sign of the marginals has the fewest wrong pixels that can be expected; which share
that would be, mean min(p, 1 − p), is reported beside the share found. A photograph is no Ising grid: where
the two differ, the model is wrong, not the sampling.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import scipy.ndimage
import scipy.stats

from energax.energies import Ising
from energax.objectives import ExactMaximumLikelihood, Objective, PersistentContrastiveDivergence
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.samplers import BlockGibbs
from energax.tasks.flips import METHODS, restore_flips
from energax.training import fit

__all__ = ["run"]

PICTURE, OTHER = "china.jpg", "flower.jpg"
HAND = 1.0
FLIPS = (0.05, 0.1, 0.2)
SHOWN = 0.1  # the flips of the curve and the picture
PATCH = 12  # pixels of a side: log Z is summed over 2¹² states of a row
CLEAR = 0.95  # confidence, by Student's t, from which on a difference is called one
NAMES = {"gibbs": "Gibbs", "icm": "ICM", "cut": "cut"}
SOURCES = ("by hand", "learned")


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    block: int  # pixels of the photograph that are averaged to one, along each side
    repetitions: int
    sweeps: int
    couplings: tuple[float, ...]
    patches: int
    updates: int


CURVE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5)
SIZES = {
    "smoke": Size(block=8, repetitions=3, sweeps=50, couplings=(0.1, 0.5, 1.5), patches=256, updates=60),
    "cpu": Size(block=2, repetitions=3, sweeps=300, couplings=CURVE, patches=2_048, updates=600),
    "paper": Size(block=1, repetitions=10, sweeps=1_000, couplings=CURVE, patches=8_192, updates=2_000),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Learn the couplings, then restore at every rate of flips and along the curve."""
    size = SIZES[scale]
    clean = binarised(PICTURE, size.block)
    learned = _learn(patches(binarised(OTHER, size.block), size.patches), size.updates, progress)
    grids = {
        "by hand": Ising(clean.shape, horizontal=HAND, vertical=HAND),
        "learned": Ising(clean.shape, **learned["exact likelihood"]),
    }

    cases: dict[str, Any] = {}
    pictures: dict[str, np.ndarray] = {}
    for f in FLIPS:
        x = flipped(clean, f, size.repetitions)
        majority = np.stack([_majority(row) for row in x])
        found: dict[str, Any] = {"noisy": wrong(x, clean), "majority": wrong(majority, clean)}
        for source, grid in grids.items():
            restored = _restored(grid, x, f, size.sweeps)
            found[source] = {m: wrong(r.spins, clean) for m, r in restored.items()}
            p = restored["gibbs"].probability
            found[source]["expected by Gibbs"] = np.minimum(p, 1 - p).mean((1, 2))
            if f == SHOWN and source == "learned":
                pictures = {"noisy": x[0], **{m: r.spins[0] for m, r in restored.items()}}
            text = ", ".join(f"{NAMES[m]} {found[source][m].mean():.4f}" for m in METHODS)
            progress(f"f = {f:g}, couplings {source}: {found['noisy'].mean():.4f} wrong before; {text}")
        cases[f"{f:g}"] = found

    x = flipped(clean, SHOWN, size.repetitions)
    curve: dict[str, list[np.ndarray]] = {m: [] for m in METHODS}
    for J in size.couplings:
        grid = Ising(clean.shape, horizontal=J, vertical=J)
        for method, result in _restored(grid, x, SHOWN, size.sweeps).items():
            curve[method].append(wrong(result.spins, clean))
        progress(f"J = {J:g}: " + ", ".join(f"{NAMES[m]} {curve[m][-1].mean():.4f}" for m in METHODS))

    facts = {
        "picture": PICTURE,
        "shape": clean.shape,
        "learned_from": OTHER,
        "learned": learned,
        "cases": cases,
        "couplings": size.couplings,
        "curve": {m: np.array(values) for m, values in curve.items()},
    }
    columns = ("flipped", "couplings", "wrong before", "majority of 3 × 3", *NAMES.values(), "Gibbs expects")
    rows = [
        (
            f"{f:.0%}",
            source,
            *(_percent(cases[f"{f:g}"][name]) for name in ("noisy", "majority")),
            *(_percent(cases[f"{f:g}"][source][m]) for m in METHODS),
            _percent(cases[f"{f:g}"][source]["expected by Gibbs"]),
        )
        for f in FLIPS
        for source in SOURCES
    ]
    return Outcome(columns, rows, _verdict(facts), _draw(clean, pictures, facts), _plain(facts))


def binarised(name: str, block: int) -> np.ndarray:
    """Return one of scikit-learn's photographs as spins: 1 where it is brighter than its median."""
    from sklearn.datasets import load_sample_image

    grey = load_sample_image(name).astype(np.float64).mean(-1)
    H, W = (side // block for side in grey.shape)
    small = grey[: H * block, : W * block].reshape(H, block, W, block).mean((1, 3))
    return np.where(small > np.median(small), 1.0, -1.0).astype(np.float32)


def patches(image: np.ndarray, n: int) -> np.ndarray:
    """Return n squares of an image from random places, shape (n, PATCH, PATCH)."""
    rng = np.random.default_rng(0)
    top = rng.integers(image.shape[0] - PATCH + 1, size=n)
    left = rng.integers(image.shape[1] - PATCH + 1, size=n)
    return np.stack([image[t : t + PATCH, s : s + PATCH] for t, s in zip(top, left, strict=True)])


def flipped(clean: np.ndarray, f: float, repetitions: int) -> np.ndarray:
    """Return that many copies, each pixel flipped with probability f on its own."""
    rng = np.random.default_rng(1)
    return np.where(rng.random((repetitions, *clean.shape)) < f, -clean, clean)


def wrong(x: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Return the share of wrong pixels of each row."""
    return (x != clean).mean((1, 2))


def _majority(x: np.ndarray) -> np.ndarray:
    return scipy.ndimage.median_filter(x, size=3, mode="nearest")


def _restored(grid: Ising, x: np.ndarray, f: float, sweeps: int) -> dict[str, Any]:
    settings = {"key": jax.random.key(2), "sweeps": sweeps, "burn_in": max(20, sweeps // 3)}
    return {method: restore_flips(grid, x, f, method, **settings) for method in METHODS}


def _learn(rows: np.ndarray, updates: int, progress: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Return the two couplings and the field, by the exact likelihood and by persistent chains."""
    objectives: dict[str, Objective] = {
        "exact likelihood": ExactMaximumLikelihood(),
        "persistent chains": PersistentContrastiveDivergence(BlockGibbs(), steps=5, chains=256),
    }
    found = {}
    for name, objective in objectives.items():
        result = fit(
            Ising(rows.shape[1:]),
            objective,
            rows,
            key=jax.random.key(0),
            progress=False,
            steps=updates,
            batch_size=256,
            learning_rate=0.02,
            ema=0.98,
        ).energy
        entries = ("horizontal", "vertical", "field")
        found[name] = {entry: float(getattr(result, entry)) for entry in entries}
        progress(f"learned by {name}: " + ", ".join(f"{k} {v:.3f}" for k, v in found[name].items()))
    return found


def _percent(shares: np.ndarray) -> str:
    """Write mean and standard error in percent."""
    error = shares.std(ddof=1) / np.sqrt(len(shares))
    return f"{100 * shares.mean():.2f} ± {100 * error:.2f} %"


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether paired shares have clearly different means."""
    change = a - b
    reach = scipy.stats.t.ppf((1 + CLEAR) / 2, len(a) - 1) * change.std(ddof=1) / np.sqrt(len(a))
    return abs(change.mean()) > reach


def _verdict(facts: dict[str, Any]) -> str:
    def share(values: np.ndarray) -> str:
        return f"{100 * values.mean():.2f} %"

    case = facts["cases"][f"{SHOWN:g}"]
    methods = list(METHODS)
    best = min(methods, key=lambda m: case["learned"][m].mean())
    others = [m for m in methods if m != best]
    alike = [m for m in others if not _differ(case["learned"][m], case["learned"][best])]
    leads = f"best by {NAMES[best]}" + (f", not clearly before {NAMES[alike[0]]}" if alike else ", clearly")
    told = "; ".join(
        f"{source} " + ", ".join(f"{NAMES[m]} {share(case[source][m])}" for m in methods)
        for source in SOURCES
    )
    helped = [
        (f, s, m) for f, c in facts["cases"].items() for s in SOURCES for m in methods
        if c[s][m].mean() < c["noisy"].mean()
    ]  # fmt: skip
    tried = len(facts["cases"]) * len(SOURCES) * len(methods)
    beats = [f for f, c in facts["cases"].items() if c["learned"][best].mean() < c["majority"].mean()]

    lowest = "; ".join(f"{NAMES[m]} {_lowest(facts['couplings'], facts['curve'][m])}" for m in methods)
    exact, chains = facts["learned"]["exact likelihood"], facts["learned"]["persistent chains"]
    apart = max(abs(exact[k] - chains[k]) for k in exact)
    expected, got = case["learned"]["expected by Gibbs"].mean(), case["learned"]["gibbs"].mean()
    return (
        f"Of {SHOWN:.0%} flipped pixels there remain: {told}; with learned couplings {leads}. A restoration "
        f"has fewer wrong pixels than it was given in {len(helped)} of {tried} cases; with learned couplings "
        f"{NAMES[best]} beats the majority of 3 × 3 at {len(beats)} of {len(facts['cases'])} rates. Lowest "
        f"along the curve of equal couplings: {lowest}. Learned from {facts['learned_from']}: "
        f"J→ = {exact['horizontal']:.2f}, J↓ = {exact['vertical']:.2f}, b = {exact['field']:.3f}; persistent "
        f"chains are at most {apart:.2g} from it. Under the learned model the marginals expect "
        f"{100 * expected:.2f} % wrong, and {100 * got:.2f} % are."
    )


def _lowest(couplings: tuple[float, ...], shares: np.ndarray) -> str:
    """Name the coupling with the fewest wrong pixels, and those not clearly worse."""
    i = int(np.argmin(shares.mean(1)))
    alike = [J for J, values in zip(couplings, shares, strict=True) if not _differ(values, shares[i])]
    among = f", not clearly fewer than at {min(alike):g} to {max(alike):g}" if len(alike) > 1 else ""
    return f"J = {couplings[i]:g} ({100 * shares[i].mean():.2f} %{among})"


def _plain(value: Any) -> Any:
    """Return facts as JSON values."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def _draw(clean: np.ndarray, pictures: dict[str, np.ndarray], facts: dict[str, Any]) -> Any:
    figure = canvas(15, 6.4)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    case = facts["cases"][f"{SHOWN:g}"]
    shown = {"clean": clean, f"{SHOWN:.0%} flipped": pictures["noisy"]}
    shown |= {
        f"{NAMES[m]}, learned couplings: {100 * case['learned'][m][0]:.1f} % wrong": pictures[m]
        for m in METHODS
    }
    for axes, (title, image) in zip(above.subplots(1, len(shown)), shown.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()

    curve_axes, rate_axes = below.subplots(1, 2)
    colours = dict(zip(METHODS, ("tab:blue", "tab:orange", "tab:green"), strict=True))
    for m in METHODS:
        values = 100 * facts["curve"][m]
        curve_axes.plot(facts["couplings"], values.mean(1), color=colours[m], label=NAMES[m])
        curve_axes.plot(facts["couplings"], values, ".", color=colours[m], markersize=4)
    curve_axes.axhline(100 * case["noisy"].mean(), color="grey", linestyle=":", label="before")
    curve_axes.axhline(100 * case["majority"].mean(), color="grey", linestyle="--", label="majority of 3 × 3")
    exact = facts["learned"]["exact likelihood"]
    between = sorted((exact["horizontal"], exact["vertical"]))
    curve_axes.axvspan(
        between[0] - 0.004, between[1] + 0.004, color="black", alpha=0.15, label="learned J↓, J→"
    )
    curve_axes.set(xlabel="coupling J→ = J↓", ylabel="wrong pixels, %", title=f"{SHOWN:.0%} flipped")
    curve_axes.set_ylim(bottom=0)
    curve_axes.legend(fontsize=8)

    for source, style in (("by hand", "--"), ("learned", "-")):
        for m in METHODS:
            values = np.array([100 * facts["cases"][f"{f:g}"][source][m] for f in FLIPS])
            label = f"{NAMES[m]}, {source}"
            rate_axes.plot(
                100 * np.array(FLIPS), values.mean(1), style, color=colours[m], marker=".", label=label
            )
    majority = [100 * facts["cases"][f"{f:g}"]["majority"].mean() for f in FLIPS]
    rate_axes.plot(100 * np.array(FLIPS), majority, "--", color="grey", label="majority of 3 × 3")
    rate_axes.set(xlabel="flipped pixels, %", ylabel="wrong pixels, %", title="couplings by hand and learned")
    rate_axes.set_ylim(bottom=0)
    rate_axes.legend(fontsize=8)
    return figure
