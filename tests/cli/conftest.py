"""What the tests of the command line share: the program itself, and two small trained runs.

Compiled programs are kept in one cache for all the processes that the tests start.
"""

import subprocess
import sys

import numpy as np
import pytest

from energax.cli import main

# A fit and a sampler of seconds; nothing here asks what was learned.
SETTINGS = {
    "energy.width": 16,
    "energy.depth": 2,
    "sampler.noise_max": 1,
    "sampler.hold": 2,
    "sampler.anneal": 4,
    "sampler.cool": 2,
}
TINY = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
PROGRAM = [sys.executable, "-m", "energax.cli"]


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """One folder for compiled programs; JAX is left as it was found."""
    import jax

    folder = tmp_path_factory.mktemp("cache")
    names = (
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_persistent_cache_min_entry_size_bytes",
    )
    before = {name: getattr(jax.config, name) for name in names}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENERGAX_CACHE", str(folder))
        yield folder
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def energax(capsys):
    """Run the command line in this process: status, standard output, standard error."""

    def run(*words):
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture(scope="session")
def tiny():
    """Words that make a fit and a sampler of seconds."""
    return TINY


@pytest.fixture(scope="session")
def program(cache):
    """Run the real program in a process of its own."""

    def run(*words, **options):
        words = [*PROGRAM, *map(str, words)]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, **options)

    return run


def shared(folder):
    """Lend a folder that many tests read: one that wrote in it would decide what the next ones see."""
    before = set(folder.rglob("*"))
    yield folder
    assert set(folder.rglob("*")) == before, "a test wrote in a run that others share"


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory, program):
    """A finished run on the bundled digits, with checkpoints of steps 0, 10 and 20."""
    folder = tmp_path_factory.mktemp("digits") / "run"
    words = [
        "train",
        "digits",
        "--out",
        str(folder),
        "--steps",
        "20",
        *TINY,
        "--set",
        "fit.checkpoint_every=10",
    ]
    done = program(*words)
    assert done.returncode == 0, done.stderr
    yield from shared(folder)


@pytest.fixture(scope="session")
def table_file(tmp_path_factory):
    """A table with named, correlated columns in units of their own."""
    path = tmp_path_factory.mktemp("table") / "people.csv"
    rows = np.random.default_rng(0).standard_normal((200, 3)) * [10, 2, 0.1] + [170, 70, -3]
    np.savetxt(path, rows, delimiter=",", header="height,weight,score", comments="")
    return path


@pytest.fixture(scope="session")
def table_run(tmp_path_factory, cache, table_file):
    """A finished run on the table."""
    folder = tmp_path_factory.mktemp("tables") / "run"
    assert main(["train", str(table_file), "--out", str(folder), "--steps", "20", *TINY]) == 0
    yield from shared(folder)
