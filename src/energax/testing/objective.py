r"""Holds an objective to the target it declares.

    stationary   On draws of an asymmetric Gaussian mixture in d = 2, take the model that the
                 target says is optimal and perturb it along smooth functions,
                 E(x) + Σ_j θ_j φ_j(x). The mean gradient in θ at θ = 0 must vanish. A symmetric
                 target could not see a sign; one dimension could not see a trace divided by d.
    minimum      On draws of N(0, I) in d = 4 within E = ½a‖x‖², Newton's method from far away
                 must land on the a that the target says, with positive curvature.

Neither calls `fit`: what is tested is where the objective leads, not how fast one descends.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.derivatives import Score, evaluate
from energax.energies import Gaussian, GaussianMixture
from energax.objectives import Batch, Objective
from energax.testing.statistics import assert_mean, critical_value
from energax.typing import Array, Condition, Event, Float, Key, Model

__all__ = ["check_objective", "skewed_mixture"]

ROWS = 128  # of a batch; also the number of levels of a ladder that takes one per row
GROUPS = 128  # independent values in each comparison
BATCHES = 32  # minibatches averaged into one value


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


class _Isotropic(eqx.Module):
    """E(x) = ½ a ‖x‖²."""

    a: Array

    def __call__(self, x: Event, condition: Condition | None = None) -> Array:
        return 0.5 * self.a * jnp.sum(x**2)


def check_objective(objective: Objective, *, key: Key, refreshes: int = 1) -> None:
    """Raise AssertionError unless the objective leads where its `target` says.

    Parameters
    ----------
    objective
        The objective, with a target that answers `optimum` and `isotropic_precision`.
    key
        Decides the draws.
    refreshes
        How often `refresh` runs at the frozen truth before gradients are taken: once for an
        objective without state, as long as an opponent needs to settle for one with.
    """
    contract_key, mixture_key, gaussian_key = jax.random.split(key, 3)
    _check_contract(objective, contract_key)
    _check_stationary(objective, mixture_key, refreshes)
    _check_minimum(objective, gaussian_key, refreshes)


def _check_contract(objective: Objective, key: Key) -> None:
    model, data = skewed_mixture(), Batch(skewed_mixture().sample(key, ROWS))
    nuisance, state = objective.init(model, data, key)
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
    init_key, refresh_key, loss_key = jax.random.split(key, 3)
    nuisance, state = objective.init(model, Batch(draw(init_key, ROWS * BATCHES)), init_key)

    def refresh(state, k):
        batches = Batch(draw(k, ROWS * objective.batches).reshape(objective.batches, ROWS, -1))
        return objective.refresh(model, nuisance, state, batches, k)[0], None

    state, _ = jax.lax.scan(refresh, state, jax.random.split(refresh_key, refreshes))

    def loss(values, k):
        data_key, noise_key = jax.random.split(k)
        moved = eqx.tree_at(wrt, model, values)
        return objective.loss(moved, nuisance, state, Batch(draw(data_key, ROWS)), noise_key)[0]

    @eqx.filter_jit
    def group(k):
        gradient = lambda k: jax.grad(loss)(wrt(model), k)  # noqa: E731
        return jax.vmap(gradient)(jax.random.split(k, BATCHES)).mean(0)

    return jax.lax.map(group, jax.random.split(loss_key, GROUPS))


def _check_stationary(objective: Objective, key: Key, refreshes: int) -> None:
    data = skewed_mixture()
    truth = objective.target.optimum(data)
    size = _directions(jnp.zeros(2)).size
    if isinstance(truth, Score):
        model: Any = Score(_PerturbedField(truth, jnp.zeros(size + 1)))
        where = lambda m: m.field.theta  # noqa: E731
    else:
        model = _Perturbed(truth, jnp.zeros(size))
        where = lambda m: m.theta  # noqa: E731
    gradients = _gradients(objective, model, where, lambda k, n: data.sample(k, n), key, refreshes)
    assert_mean(gradients, 0.0, "gradient of the loss at the declared optimum")


def _check_minimum(objective: Objective, key: Key, refreshes: int) -> None:
    d = 4
    data = Gaussian(jnp.zeros(d), jnp.eye(d))
    wanted = float(objective.target.isotropic_precision())

    @eqx.filter_jit
    def gradients(a):
        return _gradients(
            objective, _Isotropic(a), lambda m: m.a, lambda k, n: data.sample(k, n), key, refreshes
        )

    def slope(a: float) -> np.ndarray:
        return np.asarray(gradients(jnp.asarray(a, jnp.float32)), np.float64)

    # The same keys at every a make the mean loss one smooth function of a.
    a, step = 0.3 * wanted, 0.05 * abs(wanted)
    curvature = np.zeros(GROUPS)
    for _ in range(12):
        curvature = (slope(a + step) - slope(a - step)) / (2 * step)
        change = slope(a).mean() / curvature.mean()
        a -= float(np.clip(change, -abs(wanted), abs(wanted)))
        if abs(change) < 1e-5 * abs(wanted):
            break
    noise = curvature.std(ddof=1) / np.sqrt(GROUPS)
    positive = curvature.mean() > critical_value(GROUPS) * noise
    assert positive, f"the loss is not convex where Newton's method ended, a = {a:.4g}"
    error = slope(a).std(ddof=1) / np.sqrt(GROUPS) / curvature.mean()
    allowed = critical_value(GROUPS) * error + 1e-4 * abs(wanted)
    assert abs(a - wanted) <= allowed, (
        f"the minimum within ½a‖x‖² in d = 4 is at a = {a:.5g}, but the declared target has "
        f"a = {wanted:.5g} (allowed {allowed:.2g})"
    )
