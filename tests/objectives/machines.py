"""What a small Bernoulli machine does, by listing its states: transitions, and gradients without chance."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from energax.energies import all_bits
from energax.objectives import Batch


def states(model):
    """All visible states, as events."""
    return all_bits(model.visible_bias.size).reshape(-1, *model.event_shape)


def bernoulli(logits, bits):
    """The probability of a vector of independent bits."""
    return jnp.prod(jnp.where(bits == 1, jax.nn.sigmoid(logits), jax.nn.sigmoid(-logits)))


def transitions(model):
    """K(x, x′) of one sweep of block Gibbs, shape (2ⁿ, 2ⁿ): Σ_h p(h | x) p(x′ | h)."""
    x, h = states(model), all_bits(model.hidden_bias.size)
    up = jax.vmap(lambda x: jax.vmap(lambda h: bernoulli(model.hidden_logits(x), h))(h))(x)
    down = jax.vmap(lambda h: jax.vmap(lambda x: bernoulli(model.visible_logits(h), x))(x))(h)
    return up @ down


def rows_of(model, x):
    """The index of each row of bits among the states."""
    flat = x.reshape(len(x), -1)
    return (flat @ 2.0 ** jnp.arange(flat.shape[1])[::-1]).astype(int)


def contrastive_gradient(model, x, steps):
    """The mean gradient of CD-k from the rows x: its expectation over the chains, by enumeration."""
    K = jnp.linalg.matrix_power(transitions(model), steps)
    ends = K[rows_of(model, x)].mean(0)

    def loss(m):
        return jax.vmap(m)(x).mean() - ends @ jax.vmap(m)(states(m))

    return ravel_pytree(eqx.filter_grad(loss)(model))[0]


def gradient(objective, model, x, key, state=None):
    """The gradient of an objective's loss in all parameters, as one vector."""
    return ravel_pytree(eqx.filter_grad(lambda m: objective.loss(m, None, state, Batch(x), key)[0])(model))[0]
