r"""The control variate of denoising score matching: where it helps and where it hurts.

With x̃ = x + σz, the two forms of one expectation (`objectives.denoising`; Wang et al. 2020, Song &
Kingma 2021, eq. 11–14) are, for one row,

    without     ½‖s(x̃) + z/σ‖²                       = ½‖s(x̃)‖² + z·s(x̃)/σ + ‖z‖²/2σ²
    with        ½‖s(x̃)‖² + z·(s(x̃) − s(x))/σ + d/2σ²

As σ → 0 the loss without has the variance d/2σ⁴ (of ‖z‖²/2σ²) and its gradient E‖∂_θ s·z‖²/σ²; with,
s(x̃) − s(x) ≈ σ∇s z leaves zᵀ∇s z, and both variances tend to constants, those of sliced score matching.
At large σ s(x̃) knows little of s(x), so that what is subtracted, z·s(x)/σ, is new noise; at the truth,
moreover, z/σ was already cancelled by s(x̃) itself.

Measured on a skewed mixture of three Gaussians in the plane, whose smoothed score is known: the
variance of one row's loss, and the trace of the covariance of its gradient in all parameters, for
three models: the truth at that σ (a mixture, differentiated in weights, means and covariances), a mixture
far from it, and a perceptron at its initial weights. Same rows and same z for both forms. The means
must agree: N‖mean difference‖²/tr Cov(difference) has mean 1 and is reported. Then short trainings of
the perceptron at each σ, both forms from the same weights and rows; their error is

    √(E‖s − s_σ‖² / E‖s_σ‖²)        over x̃ ~ p_σ.

Song & Kingma say as much in words (§4.1: for large σ it "could actually increase variance"); none of
this is a table of a paper. Adam and the average of the parameters smooth much of the noise, so that
a ratio of variances is not a ratio of errors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
from jax.flatten_util import ravel_pytree

from energax.energies import MLP, GaussianMixture
from energax.objectives import Batch, DenoisingScoreMatching
from energax.papers.fields import relative_error, scores_at
from energax.papers.outcome import Outcome
from energax.papers.pictures import canvas
from energax.training import fit
from energax.typing import Array, Key, Model

__all__ = ["run"]

SIGMAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
MODELS = ("the truth", "a far mixture", "an untrained network")
DISAGREE = 15.0  # of the statistic of mean 1; beyond, the chance is under 1 in 8,000
CLEAR = 0.95  # confidence, by Student's t, from which on a difference among trainings is called one


@dataclass(frozen=True)
class Size:
    """How large the study is."""

    sigmas: tuple[float, ...]
    draws: int
    width: int
    updates: int
    trainings: int
    rows: int


SIZES = {
    "smoke": Size((0.001, 0.03, 3.0), draws=1_000, width=32, updates=100, trainings=1, rows=2_000),
    "cpu": Size(SIGMAS, draws=8_000, width=64, updates=2_000, trainings=3, rows=100_000),
    "paper": Size(SIGMAS, draws=20_000, width=128, updates=20_000, trainings=5, rows=500_000),
}


def run(scale: str, progress: Callable[[str], None]) -> Outcome:
    """Measure both variances at every σ, and train by both forms."""
    size = SIZES[scale]
    mixture = _mixture()
    data_key, network_key, draw_key, train_key, test_key = jax.random.split(jax.random.key(0), 5)
    x = mixture.sample(data_key, size.rows)
    draws = mixture.sample(draw_key, size.draws)
    network = MLP((2,), width=size.width, depth=2, key=network_key)
    variances: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    for sigma in size.sigmas:
        models = dict(zip(MODELS, (mixture.smoothed(sigma), _far(), network), strict=True))
        for name, model in models.items():
            found = _moments(*_objectives(sigma), model, draws, draw_key)
            variances[name].append({k: float(v) for k, v in found.items()})
        text = ", ".join(f"{name} {_ratio(variances[name][-1], 'gradient'):.3g}" for name in MODELS)
        progress(f"σ = {sigma:g}: variance of the gradient, with ÷ without: {text}")

    errors: list[np.ndarray] = []  # for each σ, (trainings, 2)
    for sigma in size.sigmas:
        truth = mixture.smoothed(sigma)
        test = truth.sample(test_key, 4_000)
        found = np.zeros((size.trainings, 2))
        for t, key in enumerate(jax.random.split(train_key, size.trainings)):
            weights_key, fit_key = jax.random.split(key)
            start = MLP((2,), width=size.width, depth=2, key=weights_key)
            for form, objective in enumerate(_objectives(sigma)):
                learned = fit(start, objective, x, key=fit_key, progress=False, steps=size.updates).energy
                found[t, form] = _error(learned, truth, test)
        errors.append(found)
        progress(f"σ = {sigma:g}: error {found.mean(0)[0]:.3f} without, {found.mean(0)[1]:.3f} with")

    columns = (
        "σ",
        *(f"gradient's variance, with ÷ without: {name}" for name in MODELS),
        f"loss's variance, with ÷ without: {MODELS[0]}",
        "error of the trained score without",
        "with",
        "it",
    )
    rows = [
        (
            sigma,
            *(_ratio(variances[name][i], "gradient") for name in MODELS),
            _ratio(variances[MODELS[0]][i], "loss"),
            *errors[i].mean(axis=0).tolist(),
            _effect(errors[i]),
        )
        for i, sigma in enumerate(size.sigmas)
    ]
    facts = {
        "sigmas": size.sigmas,
        "variances": variances,
        "errors": [e.tolist() for e in errors],
        "exponents": _exponents(size.sigmas, variances),
        "crossings": {name: _crossing(size.sigmas, variances[name]) for name in MODELS},
    }
    verdict = _verdict(size.sigmas, variances, errors, facts)
    return Outcome(columns, rows, verdict, _draw(size.sigmas, variances, errors), facts)


def _mixture() -> GaussianMixture:
    """Return a skewed density whose finest standard deviation is 0.3."""
    covariances = [[[1.0, 0.3], [0.3, 0.5]], [[0.25, -0.1], [-0.1, 0.3]], [[0.09, 0.0], [0.0, 0.4]]]
    return GaussianMixture([0.5, 0.3, 0.2], [[0.0, 0.0], [2.5, 1.0], [-1.0, 2.5]], covariances)


def _far() -> GaussianMixture:
    return GaussianMixture(
        [0.2, 0.3, 0.5], [[-3.0, 2.0], [0.0, -3.0], [3.0, 3.0]], jnp.broadcast_to(0.6 * jnp.eye(2), (3, 2, 2))
    )


def _objectives(sigma: float) -> tuple[DenoisingScoreMatching, DenoisingScoreMatching]:
    return DenoisingScoreMatching(sigma), DenoisingScoreMatching(sigma, control_variate=True)


@eqx.filter_jit
def _moments(
    plain: DenoisingScoreMatching, varied: DenoisingScoreMatching, model: Model, x: Array, key: Key
) -> dict[str, Array]:
    """Variances of one row's loss and gradient in both forms, and whether their means agree."""
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    def one(objective, x, key):
        def loss(p):
            return objective.loss(eqx.combine(p, static), None, None, Batch(x[None]), key)[0]

        value, gradient = jax.value_and_grad(loss)(parameters)
        return value, ravel_pytree(gradient)[0]

    keys = jax.random.split(key, len(x))
    values = [jax.vmap(one, (None, 0, 0))(objective, x, keys) for objective in (plain, varied)]

    def total_variance(rows):
        return jnp.sum(jnp.mean((rows - rows.mean(axis=0)) ** 2, axis=0))

    (loss, gradient), (loss_with, gradient_with) = values
    difference = gradient_with - gradient
    return {
        "loss_without": total_variance(loss[:, None]),
        "loss_with": total_variance(loss_with[:, None]),
        "gradient_without": total_variance(gradient),
        "gradient_with": total_variance(gradient_with),
        "disagreement": len(x) * jnp.sum(difference.mean(axis=0) ** 2) / total_variance(difference),
    }


def _error(model: Model, truth: Model, x: Array) -> float:
    return relative_error(scores_at(model, x), scores_at(truth, x))


def _ratio(found: dict[str, float], of: str) -> float:
    return found[f"{of}_with"] / found[f"{of}_without"]


def _effect(errors: np.ndarray) -> str:
    """Say what the control variate did in trainings paired by weights and rows."""
    change = np.log(errors[:, 1] / errors[:, 0])
    n = len(change)
    if n < 2:
        return "was tried only once"
    reach = scipy.stats.t.ppf((1 + CLEAR) / 2, n - 1) * change.std(ddof=1) / np.sqrt(n)
    if abs(change.mean()) <= reach:
        return "makes no clear difference"
    return "helps" if change.mean() < 0 else "hurts"


def _exponents(sigmas: tuple[float, ...], variances: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Log-log slopes of the variances between the two smallest σ."""
    span = np.log(sigmas[1] / sigmas[0])
    return {
        name: {k: float(np.log(v[1][k] / v[0][k]) / span) for k in v[0] if k != "disagreement"}
        for name, v in variances.items()
    }


def _crossing(sigmas: tuple[float, ...], found: list[dict[str, float]]) -> float | None:
    """Return the σ where the gradient's variances are first equal, between two that were measured."""
    ratio = np.log([_ratio(f, "gradient") for f in found])
    for i in range(len(sigmas) - 1):
        if ratio[i] < 0 <= ratio[i + 1]:
            part = ratio[i] / (ratio[i] - ratio[i + 1])
            return float(np.exp((1 - part) * np.log(sigmas[i]) + part * np.log(sigmas[i + 1])))
    return None


def _verdict(
    sigmas: tuple[float, ...],
    variances: dict[str, list[dict[str, float]]],
    errors: list[np.ndarray],
    facts: dict[str, Any],
) -> str:
    def turn(name: str) -> str:
        at, smaller = facts["crossings"][name], [_ratio(f, "gradient") < 1 for f in variances[name]]
        where = "at every σ" if all(smaller) else "at some σ" if at is None else f"below σ ≈ {at:.2g}"
        return f"for {name} {where if any(smaller) else 'at no σ'}"

    exponents = facts["exponents"][MODELS[0]]
    effects = [_effect(e) for e in errors]
    trained = "; ".join(
        f"{effect} at σ = {', '.join(f'{s:g}' for s, e in zip(sigmas, effects, strict=True) if e == effect)}"
        for effect in dict.fromkeys(effects)
    )
    worst = max(f["disagreement"] for v in variances.values() for f in v)
    says = "agree" if worst < DISAGREE else "do NOT agree"
    return (
        f"At small σ, at the truth, the loss's variance goes as σ^{exponents['loss_without']:.1f} without the"
        f" control variate and σ^{exponents['loss_with']:.1f} with it, the gradient's as"
        f" σ^{exponents['gradient_without']:.1f} and σ^{exponents['gradient_with']:.1f}. The gradient's"
        f" variance is smaller with it {'; '.join(turn(name) for name in MODELS)}. In training it {trained}."
        f" The mean gradients {says} (largest statistic {worst:.1f}, 1 on average)."
    )


def _draw(
    sigmas: tuple[float, ...], variances: dict[str, list[dict[str, float]]], errors: list[np.ndarray]
) -> Any:
    figure = canvas(13.5, 4.2)
    loss_axes, gradient_axes, error_axes = figure.subplots(1, 3)
    for axes, of in ((loss_axes, "loss"), (gradient_axes, "gradient")):
        for colour, name in zip(("tab:blue", "tab:orange", "tab:green"), MODELS, strict=True):
            for form, style in (("without", "-"), ("with", "--")):
                values = [f[f"{of}_{form}"] for f in variances[name]]
                axes.loglog(sigmas, values, style, color=colour, marker=".", label=f"{name}, {form}")
        axes.set(xlabel="σ", ylabel="variance", title=f"variance of one row's {of}")
    loss_axes.legend(fontsize=8, title="model, control variate", title_fontsize=8)
    forms = (("without", "-", "black"), ("with the control variate", "--", "tab:red"))
    for form, (label, style, colour) in enumerate(forms):
        values = np.array([e[:, form] for e in errors])
        error_axes.loglog(sigmas, values.mean(axis=1), style, color=colour, label=label)
        error_axes.loglog(sigmas, values, ".", color=colour, markersize=5)
    error_axes.set(
        xlabel="σ", ylabel="relative error of the score", title="after short trainings, each a dot"
    )
    error_axes.legend(fontsize=9)
    return figure
