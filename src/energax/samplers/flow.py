r"""The probability flow: samples and likelihoods of a noise-conditional model by one ODE.

The laws p_σ = p * N(0, σ²I) are those of a point that moves without noise,

    dx/dσ = −σ s_σ(x),      d log p_σ(x)/dσ = σ tr ∇s_σ(x)      along the path,

so that draws of p_{σ_max}, nearly Gaussian, are carried to draws of p_{σ_min}, and

    log p_{σ_min}(x) = log N(x(σ_max); μ, (σ_max² + s²)I) − ∫ σ tr ∇s_σ(x(σ)) dσ,

the integral from σ_min to σ_max along the path that starts at x. The trace is exact or
Hutchinson's, with probes held fixed along the path, which keeps the right-hand side smooth and
the result unbiased; the path does not depend on them, so that the spread of their estimates is
that of log p. The ODE is solved in log σ by Tsitouras' 5(4) method with adaptive steps.

Any process x_t = a(x_0 + σz) has the same flow, at y = x_t/a: see `samplers.diffusion`. Its
densities differ by −d log a.

Sources: Song & Kingma (2021), "How to train your energy-based models", §4.4; Song et al. (2021),
"Score-based generative modeling through stochastic differential equations", the probability flow;
Grathwohl et al. (2019), FFJORD, for the fixed probes; Kidger (2022), diffrax.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from energax.checks import check, check_integer, check_number
from energax.derivatives import bind, hutchinson_trace, score, score_and_trace
from energax.samplers.base import Sampler, check_conditional
from energax.samplers.langevin import denoising_jump
from energax.typing import Array, ArrayLike, Condition, Event, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["ProbabilityFlow", "probability_flow_log_prob", "probability_flow_sample"]

RTOL = ATOL = 1e-5  # as Song et al.; single precision carries no more
MAX_STEPS = 4096


class ProbabilityFlow(Sampler):
    """`probability_flow_sample` as a sampler: one level of a ladder a step, then x + σ_L² s(x, σ_L).

    For whoever draws with a sampler and watches its chains. Only the start is random. The law
    does not depend on the levels in between: between two of them the solver takes the steps it needs.

    Parameters
    ----------
    sigmas
        σ_1 > … > σ_L, L ≥ 2, among those that the model knows.
    denoise
        Whether to end with the posterior mean E[x_0 | x]; if not, chains keep noise σ_L.
    rtol, atol
        Error allowed in a step of the solver, relative and absolute, in the worst coordinate.
    max_steps
        The most steps the solver may take between two levels; a chain that needs more, or whose
        scores are not finite, becomes NaN.
    """

    sigmas: Float[Array, " L"]
    rtol: Array
    atol: Array
    denoise: bool = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)

    def __init__(
        self,
        sigmas: ArrayLike,
        denoise: bool = True,
        rtol: float = RTOL,
        atol: float = ATOL,
        max_steps: int = MAX_STEPS,
    ):
        owner = "ProbabilityFlow"
        table = np.atleast_1d(np.asarray(sigmas, np.float32))
        falling = table.ndim == 1 and table.size > 1 and table[-1] > 0 and bool(np.all(np.diff(table) < 0))
        wanted = "two or more positive numbers, the largest first"
        check(falling, owner, "sigmas", wanted, np.array2string(table[:4]))
        self.sigmas = jnp.asarray(table)
        self.denoise = bool(denoise)
        self.rtol, self.atol = _settings(owner, rtol, atol, max_steps)
        self.max_steps = max_steps

    @property
    def horizon(self) -> int:
        """One step between two levels, and one more to denoise."""
        return len(self.sigmas) - 1 + self.denoise

    @property
    def start_noise(self) -> float:
        """√(σ_1² + 1): the prior's scale for data of scale one."""
        return float(jnp.sqrt(self.sigmas[0] ** 2 + 1))

    @property
    def bias_order(self) -> float:
        """One: its error is of the order of the tolerance."""
        return 1.0

    def init(self, model: Model, x: Event, key: Key) -> Event:
        """Return x: a chain's state is its position."""
        check_conditional("ProbabilityFlow", model)
        return x

    def step(self, model: Model, state: Event, key: Key, i: jax.Array) -> tuple[Event, Metrics]:
        """Return the position at the next level, or the denoised one."""
        last = len(self.sigmas) - 1

        def move(x: Event) -> Event:
            here, there = self.sigmas[jnp.minimum(i, last - 1)], self.sigmas[jnp.minimum(i, last - 1) + 1]
            x, arrived = _flow(model, x, here, there, (self.rtol, self.atol), self.max_steps)
            return jax.tree.map(lambda x: jnp.where(arrived, x, jnp.nan), x)

        def jump(x: Event) -> Event:
            return denoising_jump(model.at(self.sigmas[-1]), x, self.sigmas[-1])

        return (jax.lax.cond(i < last, move, jump, state) if self.denoise else move(state)), {}


def probability_flow_sample(
    model: Model,
    starts: Events,
    *,
    sigma_min: float,
    sigma_max: float,
    condition: Condition | None = None,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = MAX_STEPS,
) -> Events:
    """Carry each row from noise σ_max to σ_min along dx/dσ = −σ s_σ(x) (Song et al., the probability flow).

    Nothing is random: the draws are those of `starts`. Rows keep noise σ_min, which
    `denoising_jump(model.at(sigma_min), x, sigma_min)` takes off.

    Parameters
    ----------
    model
        A noise-conditional model: `model.at(sigma)` is the energy or `Score` of p * N(0, σ²I).
    starts
        Draws of p_{σ_max}, shape (n, *event): N(mean, `process.prior_scale(s)`²), nearly, with
        `process = VarianceExploding(sigma_min, sigma_max)`. All rows are solved at once.
    sigma_min, sigma_max
        0 < σ_min < σ_max, among the levels that the model knows.
    condition
        One condition per row, leading axis n.
    rtol, atol
        Error allowed in a step, relative and absolute, in the worst coordinate.
    max_steps
        The most steps the solver may take.

    Returns
    -------
    Events
        Of the shape of `starts`, with the law p_{σ_min}.

    Raises
    ------
    InputError
        If the solver does not reach σ_min with some row.
    """
    owner = "probability_flow_sample"
    low, high = _levels(owner, model, sigma_min, sigma_max)
    settings = _settings(owner, rtol, atol, max_steps)
    starts = jax.tree.map(_floating, starts)
    x, arrived = _move(model, starts, condition, high, low, settings, max_steps)
    _check_arrived(owner, arrived, rtol, atol, max_steps)
    return x


def probability_flow_log_prob(
    model: Model,
    x: Events,
    *,
    sigma_min: float,
    sigma_max: float,
    condition: Condition | None = None,
    probes: int | None = None,
    key: Key | None = None,
    per_probe: bool = False,
    prior_mean: float | ArrayLike = 0.0,
    prior_scale: float = 1.0,
    rtol: float = RTOL,
    atol: float = ATOL,
    max_steps: int = MAX_STEPS,
) -> Float[Array, " n"] | Float[Array, "n k"]:
    """Return log p_{σ_min}(x) of each row, in nats (Song et al.), in the variable σ.

    It is the density of data to which noise σ_min was added. It is normalised whatever the
    model: the flow of any score carries the prior to a density, which for a `Score` that is no
    gradient, or no solution of the heat equation, is the law of `probability_flow_sample`.

    Parameters
    ----------
    model
        A noise-conditional model: `model.at(sigma)` is the energy or `Score` of p * N(0, σ²I).
    x
        Shape (n, *event). All rows are solved at once.
    sigma_min, sigma_max
        0 < σ_min < σ_max, among the levels that the model knows.
    condition
        One condition per row, leading axis n.
    probes
        None: the exact trace, d derivatives a step. k: Hutchinson's estimate from k Rademacher
        probes per row, unbiased, whatever d.
    key
        Decides the probes, and is required with them; row j does not depend on how many there are.
    per_probe
        Whether to return the estimate of each probe, shape (n, k), instead of their mean: their
        standard deviation over √k is the standard error of the mean.
    prior_mean
        μ, a number or one event: the mean of the data.
    prior_scale
        s, the standard deviation of the data per coordinate; the prior is N(μ, (σ_max² + s²)I).
        The defaults suit standardised data. A mean that is off by δ moves log p by about δ/σ_max
        on a typical row, an s² off by δ² by about d (δ/σ_max)².
    rtol, atol
        Error allowed in a step, relative and absolute, in the worst coordinate and in log p.
    max_steps
        The most steps the solver may take.

    Raises
    ------
    InputError
        If the solver does not reach σ_max with some row.
    """
    owner = "probability_flow_log_prob"
    low, high = _levels(owner, model, sigma_min, sigma_max)
    settings = _settings(owner, rtol, atol, max_steps)
    check_number(owner, "prior_scale", prior_scale, at_least=0)
    if probes is not None:
        check_integer(owner, "probes", probes, at_least=1)
        check(key is not None, owner, "key", "given with probes", None)
    check(probes is not None or not per_probe, owner, "per_probe", "False without probes", per_probe)
    rows = jax.tree.map(_floating, x)
    mean = _prior_mean(owner, prior_mean, rows)
    keys = None
    if probes is not None and key is not None:
        n = jax.tree.leaves(rows)[0].shape[0]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(n))
    prior = (mean, jnp.sqrt(jnp.asarray(prior_scale**2 + high**2)))
    log_prob, arrived = _log_prob(model, rows, condition, keys, probes, low, high, prior, settings, max_steps)
    _check_arrived(owner, arrived, rtol, atol, max_steps)
    return log_prob if per_probe else jnp.mean(log_prob, 1)


def _levels(owner: str, model: Model, sigma_min: float, sigma_max: float) -> tuple[Scalar, Scalar]:
    check_conditional(owner, model)
    low = check_number(owner, "sigma_min", sigma_min, above=0)
    high = check_number(owner, "sigma_max", sigma_max, above=low)
    return jnp.asarray(low), jnp.asarray(high)


def _settings(owner: str, rtol: float, atol: float, max_steps: int) -> tuple[Scalar, Scalar]:
    check_integer(owner, "max_steps", max_steps, at_least=1)
    # Arrays: other tolerances compile nothing anew.
    tolerances = check_number(owner, "rtol", rtol, above=0), check_number(owner, "atol", atol, above=0)
    return jnp.asarray(tolerances[0]), jnp.asarray(tolerances[1])


def _floating(rows: ArrayLike) -> Array:
    rows = jnp.asarray(rows)
    return rows if jnp.issubdtype(rows.dtype, jnp.floating) else rows.astype(float)


def _prior_mean(owner: str, mean: Any, rows: Events) -> Event:
    event = jax.tree.map(lambda a: a[0], rows)
    if np.ndim(mean) == 0 and not isinstance(mean, dict):
        value = check_number(owner, "prior_mean", mean)
        return jax.tree.map(lambda a: jnp.full_like(a, value), event)
    if not isinstance(rows, jax.Array):
        same = jax.tree.structure(mean) == jax.tree.structure(event)
        check(same, owner, "prior_mean", "a number or an event like those of x", type(mean).__name__)
    mean = jax.tree.map(lambda _, m: _floating(m), event, mean)
    wanted, got = (str(jax.tree.map(jnp.shape, tree)) for tree in (event, mean))
    check(wanted == got, owner, "prior_mean", f"a number or of shape {wanted}", f"shape {got}")
    return mean


def _check_arrived(owner: str, arrived: Array, rtol: float, atol: float, max_steps: int) -> None:
    lost = np.flatnonzero(~np.asarray(arrived))
    if lost.size:
        others = f" and {lost.size - 1} more" if lost.size > 1 else ""
        allowed = f"enough for rtol={rtol:g} and atol={atol:g} (and scores finite)"
        check(False, owner, "max_steps", allowed, f"{max_steps}, not enough in row {lost[0]}{others}")


@eqx.filter_jit
def _move(model, rows, condition, start, stop, tolerances, max_steps):
    def one(x, c):
        return _flow(bind(model, c), x, start, stop, tolerances, max_steps)

    return jax.vmap(one)(rows, condition)


def _flow(model, x, start, stop, tolerances, max_steps):
    """Return where one event is carried, and whether it arrived."""

    def velocity(log_sigma, x, _):
        sigma = jnp.exp(log_sigma)
        return jax.tree.map(lambda s: -(sigma**2) * s, score(model.at(sigma), x))

    return _solve(velocity, x, start, stop, tolerances, max_steps)


@eqx.filter_jit
def _log_prob(model, rows, condition, keys, probes, low, high, prior, tolerances, max_steps):
    def one(x, c, key):
        bound = bind(model, c)
        keys_of_probes = None if key is None else jax.random.split(key, probes)

        def velocity(log_sigma, state, _):
            sigma = jnp.exp(log_sigma)
            level = bound.at(sigma)
            if key is None:
                s, trace = score_and_trace(level, state[0])
                trace = trace[None]
            else:
                # The same keys at every σ: the probes are those of the path.
                field = lambda y: score(level, y)  # noqa: E731
                s = field(state[0])
                trace = jax.vmap(lambda k: hutchinson_trace(field, state[0], key=k))(keys_of_probes)
            return jax.tree.map(lambda s: -(sigma**2) * s, s), sigma**2 * trace

        start = (x, jnp.zeros(1 if key is None else probes, jnp.result_type(*jax.tree.leaves(x))))
        (x, integral), arrived = _solve(velocity, start, low, high, tolerances, max_steps)
        return _normal_log_prob(x, *prior) - integral, arrived

    return jax.vmap(one)(rows, condition, keys)


def _normal_log_prob(x: Event, mean: Event, scale: Scalar) -> Scalar:
    def leaf(x, mean):
        z = (x - mean) / scale
        return -0.5 * jnp.sum(z**2) - x.size * (jnp.log(scale) + 0.5 * jnp.log(2 * jnp.pi))

    return sum(jax.tree.leaves(jax.tree.map(leaf, x, mean)), start=jnp.zeros(()))


def _solve(velocity, y, start, stop, tolerances, max_steps):
    import diffrax  # a second of import time

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(velocity),
        diffrax.Tsit5(),
        jnp.log(start),
        jnp.log(stop),
        None,
        y,
        stepsize_controller=diffrax.PIDController(*tolerances, norm=_worst),
        max_steps=max_steps,
        throw=False,
    )
    arrived = solution.result == diffrax.RESULTS.successful
    return jax.tree.map(lambda a: a[-1], solution.ys), arrived


def _worst(errors: Any) -> Scalar:
    # A mean over many coordinates would hide the one number log p among them.
    return jnp.max(jnp.stack([jnp.max(jnp.abs(e)) for e in jax.tree.leaves(errors)]))
