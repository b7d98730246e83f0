r"""Deep Boltzmann machines: layers of bits, each tied to its neighbours.

An event is (x, h¹, …, hᴸ), the layers s⁰ = x, sˡ = hˡ:

    E(x, h¹, …, hᴸ) = −Σ_l b_l·sˡ − Σ_l (sˡ⁻¹)ᵀ W_l sˡ
    p(s_i^l = 1 | the other layers) = σ((b_l + W_lᵀ sˡ⁻¹ + W_{l+1} sˡ⁺¹)_i)

The even layers are independent given the odd ones, and the odd given the even. So a sweep is two
half-updates, and log Z needs the states of one half only: the other is summed out unit by unit,

    log Z = log Σ_{even} exp(Σ_{l even} b_l·sˡ + Σ_{l odd} Σ_i softplus((b_l + W_lᵀ sˡ⁻¹ + W_{l+1} sˡ⁺¹)_i)).

E is linear in each layer: with means μ in place of h it is the mean energy under independent bits.
Hence the mean-field bound,

    log p(x) ≥ −E(x, μ¹, …, μᴸ) + Σ H(μ) − log Z,          H(μ) = −μ log μ − (1 − μ) log(1 − μ),

whose best μ solves μˡ = σ(b_l + W_lᵀ μˡ⁻¹ + W_{l+1} μˡ⁺¹). Taking the odd layers and the even ones
in turn, each exactly, never lowers it.

The even layers, end to end, are the visible units of a restricted machine whose hidden units are the odd ones
(`bipartite`): the same law, with the odd layers summed out.

Source: Salakhutdinov & Hinton (2009), "Deep Boltzmann machines".
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check, check_event_shape, check_integer
from energax.energies.base import Normalised
from energax.energies.copied import CopiedRBM
from energax.energies.enumeration import check_enumerable, draw_states, log_weights
from energax.energies.rbm import BernoulliRBM
from energax.energies.units import draw_bits, flat, log_odds, nearest_bits
from energax.typing import Array, ArrayLike, Condition, Event, Events, Float, Key, Scalar

__all__ = ["DeepBoltzmannMachine"]


class DeepBoltzmannMachine(Normalised):
    """E(x, h¹, …) = −Σ_l b_l·sˡ − Σ_l (sˡ⁻¹)ᵀ W_l sˡ over the pytree of layers (x, h¹, …, hᴸ).

    log Z, exact draws and log p(x) by enumeration of the smaller half of the layers, up to 20
    units; beyond, log p(x) has a lower bound, `variational_bound`.

    Parameters
    ----------
    event_shape
        Shape of x, the visible layer; it is flattened. A whole event is the tuple (x, h¹, …, hᴸ).
    hidden
        Units of each hidden layer, from the lowest.
    scale
        Standard deviation of the initial weights; the hidden biases start at 0.
    visible_bias
        Initial bias of x, broadcast to its shape; 0 if None. `from_data` takes the data's log odds.
    key
        Key of the initial weights.
    """

    weights: tuple[Array, ...]
    biases: tuple[Array, ...]
    event_shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self,
        event_shape: tuple[int, ...],
        hidden: Sequence[int],
        *,
        scale: float = 0.01,
        visible_bias: ArrayLike | None = None,
        key: Key,
    ):
        self.event_shape = check_event_shape("DeepBoltzmannMachine", event_shape)
        several = isinstance(hidden, Sequence) and len(hidden) > 0
        check(several, "DeepBoltzmannMachine", "hidden", "a sequence of at least one layer", hidden)
        sizes = [check_integer("DeepBoltzmannMachine", "hidden", m, at_least=1) for m in hidden]
        shapes = [self.event_shape, *((m,) for m in sizes)]
        rbms = [
            BernoulliRBM(below, m, scale=scale, visible_bias=visible_bias if l == 0 else None, key=k)
            for l, (below, m, k) in enumerate(
                zip(shapes[:-1], sizes, jax.random.split(key, len(sizes)), strict=True)
            )
        ]
        self.weights, self.biases = _composed(rbms)

    @classmethod
    def from_data(
        cls, x: Any, hidden: Sequence[int], *, scale: float = 0.01, key: Key
    ) -> DeepBoltzmannMachine:
        """Return a machine whose visible biases are the log odds of the data's bits.

        Parameters
        ----------
        x
            Rows of zeros and ones (or of probabilities), shape (n, *event).
        """
        bias = log_odds("DeepBoltzmannMachine.from_data", x)
        return cls(bias.shape, hidden, scale=scale, visible_bias=bias, key=key)

    @classmethod
    def from_rbms(cls, rbms: Sequence[BernoulliRBM | CopiedRBM]) -> DeepBoltzmannMachine:
        """Return the machine composed of a stack of RBMs, trained one on top of another.

        The weights are taken as they are, the bias of a layer between two machines is the mean of
        its two: right if each was trained as `CopiedRBM.in_stack`, whose module derives it.
        Machines trained singly count the evidence for a middle layer twice.

        Parameters
        ----------
        rbms
            From the lowest; the visible units of each are the hidden units of the one below.
        """
        check(len(rbms) > 0, "DeepBoltzmannMachine.from_rbms", "rbms", "at least one", "none")
        single = [r.rbm if isinstance(r, CopiedRBM) else r for r in rbms]
        for below, above in itertools.pairwise(single):
            m, n = below.hidden_bias.size, above.visible_bias.size
            wanted = f"machines whose visible units are the {m} hidden ones of the machine below"
            check(m == n, "DeepBoltzmannMachine.from_rbms", "rbms", wanted, f"{n} visible units")
        weights, biases = _composed(single)
        machine = cls(single[0].event_shape, [b.size for b in biases[1:]], key=jax.random.key(0))
        return eqx.tree_at(lambda m: (m.weights, m.biases), machine, (weights, biases))

    def __call__(self, x: Event, condition: Condition | None = None) -> Scalar:
        """Return E(x, h¹, …); with means in place of hidden bits, the mean energy under them."""
        s = self._layers(x)
        own = sum(bias @ layer for bias, layer in zip(self.biases, s, strict=True))
        between = sum(below @ W @ above for W, below, above in zip(self.weights, s[:-1], s[1:], strict=True))
        return -jnp.asarray(own + between)

    def sweep(self, x: Event, key: Key) -> Event:
        """Return the layers after the even ones given the odd, and the odd given the even."""
        even_key, odd_key = jax.random.split(key)
        s = self._half_update(self._layers(x), 0, even_key)
        return self._event(self._half_update(s, 1, odd_key))

    def start(self, x: Event, key: Key) -> Event:
        """Return a state for a chain to start from.

        Parameters
        ----------
        x
            All layers, whose nearest bits are taken; or an array, the visible layer alone, above which
            the hidden layers are drawn upwards, each with its input from below doubled in place
            of what is not there above.
        """
        if isinstance(x, tuple | list):
            return self._event([nearest_bits(layer) for layer in self._layers(x)])
        s = [nearest_bits(self._visible(x))]
        for l, k in enumerate(jax.random.split(key, len(self.weights)), 1):
            s.append(draw_bits(self._upwards(s[-1], l), k))
        return self._event(s)

    def tempered(self, temperature: float | Scalar) -> DeepBoltzmannMachine:
        """Return the machine with the energy E/T; T may be traced."""
        return jax.tree.map(lambda a: a / temperature, self)

    def bipartite(self) -> BernoulliRBM:
        """Return the restricted machine of the even layers, the odd ones its hidden units; of one log Z."""
        sizes = [b.size for b in self.biases]
        place = [sum(sizes[l % 2 : l : 2]) for l in range(len(sizes))]
        weights = jnp.zeros((sum(sizes[::2]), sum(sizes[1::2])))
        for l, W in enumerate(self.weights):  # between the layers l and l + 1
            even, odd, block = (l, l + 1, W) if l % 2 == 0 else (l + 1, l, W.T)
            weights = jax.lax.dynamic_update_slice(weights, block, (place[even], place[odd]))
        return BernoulliRBM.from_parameters(
            weights, jnp.concatenate(self.biases[::2]), jnp.concatenate(self.biases[1::2])
        )

    def even_layers(self, event: Event) -> Array:
        """Return the event of `bipartite`: the layers x, h², h⁴, … end to end."""
        return jnp.concatenate(self._layers(event)[::2])

    def log_normalizer(self) -> Scalar:
        """Return log Z, by enumeration of the smaller half of the layers."""
        return jax.nn.logsumexp(self._log_weights()[1])

    def sample(self, key: Key, n: int) -> Events:
        """Return n independent exact draws of all layers, by enumeration of the smaller half."""
        half, weights = self._log_weights()
        state_key, other_key = jax.random.split(key)

        def one(bits, k):
            return self._event(self._half_update(self._filled(bits, half), 1 - half[0] % 2, k))

        return jax.vmap(one)(draw_states(state_key, weights, n), jax.random.split(other_key, n))

    def log_prob_visible(self, x: Float[Array, "*event"]) -> Scalar:
        """Return log p(x), all hidden layers summed out, by enumeration."""
        return jax.nn.logsumexp(self._log_weights(self._visible(x))[1]) - self.log_normalizer()

    def mean_field(self, x: Float[Array, "*event"], *, iterations: int = 30) -> tuple[Array, ...]:
        """Return (μ¹, …, μᴸ), the means of the best factorised posterior of the hidden layers.

        Parameters
        ----------
        x
            One visible layer.
        iterations
            Rounds over all layers after a pass upwards with doubled inputs, which is where they start.
        """
        return tuple(jax.nn.sigmoid(a) for a in self._posterior_logits(self._visible(x), iterations))

    def variational_bound(
        self, x: Float[Array, "*event"], log_z: float | Scalar, *, iterations: int = 30
    ) -> Scalar:
        """Return −E(x, μ) + H(μ) − log Z ≤ log p(x), μ from `mean_field`.

        The means are constants to a derivative: where they have converged they contribute none.

        Parameters
        ----------
        x
            One visible layer.
        log_z
            log Z, or an estimate of it.
        """
        logits = jax.lax.stop_gradient(self._posterior_logits(self._visible(x), iterations))
        means = [jax.nn.sigmoid(a) for a in logits]
        # H(σ(a)) = softplus(a) − a σ(a), finite where μ log μ is 0 · ∞.
        entropy = sum(jnp.sum(jax.nn.softplus(a) - a * mu) for a, mu in zip(logits, means, strict=True))
        return entropy - self((x, *means)) - log_z

    def _posterior_logits(self, x: Float[Array, " n"], iterations: int) -> list[Array]:
        count = check_integer("DeepBoltzmannMachine", "iterations", iterations, at_least=0)
        logits = []
        below = x
        for l in range(1, len(self.biases)):
            logits.append(self._upwards(below, l))
            below = jax.nn.sigmoid(logits[-1])

        def round_over_layers(_, logits):
            for parity in (1, 0):
                s = [x, *(jax.nn.sigmoid(a) for a in logits)]
                logits = [self._input(s, l) if l % 2 == parity else a for l, a in enumerate(logits, 1)]
            return logits

        return jax.lax.fori_loop(0, count, round_over_layers, logits)

    def _input(self, s: Sequence[Any], l: int) -> Array:
        """Return the log odds of the units of layer l given its neighbours."""
        total = self.biases[l]
        if l > 0:
            total = total + s[l - 1] @ self.weights[l - 1]
        if l < len(self.weights):
            total = total + self.weights[l] @ s[l + 1]
        return total

    def _upwards(self, below: Array, l: int) -> Array:
        """Return the log odds of layer l given the one below alone, doubled unless l is the top."""
        return self.biases[l] + (2 if l < len(self.weights) else 1) * (below @ self.weights[l - 1])

    def _half_update(self, s: Sequence[Array], parity: int, key: Key) -> list[Array]:
        """Return the layers with those of one parity drawn given the others."""
        keys = jax.random.split(key, len(s))
        return [draw_bits(self._input(s, l), keys[l]) if l % 2 == parity else a for l, a in enumerate(s)]

    def _log_weights(self, x: Array | None = None) -> tuple[list[int], Float[Array, " states"]]:
        """The free layers of the smaller half, and −E of all their states, the others summed out.

        With x given, the visible layer is held at it and is neither enumerated nor summed.
        """
        free = range(0 if x is None else 1, len(self.biases))
        units = lambda half: sum(self.biases[l].size for l in half)  # noqa: E731
        halves = [[l for l in free if l % 2 == parity] for parity in (0, 1)]
        half = min(halves, key=units)
        parity = halves.index(half)
        what = f"the smaller half of its layers ({units(halves[0])} even, {units(halves[1])} odd units)"
        check_enumerable("DeepBoltzmannMachine", what, units(half))

        def log_weight(bits):
            s = self._filled(bits, half)
            if x is not None:
                s[0] = x
            total = jnp.zeros(())
            for l, bias in enumerate(self.biases):
                if l % 2 == parity:
                    total = total + bias @ s[l]
                elif l == 0 and x is not None:
                    total = total + x @ self._input(s, 0)
                else:
                    total = total + jnp.sum(jax.nn.softplus(self._input(s, l)))
            return total

        return half, log_weights(log_weight, units(half))

    def _filled(self, bits: Array, half: list[int]) -> list[Any]:
        """Return all layers, those of one half filled from a row of bits, the others empty."""
        s: list[Any] = [None] * len(self.biases)
        for l in half:
            size = self.biases[l].size
            s[l], bits = bits[:size], bits[size:]
        return s

    def _layers(self, event: Event) -> list[Array]:
        """Return the layers as vectors, refusing an event of other layers."""
        L = len(self.weights)
        fits = isinstance(event, tuple | list) and len(event) == L + 1
        got = f"{len(event)} layers" if isinstance(event, tuple | list) else type(event).__name__
        check(fits, "DeepBoltzmannMachine", "x", f"a tuple of layers (x, h¹, …), {L + 1} of them", got)
        above = [
            flat("DeepBoltzmannMachine", f"hidden layer {l}", a, self.biases[l].shape)
            for l, a in enumerate(event[1:], 1)
        ]
        return [self._visible(event[0]), *above]

    def _event(self, layers: Sequence[Array]) -> tuple[Array, ...]:
        return (layers[0].reshape(self.event_shape), *layers[1:])

    def _visible(self, x: Float[Array, "*event"]) -> Float[Array, " n"]:
        return flat("DeepBoltzmannMachine", "x", x, self.event_shape)


def _composed(rbms: Sequence[BernoulliRBM]) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return the weights of a stack, and its biases: a layer between two machines takes their mean."""
    middle = [(r.hidden_bias + s.visible_bias) / 2 for r, s in itertools.pairwise(rbms)]
    biases = (rbms[0].visible_bias, *middle, rbms[-1].hidden_bias)
    return tuple(r.weights for r in rbms), biases
