"""Runs made to diverge on purpose: found, named, stopped with a healthy model, or rolled back and finished.

The natural way: persistent Langevin chains of step η are unstable where the precision θ exceeds
2/η, and a Gaussian that is fitted to narrow data gets there in the midst of training.
"""

import json
import os
import shutil
import signal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import DenoisingScoreMatching, PersistentContrastiveDivergence, ScoreMatching
from energax.samplers import MALA, Langevin
from energax.training import loop as loop_module
from energax.training.checkpoint import Checkpoints
from energax.training.log import read_metrics
from tests.training.test_fit import same_bits

PRECISION = 100.0
STEPS = 400
SETTINGS = {
    "key": jax.random.key(1),
    "steps": STEPS,
    "batch_size": 64,
    "learning_rate": 0.03,
    "schedule": "constant",
    "ema": 0.0,
    "log_every": 20,
    "checkpoint_every": 70,
    "progress": False,
}


class Narrow(eqx.Module):
    """θ‖x‖²/2 with log θ learned."""

    log_precision: jax.Array

    def __call__(self, x):
        return jnp.exp(self.log_precision) * jnp.sum(x**2) / 2


@pytest.fixture(scope="module")
def x():
    return (np.random.default_rng(0).standard_normal((512, 2)) / np.sqrt(PRECISION)).astype(np.float32)


def fit(x, **changes):
    # η = 0.008: at θ < 250 chains are stable, but their variance 1/θ(1 − ηθ/2) never falls to the
    # data's; with half the step it does at θ = 138.
    settings = {**SETTINGS, **changes}
    model = settings.pop("model", Narrow(jnp.asarray(3.0)))
    objective = settings.pop("objective", PersistentContrastiveDivergence(Langevin(0.008), 1, chains=64))
    return ex.fit(model, objective, x, **settings)


@pytest.fixture(scope="module")
def rolled(x, tmp_path_factory):
    """The uninterrupted fit that is rolled back, with its folder."""
    folder = tmp_path_factory.mktemp("rolled")
    done = fit(x, on_divergence="rollback", checkpoints=folder / "c", log=folder / "m.jsonl", keep="all")
    return done, folder


def steps_of(folder):
    return sorted(int(p.name.split("_")[-1]) for p in folder.iterdir() if p.is_dir())


def test_it_is_caught_named_rolled_back_and_finishes(rolled):
    done, folder = rolled
    assert done.status == "finished"
    assert int(done.state.step) == STEPS
    assert int(done.state.rollbacks) == len(done.rollbacks) == 1
    (record,) = done.rollbacks
    assert record["diagnosis"] == "exploding-energy"
    assert 50 < record["since"] <= record["at"] <= record["since"] + 50
    assert record["step"] < record["since"]
    # What was changed is what it says, and it is the cause: with half the step there is a balance.
    assert record["changed"]["step_size"] == [1.0, 0.5]
    assert record["changed"]["learning_rate"] == pytest.approx([0.03, 0.015])
    assert record["fresh_chains"]
    assert float(done.state.tunables["step_size"]) == 0.5
    assert PRECISION < float(jnp.exp(done.last.log_precision)) < 250
    # The log tells each step once, and the rollback where it went back to.
    records = read_metrics(folder / "m.jsonl")
    assert records == done.history
    steps = [r["step"] for r in records if "rollback" not in r]
    assert steps == sorted(set(steps))
    assert steps[-1] == STEPS
    rates = {r["step"]: r["learning_rate"] for r in records if "rollback" not in r}
    assert rates[20] == pytest.approx(0.03)
    assert rates[STEPS] == pytest.approx(0.015)


def test_stopped_it_leaves_the_diagnosis_and_the_last_healthy_model(x, rolled, tmp_path):
    with pytest.raises(ex.DivergenceError) as caught:
        fit(x, checkpoints=tmp_path / "c", log=tmp_path / "m.jsonl", keep="all")
    error, (record,) = caught.value, rolled[0].rollbacks
    found = error.diagnosis
    assert (found.name, found.since, found.step) == ("exploding-energy", record["since"], record["at"])
    for words in (found.name, found.sentence, found.remedy, str(tmp_path / "c"), "smaller step size"):
        assert words in str(error)
    assert "\n" not in str(error)
    # All that is on disk is from before the first sign; the newest of it is what the error holds.
    kept = steps_of(tmp_path / "c")
    assert kept[-1] == error.checkpoint == record["step"] < found.since
    assert error.fit.status == "diverged"
    store = Checkpoints(tmp_path / "c", error.fit.config)
    assert same_bits(store.restore(error.fit.state), error.fit.state)
    store.close()
    # Healthy means: a fit that ends there has the same model, and its chains are near the data.
    there = fit(x, steps=error.checkpoint)
    assert same_bits(there.state.model, error.fit.state.model)
    assert float(jnp.exp(error.fit.energy.log_precision)) < 250
    # The state it stopped in is at hand, and sick.
    assert float(jnp.exp(error.stopped.model.log_precision)) > 250


def test_fresh_chains_and_a_new_key_but_the_same_model(x, rolled):
    record = rolled[0].rollbacks[0]
    store = Checkpoints(rolled[1] / "c", rolled[0].config)
    before = store.restore(rolled[0].state, max(s for s in steps_of(rolled[1] / "c") if s <= record["step"]))
    store.close()
    assert int(before.rollbacks) == 0
    key = jax.random.fold_in(before.key, 2**31 + 1)
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(rolled[0].state.key))


@pytest.mark.parametrize("keep_until", [0, 70, 140, 210, 280])
def test_killed_and_resumed_it_is_the_uninterrupted_fit(x, rolled, tmp_path, keep_until):
    """A run that died after its checkpoint of some step, before, after and between sign and rollback."""
    done, folder = rolled
    shutil.copytree(folder, tmp_path / "run")
    for saved in (tmp_path / "run" / "c").iterdir():
        if saved.is_dir() and int(saved.name.split("_")[-1]) > keep_until:
            shutil.rmtree(saved)
    again = fit(
        x,
        on_divergence="rollback",
        checkpoints=tmp_path / "run" / "c",
        log=tmp_path / "run" / "m.jsonl",
        keep="all",
        resume=True,
    )
    assert same_bits(again.state, done.state)
    assert again.history == done.history == read_metrics(tmp_path / "run" / "m.jsonl")


@pytest.mark.parametrize("ahead", [-3, 3])
@pytest.mark.parametrize("keep", ["all", "last", "best"])
def test_interrupted_about_the_first_sign_and_resumed(x, rolled, tmp_path, monkeypatch, ahead, keep):
    """Ctrl-C between copies: the resumed fit goes back to where the other went."""
    done = rolled[0]
    stop = done.rollbacks[0]["since"] + ahead
    settings = {"on_divergence": "rollback", "checkpoints": tmp_path / "c", "log": tmp_path / "m.jsonl"}
    settings |= {"keep": keep, "keep_count": 1, "validation": x[:64] if keep == "best" else None}
    chunk = loop_module.Loop.chunk

    def interrupted(self, edge):
        rows = chunk(self, min(edge, stop) if self.done < stop else edge)
        if self.done + len(rows) == stop:
            os.kill(os.getpid(), signal.SIGINT)
        return rows

    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "chunk", interrupted)
        part = fit(x, **settings)
    assert part.status == "interrupted"
    again = fit(x, **settings, resume=True)
    assert same_bits(again.state, done.state)
    assert again.rollbacks == done.rollbacks


def test_chunks_of_any_length_roll_back_to_the_same_bits(x, rolled, monkeypatch):
    monkeypatch.setattr(loop_module, "CHUNK_SECONDS", 0.0)  # one step at a time
    again = fit(x, on_divergence="rollback", steps=STEPS)
    assert same_bits(again.state, rolled[0].state)
    assert again.history == rolled[0].history


def test_it_gives_up_after_the_stated_tries(x, tmp_path):
    # Twice the step: half of it diverges as before, and the one try is over.
    objective = PersistentContrastiveDivergence(Langevin(0.016), 1, chains=64)
    settings = {"on_divergence": "rollback", "rollbacks": 1}
    with pytest.raises(ex.DivergenceError) as caught:
        fit(x, objective=objective, checkpoints=tmp_path / "c", log=tmp_path / "m.jsonl", **settings)
    error = caught.value
    assert len(error.fit.rollbacks) == 1
    assert "the tries before: at step" in str(error)
    assert "step size 1 → 0.5" in str(error)
    assert steps_of(tmp_path / "c")[-1] == error.checkpoint < error.diagnosis.since


def test_a_learning_rate_far_too_large(x):
    """Score matching's first update throws the network far away; with a smaller rate it learns."""
    network = ex.energies.MLP((2,), width=16, depth=2, key=jax.random.key(0))
    settings = {
        "model": network,
        "objective": DenoisingScoreMatching(0.3),
        "steps": 300,
        "learning_rate": 1.0,
    }
    done = fit(10 * x, on_divergence="rollback", **settings)
    assert done.status == "finished"
    assert {r["diagnosis"] for r in done.rollbacks} == {"exploding-gradient"}
    assert all(r["at"] <= r["since"] + 50 and "step_size" not in r["changed"] for r in done.rollbacks)
    losses = [r["loss"] for r in done.history if "loss" in r]
    assert losses[-1] < losses[0]
    with pytest.raises(ex.DivergenceError, match="fit: exploding-gradient: the gradient norm left its level"):
        fit(10 * x, **settings)


def test_chains_that_are_all_rejected(x):
    """N(0, I) rejects a step of 40; not one that is 64 times smaller."""
    objective = PersistentContrastiveDivergence(MALA(40.0), 1, chains=64)
    settings = {
        "model": Narrow(jnp.asarray(0.0)),
        "objective": objective,
        "learning_rate": 1e-3,
        "steps": 120,
    }
    done = fit(10 * x, on_divergence="rollback", **settings)
    assert {r["diagnosis"] for r in done.rollbacks} == {"rejecting"}
    assert all(set(r["changed"]) == {"step_size"} and not r["fresh_chains"] for r in done.rollbacks)
    assert done.history[-1]["acceptance"] > 0.01
    with pytest.raises(ex.DivergenceError, match="of the chains' proposals were accepted in steps 0 to 24"):
        fit(10 * x, **settings)
    # Too few steps to be sure on the way, but that is all there are; one rollback and it goes on.
    with pytest.raises(ex.DivergenceError, match=r"rejecting: .* were accepted in steps 0 to 4") as stop:
        fit(10 * x, **{**settings, "steps": 5})
    assert stop.value.fit.status == "diverged"
    short = fit(10 * x, on_divergence="rollback", **{**settings, "steps": 5})
    assert short.status == "finished"
    assert {r["diagnosis"] for r in short.rollbacks} == {"rejecting"}
    assert short.history[-1]["acceptance"] > 0.01


class Counted(DenoisingScoreMatching):
    """A loss that is NaN from a step on, as long as the learning rate's tunable is what it was."""

    fuse: jax.Array

    def __init__(self, fuse):
        super().__init__(0.3)
        self.fuse = jnp.asarray(fuse)

    @property
    def tunables(self):
        return {"step_size": 1.0}

    def tuned(self, tunables):
        hot = tunables["step_size"] == 1.0
        return eqx.tree_at(lambda o: o.fuse, self, jnp.where(hot, self.fuse, 10**6))

    def init(self, model, data, key, rows):
        return None, jnp.zeros((), int)

    def refresh(self, model, nuisance, state, batches, key):
        return state + 1, {}

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return value * jnp.where(state > self.fuse, jnp.nan, 1.0), metrics


@pytest.mark.parametrize("fuse", [0, 50, 99])
def test_a_copy_taken_in_the_very_step_of_the_first_sign_is_not_healthy(x, fuse):
    """Steps 0, 50 and 100 are where copies are taken: that of the failing step itself must not be kept."""
    done = fit(10 * x, objective=Counted(fuse), steps=120, checkpoint_every=0, on_divergence="rollback")
    (record,) = done.rollbacks
    assert (record["diagnosis"], record["at"], record["since"]) == ("non-finite", fuse, fuse)
    assert record["step"] == {0: 0, 50: 0, 99: 50}[fuse]
    # Where no update lies between the copy and the sign, the learning rate is left as it was.
    assert ("learning_rate" in record["changed"]) == (fuse > 0)
    assert done.status == "finished"


@pytest.mark.parametrize(
    "objective",
    [
        PersistentContrastiveDivergence(Langevin(0.02), 5, chains=64, restart=0.05),
        ScoreMatching(),
    ],
)
def test_healthy_fits_are_left_alone(objective):
    """An eight-cornered ring, a cosine schedule: no sign becomes a finding."""
    rng = np.random.default_rng(0)
    angle = 2 * np.pi * rng.integers(0, 8, 2000) / 8
    ring = 2 * np.stack([np.cos(angle), np.sin(angle)], 1) + 0.2 * rng.standard_normal((2000, 2))
    network = ex.energies.MLP((2,), width=32, depth=2, head="linear", key=jax.random.key(0))
    done = ex.fit(
        network,
        objective,
        ring,
        key=jax.random.key(2),
        steps=500,
        batch_size=64,
        progress=False,
        log_every=50,
    )
    assert done.status == "finished"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"on_divergence": "rolback"}, r"on_divergence must be one of .* \(did you mean 'rollback'\?\)"),
        ({"rollbacks": 0}, "rollbacks must be a whole number of at least 1; got 0"),
    ],
)
def test_bad_settings_are_named(x, changes, sentence):
    with pytest.raises(ex.InputError, match=sentence):
        fit(x, **changes)


def test_records_of_rollbacks_are_plain_json(rolled):
    for record in rolled[0].rollbacks:
        assert json.loads(json.dumps(record, allow_nan=False)) == record
