"""A fit that diverges on the command line: one sentence and a healthy model, or rolled back and told."""

import json

import numpy as np
import pytest

from energax.training.log import read_metrics
from energax.training.modelfile import load

# The rate climbs until the fit leaves, far beyond its first copies.
CLIMB = (
    "--objective",
    "score-matching",
    "--learning-rate",
    "30",
    "--set",
    "fit.warmup=3000",
    "--steps",
    "250",
)


@pytest.fixture
def climb(tiny):
    return ("train", "two-moons", *tiny, *CLIMB)


def test_stopped_with_one_sentence_and_the_last_healthy_model(energax, climb, here):
    status, _, err = energax(*climb, "--out", "run")
    assert status == 3
    assert err.count("\n") == 1
    assert "exploding-loss: the loss left its usual" in err
    assert "a smaller learning rate" in err.lower()
    facts = json.loads((here / "run" / "run.json").read_text())
    assert facts["status"] == "diverged"
    kept = load(here / "run" / "model.safetensors")
    assert f"The last healthy model, of step {kept.about['steps']}, is run/model.safetensors." in err
    assert 0 < kept.about["steps"] < 250
    np.save(here / "rows.npy", np.zeros((2, 2), np.float32))
    assert energax("score", "run", "rows.npy")[0] == 0
    out = energax("info", "run")[1]
    assert f"diagnosis   {facts['diagnosis']}" in out
    assert facts["diagnosis"].startswith("exploding-loss: ")


def test_rolled_back_and_told(energax, climb, here):
    sets = ("--set", "fit.on_divergence=rollback", "--set", "fit.rollbacks=9")
    status, out, err = energax(*climb, *sets, "--out", "run")
    assert status == 0, err
    records = [r for r in read_metrics(here / "run" / "metrics.jsonl") if "rollback" in r]
    assert records
    assert f"rolled back {len(records)} of at most 9 times: exploding-loss at step {records[0]['at']}" in out
    lines = dict(line.split(maxsplit=1) for line in energax("info", "run")[1].splitlines())
    assert lines["status"] == "finished"
    assert lines["rollbacks"].startswith(
        f"to step {records[0]['step']}: exploding-loss (learning rate 30 → 15"
    )
    assert energax("report", "run")[0] == 0
    page = (here / "run" / "report.html").read_text()
    assert "what was changed" in page
    assert records[0]["sentence"] in page


def test_what_to_do_is_checked_before_anything_is_made(energax, here):
    status, _, err = energax("train", "digits", "--set", "fit.on_divergence=retry")
    assert status == 2
    assert "'stop', 'rollback'" in err
    assert not list(here.iterdir())
