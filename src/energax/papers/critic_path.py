r"""A critic's training followed: on the rows it learns from, on validation rows, and against the truth.

Where the law p of the rows is known, so is what a critic f is worth, without the trace: with the model's
score s and the difference Δ = s − s_p, Stein's identity and the best critic f* = Δ/2λ give

    E_p h = E_p[s·f + tr ∇f] = E_p[Δ·f],        cos(f, f*) = E[Δ·f] / √(E‖Δ‖² E‖f‖²),
    E_p[Δ·f] − λ E_p‖f‖²  ≤  E‖Δ‖²/4λ           the critic's objective, in truth, largest at f*.

They are means over rows that neither trained nor chose the critic. `evaluation.critics` trains in the
same way, but keeps only the critic that it chooses; here every look of the path is kept, and all is pure, so
that seeds are mapped over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from energax.stein import stein_operator
from energax.typing import Array, Key

__all__ = ["RULES", "Known", "Path", "Sample", "chosen", "follow", "taken"]

RULES = ("mean", "mean − sd", "objective")


class Sample(NamedTuple):
    """Rows and the model's scores there."""

    x: Array
    s: Array


class Known(NamedTuple):
    """Rows, and the difference Δ of the model's score from the true one there."""

    x: Array
    difference: Array


class Path(NamedTuple):
    """What was seen at each look, shape (..., looks) each.

    Parameters
    ----------
    step
        Steps made so far; the first look is at the untrained critic.
    train_mean, train_sd, validation_mean, validation_sd, validation_size
        Mean and standard deviation of h, and mean ‖f‖².
    value, size, cosine
        In truth: E[Δ·f], E‖f‖² and the cosine with the best critic.
    """

    step: Array
    train_mean: Array
    train_sd: Array
    validation_mean: Array
    validation_sd: Array
    validation_size: Array
    value: Array
    size: Array
    cosine: Array


@eqx.filter_jit
def follow(
    critic: Any,
    train: Sample,
    validation: Sample,
    fresh: Known,
    *,
    penalty: Array,
    rate: Array,
    batch: int | None,
    every: int,
    looks: int,
    key: Key,
) -> Path:
    """Train by Adam on mean h − λ mean ‖f‖² for `looks` times `every` steps, and look after each.

    Parameters
    ----------
    critic
        x ↦ f(x) with an exact trace.
    train, validation, fresh
        Rows that it learns from, that could choose it, and that say what it is worth.
    penalty
        λ.
    rate
        Adam's.
    batch
        Rows of a step; None for all of them.
    key
        Decides the minibatches.
    """
    net, static = eqx.partition(critic, eqx.is_inexact_array)
    adam = optax.adam(rate)

    def terms(net, rows):
        f = eqx.combine(net, static)
        h, values = jax.vmap(lambda x, s: stein_operator(f, x, s))(*rows)
        return h, jnp.sum(values**2, axis=1)

    def misfit(net, rows):
        h, size = terms(net, rows)
        return penalty * size.mean() - h.mean()

    def move(carry, i):
        net, opt = carry
        rows = train
        if batch is not None:
            pick = jax.random.randint(jax.random.fold_in(key, i), (batch,), 0, len(train.x))
            rows = Sample(train.x[pick], train.s[pick])
        change, opt = adam.update(jax.grad(misfit)(net, rows), opt)
        return (eqx.apply_updates(net, change), opt), None

    def look(net, step):
        (h, _), (v, size) = terms(net, train), terms(net, validation)
        f = jax.vmap(eqx.combine(net, static))(fresh.x)
        value, length = jnp.mean(jnp.sum(f * fresh.difference, 1)), jnp.mean(jnp.sum(f**2, 1))
        best = jnp.mean(jnp.sum(fresh.difference**2, 1))
        cosine = value / jnp.sqrt(best * length)
        seen = (h.mean(), h.std(ddof=1), v.mean(), v.std(ddof=1), size.mean())
        return Path(step, *seen, value, length, cosine)

    def stretch(carry, first):
        seen = look(carry[0], first)
        carry, _ = jax.lax.scan(move, carry, first + jnp.arange(every))
        return carry, seen

    carry, path = jax.lax.scan(stretch, (net, adam.init(net)), jnp.arange(looks) * every)
    last = look(carry[0], jnp.asarray(looks * every))
    return jax.tree.map(lambda a, b: jnp.append(a, b), path, last)


def chosen(path: Path, rule: str, penalty: float) -> np.ndarray:
    """Return the number of the look that a rule chooses by the validation rows alone, for each path.

    Parameters
    ----------
    path
        Arrays of shape (..., looks).
    rule
        "mean" of h; "mean − sd" (Grathwohl et al. 2020, appendix A); or "objective", mean h − λ mean ‖f‖².
    penalty
        λ.
    """
    mean = np.asarray(path.validation_mean)
    less = {
        "mean": 0.0,
        "mean − sd": np.asarray(path.validation_sd),
        "objective": penalty * np.asarray(path.validation_size),
    }[rule]
    return np.argmax(mean - less, axis=-1)


def taken(values: Any, looks: np.ndarray) -> np.ndarray:
    """Return, of each path, what was seen at its look."""
    return np.take_along_axis(np.asarray(values), looks[..., None], -1)[..., 0]
