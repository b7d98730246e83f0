"""Model files come back whole, refuse what is damaged, and never run code."""

import json
import os
import pickle
import struct

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.energies import NOISE_FEATURES, NoiseConditional
from energax.training import modelfile

KEY = jax.random.key(0)

MODELS = {
    "mlp": lambda: ex.energies.MLP((3,), width=4, condition_size=2, key=KEY),
    "mixer": lambda: ex.energies.PatchMixer((4, 4, 1), patch=2, width=4, depth=1, key=KEY),
    "resnet": lambda: ex.energies.ResNet((8, 8, 1), layers=6, width=2, head="linear", key=KEY),
    "based": lambda: ex.energies.WithGaussianBase(ex.energies.MLP((2,), width=4, key=KEY), 1.0, 2.0),
    "radial": lambda: ex.energies.WithRadialBase(ex.energies.MLP((2,), width=4, key=KEY), 1.0, sigma_0=0.3),
    "sum": lambda: (
        ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2)) + ex.energies.Gaussian(jnp.ones(2), jnp.eye(2))
    ),
    "mixture": lambda: ex.energies.Mixture((ex.energies.GeneralizedLogistic([1.0, 2.0]),)),
    "tempered": lambda: ex.energies.GaussianMixture([1.0], [[0.0, 1.0]], jnp.eye(2)) / 3.0,
    "noise-conditional": lambda: NoiseConditional(
        ex.Score(ex.energies.MLPField((3,), width=4, condition_size=NOISE_FEATURES, key=KEY)), 0.5, 2.0
    ),
    "field": lambda: ex.Score(ex.energies.PatchMixerField((4, 4, 1), patch=2, width=4, depth=1, key=KEY)),
    "gamma": lambda: ex.energies.Gamma([2.0], [1.0]),
    "truncated": lambda: ex.energies.TruncatedGaussian([0.5], [1.0]),
    "bernoulli-rbm": lambda: ex.energies.BernoulliRBM((2, 2), 3, key=KEY),
    "gaussian-bernoulli-rbm": lambda: ex.energies.GaussianBernoulliRBM((3,), 2, key=KEY),
    "ising": lambda: ex.energies.Ising((2, 3), horizontal=0.5, vertical=jnp.ones((1, 3))),
    "ising-graph": lambda: ex.energies.IsingGraph(jnp.ones((4, 4)) - jnp.eye(4), event_shape=(2, 2)),
    "deep": lambda: ex.energies.DeepBoltzmannMachine((2, 2), (3, 2), key=KEY),
    "copied": lambda: ex.energies.CopiedRBM(ex.energies.BernoulliRBM((3,), 2, key=KEY), 2, 1),
    "multigrid": lambda: ex.energies.Multigrid(
        [ex.energies.MLP((s, s, 1), width=4, depth=1, key=KEY) for s in (2, 4)]
    ),
    "visible": lambda: ex.energies.VisibleLayer(MODELS["deep"]()),
    "deep-tempered": lambda: MODELS["deep"]() / 2.0,
    "posterior": lambda: ex.energies.Posterior(
        MODELS["based"](), ex.energies.MLP((2,), width=4, key=KEY), 0.5
    ),
    "smoothings": lambda: ex.energies.Smoothings(ex.energies.Gaussian(jnp.zeros(2), jnp.eye(2))),
    "generator": lambda: ex.energies.Generator((3,), latent=2, width=4, key=KEY),
    "conditional-noise": lambda: NoiseConditional(
        ex.energies.MLP((3,), width=4, condition_size=NOISE_FEATURES + 2, key=KEY)
    ),
    "linear-gaussian": lambda: ex.energies.LinearGaussian(jnp.ones((2, 3))),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back_whole(name, tmp_path):
    model = MODELS[name]()
    path = tmp_path / "model.safetensors"
    ex.save(path, model, about={"steps": 3})
    back = ex.load(path)
    assert back.about == {"steps": 3}
    assert eqx.tree_equal(back.model, model)
    assert jax.tree.structure(back.model) == jax.tree.structure(model)  # static fields too


@pytest.mark.parametrize("kind", ["spline", "affine"])
def test_a_flow_comes_back_whole_and_only_with_its_own_arrays(kind, tmp_path):
    flow = ex.energies.Flow.coupling(3, layers=2, width=4, kind=kind, key=KEY)
    path = tmp_path / "flow.safetensors"
    ex.save(path, flow)
    back = ex.load(path).model
    x = jax.random.normal(KEY, (5, 3))
    np.testing.assert_array_equal(jax.vmap(back)(x), jax.vmap(flow)(x))
    np.testing.assert_array_equal(back.sample(KEY, 5), flow.sample(KEY, 5))
    for change in ({"width": 5}, {"kind": "cubic"}, {"layers": "2"}):
        ex.save(path, flow)
        rewrite(path, lambda d, change=change: d["model"]["blueprint"].update(change))
        with pytest.raises(ex.InputError, match="is damaged"):
            ex.load(path)


def test_preprocessing_comes_back(tmp_path):
    data = ex.data
    pipeline = data.Pipeline([data.Dequantise(), data.Affine(0.5, 0.25), data.Pad(2), data.HorizontalFlip()])
    ex.save(tmp_path / "m", MODELS["mlp"](), preprocessing=pipeline)
    back = ex.load(tmp_path / "m").preprocessing
    x = jax.random.uniform(KEY, (4, 4, 1))
    np.testing.assert_array_equal(back.forward(x), pipeline.forward(x))
    np.testing.assert_array_equal(back.training(x, KEY), pipeline.training(x, KEY))


def rewrite(path, change):
    """Change the JSON description inside a model file."""
    raw = path.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    description = json.loads(header["__metadata__"]["energax"])
    header["__metadata__"]["energax"] = json.dumps(change(description) or description)
    blob = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(blob)) + blob + raw[8 + size :])


@pytest.fixture
def path(tmp_path):
    ex.save(tmp_path / "m", MODELS["mlp"]())
    return tmp_path / "m"


@pytest.mark.parametrize("version", [2, 0, True, 1.0, "x", None])
def test_a_format_this_version_does_not_read_is_refused(path, version):
    rewrite(path, lambda d: d.update(format=version))
    sentence = f"must be a whole number from 1 to 1, which this version reads; got {version!r}"
    with pytest.raises(ex.InputError, match=sentence):
        ex.load(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].update({"class": "Popen"}),
        lambda d: d["model"].update({"class": "os.system"}),
        lambda d: d["model"]["fields"].update(extra=1),
        lambda d: d["model"]["fields"].pop("head"),
        lambda d: d["model"]["fields"].update(head={"array": "missing"}),
        lambda d: d.update(model={"fields": 3}),
        lambda d: d.update(about=3),
        lambda d: d.update(model=[1]),
        lambda d: d.update(model=None),
        lambda d: d.update(preprocessing=[1]),
        lambda d: d.update(preprocessing=d["model"]),
        lambda d: d.update(model=d["model"]["fields"]["layers"][0]),
        lambda d: d["model"]["fields"].update(event_shape=[9]),
        lambda d: d["model"]["fields"].update(event_shape="abc"),
        lambda d: d["model"]["fields"].update(condition_size=3),
        lambda d: d["model"]["fields"].update(condition_size="2"),
        lambda d: d["model"]["fields"].update(activation="relux"),
        lambda d: d["model"]["fields"]["layers"].pop(),
        lambda d: d["model"]["fields"].update(layers=3),
    ],
)
def test_a_description_that_does_not_fit_is_refused(path, change):
    rewrite(path, change)
    with pytest.raises(ex.InputError, match="damaged"):
        ex.load(path)


def test_damaged_and_foreign_files_are_refused(path, tmp_path):
    raw = path.read_bytes()
    for cut in (0, 5, 100, len(raw) - 3):
        path.write_bytes(raw[:cut])
        with pytest.raises(ex.InputError, match="damaged or is not an Energax model file"):
            ex.load(path)
    with pytest.raises(ex.InputError, match="path must be an existing model file"):
        ex.load(tmp_path / "none")


def test_opening_a_file_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    bomb = tmp_path / "bomb"
    bomb.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ex.InputError):
        ex.load(bomb)
    assert not (tmp_path / "ran").exists()
    pickle.loads(bomb.read_bytes())  # the mutant: a loader that unpickles
    assert (tmp_path / "ran").exists()


def test_a_users_function_cannot_be_saved_and_the_old_file_stays(path):
    before = path.read_bytes()
    with pytest.raises(ex.InputError, match="made of Energax's own classes"):
        ex.save(path, ex.Score(lambda x: x))
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["m"]


def test_every_class_is_reachable_by_its_name():
    assert {"MLP", "PatchMixer", "ResNet", "QuadraticHead", "Pipeline", "Linear"} <= set(modelfile.CLASSES)
