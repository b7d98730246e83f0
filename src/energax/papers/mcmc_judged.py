r"""Did the sampler get it right? A posterior sampled well and badly; tests of fit beside R̂.

Bayesian logistic regression of scikit-learn's breast-cancer table, its ten columns of means standardised, and
an intercept, with a prior N(0, I):

    E(w) = Σ_i log(1 + exp(−y_i w·x_i)) + ½‖w‖²,        y_i = ±1.

The badly tuned sampler is unadjusted Langevin with too large a step. Where E has curvature λ its chains
settle at a variance of 1/λ(1 − ηλ/2) in place of 1/λ: with η = c/λ_max the stiffest direction is 1/(1 − c/2)
times too wide. Every chain does so alike, so that R̂, which asks whether chains agree with one another, finds
nothing wrong, and neither does the effective sample size; a Stein discrepancy asks whether they agree with E.
The well tuned one is the no-U-turn sampler with step and masses from `samplers.adapt`.

Draws are thinned until they may pass for independent. They are tested in the coordinates
z = Lᵀ(w − ŵ) of Laplace's approximation, H = LLᵀ the Hessian at the mode ŵ, in which the posterior is nearly
N(0, I) and a kernel's width fits every direction, s_z = L⁻¹ s_w; KSD also in the table's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.evaluation import CriticTraining, ksd_test, lsd_test
from energax.evaluation.scores import sample_and_scores
from energax.papers.outcome import Outcome, bulleted
from energax.papers.pictures import canvas
from energax.samplers import NUTS, Langevin, Sampler, adapt, observers
from energax.samplers import run as run_chains
from energax.samplers.diagnostics import draws, ess, split_rhat
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["Laplace", "LogisticPosterior", "run"]

COLUMNS = 10
NEWTON = 30
FORGOTTEN = 4.0  # relaxation times between two draws that are tested
BETWEEN = 4  # draws recorded for each that is tested
ALPHA = 0.05
FINE = 1.01  # R̂ that passes for convergence: Vehtari et al. (2021)
TUNED = "NUTS, tuned"
TESTS = ("KSD", "KSD, own units", "LSD")


@dataclass(frozen=True)
class Size:
    """How large the study is.

    Parameters
    ----------
    steps
        c of each badly tuned sampler.
    replicates
        Runs of each sampler.
    chains, tested
        Chains of a run, and draws of each that are tested.
    """

    steps: tuple[float, ...]
    replicates: int
    chains: int
    tested: int


SIZES = {
    "smoke": Size((1.0,), 2, 8, 25),
    "cpu": Size((0.5, 1.0, 1.5), 5, 16, 256),
    "paper": Size((0.1, 0.25, 0.5, 1.0, 1.5), 100, 16, 1_024),
}
CRITIC = CriticTraining(width=64, dropout=0.0, steps=200, check_every=20, learning_rate=3e-3)
SPLIT = (0.4, 0.1, 0.5)


class LogisticPosterior(eqx.Module):
    """−log of a logistic regression's posterior, up to a constant.

    Parameters
    ----------
    x
        Rows with an intercept, shape (n, d), each times its label ±1.
    """

    x: Array

    def __call__(self, w: Float[Array, " d"], condition: Condition | None = None) -> Scalar:
        """Return E(w)."""
        return jnp.sum(jax.nn.softplus(-self.x @ w)) + 0.5 * w @ w


def posterior() -> LogisticPosterior:
    """Return the posterior of the table."""
    from sklearn.datasets import load_breast_cancer

    table: Any = load_breast_cancer()
    x = table.data[:, :COLUMNS]
    x = (x - x.mean(0)) / x.std(0)
    rows = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    return LogisticPosterior(jnp.asarray(rows * (2 * table.target - 1)[:, None], jnp.float32))


class Laplace(NamedTuple):
    """The normal law at the mode: ŵ, and L of H = LLᵀ."""

    mode: np.ndarray
    factor: np.ndarray

    @classmethod
    def of(cls, model: LogisticPosterior) -> Laplace:
        """Return it, by Newton's steps."""
        w = np.zeros(model.x.shape[1])
        slope, curve = jax.jit(jax.grad(model)), jax.jit(jax.hessian(model))
        for _ in range(NEWTON):
            w = w - np.linalg.solve(np.asarray(curve(jnp.asarray(w, jnp.float32)), np.float64),
                                    np.asarray(slope(jnp.asarray(w, jnp.float32)), np.float64))  # fmt: skip
        return cls(w, np.linalg.cholesky(np.asarray(curve(jnp.asarray(w, jnp.float32)), np.float64)))

    @property
    def curvatures(self) -> np.ndarray:
        """The eigenvalues of H, in rising order."""
        return np.linalg.eigvalsh(self.factor @ self.factor.T)

    @property
    def stiffest(self) -> np.ndarray:
        """The direction of largest curvature."""
        return np.linalg.eigh(self.factor @ self.factor.T)[1][:, -1]

    def starts(self, key: Key, n: int) -> Array:
        """Return n draws."""
        z = np.asarray(jax.random.normal(key, (n, len(self.mode))), np.float64)
        return jnp.asarray(self.mode + np.linalg.solve(self.factor.T, z.T).T, jnp.float32)

    def coordinates(self, w: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return z = Lᵀ(w − ŵ) and s_z = L⁻¹ s_w of rows."""
        z = (w - self.mode) @ self.factor
        return z.astype(np.float32), np.linalg.solve(self.factor, s.T).T.astype(np.float32)


def chains(
    model: LogisticPosterior, laplace: Laplace, name: str, c: float, size: Size, key: Key
) -> np.ndarray:
    """Return what the chains of all replicates recorded, shape (chains, draws, d)."""
    start_key, adapt_key, run_key = jax.random.split(key, 3)
    start = laplace.starts(start_key, size.chains * size.replicates)
    if name == TUNED:
        sampler: Sampler
        sampler, start, _ = adapt(NUTS(0.1), model, start, key=adapt_key, steps=500)
        every = 1
    else:
        low, high = laplace.curvatures[[0, -1]]
        sampler = Langevin(c / float(high))
        every = int(np.ceil(FORGOTTEN * high / (c * low) / BETWEEN))
    burn = BETWEEN * 4  # sixteen relaxation times
    records = size.tested * BETWEEN
    ran = run_chains(
        sampler,
        model,
        start,
        key=run_key,
        steps=(burn + records) * every,
        observers={"w": observers.position},
        every=every,
    )
    return np.asarray(draws(ran, "w", discard=burn + 1), np.float64)[:, -records:]


def judged(model: LogisticPosterior, laplace: Laplace, w: np.ndarray, key: Key) -> dict[str, float]:
    """Return R̂, ESS and p-values of one run, shape (chains, draws, d)."""
    keys = jax.random.split(key, 3)
    kept = w[:, BETWEEN - 1 :: BETWEEN]
    rows = kept.reshape(-1, w.shape[-1]).astype(np.float32)
    _, s = sample_and_scores("mcmc-judged", rows, model, None)
    z, s_z = laplace.coordinates(rows, s)
    return {
        "R̂": float(np.max(split_rhat(w))),
        "ESS": float(np.min(ess(w))),
        "ESS of those tested": float(np.min(ess(kept))),
        "tested": len(rows),
        "KSD": ksd_test(z, scores=s_z, key=keys[0]).p_value,
        "KSD, own units": ksd_test(rows, scores=s, key=keys[1]).p_value,
        "LSD": lsd_test(z, scores=s_z, training=CRITIC, split=SPLIT, key=keys[2], progress=False).p_value,
    }


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Sample by each sampler, and judge every run."""
    size = SIZES[scale]
    model = posterior()
    laplace = Laplace.of(model)
    results: dict[str, Any] = {}
    names = {TUNED: 0.0, **{f"Langevin, c = {c:g}": c for c in size.steps}}
    variance: dict[str, float] = {}
    pictures = {}
    for i, (name, c) in enumerate(names.items()):
        w = chains(model, laplace, name, c, size, jax.random.fold_in(jax.random.key(0), i))
        along = (w - laplace.mode) @ laplace.stiffest
        variance[name] = float(along.var())
        pictures[name] = along[: size.chains]
        runs = w.reshape(size.replicates, size.chains, *w.shape[1:])
        keys = jax.random.split(jax.random.key(i), size.replicates)
        found = [judged(model, laplace, run, k) for run, k in zip(runs, keys, strict=True)]
        results[name] = {
            "c": c,
            "runs": found,
            "wide": variance[name] / variance[TUNED],
            "theory": 1 / (1 - c / 2),
        }
        told = ", ".join(f"{t} {_rejected(found, t)} of {size.replicates}" for t in TESTS)
        progress(f"{name}: R̂ at most {max(r['R̂'] for r in found):.4f}; rejected by {told}")
    columns = ("sampler", "variance of the stiffest direction", "of a normal law", "largest R̂, median",
               "largest of all runs", "ESS", "draws tested", "their ESS",
               *(f"p of {t}, median" for t in TESTS), *(f"{t} rejects" for t in TESTS))  # fmt: skip
    table = [
        (
            name,
            f"{r['wide']:.3f}",
            f"{r['theory']:.3f}",
            f"{np.median([a['R̂'] for a in r['runs']]):.4f}",
            f"{max(a['R̂'] for a in r['runs']):.4f}",
            f"{np.median([a['ESS'] for a in r['runs']]):,.0f}",
            f"{r['runs'][0]['tested']:,}",
            f"{np.median([a['ESS of those tested'] for a in r['runs']]):,.0f}",
            *(float(np.median([a[t] for a in r["runs"]])) for t in TESTS),
            *(f"{_rejected(r['runs'], t)} of {size.replicates}" for t in TESTS),
        )
        for name, r in results.items()
    ]
    low, high = laplace.curvatures[[0, -1]]
    facts = {"results": results, "curvatures": [float(low), float(high)]}
    return Outcome(columns, table, _verdict(results), _draw(results, pictures), facts)


def _rejected(runs: list[dict[str, float]], test: str) -> int:
    return sum(r[test] <= ALPHA for r in runs)


def _verdict(results: Mapping[str, Any]) -> str:
    lines = []
    for name, r in results.items():
        runs = r["runs"]
        n = len(runs)
        fine = sum(a["R̂"] < FINE for a in runs)
        told = ", ".join(f"{t} {_rejected(runs, t)}" for t in TESTS)
        # By chance a right sampler is rejected more often than this once in a hundred times.
        allowed = int(scipy.stats.binom.isf(0.01, n, ALPHA))
        if name == TUNED:
            right = all(_rejected(runs, t) <= allowed for t in TESTS)
            end = f"as often as a right sampler may be ({allowed} at most)" if right else "too often"
            lines.append(
                f"{name}: R̂ is below {FINE:g} in {fine} of {n} runs; rejected at {ALPHA:g}: {told}, {end}."
            )
        else:
            found = [t for t in TESTS if _rejected(runs, t) > allowed]
            lines.append(
                f"{name}: the stiffest direction has {r['wide']:.2f} times its variance ({r['theory']:.2f} by"
                f" theory for a normal law); R̂ is below {FINE:g} in {fine} of {n} runs; rejected at"
                f" {ALPHA:g}: {told}; told apart from a right sampler by {', '.join(found) or 'none'}."
            )
    bad = [r["runs"] for name, r in results.items() if name != TUNED]
    hidden = [a for runs in bad for a in runs if a["R̂"] < FINE]
    seen = {t: sum(a[t] <= ALPHA for a in hidden) for t in TESTS}
    told = ", ".join(f"{t} {k}" for t, k in seen.items())
    lines.append(
        f"Of {sum(map(len, bad))} runs of badly tuned samplers R̂ passes {len(hidden)}; of these the tests"
        f" reject: {told}."
    )
    return bulleted(lines)


def _draw(results: Mapping[str, Any], pictures: Mapping[str, np.ndarray]) -> Any:
    figure = canvas(14, 4.2)
    left, middle, right = figure.subplots(1, 3)
    edge = 5 * pictures[TUNED].std()
    bins = np.linspace(-edge, edge, 80).tolist()
    for i, (name, r) in enumerate(results.items()):
        left.hist(pictures[name].ravel(), bins=bins, density=True, histtype="step", color=f"C{i}", label=name)
        runs = r["runs"]
        middle.plot([i] * len(runs), [a["R̂"] for a in runs], "o", color=f"C{i}", alpha=0.6)
        for j, (test, mark) in enumerate(zip(TESTS, ("o", "^", "x"), strict=True)):
            at = i + 0.2 * (j - 1)
            p = [a[test] for a in runs]
            right.plot([at] * len(p), p, mark, color=f"C{i}", alpha=0.6, label=test if i == 0 else None)
    left.set(xlabel="w along the stiffest direction", ylabel="density, first run")
    left.legend(fontsize=8, frameon=False)
    middle.axhline(FINE, color="0.4", ls="--", lw=1)
    middle.set(ylabel="largest R̂ of a run (dashed: what passes)")
    right.axhline(ALPHA, color="0.4", ls="--", lw=1)
    right.set(yscale="log", ylabel="p-value of a run (dashed: 0.05)")
    right.legend(fontsize=8, frameon=False)
    for axes in (middle, right):
        axes.set_xticks(range(len(results)), [n.replace(", ", "\n") for n in results], fontsize=8)
        axes.grid(color="0.92", axis="y")
    return figure
