r"""Two chains of block Gibbs that are each what they would be alone, and meet.

Whatever ties two draws, if each has its own law then each chain has its own law, and what is
true of one chain holds of both. Two ways of tying vectors of independent bits, of probabilities
p and q:

`shared_bits`    One uniform number per coordinate, x_i = [u_i < p_i], y_i = [u_i < q_i]. Coordinates differ
                 with probability δ_i = |p_i − q_i|, the least possible for each; the vectors agree with
                 probability Π(1 − δ_i) only.

`maximal_bits`   The vectors agree with probability Σ_v min(p(v), q(v)) = 1 − TV, the most possible.
                 Draw v ~ p. With probability min(1, q(v)/p(v)) both are v. Otherwise, which has
                 probability TV, x is drawn from (p − q)₊/TV and y from (q − p)₊/TV. So

                     P(x = v) = min(p(v), q(v)) + (p(v) − q(v))₊ = p(v),        and q(v) for y.

The remainders are drawn by rejection. The usual proposal, q itself, is accepted with probability
TV, which is next to nothing just when chains are about to meet. Here the proposal comes from
the telescoping sum

    q(v) − p(v) = Σ_i q_{<i}(v) (q_i − p_i)(v_i) p_{>i}(v) = Σ_i t_i(v):

i with probability in proportion to δ_i, then v_j ~ q_j for j < i, v_i the value of which q has more,
v_j ~ p_j for j > i. Its law is in proportion to Σ_i t_i(v)₊, and v is accepted with probability

    (Σ_i t_i(v))₊ / Σ_i t_i(v)₊ ≤ 1,

which leaves (q − p)₊. It is accepted at a rate of TV/Σδ_i ≥ max δ_i/Σδ_i ≥ 1/d, however near p and q
are, so that no cap on the tries is needed, and there is none: a cap is a bias. Both remainders
share i and all uniform numbers, so that chains which do not meet stay near.

`CoupledGibbs` is block Gibbs on a pair: hidden layers by `shared_bits`, visible ones by `maximal_bits`
(with shared bits in both, machines of 784 × 64 random weights met 1.5 to 1.7 times later). Equal
chains stay equal. Run with one chain a step ahead, the pair gives expectations without bias:
`objectives.UnbiasedContrastiveDivergence`.

Sources: Jacob, O'Leary & Atchadé (2020), "Unbiased Markov chain Monte Carlo methods with
couplings"; Qiu, Zhang & Wang (2020), "Unbiased contrastive divergence algorithm for training
energy-based latent variable models". Thorisson (2000) for the maximal coupling.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from energax.checks import check
from energax.energies.units import nearest_bits
from energax.samplers.base import Sampler
from energax.typing import Array, Events, Float, Key, Metrics, Model, Scalar

__all__ = ["CoupledGibbs", "maximal_bits", "shared_bits"]


def shared_bits(
    p: Float[Array, " d"], q: Float[Array, " d"], key: Key
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Return two vectors of bits that share their uniform numbers; p and q are the log odds."""
    u = jax.random.uniform(key, p.shape)
    return _bits(u, p), _bits(u, q)


def maximal_bits(
    p: Float[Array, " d"], q: Float[Array, " d"], key: Key
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Return two vectors of independent bits that are equal as often as they can be.

    Parameters
    ----------
    p, q
        The log odds of the two.
    """
    draw_key, accept_key, residual_key = jax.random.split(key, 3)
    v = _bits(jax.random.uniform(draw_key, p.shape), p)
    log_ratio = jnp.sum(_log_prob(q, v) - _log_prob(p, v))
    log_delta = _log_differences(p, q)
    # Without a difference there is no remainder; NaN stops here, too, rather than loop for ever.
    apart = jnp.max(log_delta) > -jnp.inf
    differ = apart & (jnp.log(jax.random.uniform(accept_key)) > log_ratio)

    def going(carry):
        _, _, _, x_open, y_open = carry
        return x_open | y_open

    def another_try(carry):
        tries, x, y, x_open, y_open = carry
        site_key, bits_key, u_key = jax.random.split(jax.random.fold_in(residual_key, tries), 3)
        i = jax.random.categorical(site_key, log_delta)
        bits, u = jax.random.uniform(bits_key, p.shape), jax.random.uniform(u_key)
        new_x, x_good = _propose(p, q, log_delta, i, bits, u)
        new_y, y_good = _propose(q, p, log_delta, i, bits, u)
        x, y = jnp.where(x_open, new_x, x), jnp.where(y_open, new_y, y)
        return tries + 1, x, y, x_open & ~x_good, y_open & ~y_good

    start = jnp.zeros((), int), v, v, differ, differ
    _, x, y, _, _ = jax.lax.while_loop(going, another_try, start)
    return x, y


def _propose(
    more: Array, less: Array, log_delta: Array, i: Array, bits: Array, u: Array
) -> tuple[Array, Scalar]:
    """Return a draw in proportion to Σ t₊ of more − less, and whether it is accepted."""
    sites = jnp.arange(more.size)
    v = jnp.where(sites < i, _bits(bits, more), _bits(bits, less))
    favoured = more > less  # the value of which `more` has more is 1
    v = jnp.where(sites == i, favoured.astype(v.dtype), v)
    before, after = _log_prob(more, v), _log_prob(less, v)
    sums = jnp.cumsum(before) - before, jnp.cumsum(after[::-1])[::-1] - after
    log_t = sums[0] + log_delta + sums[1]
    t = jnp.exp(log_t - jnp.max(log_t))
    positive = jnp.sum(jnp.where((v == 1) == favoured, t, 0.0))
    negative = jnp.sum(jnp.where((v == 1) == favoured, 0.0, t))
    return v, u * positive < positive - negative


def _bits(u: Array, logits: Array) -> Array:
    return (u < jax.nn.sigmoid(logits)).astype(logits.dtype)


def _log_prob(logits: Array, v: Array) -> Array:
    """Log p_i(v_i) of each bit."""
    return jax.nn.log_sigmoid(jnp.where(v == 1, logits, -logits))


def _log_differences(p: Array, q: Array) -> Array:
    """Log |σ(p) − σ(q)|: σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)), exact in both tails."""
    high, low = jnp.maximum(p, q), jnp.minimum(p, q)
    return jax.nn.log_sigmoid(high) + jax.nn.log_sigmoid(-low) + jnp.log(-jnp.expm1(low - high))


class CoupledGibbs(Sampler):
    """Block Gibbs on a pair (x, y) of states of a `BernoulliRBM`: each alone is block Gibbs.

    Reports `met`, whether the two are equal; then they stay equal.
    """

    def init(self, model: Model, x: Events, key: Key) -> Events:
        """Return the pair of bits nearest to the pair x."""
        layered = hasattr(model, "hidden_logits") and hasattr(model, "visible_logits")
        wanted = "a BernoulliRBM, or one that answers its hidden_logits(x) and visible_logits(h)"
        check(layered, "CoupledGibbs", "model", wanted, type(model).__name__)
        pair = isinstance(x, tuple | list) and len(x) == 2
        check(pair, "CoupledGibbs", "x", "a pair (x, y)", type(x).__name__)
        return tuple(nearest_bits(a) for a in x)

    def step(self, model: Model, state: Events, key: Key, i: jax.Array) -> tuple[Events, Metrics]:
        """Return the pair after a sweep."""
        x, y = state
        hidden_key, visible_key = jax.random.split(key)
        h, g = shared_bits(model.hidden_logits(x), model.hidden_logits(y), hidden_key)
        p, q = model.visible_logits(h), model.visible_logits(g)
        new_x, new_y = maximal_bits(p.ravel(), q.ravel(), visible_key)
        met = jnp.all(new_x == new_y).astype(jnp.float32)
        return (new_x.reshape(x.shape), new_y.reshape(y.shape)), {"met": met}
