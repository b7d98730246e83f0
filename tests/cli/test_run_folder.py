"""A run's folder appears whole or not at all, and is never overwritten."""

import json
from pathlib import Path

import numpy as np
import pytest

from energax.checks import InputError
from energax.cli.run_folder import RunFolder, check_free, fingerprint, write_whole
from energax.config import RunConfig

FACTS = {"status": "created", "data": {"rows": 1, "sha256": "0"}}


def test_it_appears_whole(tmp_path):
    run = RunFolder.create(tmp_path / "deep" / "run", RunConfig(seed=5), FACTS)
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "run.json"]
    assert [p.name for p in run.path.parent.iterdir()] == ["run"]
    again = RunFolder.open(run.path, "info")
    assert again.config == RunConfig(seed=5)
    assert again.facts == FACTS
    again.add_facts(status="finished", seconds=1.5)
    assert again.facts == {**FACTS, "status": "finished", "seconds": 1.5}


def test_an_empty_folder_may_be_used_and_a_full_one_not(tmp_path):
    (tmp_path / "empty").mkdir()
    RunFolder.create(tmp_path / "empty", RunConfig(), FACTS)
    with pytest.raises(InputError, match="in use"):
        RunFolder.create(tmp_path / "empty", RunConfig(seed=1), FACTS)
    assert RunFolder.open(tmp_path / "empty", "info").config.seed == 0


def test_a_failed_creation_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        RunFolder.create(tmp_path / "run", RunConfig(), {"what": object()})
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        RunFolder.create(tmp_path / "file" / "run", RunConfig(), FACTS)


def test_what_cannot_be_made_is_known_before_it_is(tmp_path):
    check_free("train", tmp_path / "deep" / "run")
    assert not list(tmp_path.iterdir())  # asking leaves nothing
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "run", tmp_path / "file" / "deep" / "run"):
        with pytest.raises(InputError, match=r"^train: the run folder .* cannot be made: Not a directory\.$"):
            check_free("train", path)
    if Path("/proc/self").is_dir():  # where root has every right and nothing can be made
        with pytest.raises(InputError, match=r"^outliers: the run folder /proc/run cannot be made: "):
            check_free("outliers", Path("/proc/run"), flag="--folder")


def test_other_runs_are_named(tmp_path):
    RunFolder.create(tmp_path / "digits", RunConfig(), FACTS)
    with pytest.raises(InputError, match="there are digits in"):
        RunFolder.open(tmp_path / "digitz", "sample")


def test_newest_checkpoint_by_number(tmp_path):
    run = RunFolder(tmp_path)
    assert run.latest is None
    for name in ("step_9", "step_10", "step_11.orbax-checkpoint-tmp-1", "other"):
        (run.checkpoints / name).mkdir(parents=True)
    assert run.latest == 10


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_whole(path, lambda part: part.write_text("old"))

    def fail(part):
        part.write_text("ne")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_whole(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"fit": {"stesp": 1}})])
def test_a_damaged_configuration_is_named(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json"):
        _ = RunFolder.open(tmp_path, "info").config


def test_fingerprints_see_values_shapes_and_types():
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    others = [rows.reshape(2, 3), rows[::-1], rows.astype(np.float64), rows + np.float32(1e-6)]
    prints = {fingerprint(np.ascontiguousarray(r)) for r in (rows, *others)}
    assert len(prints) == 5
    assert fingerprint(rows) == fingerprint(rows.copy())
