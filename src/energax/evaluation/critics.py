r"""Training a critic on rows and their scores, and choosing one on rows it has not seen.

With h(x) = A f(x) = s(x)·f(x) + tr ∇f(x), s the model's score, a critic f ascends on the training rows

    discrepancy    mean h − λ mean ‖f‖²             best at f* = (s − s_p)/2λ, where E h = E‖s − s_p‖²/2λ
    power          mean h / sd h − λ mean ‖f‖²      what the power of a test of E h = 0 grows with

(Grathwohl et al. 2020, eq. 8–12). Every `check_every` steps the critic is put to the validation rows,
without dropout, and the best of those met, the untrained one included, is kept:

    power          mean h / sd h
    discrepancy    mean h − λ mean ‖f‖², what the critic ascends on; or mean h − sd h, the paper's.

An overfitted critic grows without bound, and mean h alone, with an error as large as itself, may call it the
best of all. Both rules see through that; but for the multiples c f* of the best critic between normal laws
δ apart, mean h − sd h = c (δ² − δ) is largest at c = 0 whenever δ < 1: of a small discrepancy the paper's
rule keeps an early, small critic, and reports a part of it (`energax reproduce lsd-model-selection`).

Instead of the penalty a critic can be held to a box (weights and offsets within ±`clip`) or to layers of
spectral norm at most 1, by projection before the first look and after each step (`evaluation.constraints`).
Then the best critic is another one than f*, and what is bounded depends on the architecture. Swish changes by
at most 1.1 times what its argument does, for every β, so that f changes by at most 1.1² = 1.21 times what x
does with an "mlp" of unit norms, and by some larger constant with one in a box or a "convolutional" one. ‖f‖
itself grows with ‖x‖; and with unit norms its offsets are held by the decay of weights alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from energax import loops
from energax.checks import check, check_choice, check_integer, check_number
from energax.energies import ConvolutionalCritic, Critic
from energax.evaluation.constraints import check_layers, clipped, directions, within_unit_norm
from energax.progress import ProgressBar
from energax.stein import stein_operator
from energax.typing import Array, Float, Key, Scalar

__all__ = ["CriticTraining", "Trained", "train_critic"]

CONSTRAINTS = ("l2", "clipping", "spectral")
ARCHITECTURES = ("mlp", "convolutional")
MERITS = ("power", "discrepancy")
SELECTIONS = ("objective", "mean-sd")
SMALL = 1e-6  # beside a standard deviation
ROWS = 2048  # rows that a critic is put to at a time
EXACT_TO = 64  # numbers in a row: beyond, d derivatives a row are too many for a look every few steps
JUDGING = 16  # probes in their place
MANY = 10_000  # rows to train on: beyond, a step takes some, lest memory grow with them
SOME = 4096
AT_FIRST = 50  # projections of the untrained critic, whose norms are yet to be found


@dataclass(frozen=True)
class CriticTraining:
    """How a critic is made and trained; the defaults are Grathwohl et al.'s (2020, B.1).

    Parameters
    ----------
    architecture
        "mlp" (`energies.Critic`, whose trace is exact and free) or "convolutional"
        (`energies.ConvolutionalCritic`, for rows of shape (H, W, C)).
    width
        Hidden units of a layer; channels, if convolutional.
    dropout
        Share of hidden units left out in each step of an "mlp".
    constraint
        "l2" (the penalty λ mean ‖f‖²), "clipping" (weights and offsets of layers within ±`clip`) or
        "spectral" (layers of norm at most 1).
    penalty
        λ.
    clip
        The largest weight under "clipping".
    steps
        Of Adam.
    check_every
        Steps between two looks at the validation rows.
    batch_size
        Rows of a step; None for all of them if they are at most 10,000, and for 4,096 drawn at random if they
        are more. As many as there are, or more, for all.
    learning_rate, weight_decay
        Adam's; the decay enters its gradient.
    probes
        Gaussian probes for the trace in training: 0 for the exact one, None for exact with an "mlp" and one
        probe else.
    judging_probes
        The same on the rows that choose and judge: 0 for the exact trace, None for exact with an "mlp" and up
        to 64 numbers a row, and 16 probes else, whose noise adds to the spread of h and to no mean.
    standardise
        Train on columns of mean 0 and standard deviation 1 (the training rows'), so that no column's unit
        decides: in the penalty ‖f‖² becomes Σ_i (f_i/c_i)², and the discrepancy at most
        Σ_i c_i² E(s − s_p)_i²/2λ. For rows whose columns differ in units.
    selection
        "objective" or "mean-sd" (the paper's): what a critic of largest discrepancy is chosen by.
    """

    architecture: str = "mlp"
    width: int = 300
    dropout: float = 0.5
    constraint: str = "l2"
    penalty: float = 0.5
    clip: float = 0.05
    steps: int = 1000
    check_every: int = 100
    batch_size: int | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 5e-4
    probes: int | None = None
    judging_probes: int | None = None
    standardise: bool = False
    selection: str = "objective"

    def __post_init__(self):
        owner = type(self).__name__
        check_choice(owner, "architecture", self.architecture, ARCHITECTURES)
        check_choice(owner, "constraint", self.constraint, CONSTRAINTS)
        check_choice(owner, "selection", self.selection, SELECTIONS)
        check_integer(owner, "width", self.width, at_least=1)
        check_integer(owner, "steps", self.steps, at_least=0)
        check_integer(owner, "check_every", self.check_every, at_least=1)
        if self.batch_size is not None:
            check_integer(owner, "batch_size", self.batch_size, at_least=2)
        for name in ("probes", "judging_probes"):
            if getattr(self, name) is not None:
                check_integer(owner, name, getattr(self, name), at_least=0)
        check_number(owner, "dropout", self.dropout, at_least=0, at_most=0.99)
        check_number(owner, "penalty", self.penalty, at_least=0)
        for name in ("clip", "learning_rate"):
            check_number(owner, name, getattr(self, name), above=0)
        check_number(owner, "weight_decay", self.weight_decay, at_least=0)

    def critic(self, event_shape: tuple[int, ...], key: Key) -> Any:
        """Return a new critic for rows of this shape."""
        return _made(self.architecture, tuple(event_shape), self.width, self.dropout, key)


class Trained(NamedTuple):
    """The chosen critic, the step it is of, and the whole training.

    Parameters
    ----------
    critic
        x ↦ f(x).
    step
        Steps it was trained for; 0 is the untrained one.
    merit
        Its merit on the validation rows.
    curve
        At each look, by name: `step`, and for the training and the validation rows mean and sd of h and the
        mean of ‖f‖².
    """

    critic: Any
    step: int
    merit: float
    curve: dict[str, np.ndarray]


class Rows(NamedTuple):
    """Events and the model's scores there."""

    x: Any
    s: Any


class _Numbers(NamedTuple):
    """What may change without a new program."""

    penalty: Scalar
    clip: Scalar
    learning_rate: Scalar
    weight_decay: Scalar


class _Kind(NamedTuple):
    """What a program is compiled for."""

    power: bool
    constraint: str
    batch_size: int | None
    probes: int


class _Player(NamedTuple):
    net: Any
    opt: Any
    directions: Any


def train_critic(
    critic: Any,
    train: Rows,
    validation: Rows,
    how: CriticTraining,
    *,
    merit: str,
    key: Key,
    progress: bool | None = False,
) -> Trained:
    """Train from `critic` on, and return the best met on the validation rows.

    Parameters
    ----------
    critic
        x ↦ f(x), where training starts.
    train, validation
        Disjoint rows.
    how
        The settings; its architecture and width are those of the critic, however it was made.
    merit
        "power" or "discrepancy".
    key
        Decides minibatches, probes and what drops out.
    progress
        True, False, or None to show a bar on a terminal.
    """
    check_choice("train_critic", "merit", merit, MERITS)
    exact = hasattr(critic, "value_and_trace")
    probes = how.probes if how.probes is not None else (0 if exact else 1)
    kind = _Kind(merit == "power", how.constraint, _batch_size(how, len(train.x)), probes)
    penalty = how.penalty if how.constraint == "l2" else 0.0
    numbers = _Numbers(*map(jnp.asarray, (penalty, how.clip, how.learning_rate, how.weight_decay)))
    net, static = eqx.partition(critic, eqx.is_inexact_array)
    if how.constraint != "l2":
        check_layers("train_critic", net, train.x.shape[1:])
    player = _first(net, numbers, kind, train.x.shape[1:])
    sets = [Rows(*map(jnp.asarray, rows)) for rows in (train, validation)]
    judging = judging_probes(critic, how, sets[0].x[0].size)
    look_key = jax.random.fold_in(
        key, how.steps + 1
    )  # the same at each look, so that looks differ by the critic
    compiled = isinstance(critic, Critic) or loops.compiles_loop(critic, sets[0].x[0])
    looks: list[list[float]] = []
    best, step = Trained(critic, 0, -np.inf, {}), 0
    with ProgressBar(progress, 0, how.steps, "training a critic") as bar:
        while True:
            seen = [_moments(player.net, static, rows, judging, look_key) for rows in sets]
            looks.append([step, *seen[0], *seen[1]])
            mean, sd, size = seen[1]
            if kind.power:
                worth = mean / (sd + SMALL)
            else:
                worth = mean - (sd if how.selection == "mean-sd" else penalty * size)
            if worth > best.merit:
                best = Trained(eqx.combine(player.net, static), step, worth, {})
            if step >= how.steps or not np.isfinite(mean):
                break
            until = min(step + how.check_every, how.steps)
            for stop in [until] if compiled else range(step + 1, until + 1):
                begin = step if compiled else stop - 1
                player = _steps(
                    player, static, sets[0], numbers, kind, key, jnp.asarray(begin), jnp.asarray(stop)
                )
            step = until
            bar.update(step, -worth)
    finite = np.isfinite(best.merit)
    allowed = "of a size that a critic can learn from"
    check(finite, "train_critic", "scores", allowed, f"a mean h of {looks[0][4]}")
    names = [f"{part}_{name}" for part in ("train", "validation") for name in ("mean", "sd", "size")]
    return best._replace(curve=dict(zip(["step", *names], np.array(looks).T, strict=True)))


def _batch_size(how: CriticTraining, rows: int) -> int | None:
    """Return how many of the rows a step takes, or None for all."""
    size = how.batch_size if how.batch_size is not None else rows if rows <= MANY else SOME
    return None if size >= rows else size


def judging_probes(critic: Any, how: CriticTraining, size: int) -> int:
    """Return how many probes stand for the trace on rows of `size` numbers that choose or judge."""
    if how.judging_probes is not None:
        return how.judging_probes
    return 0 if hasattr(critic, "value_and_trace") or size <= EXACT_TO else JUDGING


def terms(critic: Any, rows: Rows, *, probes: int = 0, key: Key | None = None) -> Float[np.ndarray, " n"]:
    """Return h at the rows, with the exact trace or that many probes."""
    net, static = eqx.partition(critic, eqx.is_inexact_array)
    return _terms(net, static, Rows(*map(jnp.asarray, rows)), probes, key)[0]


def _adam(numbers: _Numbers) -> optax.GradientTransformation:
    decayed = optax.add_decayed_weights(numbers.weight_decay)
    return optax.chain(decayed, optax.adam(numbers.learning_rate))


@eqx.filter_jit
def _made(architecture: str, event_shape: tuple[int, ...], width: int, dropout: float, key: Key) -> Any:
    if architecture == "convolutional":
        return ConvolutionalCritic(event_shape, channels=width, key=key)
    return Critic(event_shape, width=width, dropout=dropout, key=key)


def _first(net: Any, numbers: _Numbers, kind: _Kind, event_shape: tuple[int, ...]) -> _Player:
    toward = directions(net, event_shape) if kind.constraint == "spectral" else []
    for _ in range(AT_FIRST if kind.constraint == "spectral" else 1):
        net, toward = _projected(net, toward, numbers, kind)
    return _Player(net, _start(net, numbers), toward)


@eqx.filter_jit
def _start(net: Any, numbers: _Numbers) -> Any:
    return _adam(numbers).init(net)


@eqx.filter_jit
def _projected(net: Any, toward: Any, numbers: _Numbers, kind: _Kind) -> tuple[Any, Any]:
    if kind.constraint == "clipping":
        return clipped(net, numbers.clip), toward
    if kind.constraint == "spectral":
        return within_unit_norm(net, toward)
    return net, toward


def _terms(
    net: Any, static: Any, rows: Rows, probes: int, key: Key | None
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return h and ‖f‖² at the rows, some at a time: a compiled loop would hold a convolution."""
    parts = []
    for i in range(0, len(rows.x), ROWS):
        here = rows.x[i : i + ROWS], rows.s[i : i + ROWS]
        parts.append(_part(net, static, *here, probes, None if key is None else jax.random.fold_in(key, i)))
    h, size = (np.concatenate([np.asarray(part[k], np.float64) for part in parts]) for k in (0, 1))
    return h, size


@eqx.filter_jit
def _part(net: Any, static: Any, x: Array, s: Array, probes: int, key: Key | None) -> tuple[Array, Array]:
    critic = eqx.combine(net, static)

    def one(x, s, k):
        # Without a key nothing drops out; with probes it decides them alone.
        h, f = stein_operator(critic, x, s, key=k, probes=probes)
        return h, jnp.sum(f**2)

    if not probes:
        return jax.vmap(lambda x, s: one(x, s, None))(x, s)
    assert key is not None
    return jax.vmap(one)(x, s, jax.random.split(key, len(x)))


def _moments(net: Any, static: Any, rows: Rows, probes: int, key: Key) -> tuple[float, float, float]:
    h, size = _terms(net, static, rows, probes, key)
    return float(h.mean()), float(h.std(ddof=1)), float(size.mean())


@eqx.filter_jit
def _steps(
    player: _Player,
    static: Any,
    train: Rows,
    numbers: _Numbers,
    kind: _Kind,
    key: Key,
    start: Array,
    stop: Array,
) -> _Player:
    def misfit(net, rows, k):
        critic = eqx.combine(net, static)

        def one(x, s, k):
            h, f = stein_operator(critic, x, s, key=k, probes=kind.probes)
            return h, jnp.sum(f**2)

        h, size = jax.vmap(one)(rows.x, rows.s, jax.random.split(k, len(rows.x)))
        value = h.mean() / (h.std(ddof=1) + SMALL) if kind.power else h.mean()
        return numbers.penalty * size.mean() - value

    def move(i, player):
        row_key, loss_key = jax.random.split(jax.random.fold_in(key, i))
        rows = train
        if kind.batch_size is not None:
            chosen = jax.random.randint(row_key, (kind.batch_size,), 0, len(train.x))
            rows = Rows(train.x[chosen], train.s[chosen])
        slope = jax.grad(misfit)(player.net, rows, loss_key)
        change, opt = _adam(numbers).update(slope, player.opt, player.net)
        net = eqx.apply_updates(player.net, change)
        net, toward = _projected(net, player.directions, numbers, kind)
        return _Player(net, opt, toward)

    return loops.fori(start, stop, move, player)
