r"""Where the chains of a training step start, and what is kept of them for the next.

    FromData      at the rows of the minibatch                         contrastive divergence
    FromNoise     at fresh noise                                       short-run, non-persistent
    Persistent    where the last step left them                        persistent contrastive divergence
    Replay        at entries of a large buffer, some of them at noise  Du & Mordatch (2019)

Noise is, unless a distribution is given, the product of the minibatch's marginals: each
coordinate takes its value from a row drawn for it alone. It knows the scale of each coordinate,
keeps bits bits and spins spins, and holds nothing of how coordinates go together.

A pool keeps positions only: the model changes under its chains, so whatever a sampler caches
(an energy, a gradient) would be stale.
"""

from __future__ import annotations

from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_event_shape, check_integer, check_number
from energax.typing import Array, Condition, Events, Float, Key

__all__ = ["Drawable", "FromData", "FromNoise", "Kept", "Normal", "Persistent", "Pool", "Replay", "marginals"]


class Drawable(Protocol):
    """A distribution to start chains from: `sample(key, n)` returns n events."""

    def sample(self, key: Key, n: int) -> Events:
        """Return n draws."""
        ...


class Normal(eqx.Module):
    """Independent normal coordinates of one mean and one standard deviation, to start chains from.

    Parameters
    ----------
    event_shape
        Shape of one event.
    mean, scale
        The mean, and the standard deviation > 0.
    """

    event_shape: tuple[int, ...] = eqx.field(static=True)
    mean: Array
    scale: Array

    def __init__(self, event_shape: tuple[int, ...], mean: float = 0.0, scale: float = 1.0):
        self.event_shape = check_event_shape("Normal", event_shape)
        self.mean = jnp.asarray(check_number("Normal", "mean", mean))
        self.scale = jnp.asarray(check_number("Normal", "scale", scale, above=0))

    def sample(self, key: Key, n: int) -> Array:
        """Return n draws, shape (n, *event_shape)."""
        return self.mean + self.scale * jax.random.normal(key, (n, *self.event_shape))


class Kept(eqx.Module):
    """What a pool keeps, or hands out: positions, their conditions, and their ages.

    Parameters
    ----------
    x
        Positions, leading axis the chains.
    condition
        Their conditions, or None.
    age
        Training steps since each was started from noise or data, shape (chains,).
    """

    x: Events
    condition: Condition | None
    age: Float[Array, " n"]


def marginals(x: Events, key: Key) -> Events:
    """Return as many independent draws from the product of the marginals of x's rows."""
    leaves, tree = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten([_each_from_its_row(a, k) for a, k in zip(leaves, keys, strict=True)])


def _each_from_its_row(a: Array, key: Key) -> Array:
    # Rows are drawn with replacement: permuting each column takes a sort, which at MNIST's size
    # took XLA three times as long on a CPU as a whole training step of a Boltzmann machine.
    return jnp.take_along_axis(a, jax.random.randint(key, a.shape, 0, a.shape[0]), axis=0)


def _noise(noise: Drawable | None, x: Events, key: Key) -> Events:
    """Return as many events of noise as x has rows."""
    if noise is None:
        return marginals(x, key)
    return noise.sample(key, jax.tree.leaves(x)[0].shape[0])


class Pool(eqx.Module):
    """Base of the pools."""

    def init(self, x: Events, condition: Condition | None, key: Key, rows: int) -> Kept | None:
        """Return what is kept before the first step; x is the whole data set, `rows` a minibatch."""
        return None

    def draw(self, kept: Kept | None, x: Events, condition: Condition | None, key: Key) -> tuple[Kept, Any]:
        """Return where chains start, x being the minibatch, and where in the pool they come from."""
        raise NotImplementedError

    def put(self, kept: Kept | None, where: Any, moved: Kept) -> Kept | None:
        """Return what is kept once the chains have moved."""
        return None


class FromData(Pool):
    """Chains start at the rows of the minibatch, and nothing is kept."""

    def draw(self, kept: Kept | None, x: Events, condition: Condition | None, key: Key) -> tuple[Kept, Any]:
        """Return the minibatch itself."""
        return Kept(x, condition, jnp.zeros(jax.tree.leaves(x)[0].shape[0])), None


class FromNoise(Pool):
    """Chains start at fresh noise, one for each row of the minibatch, and nothing is kept.

    Parameters
    ----------
    noise
        A distribution with `sample(key, n)`; the product of the minibatch's marginals if None.
    """

    noise: Drawable | None = None

    def draw(self, kept: Kept | None, x: Events, condition: Condition | None, key: Key) -> tuple[Kept, Any]:
        """Return fresh noise under the minibatch's conditions."""
        return Kept(_noise(self.noise, x, key), condition, jnp.zeros(jax.tree.leaves(x)[0].shape[0])), None


class Replay(Pool):
    """A buffer of positions; each step moves some of them, and starts a few anew from noise.

    Du & Mordatch (2019): 10,000 entries, of which a step moves a minibatch, 5 % of it started
    anew. Entries of one step are distinct, so that none is written twice.

    Parameters
    ----------
    size
        How many positions are kept.
    restart
        Probability with which a chain that is drawn starts from noise instead, in [0, 1].
    chains
        How many move in a step; as many as a minibatch has rows if None.
    noise
        A distribution with `sample(key, n)`; the product of the minibatch's marginals if None.
    """

    size: int = eqx.field(static=True)
    restart: Array
    restarts: bool = eqx.field(static=True)  # chains that never start anew need no noise drawn for them
    chains: int | None = eqx.field(static=True)
    noise: Drawable | None

    def __init__(
        self,
        size: int = 10_000,
        restart: float = 0.05,
        chains: int | None = None,
        noise: Drawable | None = None,
    ):
        owner = type(self).__name__
        self.size = check_integer(owner, "size", size, at_least=1)
        self.restart = jnp.asarray(check_number(owner, "restart", restart, at_least=0, at_most=1))
        self.restarts = bool(restart > 0)
        self.chains = None if chains is None else check_integer(owner, "chains", chains, at_least=1)
        check(chains is None or chains <= size, owner, "chains", f"at most the size, {size}", chains)
        self.noise = noise

    def init(self, x: Events, condition: Condition | None, key: Key, rows: int) -> Kept:
        """Return a buffer of noise, under conditions of random rows of the data."""
        n = jax.tree.leaves(x)[0].shape[0]
        moving = rows if self.chains is None else self.chains
        owner = type(self).__name__
        check(
            moving <= self.size, owner, "size", f"at least the {moving} chains that a step moves", self.size
        )
        pick = jax.random.randint(jax.random.fold_in(key, 0), (self.size,), 0, n)
        some, conditions = jax.tree.map(lambda a: jnp.asarray(a)[pick], (x, condition))
        return Kept(_noise(self.noise, some, jax.random.fold_in(key, 1)), conditions, jnp.zeros(self.size))

    def draw(self, kept: Kept | None, x: Events, condition: Condition | None, key: Key) -> tuple[Kept, Any]:
        """Return distinct entries of the buffer, some of them replaced by noise."""
        assert kept is not None
        rows = jax.tree.leaves(x)[0].shape[0]
        moving = rows if self.chains is None else self.chains
        pick_key, noise_key, restart_key = jax.random.split(key, 3)
        if moving == self.size:
            where, entries = None, kept
        else:
            # Evenly spaced entries from a random first one: distinct, each equally often.
            first = jax.random.randint(pick_key, (), 0, self.size)
            where = (first + self.size // moving * jnp.arange(moving)) % self.size
            entries = jax.tree.map(lambda a: a[where], kept)
        if not self.restarts:
            return entries, where
        # Noise is shaped on rows of the minibatch, taken round as often as there are chains.
        around = jax.tree.map(lambda a: a[jnp.arange(moving) % rows], x)
        anew = jax.random.uniform(restart_key, (moving,)) < self.restart

        def mixed(new: Array, old: Array) -> Array:
            return jnp.where(anew.reshape(-1, *[1] * (old.ndim - 1)), new.astype(old.dtype), old)

        started = jax.tree.map(mixed, _noise(self.noise, around, noise_key), entries.x)
        return Kept(started, entries.condition, jnp.where(anew, 0.0, entries.age)), where

    def put(self, kept: Kept | None, where: Any, moved: Kept) -> Kept:
        """Return the buffer with the moved chains written back, a step older."""
        moved = Kept(moved.x, moved.condition, moved.age + 1)
        if where is None:
            return moved
        return jax.tree.map(lambda a, new: a.at[where].set(new), kept, moved)


class Persistent(Replay):
    """Chains that go on where the last step left them: a buffer all of which moves.

    Younes (1989); Tieleman (2008).

    Parameters
    ----------
    chains
        How many chains.
    restart
        Probability with which a chain starts anew from noise, in [0, 1].
    noise
        A distribution with `sample(key, n)`; the product of the minibatch's marginals if None.
    """

    def __init__(self, chains: int = 128, restart: float = 0.0, noise: Drawable | None = None):
        super().__init__(chains, restart, chains, noise)
