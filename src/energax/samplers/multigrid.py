r"""Up the scales of an image: chains of a `Multigrid` model, each started at the one below.

    x̃_0 = a 1 × 1 version,      x̃_s = the end of k steps of E_s from x̃_{s−1} enlarged,

each pixel repeated as often as it must be. While learning, x̃_0 are the 1 × 1 versions of the minibatch;
to generate, they are drawn from those of the data, their histogram. A coarse scale is small, so its
chain crosses between modes in few steps, and the finer ones have only details to add.

What the chain at scale s keeps of its start falls as its own kernel forgets, not with the number of
scales. The start is constant on blocks, which no draw of p_s is: finite chains are biased.

Source: Gao et al. (2018), §3. Their released code moves without noise, which samples no law of E_s;
here the sampler says what moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from energax.checks import check, check_integer
from energax.energies import Multigrid
from energax.samplers.base import Sampler, run, walk
from energax.typing import Array, Condition, Events, Float, Key, Metrics

__all__ = ["climb", "multigrid_sample", "one_sampler_per_level"]


def one_sampler_per_level(
    owner: str, samplers: Sampler | Sequence[Sampler], levels: int
) -> tuple[Sampler, ...]:
    """Return as many samplers as there are levels, one given standing for all."""
    several = (samplers,) * levels if isinstance(samplers, Sampler) else tuple(samplers)
    check(len(several) == levels, owner, "sampler", f"one, or {levels}: one per level", len(several))
    return several


def climb(
    model: Multigrid,
    samplers: Sampler | Sequence[Sampler],
    roots: Float[Array, "n 1 1 C"],
    key: Key,
    steps: int,
    condition: Condition | None = None,
) -> tuple[tuple[Events, ...], Metrics]:
    """Return the images at every level, one climb from each root, and what the steps reported.

    Inside a compiled program, as `walk`; `multigrid_sample` is the same from the host.

    Parameters
    ----------
    model
        The energies, from the coarsest.
    samplers
        One for all levels, or one per level.
    roots
        The 1 × 1 images to start from.
    key
        Decides every draw.
    steps
        k, the steps at each level.
    condition
        One condition per root, for energies that take one.
    """
    images, reports, x = [], [], roots
    for s, sampler in enumerate(one_sampler_per_level("climb", samplers, len(model.levels))):
        start = jax.vmap(lambda x, s=s: model.enlarged(x, s))(x)
        x, report = walk(sampler, model.levels[s], start, jax.random.fold_in(key, s), steps, condition)
        images.append(x)
        reports.append(report)
    names = [name for name in reports[0] if all(name in report for report in reports)]
    means = {name: jnp.mean(jnp.stack([report[name] for report in reports])) for name in names}
    return tuple(images), means


def multigrid_sample(
    model: Multigrid,
    samplers: Sampler | Sequence[Sampler],
    data: Float[Array, "rows H W C"],
    n: int,
    *,
    key: Key,
    steps: int,
    condition: Condition | None = None,
) -> Float[Array, "n H W C"]:
    """Return n images: 1 × 1 versions drawn from the data's histogram, then up the levels.

    Parameters
    ----------
    model, samplers, steps
        As for `climb`.
    data
        Images whose mean colours are drawn from, with replacement.
    n
        How many images.
    key
        Decides every draw.
    condition
        One condition per image, leading axis n.
    """
    count = check_integer("multigrid_sample", "n", n, at_least=1)
    check(isinstance(model, Multigrid), "multigrid_sample", "model", "a Multigrid", type(model).__name__)
    pick_key, climb_key = jax.random.split(key)
    pick = jax.random.randint(pick_key, (count,), 0, len(data))
    x = jax.vmap(model.root)(jnp.asarray(data)[pick])
    for s, sampler in enumerate(one_sampler_per_level("multigrid_sample", samplers, len(model.levels))):
        start = jax.vmap(lambda x, s=s: model.enlarged(x, s))(x)
        of_level = jax.random.fold_in(climb_key, s)
        x = run(sampler, model.levels[s], start, key=of_level, steps=steps, condition=condition).x
    return x
