"""Self-normalised fits of densities whose log Z is exact, and what it must spread by; and of a network."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from energax.energies import MLP, BernoulliRBM, Gaussian, GaussianMixture, WithGaussianBase
from energax.energies.base import Normalised, OfAnother
from energax.energies.enumeration import all_bits
from energax.evaluation import quadrature_log_normalizer
from energax.objectives import NoiseContrastiveEstimation
from energax.objectives.base import LogNormalizer
from energax.papers.nce_densities import FITTED, Modes, noise_law, truth
from energax.papers.nce_estimates import at_rest, estimates, informations
from energax.training import fit
from energax.typing import Array, Condition, Event, Float, Key, Scalar

__all__ = [
    "BARE", "FIT_ROWS", "LAW", "LEARNED", "MODELS", "RATIO", "SHIFTED", "WAYS", "Shifted", "measured",
    "network", "noises", "points", "spread", "started", "truths",
]  # fmt: skip

MODELS = ("gaussian", "mixture", "rbm")
RATIO = 1.0  # ν
LEARNED, SHIFTED, BARE = "log Z learned", "self-normalised, with a constant", "self-normalised, without"
WAYS = (LEARNED, SHIFTED, BARE)
LAW, WIDE = "the data's law", "s = 2"
VISIBLE, HIDDEN = 8, 2
OFF = 1.0  # nats from the truth at which the constant starts
REACH, CELLS = 9.0, 121  # of the mixture's grid
RATE = 2e-3
ITERATIONS = {LEARNED: 25, SHIFTED: 25, BARE: 150}  # of Newton's method: a compromise is far from the truth
FIT_ROWS = 10_000  # of the network


class Shifted(OfAnother):
    """E(x) + b: an energy with a constant that is learned.

    Parameters
    ----------
    energy
        E.
    constant
        b, in nats; log Z of the sum is that of E less b.
    """

    energy: Normalised
    constant: Scalar

    def __init__(self, energy: Normalised, constant: float | Scalar = 0.0):
        self.energy = energy
        self.constant = jnp.asarray(constant, jnp.float32)

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x) + b."""
        return self.energy(x, condition) + self.constant


def truths() -> dict[str, Any]:
    """Return the densities that are estimated."""
    rng = np.random.default_rng(7)
    weights = 2.0 * rng.choice([-1.0, 1.0], (VISIBLE, HIDDEN))
    # Offsets with which each unit is on in about half of the states; then the visible ones are moved.
    middle = [-0.5 * weights.sum(axis) for axis in (1, 0)]
    visible = middle[0] + 0.5 * rng.standard_normal(VISIBLE)
    machine = BernoulliRBM.from_parameters(weights, visible, middle[1])
    return {name: truth(name) for name in MODELS[:2]} | {"rbm": machine}


def noises(model: Any) -> dict[str, Any]:
    """Return the noises that a density is told from, by name; those of one model are of one class.

    One class, one program: independent bits are a machine without couplings, and the Gaussian that is
    fitted to a mixture is a mixture of it and itself.
    """
    if isinstance(model, BernoulliRBM):
        x, weights = points(model)
        share = weights @ x
        uncoupled = jnp.zeros_like(model.weights), jnp.log(share) - jnp.log1p(-share), jnp.zeros(HIDDEN)
        return {LAW: model, "fitted bits": BernoulliRBM.from_parameters(*uncoupled)}
    found: dict[str, Any] = {LAW: noise_law(model, 1.0, 0.0), WIDE: noise_law(model, 2.0, 0.0)}
    if isinstance(model, Modes):
        mean, covariance = model.moments()
        found[FITTED] = GaussianMixture([0.5, 0.5], [mean, mean], [covariance, covariance])
    return found


def points(model: Any) -> tuple[Float[Array, "m d"], Float[Array, " m"]]:
    """Return points and weights for averages over a density, as `nce_self_normalised` says."""
    if isinstance(model, BernoulliRBM):
        x = all_bits(VISIBLE)
        return x, jnp.exp(jax.vmap(model.log_prob)(x))
    if isinstance(model, Modes):
        along = jnp.linspace(-REACH, REACH, CELLS)
        x = jnp.stack(jnp.meshgrid(along, along), -1).reshape(-1, 2)
        weights = jnp.exp(jax.vmap(model.log_prob)(x))
        return x, weights / weights.sum()
    d = len(model.precision)
    axes = jnp.sqrt(d) * jnp.linalg.cholesky(jnp.linalg.inv(model.precision)).T
    return jnp.concatenate([axes, -axes]), jnp.full(2 * d, 0.5 / d)


def spread(model: Any, noise: Any, ratio: float, draws: int, key: Key) -> float:
    """Return what N Var log Ẑ tends to, of an energy with a constant.

    Parameters
    ----------
    model
        The truth, with exact draws and `log_prob`; the constant is not among its parameters.
    noise
        q.
    ratio
        ν.
    draws
        Of p and q each.
    key
        Decides them.
    """
    (J,), mean, _ = (
        np.asarray(a, np.float64)
        for a in informations(model, noise, jnp.asarray([ratio], jnp.float32), draws, key)
    )
    m = np.append(mean, -1.0)
    return float(m @ np.linalg.solve(J, m) - (1 + 1 / ratio))


def started(way: str, model: Any) -> tuple[Any, Any]:
    """Return (model, nuisance) that a descent starts from."""
    if way == LEARNED:
        return model, LogNormalizer(model.log_normalizer())
    return (Shifted(model, model.log_normalizer() + OFF) if way == SHIFTED else model), None


@eqx.filter_jit
def _judged(start: tuple[Any, Any], model: Any, found: Array) -> tuple[Array, Array]:
    """Return log Ẑ = log ∫ e^{−Ê − ĉ} and KL(p ‖ p_θ̂) of each estimate."""
    unravel = ravel_pytree(start)[1]
    x, weights = points(model)
    log_p = jax.vmap(model.log_prob)(x)

    def one(v):
        energy, nuisance = unravel(v)
        shift = (
            energy.constant if isinstance(energy, Shifted) else 0.0 if nuisance is None else nuisance.value
        )
        bare = energy.energy if isinstance(energy, Shifted) else energy
        log_z = bare.log_normalizer()
        return log_z - shift, weights @ (log_p + jax.vmap(bare)(x) + log_z)

    return jax.lax.map(one, found)


def measured(model: Any, noise: Any, way: str, rows: int, replicates: int, key: Key) -> dict[str, Any]:
    """Return log Ẑ and KL of each estimate, and which are at rest."""
    objective = NoiseContrastiveEstimation(noise, RATIO, "learned" if way == LEARNED else "fixed")
    start = started(way, model)
    found, slopes = estimates(
        objective, model, start, rows, jax.random.split(key, replicates), ITERATIONS[way]
    )
    log_z, divergence = (np.asarray(a, np.float64) for a in _judged(start, model, found))
    return {"log Z": log_z, "KL": divergence, "at rest": at_rest(slopes, RATIO)}


def network(steps: int, seed: int) -> dict[str, dict[str, float]]:
    """Return log Ẑ and KL of a network trained both ways, so many updates each."""
    model: Any = truth("mixture")
    data_key, net_key, key = jax.random.split(jax.random.fold_in(jax.random.key(2), seed), 3)
    x = model.sample(data_key, FIT_ROWS)
    mean, covariance = model.moments()
    scale = jnp.sqrt(jnp.diagonal(covariance))
    start = WithGaussianBase(MLP((2,), width=64, depth=2, head="linear", key=net_key), mean, scale)
    at, weights = points(model)
    found = {}
    for way, held in ((LEARNED, "learned"), (SHIFTED, "fixed")):
        objective = NoiseContrastiveEstimation(Gaussian(mean, covariance), RATIO, held)
        ended = fit(
            start, objective, x, key=key, steps=steps, batch_size=256, learning_rate=RATE, progress=False
        )
        log_z = quadrature_log_normalizer(ended.energy, (2,), center=mean, scale=scale).log_z
        shift = float(ended.density.log_z) if way == LEARNED else 0.0
        energies, log_p = (np.asarray(a, np.float64) for a in _on(ended.energy, model, at))
        found[way] = {
            "log Z": log_z - shift,
            "KL": float(np.asarray(weights, np.float64) @ (log_p + energies + log_z)),
        }
    return found


@eqx.filter_jit
def _on(energy: Any, model: Any, x: Array) -> tuple[Array, Array]:
    return jax.vmap(energy)(x), jax.vmap(model.log_prob)(x)
