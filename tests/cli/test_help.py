"""The help answers without JAX, and teaches every name there is."""

import re
import subprocess
import sys

import pytest

from energax.cli import main
from energax.cli.names import DATA_NAMES, TOY_NAMES

COMMANDS = (
    *("train", "distil", "sample", "denoise", "inpaint", "restore", "compose", "score", "info", "report"),
    *("test", "compare", "evaluate", "outliers", "reproduce", "demo"),
)


def test_help_needs_nothing_heavy():
    script = f"""
import sys
from energax.cli import main
for words in [[], ["--help"], ["--version"], *([c, "--help"] for c in {COMMANDS!r})]:
    assert main(words) == 0, words
assert main(["trian"]) == 2
heavy = {{"jax", "equinox", "numpy", "sklearn", "matplotlib", "optax"}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_shows_an_example(energax, command):
    status, out, _ = energax(command, "--help")
    assert status == 0
    assert "For example:" in out
    assert f"energax {command}" in out.split("For example:")[1]


def test_what_is_laid_out_by_hand_fits_a_terminal():
    from energax.cli.app import app

    for command in COMMANDS:
        text = app[command].default_command.__doc__.partition("\nParameters\n")[0]
        wide = [line for line in text.splitlines() if line.startswith(" ") and len(line) > 80]
        assert not wide, (command, wide)


def test_names_are_the_librarys():
    from energax.data.load import NAMES
    from energax.data.toy import TOYS

    assert tuple(NAMES) == DATA_NAMES
    assert tuple(TOYS) == TOY_NAMES


def test_train_help_lists_every_name(energax):
    from energax.data.preprocessing import NAMES as TRANSFORMS
    from energax.options import ENERGIES, OBJECTIVES
    from energax.presets import PRESETS

    words = set(re.findall(r"[\w-]+", energax("train", "--help")[1]))
    for table in (DATA_NAMES, TOY_NAMES, ENERGIES, OBJECTIVES, PRESETS, TRANSFORMS):
        assert set(table) <= words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], 'Did you mean "train"?'),
        (["train", "digits", "--stesp", "3"], "Did you mean --steps?"),
        (["train", "digits", "--steps", "three"], 'unable to convert "three" into int'),
        (["train", "digits", "--steps", "3.5"], '--steps: unable to convert "3.5" into int'),
        (["sample", "run", "-n", "3.0"], 'unable to convert "3.0" into int'),
        (["score", "run", "rows.csv", "--probes", "1_000"], 'unable to convert "1_000" into int'),
        (["train", "digits", "--device", "cuda"], '"cpu", "gpu", "tpu"'),
        (["sample"], "RUN requires an argument"),
        (["inpaint", "run", "images.npy"], "--mask requires an argument"),
        (["info", "run", "too", "many"], "'too many' is more than `energax info` takes"),
    ],
)
def test_wrong_words_get_one_sentence(energax, here, words, said):
    status, out, err = energax(*words)
    assert status == 2
    assert out == ""
    assert err.startswith("energax: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert not list(here.iterdir())


def test_a_closed_pipe_is_no_complaint():
    process = subprocess.Popen(
        [sys.executable, "-m", "energax.cli", "train", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


def test_the_program_runs_as_a_module(program):
    done = program("--version")
    assert done.returncode == 0
    assert done.stdout.strip().count(".") == 2


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "energax: interrupted."),
        (MemoryError(), 1, "memory of this machine"),
        (OSError(28, "No space left on device", "x.npz"), 1, "No space left on device (x.npz)"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."), 1, "memory of the device"),
    ],
)
def test_what_the_machine_refuses_is_one_sentence(energax, monkeypatch, error, status, said):
    def fail(path):
        raise error

    monkeypatch.setattr("energax.cli.show.info", fail)
    got, _, err = energax("info", "run")
    assert got == status
    assert said in err
    assert err.count("\n") == 1


def test_a_bug_shows_itself(monkeypatch):
    def fail(path):
        raise RuntimeError("a bug")

    monkeypatch.setattr("energax.cli.show.info", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["info", "run"])
