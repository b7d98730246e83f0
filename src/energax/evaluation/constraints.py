r"""Critics held to a set by projection after each step: a box for the weights, or layers of unit norm.

    clipping    |w| ≤ c for every weight and offset
    spectral    ‖A‖ ≤ 1 for the linear map A of every layer, offsets being left alone

Both bind `eqx.nn.Linear` and `energies.layers.Conv`, found by structure. What else is learned, a Swish's β
say, is no weight and stays free: in a small box φ(a) = a σ(βa) would be nearly a/2, and the critic affine.

A of a convolution is the map of images of the event's sides, whose norm is up to k/s times that of the k × k
kernel, stride s, read as a matrix; and at least that of A on smaller images, which are corners of large ones
filled up with zeros. Power iteration nears a norm from below, each step going on where the last one stopped.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.checks import check
from energax.energies.layers import Conv
from energax.typing import Array, Scalar

__all__ = ["check_layers", "clipped", "directions", "within_unit_norm"]

TURNS = 2  # of the power iteration after each step
SMALL = 1e-6  # beside a length


def check_layers(owner: str, net: Any, event_shape: tuple[int, ...]) -> None:
    """Refuse a critic that a constraint would leave unbound."""
    layers = _layers(net)
    others = [node for node in jax.tree.leaves(net, is_leaf=_is_layer) if not _is_layer(node)]
    loose = [w.shape for w in others if w.ndim > 1]
    allowed = "made of eqx.nn.Linear and energies.layers.Conv, which are what a constraint binds"
    check(layers, owner, "critic", allowed, "one with neither")
    check(not loose, owner, "critic", allowed, f"weights elsewhere, of shape {loose[:1]}")
    images = len(event_shape) == 3 or not any(isinstance(layer, Conv) for layer in layers)
    check(images, owner, "critic", "without convolutions unless events are (H, W, C)", event_shape)


def clipped(net: Any, most: Scalar) -> Any:
    """Return the critic with weights and offsets of its layers within ±most."""
    boxed = [jax.tree.map(lambda w: jnp.clip(w, -most, most), layer) for layer in _layers(net)]
    return _with_layers(net, boxed)


def directions(net: Any, event_shape: tuple[int, ...]) -> list[Array]:
    """Return where the power iteration of each layer starts: at random, so orthogonal to nothing."""
    layers = _layers(net)
    keys = jax.random.split(jax.random.key(0), len(layers))
    return [jax.random.normal(k, _shape_in(a, event_shape)) for k, a in zip(keys, layers, strict=True)]


def within_unit_norm(net: Any, directions: list[Array]) -> tuple[Any, list[Array]]:
    """Return the critic with layers divided by their norm where it is above 1, and the norms' directions."""
    layers, turned = [], []
    for layer, v in zip(_layers(net), directions, strict=True):
        v, norm = _largest(layer, v)
        layers.append(eqx.tree_at(lambda a: a.weight, layer, layer.weight / jnp.maximum(1.0, norm)))
        turned.append(v)
    return _with_layers(net, layers), turned


def _is_layer(node: Any) -> bool:
    return isinstance(node, Conv) or (isinstance(node, eqx.nn.Linear) and node.weight.ndim == 2)


def _layers(net: Any) -> list[Any]:
    return [node for node in jax.tree.leaves(net, is_leaf=_is_layer) if _is_layer(node)]


def _with_layers(net: Any, layers: list[Any]) -> Any:
    left = iter(layers)
    return jax.tree.map(lambda node: next(left) if _is_layer(node) else node, net, is_leaf=_is_layer)


def _shape_in(layer: Any, event_shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(layer, Conv):
        return (*event_shape[:2], layer.weight.shape[2])
    return layer.weight.shape[1:]


def _mapped(layer: Any, v: Array) -> Array:
    """Return A v: the layer without its offsets."""
    if isinstance(layer, Conv):
        return eqx.tree_at(lambda a: a.bias, layer, None, is_leaf=lambda b: b is None)(v)
    return layer.weight @ v


def _largest(layer: Any, v: Array) -> tuple[Array, Scalar]:
    """Return the direction v after TURNS of v ← AᵀA v/‖AᵀA v‖, and ‖A v‖."""
    transposed = jax.linear_transpose(lambda v: _mapped(layer, v), v)
    v = v / jnp.linalg.norm(v)
    for _ in range(TURNS):
        (w,) = transposed(_mapped(layer, v))
        size = jnp.linalg.norm(w)
        # A layer of zeros, as many last layers start, must not leave a direction of zeros behind.
        v = jnp.where(size > SMALL, w / jnp.maximum(size, SMALL), v)
    return v, jnp.linalg.norm(_mapped(layer, v))
