r"""Paths of energies from a base, of known log Z and exact draws, to a model.

    geometric     E_β = (1 − β) E_0 + β E,                       F_{β′} − F_β = (β′ − β)(E − E_0)
    machine       the RBM with weights βW, hidden biases βc and visible biases (1 − β) b_0 + β b
    box           E_β = βE on low ≤ x ≤ high, from the uniform law; in logits u of (x − low)/(high − low)
    spins         the Ising model with couplings βJ and field (1 − β) b_0 + β b

F_β is the energy at β. A machine's path stays among machines, so that Gibbs sampling is there at every β;
its joint energy is geometric, and its free energy moves by

    F_{β′} − F_β = −(β′ − β)(b − b_0)·x − Σ_j [softplus(β′a_j) − softplus(βa_j)],      a = c + Wᵀx,

each difference taken as log1p(σ(u) expm1(v − u)), which a small step loses no digits of. A spin
model's energy is linear in its parameters, and its path both. On a box chains move in u, on all of ℝᵈ,
whose energy is βE(x(u)) − log|∂x/∂u|: no step can leave the box. The log Z at its end is that of the model
*on the box*. A deep machine's path is that of its `bipartite` form.

Sources: Neal (2001), "Annealed importance sampling"; Salakhutdinov & Murray (2008) for the machines.
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_array
from energax.derivatives import evaluate
from energax.energies import (
    BernoulliRBM,
    CopiedRBM,
    DeepBoltzmannMachine,
    Gaussian,
    GaussianBernoulliRBM,
    IndependentBernoulli,
    Ising,
    IsingGraph,
    Uniform,
)
from energax.energies.units import log_odds
from energax.evaluation.bases import GaussianBase, fitted_base
from energax.typing import Array, Condition, Events, Float, Key, Model, Scalar

__all__ = ["BlockPath", "BoxPath", "Geometric", "Path", "path_between"]

WALL = 1e-6
FAIREST = 0.999  # a spin's largest fitted mean


class Path(eqx.Module):
    """A family of energies F_β, 0 ≤ β ≤ 1, whose first member can be drawn and normalised."""

    def at(self, beta: Scalar) -> Model:
        """Return the model at β, traced."""
        raise NotImplementedError

    def increment(self, x: Array, low: Scalar, high: Scalar) -> Scalar:
        """Return F_high(x) − F_low(x)."""
        raise NotImplementedError

    def log_base(self) -> float:
        """Return log Z_0."""
        raise NotImplementedError

    def sample(self, key: Key, n: int) -> Events:
        """Return n exact draws at β = 0."""
        raise NotImplementedError

    def enter(self, x: Array) -> Array:
        """Return where a chain stands whose event is x."""
        return x

    def leave(self, u: Array) -> Array:
        """Return the event of a chain."""
        return u

    def slope(self, x: Array, beta: Scalar) -> Scalar:
        """Return dF_β(x)/dβ."""
        return jax.jvp(lambda high: self.increment(x, beta, high), (beta,), (jnp.ones_like(beta),))[1]


class Between(eqx.Module):
    """(1 − β) E_0 + β E."""

    base: Model
    energy: Model
    beta: Scalar

    def __call__(self, x: Array, condition: Condition | None = None) -> Scalar:
        """Return E_β(x)."""
        return (1 - self.beta) * self.base(x) + self.beta * evaluate(self.energy, x, condition)


class Geometric(Path):
    """E_β = (1 − β) E_0 + β E, of any energy.

    Parameters
    ----------
    base
        E_0, with `log_normalizer` and `sample`.
    energy
        E.
    """

    base: Any
    energy: Model

    def at(self, beta: Scalar) -> Model:
        """Return E_β."""
        return Between(self.base, self.energy, beta)

    def increment(self, x: Array, low: Scalar, high: Scalar) -> Scalar:
        """Return (high − low)(E(x) − E_0(x))."""
        return (high - low) * (self.energy(x) - self.base(x))

    def log_base(self) -> float:
        """Return log Z_0."""
        return float(self.base.log_normalizer())

    def sample(self, key: Key, n: int) -> Events:
        """Return n exact draws of the base."""
        return self.base.sample(key, n)


class InBox(eqx.Module):
    """βE(x(u)) − log|∂x/∂u| of a box's path, up to a constant."""

    path: BoxPath
    beta: Scalar

    def __call__(self, u: Array, condition: Condition | None = None) -> Scalar:
        """Return the energy of logits."""
        volume = jnp.sum(jax.nn.log_sigmoid(u) + jax.nn.log_sigmoid(-u))
        return self.beta * evaluate(self.path.energy, self.path.leave(u), condition) - volume


class BoxPath(Path):
    """E_β = βE on a box, from its uniform law; chains stand at logits of the place between its walls.

    Parameters
    ----------
    base
        The uniform law.
    energy
        E.
    """

    base: Uniform
    energy: Model

    def at(self, beta: Scalar) -> Model:
        """Return the energy of logits at β."""
        return InBox(self, beta)

    def increment(self, x: Array, low: Scalar, high: Scalar) -> Scalar:
        """Return (high − low) E(x(u))."""
        return (high - low) * self.energy(self.leave(x))

    def log_base(self) -> float:
        """Return the log of the box's volume."""
        return float(self.base.log_normalizer())

    def sample(self, key: Key, n: int) -> Events:
        """Return n logistic draws, uniform in the box."""
        return jax.random.logistic(key, (n, *self.base.event_shape))

    def enter(self, x: Array) -> Array:
        """Return the logits of x; from the walls they are kept off by a millionth of the box."""
        share = (x - self.base.low) / (self.base.high - self.base.low)
        return jax.scipy.special.logit(jnp.clip(share, WALL, 1 - WALL))

    def leave(self, u: Array) -> Array:
        """Return x of logits."""
        return self.base.low + (self.base.high - self.base.low) * jax.nn.sigmoid(u)


class BlockPath(Path):
    """A path on which every member knows its blocks: what Gibbs sampling asks for."""


class MachinePath(BlockPath):
    """RBMs with weights βW, hidden biases βc, visible biases (1 − β) b_0 + β b, of bits or of reals.

    Parameters
    ----------
    machine
        The model, at β = 1.
    start
        b_0, shape (n,).
    """

    machine: Any
    start: Float[Array, " n"]

    def at(self, beta: Scalar) -> Model:
        """Return the machine at β."""
        m = self.machine
        moved = (beta * m.weights, beta * m.hidden_bias, (1 - beta) * self.start + beta * m.visible_bias)
        return eqx.tree_at(lambda a: (a.weights, a.hidden_bias, a.visible_bias), m, moved)

    def increment(self, x: Array, low: Scalar, high: Scalar) -> Scalar:
        """Return F_high(x) − F_low(x), free energies."""
        step, logits = high - low, self.machine.hidden_logits(x)
        hidden = jnp.sum(_softplus_difference(low * logits, step * logits))
        if self._real:  # log 2cosh(a/2) = softplus(a) − a/2
            hidden = hidden - 0.5 * step * jnp.sum(logits)
        return -step * jnp.sum((self.machine.visible_bias - self.start) * x.ravel()) - hidden

    def log_base(self) -> float:
        """Return log Z_0, that of the visible units and log 2 for each hidden one."""
        return float(self._visible().log_normalizer()) + self._constant()

    def sample(self, key: Key, n: int) -> Events:
        """Return n draws of the visible units, independent at β = 0."""
        return self._visible().sample(key, n).reshape(n, *self.machine.event_shape)

    @property
    def _real(self) -> bool:
        return isinstance(self.machine, GaussianBernoulliRBM)

    @property
    def _variance(self) -> Any:
        return 1.0 if self.machine.variance is None else self.machine.variance

    def _visible(self) -> Any:
        if not self._real:
            return IndependentBernoulli(self.start)
        v = jnp.asarray(self._variance, jnp.float32)
        return GaussianBase(v * self.start, jnp.sqrt(v) * jnp.eye(self.start.size))

    def _constant(self) -> float:
        """What log Z_0 has beside the visible units' own: the hidden ones, and ½v‖b_0‖²."""
        hidden = self.machine.hidden_bias.size * math.log(2)
        square = 0.5 * self._variance * jnp.sum(self.start**2) if self._real else 0.0
        return hidden + float(square)


class SpinPath(BlockPath):
    """Ising models with couplings βJ and field (1 − β) b_0 + β b, on a grid or a graph.

    Parameters
    ----------
    model
        At β = 1.
    start
        b_0, of the shape of one event.
    """

    model: Any
    start: Float[Array, "*event"]

    def at(self, beta: Scalar) -> Model:
        """Return the model at β."""
        scaled = jax.tree.map(lambda a: beta * a, self.model)
        shape = self.start.shape if isinstance(self.model, Ising) else (self.start.size,)
        field = (1 - beta) * self.start.reshape(shape) + jnp.broadcast_to(scaled.field, shape)
        return eqx.tree_at(lambda m: m.field, scaled, field)

    def increment(self, x: Array, low: Scalar, high: Scalar) -> Scalar:
        """Return (high − low)(E(x) + b_0·x)."""
        return (high - low) * (self.model(x) + jnp.sum(self.start * x))

    def log_base(self) -> float:
        """Return Σ_i log 2cosh b_0i."""
        return float(jnp.sum(jnp.logaddexp(self.start, -self.start)))

    def sample(self, key: Key, n: int) -> Events:
        """Return n draws of independent spins."""
        return 2 * IndependentBernoulli(2 * self.start).sample(key, n) - 1


def path_between(owner: str, energy: Model, base: Any, data: Any, blocks: bool | None) -> Path:
    """Return the path to the energy from the base; of blocks if asked for, or if None where there is one.

    Parameters
    ----------
    base
        An energy with `log_normalizer` and `sample`; None for one fitted to data, or a machine's own.
    data
        Rows that a base is fitted to where none is given; or None.
    blocks
        Whether every member must be able to draw its blocks.

    Raises
    ------
    InputError
        If there is no such path, nothing to take the base from, or the base is a law of other states than a
        machine's: what came out would be a sum over those.
    """
    deep = isinstance(energy, DeepBoltzmannMachine)
    check(not deep, owner, "energy", "a deep machine's bipartite()", "the machine itself")
    machine = isinstance(energy, BernoulliRBM | GaussianBernoulliRBM | Ising | IsingGraph)
    independent = base is None or (
        isinstance(base, IndependentBernoulli) and isinstance(energy, BernoulliRBM)
    )
    wanted = (
        "a BernoulliRBM (base: independent bits, or none), a GaussianBernoulliRBM, an Ising or an IsingGraph "
        "(base: none, it is the machine without its weights) for Gibbs sampling"
    )
    given = type(energy).__name__ + ("" if base is None else f" with a base {type(base).__name__}")
    check(not blocks or (machine and independent), owner, "energy", wanted, given)
    if machine and independent and blocks is not False:
        return _block_path(owner, energy, base, data)
    if base is None:
        check(data is not None, owner, "base or data", "given: where the annealing begins", "neither")
        base = fitted_base(owner, data, getattr(energy, "event_shape", None))
    lacking = [n for n in ("log_normalizer", "sample") if not callable(getattr(base, n, None))]
    wanted = "an energy with log_normalizer() and sample(key, n), as Gaussian, Flow, IndependentBernoulli"
    check(not lacking, owner, "base", wanted, f"a {type(base).__name__} without {' and '.join(lacking)}")
    _check_states(owner, energy, base)
    if isinstance(base, Gaussian):
        base = GaussianBase(base.mean, base.scale_tril)
    shape = getattr(energy, "event_shape", base.event_shape)
    check(tuple(base.event_shape) == tuple(shape), owner, "base", f"over events of {shape}", base.event_shape)
    return BoxPath(base, energy) if isinstance(base, Uniform) else Geometric(base, energy)


def _check_states(owner: str, energy: Model, base: Any) -> None:
    """Refuse a machine with a base over states that are not its own."""
    spins = isinstance(energy, Ising | IsingGraph)
    bits = isinstance(energy, BernoulliRBM | CopiedRBM)
    known = spins or bits or isinstance(energy, GaussianBernoulliRBM)
    fits = not spins and bits == isinstance(base, IndependentBernoulli)
    wanted = "independent bits for a machine of bits, one of reals for reals, none for spins (and BlockGibbs)"
    given = f"{type(base).__name__} for {type(energy).__name__}"
    check(fits or not known, owner, "base", wanted, given)


def _block_path(owner: str, energy: Any, base: Any, data: Any) -> BlockPath:
    """Return the path of a machine, from its own visible biases where there are neither base nor data."""
    rows = None if data is None else check_array(owner, "data", data, event_shape=energy.event_shape)
    if isinstance(energy, Ising | IsingGraph):
        own = jnp.broadcast_to(
            energy.field, energy.event_shape if isinstance(energy, Ising) else energy.field.shape
        )
        own = jnp.broadcast_to(own, (math.prod(energy.event_shape),)) if own.ndim == 0 else own
        own = own.reshape(energy.event_shape)
        return SpinPath(energy, own if rows is None else jnp.asarray(_atanh(rows.mean(0))))
    start = energy.visible_bias
    if base is not None:
        start = base.logits.ravel()
    elif rows is not None and isinstance(energy, BernoulliRBM):
        start = log_odds(owner, rows).ravel()
    elif rows is not None:
        variance = 1.0 if energy.variance is None else energy.variance
        start = jnp.asarray(rows.mean(0)).ravel() / variance
    return MachinePath(energy, start)


def _atanh(means: np.ndarray) -> np.ndarray:
    return np.arctanh(np.clip(means, -FAIREST, FAIREST)).astype(np.float32)


def _softplus_difference(u: Array, step: Array) -> Array:
    """Return softplus(u + step) − softplus(u) without the rounding of either."""
    away = jnp.where(step > 0, -u, u)
    return jnp.maximum(step, 0) + jnp.log1p(jax.nn.sigmoid(away) * jnp.expm1(-jnp.abs(step)))
