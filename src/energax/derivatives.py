r"""The only place that differentiates a model in x.

For an energy E with p(x) ∝ exp(−E(x)),

    score               s(x) = −∇E(x)
    Laplacian           ΔE(x) = tr ∇²E(x)
    Jacobian trace      tr ∇f(x) of a vector field f, so that ΔE = −tr ∇s
    Hutchinson          tr A = E[vᵀAv] for any v with E[vvᵀ] = I
    Hessian product     ∇²E(x) v

A *vector field* that is a score but need not be a gradient is wrapped in `Score`, and a
condition c is bound to a model by `bind`. Both are decided by type: nobody guesses from the
shape of an output. All functions take ONE event; batches are the caller's `jax.vmap`.

Sources: Hyvärinen (2005) for the Laplacian form of score matching; Hutchinson (1989) for the
trace estimator; Song & Kingma (2021), "How to train your energy-based models", eq. 8 and 15;
Li et al. (2024), "A computational framework for neural network-based variational Monte Carlo
with forward Laplacian".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.checks import check, check_choice, check_integer
from energax.tracing import contains_convolution, contains_loop
from energax.typing import Array, Condition, Event, Events, Float, Key, Model, Scalar

__all__ = [
    "Given",
    "Score",
    "bind",
    "derivative_along",
    "energy_and_score",
    "evaluate",
    "hessian_vector_product",
    "hutchinson_laplacian",
    "hutchinson_trace",
    "jacobian_diagonal",
    "jacobian_trace",
    "laplacian",
    "probe",
    "score",
    "score_and_product",
    "score_and_trace",
    "tree_dot",
]

PROBES = ("rademacher", "gaussian", "sphere")
TRACE_METHODS = ("auto", "forward", "chunked")
CHUNKED_FROM = 256  # coordinates: beyond, the forward Laplacian's d-fold memory costs more than it saves
TRACE_CHUNK = 32


class Score(eqx.Module):
    """A vector field used as a score: `score(Score(f), x)` is f(x), not a derivative.

    Parameters
    ----------
    field
        x ↦ s(x), or (x, condition) ↦ s(x, condition), of the shape of one event. It need
        not be the gradient of anything.
    """

    field: Callable[..., Event]

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, if the field says."""
        return self.field.event_shape

    @property
    def has_edge(self) -> bool:
        """Whether the field says that it is of a density with an edge."""
        return bool(getattr(self.field, "has_edge", False))

    def __call__(self, x: Event, condition: Condition | None = None) -> Event:
        """Return the field at one event."""
        return evaluate(self.field, x, condition)


class Given(eqx.Module):
    """The energy x ↦ E(x, c) with the condition c held fixed.

    Parameters
    ----------
    energy
        A conditional energy (x, condition) ↦ E(x, condition).
    condition
        The condition, an array or a pytree of arrays; never differentiated here.
    """

    energy: Callable[..., Scalar]
    condition: Condition

    @property
    def has_edge(self) -> bool:
        """That of the energy, if it says."""
        return bool(getattr(self.energy, "has_edge", False))

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x, c) at one event; the bound condition is the only one."""
        return self.energy(x, self.condition)


class GivenLevels(eqx.Module):
    """A noise-conditional model with the condition held fixed at every level."""

    model: Any
    condition: Condition

    def at(self, sigma: float | Scalar) -> Model:
        """Return the model of the σ-smoothed density, the condition held fixed."""
        return bind(self.model.at(sigma), self.condition)


def evaluate(function: Callable[..., Any], x: Event, condition: Condition | None = None) -> Any:
    """Call `function(x)`, or `function(x, condition)` if there is a condition."""
    return function(x) if condition is None else function(x, condition)


def bind(model: Model, condition: Condition | None) -> Model:
    """Return the model of x alone, the condition held fixed (None binds nothing)."""
    if condition is None:
        return model
    if hasattr(model, "at"):
        return GivenLevels(model, condition)
    if isinstance(model, Score):
        return Score(Given(model.field, condition))
    return Given(model, condition)


def score(model: Model, x: Event, condition: Condition | None = None) -> Event:
    """s(x) = −∇E(x) of an energy, or f(x) of a `Score(f)`, at one event.

    Parameters
    ----------
    model
        An energy or a `Score`.
    x
        One event.
    condition
        Passed to the model if given.

    Returns
    -------
    Event
        The score, of the shape of x.
    """
    if isinstance(model, Score):
        return model(x, condition)
    gradient = jax.grad(lambda y: evaluate(model, y, condition))(x)
    return jax.tree.map(jnp.negative, gradient)


def energy_and_score(energy: Model, x: Event, condition: Condition | None = None) -> tuple[Scalar, Event]:
    """E(x) and −∇E(x) of an energy at one event, from one forward and one backward pass."""
    value, gradient = jax.value_and_grad(lambda y: evaluate(energy, y, condition))(x)
    return value, jax.tree.map(jnp.negative, gradient)


def hessian_vector_product(energy: Model, x: Event, v: Event, condition: Condition | None = None) -> Event:
    """∇²E(x) v at one event, forward over reverse: the cost of about two gradients."""
    return jax.jvp(jax.grad(lambda y: evaluate(energy, y, condition)), (x,), (v,))[1]


def jacobian_diagonal(
    field: Callable[[Event], Event], x: Event, *, chunk: int | None = None
) -> Float[Array, " d"]:
    """Diag ∇f(x) of a vector field, exactly: d Jacobian-vector products.

    Parameters
    ----------
    field
        x ↦ f(x) on one event, f(x) of the shape of x.
    x
        One event of d numbers.
    chunk
        How many coordinates are differentiated at a time. None takes all d at once; a chunk
        bounds memory at `chunk` tangents, also under a further reverse pass, since each
        chunk is recomputed rather than stored.
    """
    flat, unravel = ravel_pytree(x)

    def flat_field(y):
        return ravel_pytree(field(unravel(y)))[0]

    def diagonal(i):
        direction = jnp.zeros_like(flat).at[i].set(1)
        return jax.jvp(flat_field, (flat,), (direction,))[1][i]

    coordinates = jnp.arange(flat.size)
    if chunk is None or chunk >= flat.size:
        return jax.vmap(diagonal)(coordinates)
    check_integer("jacobian_diagonal", "chunk", chunk, at_least=1)
    return jax.lax.map(jax.checkpoint(diagonal), coordinates, batch_size=chunk)


def jacobian_trace(field: Callable[[Event], Event], x: Event, *, chunk: int | None = None) -> Scalar:
    """Tr ∇f(x) of a vector field, exactly (see `jacobian_diagonal`)."""
    return jacobian_diagonal(field, x, chunk=chunk).sum()


def laplacian(
    energy: Model, x: Event, condition: Condition | None = None, *, chunk: int | None = None
) -> Scalar:
    """ΔE(x) = tr ∇²E(x) at one event, exactly, forward over reverse (see `jacobian_trace`)."""
    return -jacobian_trace(lambda y: score(energy, y, condition), x, chunk=chunk)


def score_and_trace(
    model: Model, x: Event, condition: Condition | None = None, *, method: str = "auto"
) -> tuple[Event, Scalar]:
    """(s(x), tr ∇s(x)) at one event, exactly.

    Parameters
    ----------
    model
        An energy or a `Score`.
    method
        "forward": the forward Laplacian (Li et al. 2024), one pass that carries value, Jacobian
        and Laplacian together; about half the time of nested differentiation, and memory in
        proportion to d. Energies only, without loops or convolutions inside.
        "chunked": forward over reverse, `TRACE_CHUNK` coordinates at a time, recomputed in
        a further reverse pass.
        "auto": forward for energies of fewer than `CHUNKED_FROM` coordinates without
        convolutions or loops, else chunked.
    """
    check_choice("score_and_trace", "method", method, TRACE_METHODS)
    flat, unravel = ravel_pytree(x)
    if method == "auto":
        small = flat.size < CHUNKED_FROM and not isinstance(model, Score)
        arguments = (model, x) if condition is None else (model, x, condition)
        forward = small and not contains_convolution(*arguments) and not contains_loop(*arguments)
        method = "forward" if forward else "chunked"
    if method == "chunked":
        field = lambda y: score(model, y, condition)  # noqa: E731
        return field(x), jacobian_trace(field, x, chunk=TRACE_CHUNK)
    check(not isinstance(model, Score), "score_and_trace", "method", "'chunked' for a Score", method)
    import folx

    # One dense Jacobian: a network mixes all coordinates in its first layer.
    value = folx.forward_laplacian(lambda y: evaluate(model, unravel(y), condition))(flat)
    if not hasattr(value, "jacobian"):  # an energy that x does not enter
        return unravel(jnp.zeros_like(flat)), jnp.zeros((), flat.dtype)
    return unravel(-value.jacobian.dense_array.reshape(flat.shape)), -value.laplacian


def score_and_product(
    model: Model, x: Event, v: Event, condition: Condition | None = None
) -> tuple[Event, Event]:
    """(s(x), ∇s(x) v) at one event: one Jacobian-vector product of the score."""
    return jax.jvp(lambda y: score(model, y, condition), (x,), (v,))


def derivative_along(
    model: Model, x: Event, condition: Condition | None, v: Event, u: Event, t: Array, *, order: int
) -> Array:
    """Return d^r/dt^r of E(x + tv), or of u·s(x + tv) for a `Score`, at one event and some t.

    Parameters
    ----------
    v, u
        Of the shape of x; u is read for a `Score` alone.
    t
        Places on the line, shape (k,).
    order
        r ≥ 1.
    """

    def value(t):
        out = evaluate(model, jax.tree.map(lambda a, b: a + t * b, x, v), condition)
        return tree_dot(u, out) if isinstance(model, Score) else out

    slope = jax.grad(value)
    for _ in range(order - 1):
        slope = _forward(slope)
    return jax.vmap(slope)(t)


def _forward(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda t: jax.jvp(function, (t,), (jnp.ones_like(t),))[1]


def probe(distribution: str, like: Event, key: Key) -> Event:
    """Draw v with E[v] = 0 and E[vvᵀ] = I, of the shape of `like`.

    Parameters
    ----------
    distribution
        "rademacher" (±1, the least variance of the three for the trace), "gaussian", or
        "sphere" (uniform on the sphere of radius √d).
    """
    check_choice("probe", "distribution", distribution, PROBES)
    flat, unravel = ravel_pytree(like)
    if distribution == "rademacher":
        return unravel(jax.random.rademacher(key, flat.shape, flat.dtype))
    v = jax.random.normal(key, flat.shape, flat.dtype)
    if distribution == "sphere":
        v = v * jnp.sqrt(flat.size / jnp.sum(v * v))
    return unravel(v)


def hutchinson_trace(
    field: Callable[[Event], Event],
    x: Event,
    *,
    key: Key,
    probes: int = 1,
    distribution: str = "rademacher",
) -> Scalar:
    """An unbiased estimate of tr ∇f(x): the mean over probes of vᵀ ∇f(x) v.

    Parameters
    ----------
    probes
        How many directions are averaged; the variance falls as 1/probes.
    distribution
        The law of v: see `probe`.
    """
    check_integer("hutchinson_trace", "probes", probes, at_least=1)

    def one(k):
        v = probe(distribution, x, k)
        return tree_dot(v, jax.jvp(field, (x,), (v,))[1])

    return jax.vmap(one)(jax.random.split(key, probes)).mean()


def hutchinson_laplacian(
    energy: Model,
    x: Event,
    condition: Condition | None = None,
    *,
    key: Key,
    probes: int = 1,
    distribution: str = "rademacher",
) -> Scalar:
    """An unbiased estimate of ΔE(x) from Hessian-vector products (see `hutchinson_trace`)."""
    field = lambda y: score(energy, y, condition)  # noqa: E731
    return -hutchinson_trace(field, x, key=key, probes=probes, distribution=distribution)


def tree_dot(a: Events, b: Events) -> Scalar:
    """Sum over all leaves and entries of a·b."""
    return sum(jax.tree.leaves(jax.tree.map(lambda u, v: jnp.sum(u * v), a, b)), start=jnp.zeros(()))
