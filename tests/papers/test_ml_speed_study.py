"""The study of a step's cost runs whole, in small; what it rests on holds at any size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import energax as ex
from energax.objectives import Batch
from energax.papers import ml_speed, ml_speed_methods, ml_speed_time
from energax.papers.judge import Judge, energy_distance
from energax.samplers.pools import marginals

from .studied import studied


def test_independent_pixels_are_near_digits_by_distance_and_none_is_recognised():
    digits = ex.data.digits()
    pixels = np.asarray(marginals(jnp.asarray(digits.train), jax.random.key(0)))[:297]
    assert energy_distance(pixels, digits.test) < 0.06
    assert Judge.of(digits).verdict(pixels)["recognised"] < 0.03


def test_the_needed_updates_are_those_of_the_shortest_training_as_good():
    record = lambda updates, *shares: {  # noqa: E731
        "updates": updates,
        "trainings": [{"recognised": s} for s in shares],
    }
    found = [record(10, 0.1, 0.2), record(20, 0.3, 0.5), record(40, 0.9, 0.9)]
    assert ml_speed._needed(found, 0.4) == 20
    assert ml_speed._needed(found, 0.95) is None


def test_smoothed_rows_are_noisy_in_training_only():
    rows, x = ml_speed_methods.SmoothedRows(0.1), jnp.zeros(1_000)
    np.testing.assert_array_equal(rows.forward(x), x)
    assert float(rows.training(x, jax.random.key(0)).std()) == pytest.approx(0.1, abs=0.015)


@pytest.mark.study
def test_the_study_of_a_step(tmp_path):
    facts = studied("ml-speed", tmp_path)
    seconds = facts["seconds"]["small"]
    assert seconds["ML, 30 steps"]["processor"] > seconds["MDSM"]["processor"] > 0
    assert set(facts["results"]) == {"MDSM", "ML, 30 steps"}
    assert facts["independent pixels"]["recognised"] < 0.03


def test_an_update_of_the_timing_is_one_descent():
    # What is timed is a whole update: parameters move, and the chains with them.
    objective = ml_speed_methods.methods((3,), 256)["ML, 3 steps"]
    model = ml_speed_time.NETWORKS["small"](jax.random.key(0))
    rows = jax.random.normal(jax.random.key(1), (512, 64))
    moved, state, _ = ml_speed_time.update(model, objective, rows)()
    assert float(jnp.abs(moved.layers[0].weight - model.layers[0].weight).max()) > 0
    _, before = objective.init(model, Batch(rows), jax.random.key(2), 128)
    assert float(jnp.abs(state.value.kept.x - before.value.kept.x).max()) > 0
