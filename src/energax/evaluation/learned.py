r"""The learned Stein discrepancy: how far a model is from a sample, and whether it is its law.

For a critic f and the model's score s, with h(x) = s(x)·f(x) + tr ∇f(x),

    E_p h = E_p[(s − s_p)·f],

zero for every f where the model is the law p of the rows. Grathwohl et al. (2020): the rows are split in
three; the critic is trained on the first part, chosen on the second (`evaluation.critics`), and

    estimate    mean h over the third part, with its standard error       (§5.1, Algorithm 1)
    test        t = √n mean h / sd h there, too large if p is not the model (§5.2, Algorithm 2)

The paper rejects for t > Φ⁻¹(1 − α) (it prints the inequality reversed). h is skewed, so that with
few rows t is not normal: the default p-value compares it with the studentised bootstrap

    t* = √n (mean h* − mean h) / sd h*,        h* drawn from the h with replacement.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

from energax.checks import check, check_choice, check_integer, check_number, check_spread
from energax.derivatives import score
from energax.energies import StandardisedCritic
from energax.evaluation.bandwidth import choose_common_kernel
from energax.evaluation.critics import CriticTraining, Rows, Trained, judging_probes, terms, train_critic
from energax.evaluation.kernel_discrepancy import KERNEL_DISCREPANCIES
from energax.evaluation.posterior import is_posterior
from energax.evaluation.result import (
    FEW_DECIDE,
    Discrepancy,
    TestResult,
    bootstrap_p_value,
    effective_rows,
)
from energax.evaluation.scores import sample_and_scores
from energax.kernels import Kernel
from energax.typing import ArrayLike, Event, Float, Key, Model

__all__ = [
    "OptimalCritic",
    "Ranking",
    "compare",
    "learned_stein_discrepancy",
    "lsd_test",
    "stein_discrepancy",
]

SPLIT = (0.8, 0.1, 0.1)  # for the critic's training, its choice, and the answer
LEAST = 10  # rows of a part
LEVEL = 500  # rows to test on: on a hundred the level is not kept (`docs/studies-stein.md`, Level)
AT_ONCE = 2**22  # bootstrap indices in memory
SMALL = 1e-12
BOUNDED = "a critic's discrepancy has no bound there; leave them out, or take a kernel's"


class OptimalCritic(eqx.Module):
    """f*(x) = (s(x) − s_p(x))/2λ, the best critic where the truth is known: Hu et al. (2018).

    Parameters
    ----------
    model, truth
        Energies or `Score`s: of the model judged, and of the law of the rows.
    penalty
        λ > 0. With λ = ½ the discrepancy is E‖s − s_p‖², the Fisher divergence (LSD §9).
    """

    model: Any
    truth: Any
    penalty: float = eqx.field(static=True)

    def __init__(self, model: Model, truth: Model, penalty: float = 0.5):
        self.model, self.truth = model, truth
        self.penalty = check_number("OptimalCritic", "penalty", penalty, above=0)

    def __call__(self, x: Event) -> Event:
        """Return f*(x)."""
        return (score(self.model, x) - score(self.truth, x)) / (2 * self.penalty)


class Ranking(NamedTuple):
    """Models from the best to the worst.

    Parameters
    ----------
    names
        In increasing order of their discrepancy.
    found
        Their `Discrepancy`, in that order.
    differences, errors
        Entry (i, j): found[i] − found[j] and its standard error, shapes (m, m). Models are judged on the
        same rows, so the error of a difference is often far below those of its parts.
    """

    names: tuple[str, ...]
    found: tuple[Discrepancy, ...]
    differences: Float[np.ndarray, "m m"]
    errors: Float[np.ndarray, "m m"]


def stein_discrepancy(
    x: ArrayLike,
    model: Model | None = None,
    *,
    critic: Any,
    scores: ArrayLike | None = None,
    probes: int = 0,
    key: Key | None = None,
) -> Discrepancy:
    """Mean of s·f + tr ∇f over the rows, for a given critic.

    Parameters
    ----------
    x, model, scores
        Those of `ksd_test`.
    critic
        x ↦ f(x), fitted on other rows or on none.
    probes
        0 for the exact trace, else how many Gaussian probes stand for it.
    key
        Decides the probes.
    """
    owner = "stein_discrepancy"
    check_integer(owner, "probes", probes, at_least=0)
    check(not probes or key is not None, owner, "key", "given with probes", None)
    rows = _rows(owner, x, model, scores)
    h = terms(critic, rows, probes=probes, key=key)
    return _estimate("stein discrepancy of a given critic", h, {"critic": critic})


def learned_stein_discrepancy(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    critic: Any = None,
    training: CriticTraining | None = None,
    split: tuple[float, float, float] = SPLIT,
    key: Key,
    progress: bool | None = None,
) -> Discrepancy:
    """LSD: sup over critics of E[s·f + tr ∇f] − λE‖f‖², as far as one is found, and its value on new rows.

    A lower bound of E‖s − s_p‖²/2λ but for the error of its rows (with "clipping" or "spectral": of
    another supremum). Grathwohl et al. (2020), §5.1.

    Parameters
    ----------
    x, model, scores
        Those of `ksd_test`.
    critic
        Where the critic's training starts, x ↦ f(x); `training.critic(shape)` if None.
    training
        `CriticTraining`; its defaults if None.
    split
        Shares of the rows that train the critic, choose it, and give the estimate.
    key
        Decides the split, the critic's weights and its training.
    progress
        True, False, or None to show a bar on a terminal.

    Returns
    -------
    Discrepancy
        Its settings hold the `critic`, the `step` it is of, and the `curve` of its training.

    Raises
    ------
    InputError
        For constant columns, where the supremum is infinite (but for "clipping" and "spectral"); and for what
        `ksd_test` refuses.
    """
    owner = "learned_stein_discrepancy"
    rows = _rows(owner, x, model, scores)
    _check_bounded(owner, rows, training)
    parts, train_key = _split(owner, rows, split, key)
    trained = _trained(parts, critic, training, "discrepancy", train_key, progress)
    return _learned(trained, parts[2], training, train_key)


def lsd_test(
    x: ArrayLike,
    model: Model | None = None,
    *,
    scores: ArrayLike | None = None,
    critic: Any = None,
    training: CriticTraining | None = None,
    split: tuple[float, float, float] = SPLIT,
    null: str = "bootstrap",
    draws: int = 2000,
    key: Key,
    progress: bool | None = None,
) -> TestResult:
    """Test whether x are independent draws of the model, with a critic trained for power.

    Grathwohl et al. (2020), Algorithm 2 and B.1.

    Parameters
    ----------
    x, model, scores, critic, training, split
        Those of `learned_stein_discrepancy`.
    null
        "bootstrap" (studentised), or "normal" (the paper's), which rejects a true model too often when few
        rows are left to test on.
    draws
        Of the bootstrap.
    key
        Decides the split, the critic and the bootstrap.
    progress
        True, False, or None to show a bar on a terminal.

    Returns
    -------
    TestResult
        Its settings hold the `critic`, the `step` it is of, and `discrepancy`, the mean of h. Its status is
        "ok" from 500 rows to test on if no few of them decide: of 1,000 rows, with `split=(0.4, 0.1, 0.5)`.
    """
    owner = "lsd_test"
    check_choice(owner, "null", null, ("bootstrap", "normal"))
    check_integer(owner, "draws", draws, at_least=1)
    fit_key, null_key = jax.random.split(key)
    parts, train_key = _split(owner, _rows(owner, x, model, scores), split, fit_key)
    trained = _trained(parts, critic, training, "power", train_key, progress)
    h = _judged(trained, parts[2], training, train_key)
    t = _studentised(h[None])[0]
    if null == "normal":
        p, compared = float(scipy.stats.norm.sf(t)), "standard normal, as n grows"
    else:
        p = bootstrap_p_value(t, _bootstrap(h, draws, null_key))
        compared = f"studentised bootstrap, {draws} draws"
    return TestResult(
        method="lsd",
        statistic=float(t),
        p_value=p,
        null=compared,
        status=_status(h),
        n=len(h),
        settings={"step": trained.step, "discrepancy": float(h.mean()), "critic": trained.critic},
    )


def compare(
    models: Mapping[str, Any],
    x: ArrayLike,
    *,
    method: str = "lsd",
    training: CriticTraining | None = None,
    split: tuple[float, float, float] = SPLIT,
    kernel: str | Kernel = "imq",
    bandwidth: str | float = "median",
    key: Key,
    progress: bool | None = None,
) -> Ranking:
    """Rank models by a Stein discrepancy of each on the same rows.

    Grathwohl et al. (2020), Algorithm 1: one critic for each model, all from the same start.

    Parameters
    ----------
    models
        By name: an energy, a `Score`, a `LogDensity`; or an array of scores at the rows.
    x
        Rows, shape (n, *event).
    method
        "lsd", learned; "ksd", the kernel's; or "linear-ksd", the kernel's by pairs of rows.
    training, split, key, progress
        Those of `learned_stein_discrepancy`.
    kernel, bandwidth
        Those of `kernel_stein_discrepancy`, for the kernel's alone; one for all models. "power" and
        "discrepancy" take the bandwidth of the largest mean over the models, on a fifth of the rows, and
        judge by the rest.
    """
    owner = "compare"
    check_choice(owner, "method", method, ("lsd", *KERNEL_DISCREPANCIES))
    unused = method != "lsd" or (kernel, bandwidth) == ("imq", "median")
    check(unused, owner, "kernel and bandwidth", "left out with method='lsd': a critic is learned", "one")
    check(
        isinstance(models, Mapping) and len(models) > 1, owner, "models", "a mapping of two or more", models
    )
    given = {
        name: {"model": model, "scores": None} if callable(model) else {"model": None, "scores": model}
        for name, model in models.items()
    }
    if method != "lsd":
        return _ranked(_kernels(owner, x, given, method, kernel, bandwidth, key))
    found: dict[str, Discrepancy] = {}
    for name, law in given.items():
        rows = _rows(owner, x, **law)
        _check_bounded(owner, rows, training)
        parts, train_key = _split(owner, rows, split, key)
        trained = _trained(parts, None, training, "discrepancy", train_key, progress)
        found[name] = _learned(trained, parts[2], training, train_key)
    return _ranked(found)


def _kernels(
    owner: str,
    x: ArrayLike,
    given: Mapping[str, dict[str, Any]],
    method: str,
    kernel: str | Kernel,
    bandwidth: str | float,
    key: Key,
) -> dict[str, Discrepancy]:
    """Return each model's kernel discrepancy on the same rows, under one kernel."""
    pairs = {name: sample_and_scores(owner, x, law["model"], law["scores"]) for name, law in given.items()}
    rows = next(iter(pairs.values()))[0]
    scores = [s for _, s in pairs.values()]
    # Split as in `kernel_stein_discrepancy`: one key, the same rows kept.
    one, kept = choose_common_kernel(owner, kernel, bandwidth, rows, scores, jax.random.split(key)[0])
    estimate = KERNEL_DISCREPANCIES[method]
    return {name: estimate(one, rows[kept], s[kept], key) for name, s in zip(given, scores, strict=True)}


def _ranked(found: Mapping[str, Discrepancy]) -> Ranking:
    order = sorted(found, key=lambda name: found[name].estimate)
    h = np.array([found[name].terms for name in order])
    pairs = h[:, None] - h[None]
    errors = pairs.std(-1, ddof=1) / np.sqrt(h.shape[1])
    return Ranking(tuple(order), tuple(found[name] for name in order), pairs.mean(-1), errors)


def _rows(owner: str, x: ArrayLike, model: Model | None, scores: ArrayLike | None) -> Rows:
    rows, s = sample_and_scores(owner, x, model, scores)
    event = rows.shape[1:] if is_posterior(x) else np.shape(x)[1:]
    return Rows(*(a.reshape(len(a), *event) for a in (rows, s)))


def _check_bounded(owner: str, rows: Rows, training: CriticTraining | None) -> None:
    """Refuse constant columns, along which a critic's slope costs nothing; a test rejects such rows."""
    if training is None or training.constraint == "l2":  # the others bound the slope itself
        check_spread(owner, "x", rows.x.reshape(len(rows.x), -1), BOUNDED)


def _split(
    owner: str, rows: Rows, split: tuple[float, float, float], key: Key
) -> tuple[tuple[Rows, Rows, Rows], Key]:
    """Return the three parts of the rows in random order, and a key that is left."""
    shares = np.asarray(split, np.float64)
    good = shares.shape == (3,) and bool(np.all(shares > 0)) and abs(shares.sum() - 1) < SMALL**0.5
    check(good, owner, "split", "three positive shares of sum 1", split)
    n = len(rows.x)
    ends = np.round(np.cumsum(shares) * n).astype(int)
    least = int(np.diff(ends, prepend=0).min())
    wanted = f"so many rows that each part of the split {tuple(split)} holds at least {LEAST}"
    check(least >= LEAST, owner, "x", wanted, f"{n}, of which {least}")
    order_key, rest = jax.random.split(key)
    order = np.asarray(jax.random.permutation(order_key, n))
    first, second, third = (Rows(rows.x[part], rows.s[part]) for part in np.split(order, ends[:2]))
    return (first, second, third), rest


def _trained(
    parts: tuple[Rows, Rows, Rows],
    critic: Any,
    training: CriticTraining | None,
    merit: str,
    key: Key,
    progress: bool | None,
) -> Trained:
    how = CriticTraining() if training is None else training
    critic_key, train_key = jax.random.split(key)
    critic = how.critic(parts[0].x.shape[1:], critic_key) if critic is None else critic
    if not how.standardise:
        return train_critic(critic, *parts[:2], how, merit=merit, key=train_key, progress=progress)
    mean, scale = parts[0].x.mean(0), parts[0].x.std(0)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    seen = [Rows((part.x - mean) / scale, part.s * scale) for part in parts[:2]]
    trained = train_critic(critic, seen[0], seen[1], how, merit=merit, key=train_key, progress=progress)
    whole = StandardisedCritic(trained.critic, jnp.asarray(mean), jnp.asarray(scale))
    return trained._replace(critic=whole)


def _judged(
    trained: Trained, rows: Rows, training: CriticTraining | None, key: Key
) -> Float[np.ndarray, " n"]:
    """Return h of the chosen critic at the rows that judge it."""
    how = CriticTraining() if training is None else training
    inner = trained.critic.critic if isinstance(trained.critic, StandardisedCritic) else trained.critic
    probes = judging_probes(inner, how, int(np.prod(rows.x.shape[1:])))
    return terms(trained.critic, rows, probes=probes, key=jax.random.fold_in(key, 1) if probes else None)


def _learned(trained: Trained, rows: Rows, training: CriticTraining | None, key: Key) -> Discrepancy:
    settings = {"critic": trained.critic, "step": trained.step, "curve": trained.curve}
    found = _estimate("learned stein discrepancy", _judged(trained, rows, training, key), settings)
    nothing = "the untrained critic was the best on the rows that choose: no difference was found"
    return found if trained.step else found._replace(status=nothing)


def _estimate(method: str, h: np.ndarray, settings: dict[str, object]) -> Discrepancy:
    error = float(h.std(ddof=1) / np.sqrt(len(h)))
    return Discrepancy(method, float(h.mean()), error, len(h), "ok", h, settings)


def _status(h: Float[np.ndarray, " n"]) -> str:
    """Return "ok", or why the level is approximate: few rows, or few that decide (an overfitted critic's)."""
    n, counted = len(h), effective_rows((h - h.mean()) ** 2)
    if n < LEVEL:
        return f"few rows to test on ({n} of {LEVEL}, the last share of the split): the level is approximate"
    decide = f"few rows decide ({n} count as {counted:.0f}): the level is approximate"
    return "ok" if counted >= FEW_DECIDE else decide


def _studentised(h: Float[np.ndarray, "m n"], centre: float = 0.0) -> Float[np.ndarray, " m"]:
    return np.sqrt(h.shape[1]) * (h.mean(1) - centre) / (h.std(1, ddof=1) + SMALL)


def _bootstrap(h: Float[np.ndarray, " n"], draws: int, key: Key) -> Float[np.ndarray, " draws"]:
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    size = max(1, AT_ONCE // len(h))
    parts = [
        _studentised(h[generator.integers(0, len(h), (min(size, draws - i), len(h)))], h.mean())
        for i in range(0, draws, size)
    ]
    return np.concatenate(parts)
