r"""Holds an objective to the target it declares.

    stationary   On draws of an asymmetric Gaussian mixture in d = 2, take the model that the
                 target says is optimal and perturb it along smooth functions,
                 E(x) + Σ_j θ_j φ_j(x). The mean gradient in θ at θ = 0 must vanish. A symmetric
                 target could not see a sign; one dimension could not see a trace divided by d.
    minimum      On draws of N(0, I) in d = 4 within E = ½a‖x‖², Newton's method from far away
                 must land on the a that the target says, with positive curvature.

A log Z that is learned beside the model (`objectives.LogNormalizer`) is put where it belongs, and the
gradient in it must vanish too; along the family of the second check it follows the model.

Other data than the mixture (a density on a box, bits, a handful of points) may be given, for
objectives that live there; then the second check is within a·E*, E* being the optimum, and must
land on a = 1. A noise-conditional objective is perturbed with directions that change with the
level; an objective for vector fields also along a field that is no gradient.

Neither calls `fit`: what is tested is where the objective leads, not how fast one descends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import Score, evaluate, score
from energax.energies import Gaussian, GaussianMixture, Smoothings
from energax.objectives import Batch, Chains, LogNormalizer, Objective
from energax.testing.statistics import assert_mean, critical_value
from energax.typing import Array, Condition, Event, Float, Key, Model

__all__ = ["check_objective", "skewed_mixture"]

ROWS = 128  # of a batch; also the number of levels of a ladder that takes one per row
GROUPS = 128  # independent values in each comparison
BATCHES = 32  # minibatches averaged into one value
MOVES = 8  # the same where chains move before each, which costs many times more
REACH = 10.0  # of the plane, beyond which the mixture and its powers used here have no mass to speak of
SIZE = 4  # coordinates of the isotropic Gaussian
ROUNDING = 1e-5  # of a gradient whose terms are of size one


def skewed_mixture() -> GaussianMixture:
    """Return the asymmetric two-component mixture in d = 2 that objectives are tested on."""
    covariances = jnp.array([[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.8]]])
    return GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [0.8, -0.3]], covariances)


class _Perturbed(eqx.Module):
    """E(x) + θ·φ(x) for an energy."""

    base: Model
    theta: Float[Array, " J"]

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        return evaluate(self.base, x, condition) + self.theta @ _directions(x)

    def log_normalizer(self) -> Array:
        """Return log Z at θ = 0, the only place where gradients are taken."""
        return self.base.log_normalizer()


class _PerturbedField(eqx.Module):
    """s(x) − Σ_j θ_j ∇φ_j(x) + θ_J (−x₂, x₁): also along a field that is no gradient."""

    base: Score
    theta: Float[Array, " J"]

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        gradients = jax.jacrev(_directions)(x)
        turn = jnp.array([-x[1], x[0]])
        return self.base(x, condition) - self.theta[:-1] @ gradients + self.theta[-1] * turn


def _directions(x: Float[Array, 2]) -> Float[Array, 7]:
    return jnp.array(
        [x[0], x[1], x[0] ** 2 / 2, x[1] ** 2 / 2, x[0] * x[1], jnp.tanh(2 * x[0]), jnp.tanh(x[1]) * x[0]]
    )


class _PerturbedLevels(eqx.Module):
    """At each σ the smoothed density's energy + (θ + θ′ log σ)·φ."""

    base: Smoothings
    theta: Float[Array, " 2J"]

    def at(self, sigma: Any) -> Model:
        here, change = jnp.split(self.theta, 2)
        return _Perturbed(self.base.at(sigma), here + jnp.log(sigma) * change)


class _Scaled(eqx.Module):
    """a·E*(x), a·s*(x), or either at every noise level."""

    base: Any
    a: Array

    def at(self, sigma: Any) -> Model:
        return _Scaled(self.base.at(sigma), self.a)

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        return self.a * evaluate(self.base, x, condition)

    def log_normalizer(self) -> Array:
        """Return log ∫ exp(−aE*) over the plane, by the trapezoidal rule."""
        axis = jnp.linspace(-REACH, REACH, 161)
        points = jnp.stack(jnp.meshgrid(axis, axis), -1).reshape(-1, 2)
        cell = 2 * jnp.log(axis[1] - axis[0])
        return jax.nn.logsumexp(-jax.vmap(self)(points)) + cell


class _IsotropicField(eqx.Module):
    """s(x) = −a x."""

    a: Array

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        return -self.a * x


class _Isotropic(eqx.Module):
    """E(x) = ½ a ‖x‖² in d = SIZE."""

    a: Array

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        return 0.5 * self.a * jnp.sum(x**2)

    def log_normalizer(self) -> Array:
        return 0.5 * SIZE * jnp.log(2 * jnp.pi / self.a)


def check_objective(
    objective: Objective, *, key: Key, refreshes: int = 1, data: Any = None, as_field: bool = False
) -> None:
    """Raise AssertionError unless the objective leads where its `target` says.

    Parameters
    ----------
    objective
        The objective, with a target that answers `optimum` and `isotropic_precision`.
    key
        Decides the draws.
    refreshes
        How often `refresh` runs at the frozen truth before gradients are taken: once for an
        objective without state, as long as an opponent or chains need to settle for one with.
        Chains (`objectives.Chains`) are also moved before each loss.
    data
        Where the draws come from instead of the mixture: anything with `sample(key, n)` in
        d ≥ 2 that the target's `optimum` understands.
    as_field
        Whether the model is a vector field, a `Score`, rather than an energy.
    """
    contract_key, mixture_key, gaussian_key = jax.random.split(key, 3)
    source = skewed_mixture() if data is None else data
    truth = objective.target.optimum(source)
    _check_contract(objective, truth, source, contract_key)
    _check_stationary(objective, truth, source, as_field, mixture_key, refreshes)
    if data is None and not isinstance(truth, Smoothings):
        gaussian = Gaussian(jnp.zeros(SIZE), jnp.eye(SIZE))
        wanted = float(objective.target.isotropic_precision())
        family: Any = _isotropic_field if as_field else _Isotropic
        _check_minimum(objective, family, wanted, gaussian, gaussian_key, refreshes)
    else:
        _check_minimum(objective, lambda a: _scaled(truth, a), 1.0, source, gaussian_key, refreshes)


def _isotropic_field(a: Array) -> Score:
    return Score(_IsotropicField(a))


def _scaled(truth: Any, a: Array) -> Any:
    return Score(_Scaled(truth.field, a)) if isinstance(truth, Score) else _Scaled(truth, a)


def _factor(model: Any) -> Array:
    return (model.field if isinstance(model, Score) else model).a


def _check_contract(objective: Objective, model: Any, source: Any, key: Key) -> None:
    data = Batch(source.sample(key, ROWS))
    nuisance, state = objective.init(model, data, key, ROWS)
    value, metrics = objective.loss(model, nuisance, state, data, key)
    again, _ = objective.loss(model, nuisance, state, data, key)
    assert jnp.shape(value) == (), f"a loss is one number; got shape {jnp.shape(value)}"
    assert bool(jnp.isfinite(value)), f"the loss of a typical batch is {value}"
    assert value == again, "two calls with one key differ: randomness must come from the key alone"
    assert isinstance(metrics, dict), f"metrics are a dict of arrays; got {type(metrics).__name__}"


def _gradients(
    objective: Objective,
    model: Model,
    wrt: Callable[[Any], Array],
    draw: Callable[[Key, int], Array],
    key: Key,
    refreshes: int,
) -> Array:
    """Return GROUPS independent mean gradients of the loss in `wrt(model)`."""
    init_key, loss_key = jax.random.split(key)

    def batches(k):
        return Batch(draw(k, ROWS * objective.batches).reshape(objective.batches, ROWS, -1))

    def settled(k):
        """Return the nuisance and the state after `refreshes` at the frozen model."""
        first, later = jax.random.split(k)
        nuisance, state = objective.init(model, Batch(draw(first, ROWS * BATCHES)), first, ROWS)
        renew = lambda s, k: (objective.refresh(model, nuisance, s, batches(k), k)[0], None)  # noqa: E731
        return nuisance, jax.lax.scan(renew, state, jax.random.split(later, refreshes))[0]

    def gradient(nuisance, state, data, k):
        learns = isinstance(nuisance, LogNormalizer)

        def loss(values, shift):
            here = eqx.tree_at(wrt, model, values)
            beside = LogNormalizer(here.log_normalizer() + shift) if learns else nuisance
            return objective.loss(here, beside, state, data, k)[0]

        slope, in_log_z = jax.grad(loss, (0, 1))(wrt(model), 0.0)
        return jnp.append(slope, in_log_z) if learns and slope.ndim else slope

    nuisance, shared = settled(init_key)

    @eqx.filter_jit
    def group(k):
        """Return the mean gradient over minibatches that meet one settled state."""

        def one(k):
            data_key, noise_key = jax.random.split(k)
            return gradient(nuisance, shared, Batch(draw(data_key, ROWS)), noise_key)

        return jax.vmap(one)(jax.random.split(k, BATCHES)).mean(0)

    @eqx.filter_jit
    def group_of_chains(k):
        """The same where chains are the state: of their own in each group, moved before each loss."""
        start, later = jax.random.split(k)
        nuisance, state = settled(start)

        def one(state, k):
            data_key, move_key, noise_key = jax.random.split(k, 3)
            fresh = batches(data_key)
            state, _ = objective.refresh(model, nuisance, state, fresh, move_key)
            last = jax.tree.map(lambda a: a[-1], fresh)
            return state, gradient(nuisance, state, last, noise_key)

        return jax.lax.scan(one, state, jax.random.split(later, MOVES))[1].mean(0)

    keys = jax.random.split(loss_key, GROUPS)
    if any(map(_is_chains, jax.tree.leaves(shared, is_leaf=_is_chains))):
        return jax.vmap(group_of_chains)(keys)
    return jax.lax.map(group, keys)


def _is_chains(node: Any) -> bool:
    return isinstance(node, Chains)


def _check_stationary(
    objective: Objective, truth: Any, data: Any, as_field: bool, key: Key, refreshes: int
) -> None:
    size = _directions(jnp.zeros(2)).size
    if isinstance(truth, Smoothings):
        model: Any = _PerturbedLevels(truth, jnp.zeros(2 * size))
        where = lambda m: m.theta  # noqa: E731
    elif isinstance(truth, Score) or as_field:
        field = truth if isinstance(truth, Score) else Score(lambda x, c=None: score(truth, x, c))
        model = Score(_PerturbedField(field, jnp.zeros(size + 1)))
        where = lambda m: m.field.theta  # noqa: E731
    else:
        model = _Perturbed(truth, jnp.zeros(size))
        where = lambda m: m.theta  # noqa: E731
    gradients = _gradients(objective, model, where, lambda k, n: data.sample(k, n), key, refreshes)
    # A loss without variance at its optimum leaves nothing but rounding.
    assert_mean(gradients, 0.0, "gradient of the loss at the declared optimum", allowance=ROUNDING)


def _check_minimum(
    objective: Objective,
    family: Callable[[Array], Any],
    wanted: float,
    data: Any,
    key: Key,
    refreshes: int,
) -> None:
    a, error = _minimum(objective, family, wanted, data, key, refreshes)
    allowed = critical_value(GROUPS) * error + 1e-4 * abs(wanted)
    assert abs(a - wanted) <= allowed, (
        f"the minimum within the family of one factor a is at a = {a:.5g}, but the declared target has "
        f"a = {wanted:.5g} (allowed {allowed:.2g})"
    )


def _minimum(
    objective: Objective,
    family: Callable[[Array], Any],
    wanted: float,
    data: Any,
    key: Key,
    refreshes: int,
) -> tuple[float, float]:
    """Return the a of the minimum, looked for from far below `wanted`, and its standard error."""

    @eqx.filter_jit
    def gradients(a):
        return _gradients(objective, family(a), _factor, lambda k, n: data.sample(k, n), key, refreshes)

    def slope(a: float) -> np.ndarray:
        return np.asarray(gradients(jnp.asarray(a, jnp.float32)), np.float64)

    # The same keys at every a make the mean loss one smooth function of a.
    a, step = 0.3 * wanted, 0.05 * abs(wanted)
    curvature = np.zeros(GROUPS)
    for _ in range(12):
        curvature = (slope(a + step) - slope(a - step)) / (2 * step)
        if not curvature.mean():  # flat: the assertion on curvature below says so
            break
        change = slope(a).mean() / curvature.mean()
        a -= float(np.clip(change, -abs(wanted), abs(wanted)))
        if abs(change) < 1e-5 * abs(wanted):
            break
    noise = curvature.std(ddof=1) / np.sqrt(GROUPS)
    positive = curvature.mean() > critical_value(GROUPS) * noise
    assert positive, f"the loss is not convex where Newton's method ended, a = {a:.4g}"
    return a, float(slope(a).std(ddof=1) / np.sqrt(GROUPS) / curvature.mean())
