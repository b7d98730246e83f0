"""A fit that was interrupted, killed or out of space goes on to the bits of one that was not."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from energax.cli import main
from energax.cli.run_folder import RunFolder
from energax.training.log import read_metrics
from energax.training.modelfile import load

STEPS = 300


@pytest.fixture(scope="module")
def fitting(tiny):
    """Words of a fit that takes a few seconds, most of them for its many checkpoints."""
    return ["train", "digits", *tiny, "--steps", STEPS, "--set", "fit.checkpoint_every=10"]


@pytest.fixture(scope="module")
def uninterrupted(fitting, cache, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([str(word) for word in (*fitting, "--out", folder)]) == 0
    return folder


def begin(*words):
    command = [sys.executable, "-m", "energax.cli", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(process, run, step):
    """Return once the run has a checkpoint of that step or a later one."""
    give_up = time.monotonic() + 100
    while (run.latest or 0) < step:
        if process.poll() is not None:
            pytest.fail(f"ended before step {step}: {process.stderr.read()}")
        assert time.monotonic() < give_up
        time.sleep(0.005)


def same_bits(a, b):
    """Whether two finished runs hold the same model and the same metrics, to the bit."""
    for folder in (a, b):
        assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    models = [load(folder / "model.safetensors") for folder in (a, b)]
    assert models[0].about == models[1].about
    assert (a / "model.safetensors").read_bytes() == (b / "model.safetensors").read_bytes()
    assert read_metrics(a / "metrics.jsonl") == read_metrics(b / "metrics.jsonl")


def test_killed_three_times_and_interrupted_once(energax, fitting, uninterrupted, here):
    draw = random.Random(0)
    run = RunFolder(here / "run")
    words = (*fitting, "--out", run.path)
    for kill in range(3):
        process = begin(*words)
        wait_for(process, run, (run.latest or 0) + draw.randrange(10, 40, 10))
        time.sleep(draw.uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stderr.close()
        assert run.latest < STEPS, f"the fit was over before kill {kill}"
        words = ("train", "--resume", run.path)

    status, _, err = energax("sample", run.path)
    assert status == 2
    assert run.resume_command in err

    process = begin(*words)
    wait_for(process, run, run.latest + 20)
    process.send_signal(signal.SIGINT)
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 130
    assert err.count("\n") == 1
    assert run.resume_command in err
    kept = run.latest
    assert f"the state of step {kept:,} is kept" in err
    assert run.facts["status"] == "interrupted"
    assert load(run.model).about["steps"] == kept
    assert energax("score", run.path, save_rows(here))[0] == 0

    status, out, err = energax("train", "--resume", run.path)
    assert status == 0, err
    assert f"from step {kept:,} of" in out
    same_bits(run.path, uninterrupted)


def save_rows(folder):
    import numpy as np

    np.save(folder / "rows.npy", np.zeros((2, 64), np.float32))
    return folder / "rows.npy"


def as_killed(source, target, step):
    """Copy a finished run and take it back to a checkpoint."""
    shutil.copytree(source, target)
    run = RunFolder(target)
    for folder in run.checkpoints.iterdir():
        if int(folder.name.removeprefix("step_")) > step:
            shutil.rmtree(folder)
    run.model.unlink()
    run.add_facts(status="running")
    return run


def test_a_full_disk_loses_nothing(energax, digits_run, here):
    run = as_killed(digits_run, here / "run", 10)
    assert run.latest == 10

    def full():
        # No file may grow beyond this: the facts and the metrics fit, a checkpoint does not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    done = subprocess.run(
        [sys.executable, "-m", "energax.cli", "train", "--resume", str(run.path)],
        preexec_fn=full,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1, done.stderr  # a machine that would not go on
    assert done.stderr.startswith("energax: error: ")
    assert done.stderr.count("\n") == 1
    assert "the newest whole one is of step 10" in done.stderr
    assert run.resume_command in done.stderr
    assert run.latest == 10
    assert run.facts["status"] == "stopped"

    status, _, err = energax("train", "--resume", run.path)
    assert status == 0, err
    same_bits(run.path, digits_run)


def test_killed_before_the_first_checkpoint(energax, digits_run, here):
    run = as_killed(digits_run, here / "run", -1)
    shutil.rmtree(run.checkpoints)
    run.metrics.unlink()
    assert energax("train", "--resume", run.path)[0] == 0
    same_bits(run.path, digits_run)


def test_killed_before_the_model_was_written(energax, digits_run, here):
    run = as_killed(digits_run, here / "run", 20)
    assert energax("train", "--resume", run.path)[0] == 0
    same_bits(run.path, digits_run)


def test_another_machine_is_noted(energax, digits_run, here):
    run = as_killed(digits_run, here / "run", 10)
    run.add_facts(environment={**run.facts["environment"], "jax": "0.9.0"})
    status, _, err = energax("train", "--resume", run.path)
    assert status == 0
    assert "note: jax was 0.9.0 and is" in err


def test_interrupted_while_preparing(energax, tiny, here, monkeypatch):
    def fit(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("energax.training.fit", fit)
    status, _, err = energax("train", "digits", *tiny, "--out", "run")
    assert status == 130
    assert "nothing had been kept yet" in err
    assert "energax train --resume run" in err
