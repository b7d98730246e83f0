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

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_integer
from energax.energies import Multigrid
from energax.samplers.base import Sampler, run, walk
from energax.typing import Array, Condition, Events, Float, Key, Metrics, Model

__all__ = ["Climb", "climb", "multigrid_sample", "one_sampler_per_level"]


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


class Ascent(NamedTuple):
    """A chain on its way up: the image to be shown, at full size, and the chain of each level."""

    shown: Array
    chains: tuple[Any, ...]


class Climb(Sampler):
    """One chain up all levels of a `Multigrid`: `steps` at each, from the mean colour of its start.

    x̃_0 is the 1 × 1 version of the image the chain is put at, and the step i is one of the level
    ⌊i / steps⌋, whose chain begins at the end of the one below, enlarged. So `run` shows an image form,
    always at full size. `climb` is the same inside a training step.

    Parameters
    ----------
    sampler
        The dynamics at every level.
    levels
        How many levels the model has.
    steps
        k, the steps at each.

    Raises
    ------
    InputError
        At the first step, of a model that has other levels or is none of levels.
    """

    sampler: Sampler
    levels: int = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def __init__(self, sampler: Sampler, levels: int, steps: int):
        self.sampler = sampler
        self.levels = check_integer("Climb", "levels", levels, at_least=1)
        self.steps = check_integer("Climb", "steps", steps, at_least=1)

    @property
    def horizon(self) -> int:
        """The steps of all levels."""
        return self.levels * self.steps

    def scaled(self, factor: float | Array) -> Climb:
        """Return the climb with every level's step size multiplied."""
        return Climb(self.sampler.scaled(factor), self.levels, self.steps)

    def init(self, model: Model, x: Array, key: Key) -> Ascent:
        """Return the chain at the mean colour of x; those of the upper levels wait there."""
        check(isinstance(model, Multigrid), "Climb", "model", "a Multigrid", type(model).__name__)
        check(len(model.levels) == self.levels, "Climb", "levels", f"{len(model.levels)}", self.levels)
        root = model.root(x)
        chains = [
            self.sampler.init(level, model.enlarged(root, s), jax.random.fold_in(key, s))
            for s, level in enumerate(model.levels)
        ]
        return Ascent(model.enlarged(root, self.levels - 1), tuple(chains))

    def step(self, model: Model, state: Ascent, key: Key, i: jax.Array) -> tuple[Ascent, Metrics]:
        """Return the chain after one step of the level that step i belongs to."""

        def of_level(s: int) -> Any:
            def step(state: Ascent) -> tuple[Ascent, Metrics]:
                level, at = model.levels[s], i - s * self.steps
                chain = state.chains[s]
                if s > 0:  # the lowest began at the root
                    below = self.sampler.position(state.chains[s - 1])
                    fresh = lambda: self.sampler.init(level, model.enlarged(below, s), start_key)  # noqa: E731
                    chain = jax.lax.cond(at == 0, fresh, lambda: chain)
                chain, report = self.sampler.step(level, chain, step_key, at)
                shown = model.enlarged(self.sampler.position(chain), self.levels - 1)
                chains = (*state.chains[:s], chain, *state.chains[s + 1 :])
                return Ascent(shown, chains), report

            return step

        start_key, step_key = jax.random.split(key)
        s = jnp.minimum(i // self.steps, self.levels - 1)
        return jax.lax.switch(s, [of_level(s) for s in range(self.levels)], state)

    def troubles(self, info: Mapping[str, np.ndarray]) -> list[str]:
        """Return what is wrong with the dynamics of the levels."""
        return self.sampler.troubles(info)

    def position(self, state: Ascent) -> Array:
        """Return the image at full size: of a lower level, each pixel repeated."""
        return state.shown
