r"""A small classifier of a labelled data set: what its features and its probabilities say of samples.

    image x ∈ [low, high] → [−1, 1] → two convolutions → 64 features → p(y | x)

trained here by cross-entropy on the data set's own classes. Statistics on its features compare samples with
one another and with the data they imitate; they are none of Inception's, whose features are of ImageNet's
photographs and of little use on small grey images, and every number of them carries this classifier's name.

One training for a data set and its settings: the weights are kept in the cache folder under the SHA-256 of
both.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from energax.checks import check, check_array, check_integer, check_number
from energax.data import Dataset
from energax.data.sources import cache_folder
from energax.energies.layers import Conv, linear
from energax.files import write_whole
from energax.progress import ProgressBar
from energax.typing import Array, ArrayLike, Float, Key

__all__ = ["Classifier", "ClassifierTraining", "classifier_of"]

CHUNK = 1000
FORMAT = 1
STEPS, EPOCHS = (600, 3000), 6


@dataclass(frozen=True)
class ClassifierTraining:
    """How a classifier is trained.

    Parameters
    ----------
    features
        How many.
    channels
        Of the first convolution; the second has twice as many. 0 for rows that are no images: one hidden
        layer.
    steps
        Of Adam, whose rate falls to zero along a cosine; None for as many as see each row six times, but no
        fewer than 600 and no more than 3,000.
    batch_size, learning_rate
        Of those.
    seed
        Decides the first weights and the order of the rows.
    """

    features: int = 64
    channels: int = 16
    steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0

    def __post_init__(self):
        owner = type(self).__name__
        for name, least in {"features": 1, "channels": 0, "steps": 1, "batch_size": 1, "seed": 0}.items():
            if name != "steps" or self.steps is not None:
                check_integer(owner, name, getattr(self, name), at_least=least)
        check_number(owner, "learning_rate", self.learning_rate, above=0)

    def steps_for(self, rows: int) -> int:
        """Return the steps of a training on so many rows."""
        few, many = STEPS
        return self.steps or min(many, max(few, EPOCHS * rows // self.batch_size))


class Network(eqx.Module):
    """Features and logits of one event."""

    convolutions: tuple[Conv, ...]
    hidden: eqx.nn.Linear
    last: eqx.nn.Linear
    shape: tuple[int, ...] = eqx.field(static=True)

    def __init__(self, shape: tuple[int, ...], classes: int, how: ClassifierTraining, *, key: Key):
        keys = jax.random.split(key, 4)
        self.shape = shape
        self.convolutions = ()
        size, c = int(np.prod(shape)), how.channels
        if len(shape) == 3 and c:
            stride = 2 if min(shape[:2]) > 16 else 1
            self.convolutions = (
                Conv(shape[2], c, 5, stride=stride, key=keys[0]),
                Conv(c, 2 * c, 3, stride=2, key=keys[1]),
            )
            event = jax.ShapeDtypeStruct(shape, jnp.float32)
            size = jax.eval_shape(lambda x: _convolved(self.convolutions, x), event).size
        self.hidden = linear(size, how.features, key=keys[2])
        self.last = linear(how.features, classes, key=keys[3])

    def __call__(self, x: Array) -> tuple[Float[Array, " features"], Float[Array, " classes"]]:
        h = jax.nn.elu(self.hidden(_convolved(self.convolutions, x.reshape(self.shape))))
        return h, self.last(h)


def _convolved(convolutions: tuple[Conv, ...], x: Array) -> Array:
    for convolution in convolutions:
        x = jax.nn.elu(convolution(x))
    return x.reshape(-1)


class Classifier(NamedTuple):
    """A trained classifier.

    Parameters
    ----------
    network
        x ↦ (features, logits) on events in [−1, 1].
    data
        The data set it was trained on.
    classes
        Their labels, in the order of the probabilities.
    low, high
        The ends of the data; what is beyond is seen as at the end.
    accuracy
        On the data set's held-out rows; NaN if those have no labels.
    """

    network: Any
    data: str
    classes: np.ndarray
    low: float
    high: float
    accuracy: float

    @property
    def name(self) -> str:
        """What statistics of its features are statistics of."""
        return f"features of a classifier of {self.data}"

    def features(self, x: ArrayLike) -> Float[np.ndarray, "n features"]:
        """Return the features of rows, shape (n, features)."""
        return self._both(x)[0]

    def probabilities(self, x: ArrayLike) -> Float[np.ndarray, "n classes"]:
        """Return p(y | x) of rows, shape (n, classes)."""
        logits = self._both(x)[1].astype(np.float64)
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def places(self, x: ArrayLike) -> np.ndarray:
        """Return the place in `classes` of each row's likeliest class, shape (n,)."""
        return self._both(x)[1].argmax(axis=1)

    def _both(self, x: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
        rows = check_array("Classifier", "x", x)
        fits = int(np.prod(rows.shape[1:])) == int(np.prod(self.network.shape))
        check(fits, "Classifier", "x", f"rows of {int(np.prod(self.network.shape))} entries", rows.shape[1:])
        z = scaled(rows.reshape(len(rows), *self.network.shape), self.low, self.high)
        z = np.concatenate([z, np.repeat(z[-1:], -len(z) % CHUNK, axis=0)])  # one program for all sizes
        parts = [_seen(self.network, jnp.asarray(z[i : i + CHUNK])) for i in range(0, len(z), CHUNK)]
        h, logits = (np.concatenate([np.asarray(part[k]) for part in parts])[: len(rows)] for k in (0, 1))
        return h, logits


def classifier_of(
    dataset: Dataset,
    how: ClassifierTraining | None = None,
    *,
    folder: Path | None = None,
    progress: bool | None = False,
) -> Classifier:
    """Return a classifier of a data set's classes, trained now or read from the cache.

    Parameters
    ----------
    dataset
        Rows with class labels.
    how
        The settings.
    folder
        Where it is kept; classifiers/ in the cache if None.
    progress
        True, False, or None to show a bar on a terminal.

    Raises
    ------
    InputError
        For a data set without classes.
    """
    owner, how = "classifier_of", how or ClassifierTraining()
    how = replace(how, steps=how.steps_for(len(dataset.train)))
    labels = dataset.train_labels
    allowed = "one with class labels (digits, mnist, fashion-mnist, cifar10, …)"
    check(labels is not None, owner, "dataset", allowed, f"{dataset.name}, which has none")
    classes, place = np.unique(np.asarray(labels), return_inverse=True)
    check(
        len(classes) > 1, owner, "dataset", "one of at least two classes", f"{len(classes)} in {dataset.name}"
    )
    low, high = float(dataset.train.min()), float(dataset.train.max())
    shape = dataset.image_shape or dataset.event_shape
    start = _first(shape, len(classes), how, jax.random.key(how.seed))
    path = (folder or cache_folder() / "classifiers") / f"{_fingerprint(dataset, how)}.safetensors"
    network = _read(path, start) if path.exists() else None
    if network is None:
        rows = scaled(dataset.train.reshape(len(dataset.train), *shape), low, high)
        network = _train(start, rows, place, how, progress)
        _write(path, network)
    found = Classifier(network, dataset.name, classes, low, high, float("nan"))
    if dataset.test_labels is None:
        return found
    right = classes[found.places(dataset.test)] == dataset.test_labels
    return found._replace(accuracy=float(right.mean()))


def scaled(rows: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return rows with [low, high] at [−1, 1], and at an end what is beyond it."""
    return (2 * (np.clip(rows, low, high) - low) / (high - low or 1.0) - 1).astype(np.float32)


def _train(
    start: Any, rows: np.ndarray, place: np.ndarray, how: ClassifierTraining, progress: bool | None
) -> Any:
    net, static = eqx.partition(start, eqx.is_inexact_array)
    x, y = jnp.asarray(rows), jnp.asarray(place)
    opt, key = _adam(how).init(net), jax.random.key(how.seed + 1)
    steps = how.steps_for(len(x))
    with ProgressBar(progress, 0, steps, "classifier") as bar:
        # Step by step from the host: a compiled loop would hold convolutions (see `loops`).
        for i in range(steps):
            net, opt = _step(net, opt, static, x, y, jax.random.fold_in(key, i), how)
            if i % 100 == 99:
                bar.update(i + 1)
    return eqx.combine(net, static)


def _adam(how: ClassifierTraining) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(how.learning_rate, how.steps or 1))


@eqx.filter_jit
def _first(shape: tuple[int, ...], classes: int, how: ClassifierTraining, key: Key) -> Network:
    return Network(shape, classes, how, key=key)


@eqx.filter_jit
def _step(
    net: Any, opt: Any, static: Any, x: Array, y: Array, key: Key, how: ClassifierTraining
) -> tuple[Any, Any]:
    chosen = jax.random.randint(key, (how.batch_size,), 0, len(x))

    def misfit(net):
        _, logits = jax.vmap(eqx.combine(net, static))(x[chosen])
        return optax.softmax_cross_entropy_with_integer_labels(logits, y[chosen]).mean()

    change, opt = _adam(how).update(jax.grad(misfit)(net), opt, net)
    return eqx.apply_updates(net, change), opt


@eqx.filter_jit
def _seen(network: Any, x: Array) -> tuple[Array, Array]:
    return jax.vmap(network)(x)


def _fingerprint(dataset: Dataset, how: ClassifierTraining) -> str:
    told = {"format": FORMAT, "how": asdict(how), "shape": dataset.image_shape or dataset.event_shape}
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(dataset.train).tobytes())
    digest.update("\n".join(map(str, np.asarray(dataset.train_labels).tolist())).encode())
    return digest.hexdigest()


def _write(path: Path, network: Any) -> None:
    from safetensors.numpy import save

    leaves = jax.tree.leaves(eqx.filter(network, eqx.is_array))
    blob = save({str(i): np.array(leaf, order="C") for i, leaf in enumerate(leaves)})
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda part: part.write_bytes(blob))


def _read(path: Path, like: Any) -> Any | None:
    """Return the network in a file, or None if it is not one of this shape: then it is trained again."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    arrays, static = eqx.partition(like, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    try:
        found = load(path.read_bytes())
        values = [found[str(i)] for i in range(len(leaves))]
    except (OSError, SafetensorError, KeyError):
        return None
    if [v.shape for v in values] != [leaf.shape for leaf in leaves]:
        return None
    return eqx.combine(structure.unflatten([jnp.asarray(v) for v in values]), static)
