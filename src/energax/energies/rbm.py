r"""Restricted Boltzmann machines: two layers of units, no edges within a layer.

Bernoulli, x ∈ {0,1}ⁿ and h ∈ {0,1}ᵐ:

    joint           E(x, h) = −b·x − c·h − xᵀWh
    free energy     E(x) = −log Σ_h exp(−E(x, h)) = −b·x − Σ_j softplus((c + Wᵀx)_j)
    conditionals    p(h_j = 1 | x) = σ((c + Wᵀx)_j),      p(x_i = 1 | h) = σ((b + Wh)_i)

Gaussian–Bernoulli, x ∈ ℝⁿ and h ∈ {−1,1}ᵐ, in the form of Grathwohl et al. (2020), §7.1:

    joint           E(x, h) = ½‖x‖² − ½xᵀBh − b·x − c·h
    free energy     E(x) = ½‖x‖² − b·x − Σ_j log 2cosh((½Bᵀx + c)_j)
    score           b − x + ½B tanh(½Bᵀx + c)                     (the paper's lacks the ½ before B)
    conditionals    p(h_j = 1 | x) = σ((Bᵀx + 2c)_j),     x | h ~ N(½Bh + b, I)
    log Z           (n/2) log 2π + log Σ_h exp(½‖½Bh + b‖² + c·h)

`tempered(T)` is the machine with the joint energy E(x, h)/T: its free energy is not E(x)/T. For a
Bernoulli machine all parameters are divided by T; of a Gaussian one the variance of x | h is T
as well.

Sources: Smolensky (1986); Hinton (2012), "A practical guide to training restricted Boltzmann
machines", for the initial values; Grathwohl et al. (2020), "Learning the Stein discrepancy …".
"""

from __future__ import annotations

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_array, check_event_shape, check_integer, check_number
from energax.energies.base import Normalised
from energax.energies.enumeration import check_enumerable, draw_states, log_weights
from energax.energies.units import draw_bits, draw_spins, flat, log_odds, nearest_bits
from energax.typing import Array, ArrayLike, Condition, Float, Key, Scalar

__all__ = ["BernoulliRBM", "GaussianBernoulliRBM"]


class BernoulliRBM(Normalised):
    """A restricted Boltzmann machine of bits: E(x) = −b·x − Σ_j softplus((c + Wᵀx)_j).

    log Z, log p(x) and exact draws by enumeration of the smaller layer, up to 20 units.

    Parameters
    ----------
    event_shape
        Shape of one event x of zeros and ones; it is flattened.
    hidden
        Hidden units m.
    scale
        Standard deviation of the initial weights W; c starts at 0.
    visible_bias
        Initial b, broadcast to the event's shape; 0 if None. `from_data` takes the data's log odds.
    key
        Key of the initial weights.
    """

    weights: Float[Array, "n m"]
    visible_bias: Float[Array, " n"]
    hidden_bias: Float[Array, " m"]
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        hidden: int,
        *,
        scale: float = 0.01,
        visible_bias: ArrayLike | None = None,
        key: Key,
    ):
        self.event_shape = check_event_shape("BernoulliRBM", event_shape)
        start = _initial("BernoulliRBM", self.event_shape, hidden, scale, visible_bias, key)
        self.weights, self.visible_bias, self.hidden_bias = start

    @classmethod
    def from_data(cls, x: Any, hidden: int, *, scale: float = 0.01, key: Key) -> BernoulliRBM:
        """Return a machine whose visible biases are the log odds of the data's bits.

        Hinton (2012), §8: log(p/(1 − p)), p the share of rows in which the bit is on, here
        with one row of each kind added, so that a bit that never changes stays finite.

        Parameters
        ----------
        x
            Rows of zeros and ones (or of probabilities), shape (n, *event).
        """
        bias = log_odds("BernoulliRBM.from_data", x)
        return cls(bias.shape, hidden, scale=scale, visible_bias=bias, key=key)

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        visible_bias: ArrayLike,
        hidden_bias: ArrayLike,
        *,
        event_shape: tuple[int, ...] | None = None,
    ) -> BernoulliRBM:
        """Return the machine with these W of shape (n, m), b (n,) and c (m,).

        Parameters
        ----------
        event_shape
            Shape of one event; (n,) if None.
        """
        return _with_parameters(cls, weights, visible_bias, hidden_bias, event_shape)

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return the free energy E(x), the hidden units summed out."""
        v = self._flat(x)
        return -self.visible_bias @ v - jnp.sum(jax.nn.softplus(self.hidden_bias + v @ self.weights))

    def joint(self, x: Float[Array, "*event"], h: Float[Array, " m"]) -> Scalar:
        """Return E(x, h)."""
        v = self._flat(x)
        h = flat("BernoulliRBM", "h", h, self.hidden_bias.shape)
        return -self.visible_bias @ v - self.hidden_bias @ h - v @ self.weights @ h

    def hidden_logits(self, x: Float[Array, "*event"]) -> Float[Array, " m"]:
        """Return c + Wᵀx, the log odds of each hidden unit given x."""
        return self.hidden_bias + self._flat(x) @ self.weights

    def visible_logits(self, h: Float[Array, " m"]) -> Float[Array, "*event"]:
        """Return b + Wh, the log odds of each visible unit given h."""
        h = flat("BernoulliRBM", "h", h, self.hidden_bias.shape)
        return (self.visible_bias + self.weights @ h).reshape(self.event_shape)

    def sample_hidden(self, x: Float[Array, "*event"], key: Key) -> Float[Array, " m"]:
        """Return one draw of h | x."""
        return draw_bits(self.hidden_logits(x), key)

    def sample_visible(self, h: Float[Array, " m"], key: Key) -> Float[Array, "*event"]:
        """Return one draw of x | h."""
        return draw_bits(self.visible_logits(h), key)

    def sweep(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return x after h ~ p(h | x), x ~ p(x | h): block Gibbs, which keeps p(x)."""
        hidden_key, visible_key = jax.random.split(key)
        return self.sample_visible(self.sample_hidden(x, hidden_key), visible_key)

    def start(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return the bits nearest to x, a state for a chain to start from."""
        return nearest_bits(self._flat(x)).reshape(self.event_shape)

    def tempered(self, temperature: float | Scalar) -> BernoulliRBM:
        """Return the machine with the joint energy E(x, h)/T; T may be traced."""
        return jax.tree.map(lambda a: a / temperature, self)

    def log_normalizer(self) -> Scalar:
        """Return log Z, by enumeration of the smaller layer."""
        return jax.nn.logsumexp(self._log_weights())

    def sample(self, key: Key, n: int) -> Array:
        """Return n independent exact draws, by enumeration of the smaller layer."""
        state_key, visible_key = jax.random.split(key)
        states = draw_states(state_key, self._log_weights(), n)
        if self._visible_is_smaller:
            return states.reshape(n, *self.event_shape)
        return jax.vmap(self.sample_visible)(states, jax.random.split(visible_key, n))

    @property
    def _visible_is_smaller(self) -> bool:
        return self.visible_bias.size <= self.hidden_bias.size

    def _log_weights(self) -> Float[Array, " states"]:
        """−E of every state of the smaller layer, the other summed out."""
        n, m = self.weights.shape
        check_enumerable("BernoulliRBM", f"the smaller of its layers ({n} visible, {m} hidden)", min(n, m))
        if self._visible_is_smaller:
            return log_weights(lambda v: -self(v.reshape(self.event_shape)), n)
        free = lambda h: self.hidden_bias @ h + jnp.sum(jax.nn.softplus(self.visible_bias + self.weights @ h))  # noqa: E731
        return log_weights(free, m)

    def _flat(self, x: Float[Array, "*event"]) -> Float[Array, " n"]:
        return flat("BernoulliRBM", "x", x, self.event_shape)


class GaussianBernoulliRBM(Normalised):
    """Real x and hidden spins ±1: E(x) = ½‖x‖² − b·x − Σ_j log 2cosh((½Bᵀx + c)_j).

    Grathwohl et al. (2020), §7.1: a mixture of 2ᵐ Gaussians of unit variance. log Z, log p(x) and
    exact draws by enumeration of the hidden units, up to 20.

    Parameters
    ----------
    event_shape
        Shape of one event x; it is flattened.
    hidden
        Hidden units m.
    scale
        Standard deviation of the initial weights B; c starts at 0.
    visible_bias
        Initial b, broadcast to the event's shape; 0 if None. `from_data` takes the data's mean.
    key
        Key of the initial weights.
    """

    weights: Float[Array, "n m"]
    visible_bias: Float[Array, " n"]
    hidden_bias: Float[Array, " m"]
    # Of x | h: set by `tempered` alone. None stands for 1, so that no fit trains it.
    variance: Scalar | None
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        hidden: int,
        *,
        scale: float = 0.01,
        visible_bias: ArrayLike | None = None,
        key: Key,
    ):
        self.event_shape = check_event_shape("GaussianBernoulliRBM", event_shape)
        start = _initial("GaussianBernoulliRBM", self.event_shape, hidden, scale, visible_bias, key)
        self.weights, self.visible_bias, self.hidden_bias = start
        self.variance = None

    @classmethod
    def from_data(cls, x: Any, hidden: int, *, scale: float = 0.01, key: Key) -> GaussianBernoulliRBM:
        """Return a machine whose visible biases are the data's mean , as Grathwohl et al. start theirs.

        Parameters
        ----------
        x
            Rows of data, shape (n, *event), in units in which the noise has variance one.
        """
        rows = check_array("GaussianBernoulliRBM.from_data", "x", x)
        return cls(rows.shape[1:], hidden, scale=scale, visible_bias=rows.mean(0), key=key)

    @classmethod
    def from_parameters(
        cls,
        weights: ArrayLike,
        visible_bias: ArrayLike,
        hidden_bias: ArrayLike,
        *,
        event_shape: tuple[int, ...] | None = None,
    ) -> GaussianBernoulliRBM:
        """Return the machine with these B of shape (n, m), b (n,) and c (m,).

        Parameters
        ----------
        event_shape
            Shape of one event; (n,) if None.
        """
        return _with_parameters(cls, weights, visible_bias, hidden_bias, event_shape)

    def __call__(self, x: Float[Array, "*event"], condition: Condition | None = None) -> Scalar:
        """Return the free energy E(x), the hidden units summed out."""
        v = self._flat(x)
        logits = self.hidden_logits(x)
        # log 2cosh(a) = softplus(2a) − a, smooth and stable at both ends.
        spins = jnp.sum(jax.nn.softplus(logits) - 0.5 * logits)
        return 0.5 * jnp.sum(v**2) / self._variance - self.visible_bias @ v - spins

    def joint(self, x: Float[Array, "*event"], h: Float[Array, " m"]) -> Scalar:
        """Return E(x, h)."""
        v = self._flat(x)
        h = flat("GaussianBernoulliRBM", "h", h, self.hidden_bias.shape)
        linear = self.visible_bias @ v + self.hidden_bias @ h + 0.5 * v @ self.weights @ h
        return 0.5 * jnp.sum(v**2) / self._variance - linear

    def hidden_logits(self, x: Float[Array, "*event"]) -> Float[Array, " m"]:
        """Return Bᵀx + 2c, the log odds of h = +1 for each hidden unit given x."""
        return self._flat(x) @ self.weights + 2 * self.hidden_bias

    def visible_mean(self, h: Float[Array, " m"]) -> Float[Array, "*event"]:
        """Return ½Bh + b, the mean of x given h."""
        h = flat("GaussianBernoulliRBM", "h", h, self.hidden_bias.shape)
        return (self._variance * (0.5 * self.weights @ h + self.visible_bias)).reshape(self.event_shape)

    def sample_hidden(self, x: Float[Array, "*event"], key: Key) -> Float[Array, " m"]:
        """Return one draw of h | x, spins ±1."""
        return draw_spins(self.hidden_logits(x), key)

    def sample_visible(self, h: Float[Array, " m"], key: Key) -> Float[Array, "*event"]:
        """Return one draw of x | h."""
        noise = jax.random.normal(key, self.event_shape)
        return self.visible_mean(h) + jnp.sqrt(self._variance) * noise

    def sweep(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return x after h ~ p(h | x), x ~ p(x | h): block Gibbs, which keeps p(x)."""
        hidden_key, visible_key = jax.random.split(key)
        return self.sample_visible(self.sample_hidden(x, hidden_key), visible_key)

    def start(self, x: Float[Array, "*event"], key: Key) -> Float[Array, "*event"]:
        """Return x: every real event is a state."""
        return self._flat(x).reshape(self.event_shape)

    def tempered(self, temperature: float | Scalar) -> GaussianBernoulliRBM:
        """Return the machine with the joint energy E(x, h)/T; T may be traced."""
        cold = jax.tree.map(lambda a: a / temperature, self)
        variance = jnp.asarray(self._variance * temperature, jnp.float32)
        return eqx.tree_at(lambda m: m.variance, cold, variance, is_leaf=lambda a: a is None)

    def log_normalizer(self) -> Scalar:
        """Return log Z, by enumeration of the hidden units."""
        volume = 0.5 * self.visible_bias.size * jnp.log(2 * jnp.pi * self._variance)
        return volume + jax.nn.logsumexp(self._log_weights())

    def sample(self, key: Key, n: int) -> Array:
        """Return n independent exact draws: a hidden state by enumeration, then its Gaussian."""
        state_key, visible_key = jax.random.split(key)
        states = 2 * draw_states(state_key, self._log_weights(), n) - 1
        return jax.vmap(self.sample_visible)(states, jax.random.split(visible_key, n))

    @property
    def _variance(self) -> float | Scalar:
        return 1.0 if self.variance is None else self.variance

    def _log_weights(self) -> Float[Array, " states"]:
        """½‖½Bh + b‖² + c·h of every hidden state."""
        m = self.hidden_bias.size
        check_enumerable("GaussianBernoulliRBM", "its hidden layer", m)

        def log_weight(bits):
            h = 2 * bits - 1
            mean = 0.5 * self.weights @ h + self.visible_bias
            return 0.5 * self._variance * jnp.sum(mean**2) + self.hidden_bias @ h

        return log_weights(log_weight, m)

    def _flat(self, x: Float[Array, "*event"]) -> Float[Array, " n"]:
        return flat("GaussianBernoulliRBM", "x", x, self.event_shape)


def _initial(
    owner: str,
    shape: tuple[int, ...],
    hidden: int,
    scale: float,
    visible_bias: ArrayLike | None,
    key: Key,
) -> tuple[Array, Array, Array]:
    """Return W ~ N(0, scale²), b, and c = 0."""
    n = math.prod(shape)
    m = check_integer(owner, "hidden", hidden, at_least=1)
    weights = check_number(owner, "scale", scale, at_least=0) * jax.random.normal(key, (n, m))
    bias = jnp.asarray(0.0 if visible_bias is None else visible_bias, jnp.float32)
    fits = bias.shape in ((), shape)
    check(fits, owner, "visible_bias", f"a number or of shape {shape}", f"shape {bias.shape}")
    return weights, jnp.broadcast_to(bias, shape).ravel(), jnp.zeros(m)


def _with_parameters(
    cls: type[Any],
    weights: ArrayLike,
    visible_bias: ArrayLike,
    hidden_bias: ArrayLike,
    event_shape: tuple[int, ...] | None,
) -> Any:
    """Return a machine with the parameters given."""
    owner = f"{cls.__name__}.from_parameters"
    W, b, c = (jnp.asarray(a, jnp.float32) for a in (weights, visible_bias, hidden_bias))
    check(W.ndim == 2, owner, "weights", "of shape (visible, hidden)", f"shape {W.shape}")
    n, m = W.shape
    shape = (n,) if event_shape is None else check_event_shape(owner, event_shape)
    check(math.prod(shape) == n, owner, "event_shape", f"of {n} units, the rows of weights", shape)
    check(b.shape == (n,), owner, "visible_bias", f"of shape ({n},)", f"shape {b.shape}")
    check(c.shape == (m,), owner, "hidden_bias", f"of shape ({m},)", f"shape {c.shape}")
    machine = cls(shape, m, scale=0.0, key=jax.random.key(0))
    return eqx.tree_at(lambda r: (r.weights, r.visible_bias, r.hidden_bias), machine, (W, b, c))
