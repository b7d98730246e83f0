r"""The lecture's pitfall of score matching: no data, no score; and its cure, noise on the data.

Score matching minimises ½ E_p‖s_θ − ∇log p‖², an average over the data: where p is next to nothing it
asks nothing, and what the network says there is an accident of its initial weights. With noise,
the data has density p_σ = p * N(0, σ²I), which fills the space between the modes as σ grows, so that
denoising score matching learns its score there too (lecture, "the solution to all pitfalls"; Song &
Ermon 2019, §3.2 and figure 2). The price is that ∇log p_σ is not ∇log p.

    p = 0.8 N((5, 5), I) + 0.2 N((−5, −5), I)

A perceptron field learns ∇log p by exact score matching (½‖s‖² + tr ∇s, no noise in the loss), and
∇log p_σ by denoising score matching at some σ. Regions are those of the *data's* density on the square
[−8, 8]²: high is the smallest region that holds half of the data, medium the rest of the one that
holds 99 %, low what is left. Points are uniform in each region. The error is

    √(mean ‖s − t‖² / mean ‖t‖²),

against the score the objective asks for (t = ∇log p or ∇log p_σ), and also against the data's own
score ∇log p: the second holds the bias of the noise as well. The share of points where the learned
score points the right way (a positive inner product with t) says what is left of direction.

Neither table nor settings are a paper's; Song & Ermon's figure 2 shows only arrows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import Score
from energax.energies import GaussianMixture, MLPField
from energax.objectives import DenoisingScoreMatching, ScoreMatching
from energax.papers.fields import energies_at, relative_error, scores_at
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.training import fit
from energax.typing import Array, Model

__all__ = ["run"]

SIDE = 8.0
REGIONS = {"high": (0.0, 0.5), "medium": (0.5, 0.99), "low": (0.99, 1.0)}  # shares of the data
DRAWN = 3.0  # the σ whose field is drawn
PIXELS = 120  # of a side


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    sigmas: tuple[float, ...]
    updates: int
    trainings: int
    rows: int
    points: int


SIZES = {
    "smoke": Size((DRAWN,), updates=500, trainings=1, rows=5_000, points=300),
    "cpu": Size((1.0, DRAWN, 6.0), updates=8_000, trainings=3, rows=100_000, points=2_000),
    "paper": Size((1.0, DRAWN, 6.0), updates=50_000, trainings=5, rows=500_000, points=10_000),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Learn the score without and with noise, and measure both by region."""
    size = SIZES[scale]
    mixture = GaussianMixture([0.8, 0.2], [[5.0, 5.0], [-5.0, -5.0]], jnp.broadcast_to(jnp.eye(2), (2, 2, 2)))
    data_key, train_key = jax.random.split(jax.random.key(0))
    x = mixture.sample(data_key, size.rows)
    regions = _regions(mixture, x, size.points)
    cases: dict[str, dict[str, Any]] = {}
    learned: dict[str, Model] = {}
    for sigma in (0.0, *size.sigmas):
        label = f"noise σ = {sigma:g}" if sigma else "plain"
        objective = DenoisingScoreMatching(sigma) if sigma else ScoreMatching()
        target = mixture.smoothed(sigma) if sigma else mixture
        found = []
        for key in jax.random.split(train_key, size.trainings):
            weights_key, fit_key = jax.random.split(key)
            start = Score(MLPField((2,), width=128, depth=2, activation="softplus", key=weights_key))
            model = fit(start, objective, x, key=fit_key, progress=False, steps=size.updates).energy
            learned.setdefault(label, model)
            found.append({name: _errors(model, target, mixture, at) for name, at in regions.items()})
        cases[label] = {name: {k: [f[name][k] for f in found] for k in found[0][name]} for name in regions}
        text = ", ".join(f"{name} {np.mean(cases[label][name]['error']):.2f}" for name in regions)
        progress(f"{label}: error by density {text}")

    columns = (
        "trained",
        *(f"error, {name}" for name in REGIONS),
        *(f"right way, {name}" for name in REGIONS),
        *(f"error against the data's score, {name}" for name in REGIONS),
    )
    rows = [
        (
            label,
            *(
                float(np.mean(case[name][k]))
                for k in ("error", "right_way", "error_to_data")
                for name in REGIONS
            ),
        )
        for label, case in cases.items()
    ]
    facts = {"cases": cases, "regions": {name: len(at) for name, at in regions.items()}}
    figure = _draw(mixture, np.asarray(x), learned["plain"], learned[f"noise σ = {DRAWN:g}"])
    return Outcome(columns, rows, _verdict(cases), figure, facts)


def _regions(mixture: GaussianMixture, x: Array, points: int) -> dict[str, Array]:
    """Uniform points of the square by the data's density: equally many in each region."""
    energy = np.sort(np.asarray(energies_at(mixture, x)))
    rng = np.random.default_rng(0)
    candidates = rng.uniform(-SIDE, SIDE, (100 * points, 2)).astype(np.float32)
    share = np.searchsorted(energy, np.asarray(energies_at(mixture, jnp.asarray(candidates)))) / len(energy)
    return {
        name: jnp.asarray(candidates[(share >= low) & (share < high + (high == 1))][:points])
        for name, (low, high) in REGIONS.items()
    }


def _errors(model: Model, target: Model, data: Model, x: Array) -> dict[str, float]:
    s, t, own = (scores_at(m, x) for m in (model, target, data))
    return {
        "error": relative_error(s, t),
        "right_way": float(jnp.mean(jnp.sum(s * t, axis=1) > 0)),
        "error_to_data": relative_error(s, own),
    }


def _verdict(cases: dict[str, dict[str, Any]]) -> str:
    def error(label: str, name: str, k: str = "error") -> float:
        return float(np.mean(cases[label][name][k]))

    noisy = [label for label in cases if label != "plain"]
    best = min(noisy, key=lambda label: error(label, "low"))
    grows = error("plain", "low") > 2 * error("plain", "high")
    cured = error(best, "low") < error("plain", "low") / 2
    even = ", even there no worse than twice that at high density"
    even = even if error(best, "low") <= 2 * error(best, "high") else ""
    nearest = min(cases, key=lambda label: error(label, "high", "error_to_data"))

    def by_region(label: str) -> str:
        return ", ".join(f"{error(label, name):.3f}" for name in REGIONS)

    return (
        f"The plain score's error {'grows' if grows else 'does not grow'} towards low density:"
        f" {by_region('plain')} at high, medium, low. Noise {'cures' if cured else 'does not cure'} it: with"
        f" {best} the errors against its own smoothed score are {by_region(best)}{even}. The price: against"
        f" the data's score at high density that one is off by {error(best, 'high', 'error_to_data'):.2f},"
        f" plain by {error('plain', 'high', 'error_to_data'):.2f}; nearest there is {nearest}."
    )


def _draw(mixture: GaussianMixture, x: np.ndarray, plain: Model, noisy: Model) -> Any:
    figure = canvas(13, 8.4)
    smoothed = mixture.smoothed(DRAWN)
    panels = [
        [("the data's score", mixture), ("learned without noise", plain)],
        [(f"the score of data + noise, σ = {DRAWN:g}", smoothed), ("learned with that noise", noisy)],
    ]
    arrows, pixels = _grid(20), _grid(PIXELS)
    all_axes = figure.subplots(2, 3, sharex=True, sharey=True)
    for row, pair in zip(all_axes, panels, strict=True):
        (_, target), (_, model) = pair
        for axes, (title, shown) in zip(row[:2], pair, strict=True):
            s = np.asarray(scores_at(shown, jnp.asarray(arrows)))
            axes.scatter(x[:800, 0], x[:800, 1], s=3, color="tab:orange", alpha=0.5, linewidths=0)
            # Lengths by a square root: long arrows far away would hide the short ones at the modes.
            shrunk = s / np.sqrt(np.linalg.norm(s, axis=1, keepdims=True) + 1e-9)
            axes.quiver(*arrows.T, *shrunk.T, width=0.003)
            axes.set_title(f"{title}\n(arrows as long as the score's square root)", fontsize=10)
        t, s = (np.asarray(scores_at(m, jnp.asarray(pixels))) for m in (target, model))
        relative = np.linalg.norm(s - t, axis=1) / np.sqrt(np.mean(np.sum(t**2, axis=1)))
        image = row[2].imshow(
            np.log10(relative).reshape(PIXELS, PIXELS).T,
            origin="lower",
            extent=(-SIDE, SIDE, -SIDE, SIDE),
            vmin=-2,
            vmax=1,
            cmap="viridis",
        )
        row[2].set_title(
            "length of the learned score's error\n(÷ the score's root mean square here)", fontsize=10
        )
        figure.colorbar(image, ax=row[2], label="log₁₀ error")
    for axes in all_axes.ravel():
        axes.set(xlim=(-SIDE, SIDE), ylim=(-SIDE, SIDE), aspect="equal")
    for axes in all_axes[1]:
        axes.set_xlabel("$x_1$")
    for axes in all_axes[:, 0]:
        axes.set_ylabel("$x_2$")
    return figure


def _grid(n: int) -> np.ndarray:
    """Cell centres of an n × n grid on the square, x₁ slowest."""
    line = (np.arange(n) + 0.5) / n * 2 * SIDE - SIDE
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)
