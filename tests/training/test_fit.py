"""The loop: it compiles once, resumes to the bit, averages without bias, and never hides a NaN."""

import os
import shutil
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import (
    Batch,
    DenoisingScoreMatching,
    MultiscaleDenoisingScoreMatching,
    Objective,
    ScoreMatching,
)
from energax.training import loop as loop_module
from energax.training.checkpoint import Checkpoints
from energax.training.fit import fit as fit_function
from energax.training.log import read_metrics
from energax.training.order import rows_of_steps
from energax.training.state import seen

SETTINGS = {"batch_size": 32, "log_every": 10, "checkpoint_every": 20, "progress": False}


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).standard_normal((200, 3)).astype(np.float32)


def network(width=8):
    return ex.energies.MLP((3,), width=width, depth=2, key=jax.random.key(0))


def fit(x, **changes):
    settings = {"key": jax.random.key(1), "steps": 60, **SETTINGS, **changes}
    model = settings.pop("model", None) or network()
    objective = settings.pop("objective", None) or MultiscaleDenoisingScoreMatching()
    return fit_function(model, objective, x, **settings)


def same_bits(a, b):
    a, b = (jax.tree.leaves(eqx.filter(t, eqx.is_inexact_array)) for t in (a, b))
    return all(np.array_equal(u, v) for u, v in zip(a, b, strict=True))


def test_fitting_twice_compiles_once(x):
    from tests.samplers.test_run import count_compilations

    fit(x)
    compiled = []
    with count_compilations(compiled):
        fit(x, key=jax.random.key(7), objective=MultiscaleDenoisingScoreMatching(0.1, 2.0))
    assert compiled == []


def test_same_key_same_bits_and_every_row_once_an_epoch(x):
    assert same_bits(fit(x).state.model, fit(x).state.model)
    assert not same_bits(fit(x).state.model, fit(x, key=jax.random.key(2)).state.model)
    rows = rows_of_steps(5, 0, 25, 32, 200).ravel()
    for epoch in range(4):
        assert sorted(rows[epoch * 200 : (epoch + 1) * 200]) == list(range(200))
    assert not np.array_equal(rows[:200], rows[200:400])
    np.testing.assert_array_equal(rows_of_steps(5, 7, 11, 32, 200), rows_of_steps(5, 0, 25, 32, 200)[7:11])


def test_a_stopped_and_resumed_fit_is_the_uninterrupted_one(x, tmp_path):
    whole = fit(x, checkpoints=tmp_path / "whole", log=tmp_path / "whole.jsonl")
    for stop in (20, 40):
        # A run that died after its checkpoint of step `stop`: everything later is lost.
        folder = tmp_path / f"part{stop}"
        fit(x, checkpoints=folder, log=tmp_path / f"{stop}.jsonl", keep="all")
        for saved in folder.iterdir():
            if saved.is_dir() and int(saved.name.split("_")[-1]) > stop:
                shutil.rmtree(saved)
        again = fit(x, checkpoints=folder, log=tmp_path / f"{stop}.jsonl", keep="all", resume=True)
        assert same_bits(again.state, whole.state)
        assert same_bits(again.energy, whole.energy)
        assert read_metrics(tmp_path / f"{stop}.jsonl") == read_metrics(tmp_path / "whole.jsonl")


def test_chunks_of_any_length_give_the_same_bits(x, monkeypatch):
    whole = fit(x)
    monkeypatch.setattr(loop_module, "CHUNK_SECONDS", 0.0)  # one step at a time
    assert same_bits(fit(x).state, whole.state)


def test_the_average_is_the_bias_corrected_one():
    # Constant-gradient descent: parameters move along a line, the average is known.
    class Pull(Objective):
        def loss(self, model, nuisance, state, batch, key):
            return -jnp.sum(model.theta), {}

    class Point(eqx.Module):
        theta: jax.Array

    beta, lr, steps = 0.9, 0.1, 7
    result = fit_function(
        Point(jnp.ones(1)),
        Pull(),
        np.zeros((4, 1)),
        key=jax.random.key(0),
        steps=steps,
        batch_size=4,
        learning_rate=lr,
        schedule="constant",
        ema=beta,
        progress=False,
    )
    # Adam's step on a constant gradient is the learning rate.
    path = 1 + lr * np.arange(1, steps + 1)
    weights = (1 - beta) * beta ** np.arange(steps - 1, -1, -1)
    np.testing.assert_allclose(result.last.theta[0], path[-1], rtol=1e-5)
    np.testing.assert_allclose(result.energy.theta[0], (weights @ path) / weights.sum(), rtol=1e-5)
    plain = weights @ path  # without the correction the average still holds its start
    assert abs(plain - result.energy.theta[0]) > 0.3


def test_the_learning_rate_is_warmup_then_cosine(x):
    history = fit(x, steps=40, warmup=10, learning_rate=1e-2, final_learning_rate=1e-3, log_every=1).history
    rate = np.array([r["learning_rate"] for r in history])
    t = np.arange(40)
    cosine = 1e-3 + (1e-2 - 1e-3) * 0.5 * (1 + np.cos(np.pi * (t - 10) / 30))
    np.testing.assert_allclose(rate, np.where(t < 10, 1e-2 * t / 10, cosine), rtol=1e-4, atol=1e-8)


class Bomb(DenoisingScoreMatching):
    """A loss that is NaN from the step after `fuse` on."""

    fuse: jax.Array

    def __init__(self, fuse):
        super().__init__(0.3)
        self.fuse = jnp.asarray(fuse)

    def init(self, model, data, key, rows):
        return None, jnp.zeros((), int)

    def refresh(self, model, nuisance, state, batches, key):
        return state + 1, {}

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return value * jnp.where(state > self.fuse, jnp.nan, 1.0), metrics


@pytest.mark.parametrize("compiled", [True, False])
def test_a_non_finite_loss_stops_the_fit_and_is_not_applied(x, tmp_path, monkeypatch, compiled):
    monkeypatch.setattr(loop_module, "compiles_loop", lambda *_: compiled)
    with pytest.raises(ex.DivergenceError) as caught:
        fit(x, objective=Bomb(25), checkpoints=tmp_path / "dead", log=tmp_path / "m.jsonl")
    error = caught.value
    assert (error.step, error.quantity, error.checkpoint) == (25, "loss", 20)
    assert "became nan at step 25" in str(error)
    assert str(tmp_path / "dead") in str(error)
    # What it stopped in is the state after 25 healthy updates, and what is left the last copy
    # from before the first sign, both to the bit.
    settings = {"checkpoint_every": 5, "keep": "all"}
    alive = fit(x, objective=Bomb(10**9), checkpoints=tmp_path / "alive", **settings)
    store = Checkpoints(tmp_path / "alive", alive.config)
    assert same_bits(error.stopped, store.restore(alive.state, 25))
    assert same_bits(error.fit.state, store.restore(alive.state, 20))
    store.close()


def test_checkpoints_kept_by_choice(x, tmp_path):
    def kept(folder):
        return sorted(int(p.name.split("_")[-1]) for p in folder.iterdir() if p.is_dir())

    fit(x, steps=80, checkpoints=tmp_path / "last", keep="last", keep_count=2)
    assert kept(tmp_path / "last") == [60, 80]
    fit(x, steps=80, checkpoints=tmp_path / "all", keep="all")
    assert kept(tmp_path / "all") == [0, 20, 40, 60, 80]
    log = tmp_path / "m.jsonl"
    fit(x, steps=80, checkpoints=tmp_path / "best", keep="best", keep_count=1, validation=x[:50], log=log)
    losses = {r["step"]: r["validation_loss"] for r in read_metrics(log) if "validation_loss" in r}
    assert sorted(losses) == [20, 40, 60, 80]
    assert kept(tmp_path / "best") == [min(losses, key=losses.get)]


def test_of_the_best_a_stopped_fit_also_keeps_where_it_stopped(x, tmp_path, monkeypatch):
    settings = {"steps": 80, "keep": "best", "keep_count": 1, "validation": x[:50]}
    whole = fit(x, checkpoints=tmp_path / "whole", log=tmp_path / "whole.jsonl", **settings)
    settings |= {"checkpoints": tmp_path / "part", "log": tmp_path / "part.jsonl"}
    chunk = loop_module.Loop.chunk

    def stopped(self, edge):
        if self.done < 50 <= edge:
            os.kill(os.getpid(), signal.SIGINT)
        return chunk(self, edge)

    def kept(name):
        return sorted(int(p.name.split("_")[-1]) for p in (tmp_path / name).iterdir() if p.is_dir())

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "chunk", stopped)
        assert fit(x, **settings).status == "interrupted"
    best, last = kept("part")
    losses = {r["step"]: r["validation_loss"] for r in read_metrics(tmp_path / "part.jsonl")[1::2]}
    assert best == min(losses, key=losses.get) < last == 50
    starts = []

    def watched(self, edge):
        starts.append(self.done)
        return chunk(self, edge)

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "chunk", watched)
        again = fit(x, **settings, resume=True)
    assert starts[0] == 50
    assert same_bits(again.state, whole.state)
    assert read_metrics(tmp_path / "part.jsonl") == read_metrics(tmp_path / "whole.jsonl")
    assert kept("part") == kept("whole")


def test_clipping_bounds_the_update_of_the_gradient(x):
    # Adam is scale-free, so clipping shows only through its moments: compare two steps by hand.
    plain, clipped = fit(x, steps=3), fit(x, steps=3, clip=1e-3)
    assert not same_bits(plain.state.model, clipped.state.model)
    moments = jax.tree.leaves(eqx.filter(clipped.state.opt, eqx.is_inexact_array))
    first = [m for m in moments if m.ndim > 0]
    assert max(float(jnp.abs(m).max()) for m in first) <= 1e-3


def test_preprocessing_is_applied_to_each_batch(x):
    # Standardised rows through the pipeline are the rows standardised beforehand, to the bit.
    wide = x * [10.0, 1.0, 0.1] + 5
    pipeline = ex.data.Pipeline([ex.data.Affine.standardise(wide)])
    before = np.asarray(jax.vmap(pipeline.forward)(jnp.asarray(wide, jnp.float32)))
    one, two = fit(wide, preprocessing=pipeline), fit(before)
    for u, v in zip(jax.tree.leaves(one.state.model), jax.tree.leaves(two.state.model), strict=True):
        np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-5)


def test_objectives_begin_with_rows_as_training_shows_them(key):
    # A constant pixel of bytes, dequantised in training, has a density there; without that it has none.
    x = np.random.default_rng(0).integers(0, 17, (200, 3)).astype(np.float32) / 16
    x[:, 1] = 0
    pipeline = ex.data.Pipeline([ex.data.Dequantise(17)])
    fit(x, objective=ScoreMatching(), preprocessing=pipeline, steps=1)
    with pytest.raises(ex.InputError, match=r"got 1 of 3 columns constant \(1\)"):
        fit(np.asarray(jax.vmap(pipeline.forward)(x)), objective=ScoreMatching(), steps=1)
    once, again = (np.asarray(seen(Batch(x), pipeline, key).x) for _ in range(2))
    np.testing.assert_array_equal(once, again)
    within = once * 17 - x * 16  # its cell
    assert within.min() > -1e-4
    assert within.max() < 1 + 1e-4


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps must be a whole number of at least 1; got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a finite number above 0"),
        ({"step": 5}, r"setting must be one of .* \(did you mean 'steps'\?\)"),
        ({"keep": "best"}, 'validation must be given when keep="best"'),
        ({"condition": np.zeros((3, 1))}, "condition must be one for each of 200 rows"),
        ({"ema": 1.0}, "ema must be below 1"),
    ],
)
def test_bad_settings_are_named(x, changes, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        fit(x, **changes)


def test_bad_rows_are_named(x):
    broken = x.copy()
    broken[17, 1] = np.nan
    with pytest.raises(ex.InputError, match="x must be finite everywhere; got nan in row 17"):
        fit(broken)
    with pytest.raises(ex.InputError, match="x must be an array of real numbers"):
        fit(np.array([["a", "b"]]))


def test_a_folder_in_use_is_not_overwritten_and_another_model_not_restored(x, tmp_path):
    fit(x, checkpoints=tmp_path / "c")
    with pytest.raises(ex.InputError, match="an empty folder unless resume=True"):
        fit(x, checkpoints=tmp_path / "c")
    with pytest.raises(ex.InputError, match="cannot be read as this model's"):
        fit(x, model=network(width=5), checkpoints=tmp_path / "c", resume=True)


def test_tensorboard_gets_the_scalars_of_the_log(x, tmp_path):
    from tensorboardX.proto.event_pb2 import Event

    fit(x, steps=20, log=tmp_path / "m.jsonl", tensorboard=True)
    (events,) = (tmp_path / "tensorboard").glob("events*")
    seen = {}
    raw = events.read_bytes()
    while raw:
        size = int.from_bytes(raw[:8], "little")
        event = Event.FromString(raw[12 : 12 + size])
        raw = raw[12 + size + 4 :]
        for value in event.summary.value:
            seen[value.tag, event.step] = value.simple_value
    wanted = {(n, r["step"]): v for r in read_metrics(tmp_path / "m.jsonl") for n, v in r.items()}
    for name in ("loss", "gradient_norm", "learning_rate"):
        for step in (10, 20):
            np.testing.assert_allclose(seen[name, step], wanted[name, step], rtol=1e-6)


def test_an_event_may_be_a_pytree():
    # A Gaussian over two leaves: its precisions are learned, and sampled, leaf by leaf.
    class Pair(eqx.Module):
        log_precision: dict

        def __call__(self, event, condition=None):
            terms = jax.tree.map(lambda l, v: jnp.exp(l) * jnp.sum(v**2) / 2, self.log_precision, event)
            return sum(jax.tree.leaves(terms))

    rng = np.random.default_rng(0)
    rows = {"wide": 2 * rng.standard_normal((4096, 2)), "narrow": 0.5 * rng.standard_normal((4096, 1))}
    start = Pair({"wide": jnp.zeros(()), "narrow": jnp.zeros(())})
    result = fit(
        rows,
        model=start,
        objective=DenoisingScoreMatching(0.5),
        steps=2000,
        learning_rate=2e-2,
        ema=0.99,
        batch_size=512,
    )
    precision = jax.tree.map(jnp.exp, result.energy.log_precision)
    np.testing.assert_allclose(precision["wide"], 1 / 4.25, rtol=0.05)
    np.testing.assert_allclose(precision["narrow"], 1 / 0.5, rtol=0.05)
    chains = {"wide": jnp.zeros((4000, 2)), "narrow": jnp.zeros((4000, 1))}
    x = ex.samplers.run(
        ex.samplers.Langevin(0.02), result.energy, chains, key=jax.random.key(0), steps=1000
    ).x
    np.testing.assert_allclose(x["wide"].var(), 4.25, rtol=0.1)
    np.testing.assert_allclose(x["narrow"].var(), 0.5, rtol=0.1)
