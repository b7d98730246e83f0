"""`energax evaluate --samples --coverage --select`: what is said of samples, and the best checkpoint."""

import json
import re
import shutil
import sys

import numpy as np
import pytest

from .conftest import TINY


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory, cache):
    """A run on the digits that kept its checkpoints of steps 0, 10 and 20."""
    from energax.cli import main

    folder = tmp_path_factory.mktemp("kept") / "run"
    words = ["train", "digits", "--out", str(folder), "--steps", "20", *TINY]
    assert main([*words, "--set", "fit.keep=all", "--set", "fit.checkpoint_every=10"]) == 0
    return folder


def facts(run, name):
    return json.loads((run / "evaluation" / f"{name}.json").read_text())["facts"]


def test_samples_and_coverage_are_told_of(energax, kept_run):
    status, out, err = energax("evaluate", kept_run, "--samples", "--coverage", "-n", "60")
    assert status == 0, err
    assert "60, judged by 297 held out" in out
    assert "features of a classifier of digits" in out
    assert re.search(r"Frechet distance .*worthless but for rows of the same number: 60 rows in 64", out)
    found = facts(kept_run, "samples")
    # Twenty steps learn nothing: samples are far from the digits, and training rows are not.
    assert (
        found["measures"]["classifier test"]["p_value"] < 1e-4 < found["training rows"]["MMD test"]["p_value"]
    )
    assert found["memorisation"]["nearer"] < 0.1
    counted = facts(kept_run, "coverage")
    assert sum(counted["samples"]["counts"]) == sum(counted["held out"]["counts"]) == 60
    assert f"{counted['samples']['found']} of 10 (exact samples: 9.98 ± 0.1" in out
    assert "few:" not in out
    for name in ("samples", "coverage"):
        assert (kept_run / "evaluation" / f"{name}-dark.png").exists()


def test_the_best_checkpoint_is_marked_and_used_only_if_asked(energax, kept_run):
    from energax.training.modelfile import load

    before = np.asarray(load(kept_run / "model.safetensors").model.layers[0].weight)
    status, out, err = energax("evaluate", kept_run, "--select", "fid", "-n", "40")
    assert status == 0, err
    found = facts(kept_run, "selection")
    assert sorted(found["distances"]) == ["10", "20"]
    best = min(found["distances"], key=found["distances"].get)
    assert str(found["best"]) == best
    assert re.search(rf"step {best} .*, the least", out)
    after = load(kept_run / "model.safetensors")
    np.testing.assert_array_equal(np.asarray(after.model.layers[0].weight), before)
    # The checkpoint of the last step holds what the fit returned.
    from energax.cli.evaluate.select import kept_energies
    from energax.cli.trained import Trained

    energies = dict(kept_energies(Trained(kept_run, "evaluate")))
    np.testing.assert_array_equal(np.asarray(energies[20].layers[0].weight), before)
    assert np.abs(np.asarray(energies[10].layers[0].weight) - before).max() > 0
    assert energax("evaluate", kept_run, "--select", "fid", "-n", "40", "--use")[0] == 0
    used = load(kept_run / "model.safetensors")
    assert used.about["steps"] == found["best"]
    np.testing.assert_array_equal(used.model.layers[0].weight, energies[found["best"]].layers[0].weight)


def test_what_cannot_be_said_is_refused(energax, table_run):
    status, _, err = energax("evaluate", table_run, "--coverage")
    assert status != 0
    assert "RUN must be a run on data with class labels" in err
    status, _, err = energax("evaluate", table_run, "--samples", "-n", "39")
    assert status != 0
    assert "-n must be a whole number of at least 40" in err
    status, _, err = energax("evaluate", table_run, "--select", "fid", "-n", "40")
    assert status != 0
    assert "a run that kept two checkpoints or more (train with --set fit.keep=all" in err
    status, _, err = energax("evaluate", table_run, "--use")
    assert status != 0
    assert "--use must be given together with --select; got alone" in err


def test_inception_is_asked_only_where_it_can_answer(energax, table_run, kept_run, monkeypatch):
    status, _, err = energax("evaluate", table_run, "--samples", "--inception")
    assert status != 0
    assert "--inception must be left out: rows are no images" in err
    status, _, err = energax("evaluate", kept_run, "--inception")
    assert status != 0
    assert "--inception must be given together with --samples" in err
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    status, _, err = energax("evaluate", kept_run, "--samples", "--inception")
    assert status != 0
    assert "torch-fidelity must be installed (pip install 'energax[fidelity]')" in err


def test_rows_without_classes_are_judged_as_they_are(energax, table_run, here):
    run = shutil.copytree(table_run, here / "run")
    status, out, err = energax("evaluate", run, "--samples", "-n", "60")
    assert status == 0, err
    assert "rows in the model's units" in out
    assert "class score" not in out
