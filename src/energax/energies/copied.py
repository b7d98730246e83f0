r"""Restricted Boltzmann machines with tied copies of a layer: how a deep machine is pretrained.

With v copies of the visible and k of the hidden layer, all with the same W, b and c,

    E(x¹…xᵛ, h¹…hᵏ) = −Σ_i b·xⁱ − Σ_j c·hʲ − Σ_ij (xⁱ)ᵀ W hʲ,

which is an ordinary machine whose weights are W repeated v × k times: a hidden unit gets v times
the input, a visible one k times.

Salakhutdinov & Hinton (2009), "Deep Boltzmann machines", §3.1. In a deep machine a layer between
two others is driven by both. In a stack of RBMs, each must account for it alone. So the machines
below and above it are trained with the input to this layer doubled,

    p₁(h | x, x) ∝ exp(h·(c₁ + 2W₁ᵀx)),        p₂(h | h², h²) ∝ exp(h·(b₂ + 2W₂h²)),

and their normalised geometric mean, exp(h·(½(c₁ + b₂) + W₁ᵀx + W₂h²)), is the conditional of the deep
machine with the weights W₁ and W₂ as they are. What x and the top layer get is not doubled: each
has one neighbour.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check_integer
from energax.energies.base import Normalised
from energax.energies.rbm import BernoulliRBM
from energax.typing import Array, Condition, Float, Key, Scalar

__all__ = ["CopiedRBM"]


class CopiedRBM(Normalised):
    """A `BernoulliRBM` with tied copies of its layers; what is trained is the one it was made from.

    An event is x repeated: shape (visible, *event) if there are several copies, else the machine's.

    Parameters
    ----------
    rbm
        The machine of one copy each.
    visible, hidden
        How many copies of the visible and of the hidden layer.
    """

    rbm: BernoulliRBM
    visible: int = eqx.field(static=True)
    hidden: int = eqx.field(static=True)

    def __init__(self, rbm: BernoulliRBM, visible: int = 1, hidden: int = 1):
        self.rbm = rbm
        self.visible = check_integer("CopiedRBM", "visible", visible, at_least=1)
        self.hidden = check_integer("CopiedRBM", "hidden", hidden, at_least=1)

    @classmethod
    def in_stack(cls, rbm: BernoulliRBM, layer: int, layers: int) -> CopiedRBM:
        """Return the machine as it is pretrained below hidden layer `layer` of 1 … `layers`.

        Two visible copies unless its hidden layer is the top one, two hidden copies unless its
        visible layer is the data.
        """
        check_integer("CopiedRBM.in_stack", "layer", layer, at_least=1)
        check_integer("CopiedRBM.in_stack", "layers", layers, at_least=layer)
        return cls(rbm, visible=2 if layer < layers else 1, hidden=2 if layer > 1 else 1)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one event, all visible copies."""
        return self.rbm.event_shape if self.visible == 1 else (self.visible, *self.rbm.event_shape)

    @property
    def expanded(self) -> BernoulliRBM:
        """The same law as an ordinary machine, the parameters repeated."""
        return BernoulliRBM.from_parameters(
            jnp.tile(self.rbm.weights, (self.visible, self.hidden)),
            jnp.tile(self.rbm.visible_bias, self.visible),
            jnp.tile(self.rbm.hidden_bias, self.hidden),
            event_shape=self.event_shape,
        )

    def event(self, x: Float[Array, "*event"]) -> Array:
        """Return x repeated, one copy per visible layer."""
        return x if self.visible == 1 else jnp.stack([x] * self.visible)

    def hidden_means(self, x: Float[Array, "*event"]) -> Float[Array, " m"]:
        """E[h | x, …, x] of one hidden copy: the data of the next machine in the stack."""
        return jax.nn.sigmoid(self.expanded.hidden_logits(self.event(x))[: self.rbm.hidden_bias.size])

    def __call__(self, x: Array, condition: Condition | None = None) -> Scalar:
        """Return the free energy of the visible copies."""
        return self.expanded(x)

    def sweep(self, x: Array, key: Key) -> Array:
        """Return x after the hidden copies given it, and it given them."""
        return self.expanded.sweep(x, key)

    def start(self, x: Array, key: Key) -> Array:
        """Return the bits nearest to x, a state for a chain to start from."""
        return self.expanded.start(x, key)

    def tempered(self, temperature: float | Scalar) -> CopiedRBM:
        """Return the machine with the joint energy divided by T; T may be traced."""
        return CopiedRBM(self.rbm.tempered(temperature), self.visible, self.hidden)

    def log_normalizer(self) -> Scalar:
        """Return log Z, by enumeration of the smaller layer with its copies."""
        return self.expanded.log_normalizer()

    def sample(self, key: Key, n: int) -> Array:
        """Return n independent exact draws of all visible copies."""
        return self.expanded.sample(key, n)
