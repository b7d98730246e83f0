"""The pair behind both rows of the Boltzmann machine: persistent CD against scikit-learn's `BernoulliRBM`.

MNIST, binarised at ½, 784 visible and 256 hidden units, minibatches of 128 and as many chains. An
update of both moves every chain by one sweep and takes the same gradient; ours descends by Adam,
scikit-learn's by a plain step. From one update to the next scikit-learn keeps the hidden bits,
drawn under the old weights; ours keeps the visible ones, and draws the hidden bits under the new
weights: six matrix products against scikit-learn's five. An epoch is 469 updates.

To show that both take the same gradient, scikit-learn's chains are made to end where ours did.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit
from sklearn.neural_network import BernoulliRBM

import energax as ex
from benchmarks.harness import Pair, close
from energax.config import FitConfig
from energax.objectives import Batch, PersistentContrastiveDivergence
from energax.samplers import BlockGibbs
from energax.training.loop import Loop  # the moving parts of `fit`, without its files and signals

__all__ = ["BATCH", "HIDDEN", "rbm_pair"]

VISIBLE, HIDDEN, BATCH = 784, 256, 128


class Scripted:
    """A generator whose uniform numbers turn every bit into the one wanted, then whatever."""

    def __init__(self, bits: np.ndarray):
        self.numbers = iter((1.0 - bits, np.zeros((BATCH, HIDDEN))))

    def uniform(self, size: tuple[int, ...]) -> np.ndarray:
        return next(self.numbers).reshape(size)


def rbm_pair(peer_of: Callable[[np.ndarray, int], Callable[[], Any]], *, units: int) -> Pair:
    """Return `units` updates a call.

    Parameters
    ----------
    peer_of
        (rows of bits in float32, units) ↦ what does that many updates of scikit-learn's machine.
    """
    data = np.asarray(ex.data.load("mnist").train)
    bits = (data.reshape(len(data), VISIBLE) > 0.5 * data.max()).astype(np.float32)
    machine = ex.energies.BernoulliRBM((VISIBLE,), HIDDEN, key=jax.random.key(0))
    objective = PersistentContrastiveDivergence(BlockGibbs(), 1, chains=BATCH)
    config = FitConfig(steps=100_000, batch_size=BATCH, log_every=units, ema=0.0)
    ours = Loop(machine, objective, Batch(bits), None, None, config, None, jax.random.key(1))

    def verify() -> dict[str, float]:
        """Compare the law of the visible bits, and the gradient with the chains where ours ended."""
        theirs = BernoulliRBM(HIDDEN, learning_rate=1.0, batch_size=BATCH, random_state=0)
        theirs.components_ = np.array(machine.weights, np.float64).T.copy()
        theirs.intercept_visible_ = np.array(machine.visible_bias, np.float64)
        theirs.intercept_hidden_ = np.array(machine.hidden_bias, np.float64)
        theirs.h_samples_ = np.zeros((BATCH, HIDDEN))
        theirs.n_features_in_ = VISIBLE
        before = theirs.components_.copy(), theirs.intercept_visible_.copy(), theirs.intercept_hidden_.copy()

        hidden = (np.random.default_rng(0).random((BATCH, HIDDEN)) < 0.5).astype(np.float32)
        chance = jax.nn.sigmoid(jax.vmap(machine.visible_logits)(jnp.asarray(hidden)))
        chance_ = expit(hidden @ theirs.components_ + theirs.intercept_visible_)
        compared = close("visible units", chance, chance_, within=1e-5)

        batch = Batch(jnp.asarray(bits[:BATCH]))
        stacked = jax.tree.map(lambda a: a[None], batch)
        state, _ = objective.refresh(machine, None, ours.state.state, stacked, jax.random.key(2))
        slope = eqx.filter_grad(lambda m: objective.loss(m, None, state, batch, jax.random.key(3))[0])(
            machine
        )
        theirs.random_state_ = Scripted(np.asarray(state.value.ends.x))
        theirs.partial_fit(bits[:BATCH])
        after = theirs.components_, theirs.intercept_visible_, theirs.intercept_hidden_
        found = slope.weights.T, slope.visible_bias, slope.hidden_bias
        for name, g, old, new in zip(("weights", "visible", "hidden"), found, before, after, strict=True):
            compared |= close(f"gradient of {name}", g, old - new, within=1e-4)
        return compared

    def run_ours() -> None:
        ours.chunk(ours.done + units)
        ours.done += units

    product = 2 * BATCH * VISIBLE * HIDDEN
    return Pair(run_ours, peer_of(bits, units), units, verify, flops=(6 * product, 5 * product))
