"""What is passed to `fit` and the tasks in error is refused in one sentence, before anything is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch, DenoisingScoreMatching, MultiscaleDenoisingScoreMatching
from energax.training.fit import _check_states

X = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
KEY = jax.random.key(0)
MODEL = ex.energies.MLP((3,), width=4, depth=1, key=KEY)
DSM = DenoisingScoreMatching(0.3)
POSTERIOR = MultiscaleDenoisingScoreMatching(weighting="posterior")
CLASSES = np.arange(50) % 4
MACHINE = ex.energies.BernoulliRBM((3,), 2, key=KEY)
BITS = (X > 0).astype(np.float32)
STRAY = np.where(np.arange(150).reshape(50, 3) == 49, np.float32(0.3), BITS)
BINARISE = ex.data.Pipeline((ex.data.Binarise(0.5),))
PCD = ex.objectives.PersistentContrastiveDivergence(ex.samplers.BlockGibbs(1))


def conditional(x, c):
    return 0.5 * jnp.sum((x - c) ** 2)


NAN = np.full((50, 3), np.nan, np.float32)
SHIFT = ex.data.Pipeline((ex.data.Reshape((3,), (3, 1)),))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: ex.fit(MODEL, DSM, X[:, :2], key=KEY),
            r"fit: x must be of shape \(n, 3\), as .*got shape \(50, 2\)",
        ),
        (
            lambda: ex.fit(MODEL, DSM, X, key=KEY, preprocessing=SHIFT),
            r"of shape \(n, 3\) behind the preprocessing.*got shape \(50, 3, 1\)",
        ),
        (
            lambda: ex.fit(MODEL, DSM, X, key=KEY, validation=X[:, :2]),
            r"fit: validation must be of shape \(n, 3\), as .*got shape \(50, 2\)",
        ),
        (
            lambda: ex.fit(MACHINE, PCD, BITS, key=KEY, validation=STRAY),
            "fit: validation must be states of the BernoulliRBM, 0 and 1; .*got entries 0.3 in row 16",
        ),
        (lambda: ex.fit(MODEL, DenoisingScoreMatching, X, key=KEY), "got the class DenoisingScoreMatching"),
        (lambda: ex.fit(DSM, MODEL, X, key=KEY), "objective must be an objective, such as .*; got MLP"),
        (lambda: ex.fit(ex.energies.MLP, DSM, X, key=KEY), "model must be an energy or a Score; got MLP"),
        (lambda: ex.fit(MODEL, DSM, X, key=0), r"key must be a key, such as jax\.random\.key\(0\); got 0"),
        (lambda: ex.fit(MODEL, DSM, X.tolist(), key=KEY), "np.asarray makes an array of a nested list"),
        (lambda: ex.fit(conditional, DSM, X, condition=NAN, key=KEY), "condition must be finite.* in row 0"),
        (
            lambda: ex.fit(conditional, DSM, X, condition=["a"] * 50, key=KEY),
            "arrays of numbers; got entries",
        ),
        (lambda: ex.fit(conditional, DSM, X, condition=X[:4], key=KEY), "one for each of 50 rows; got 4"),
        (
            lambda: ex.fit(conditional, POSTERIOR, X, condition=X, key=KEY, batch_size=10),
            "condition must be None with weighting='posterior'.*'importance' would do; got conditions",
        ),
        (lambda: ex.tasks.score(conditional, X, condition=X[:4]), "score: condition .* 50 rows; got 4"),
        (lambda: ex.tasks.score(conditional, X, condition=NAN), "score: condition must be finite"),
        (lambda: ex.tasks.score(lambda x: x[:1], X), r"one number for an event; got an array \(1,\)"),
        (
            lambda: ex.tasks.generate(conditional, 4, key=KEY),
            "event_shape must be given for a model that has none",
        ),
        (
            lambda: ex.tasks.generate(conditional, 4, key=KEY, event_shape={"a": (2,)}),
            "event_shape must be a tuple of whole numbers",
        ),
    ],
)
def test_it_is_refused(call, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        call()


def test_held_out_rows_are_held_to_the_states_that_training_rows_are():
    _check_states(MACHINE, Batch(BITS), Batch(BITS), None)
    _check_states(MACHINE, Batch(X), Batch(STRAY), None)  # of an objective of real rows
    _check_states(MACHINE, Batch(X), Batch(STRAY), BINARISE)
    real = ex.energies.GaussianBernoulliRBM((3,), 2, key=KEY)
    _check_states(real, Batch(BITS), Batch(X), None)
    spins = ex.data.Affine(0.5, 0.5)
    ising = ex.energies.IsingGraph(np.zeros((3, 3)))
    _check_states(ising, Batch(BITS), Batch(BITS), spins)
    with pytest.raises(ex.InputError, match="validation must be states of the IsingGraph, -1 and 1;"):
        _check_states(ising, Batch(BITS), Batch(STRAY), spins)


def test_rows_tell_the_shape_of_an_event():
    energy = lambda x: 0.5 * jnp.sum(x**2)  # noqa: E731
    np.testing.assert_allclose(ex.tasks.score(energy, X), 0.5 * (X**2).sum(1), rtol=1e-5)
    np.testing.assert_allclose(ex.tasks.denoise(energy, X, sigma_0=0.5), 0.75 * X, rtol=1e-5)


def test_classes_stay_whole_numbers():
    centers = jnp.array([0.0, 1.0, 2.0, 3.0])
    by_class = lambda x, c: 0.5 * jnp.sum((x - centers[c]) ** 2)  # noqa: E731
    wanted = 0.5 * ((X - np.asarray(centers)[CLASSES][:, None]) ** 2).sum(1)
    np.testing.assert_allclose(ex.tasks.score(by_class, X, condition=CLASSES), wanted, rtol=1e-5)
