"""`energax evaluate RUN --log-likelihood`: the held-out rows' mean log-density, and what it is worth."""

import re
import shutil

import jax
import numpy as np

from energax.training.modelfile import load

from .conftest import TINY


def numbers(out, name):
    line = re.search(rf"^{re.escape(name)} +(.*)$", out, re.MULTILINE).group(1)
    return [float(n) for n in re.findall(r"-?\d+\.\d+", line)]


def test_a_model_that_knows_its_log_z_is_evaluated_exactly(energax, table_file, here):
    words = ["--energy", "ica", "--objective", "exact-likelihood", "--steps", "20", "--out", "run"]
    assert energax("train", table_file, *words)[0] == 0
    status, out, err = energax("evaluate", "run", table_file, "--log-likelihood")
    assert status == 0, err
    assert "exact" in out
    assert energax("score", "run", table_file, "--likelihood", "--out", "found.csv")[0] == 0
    rows = np.loadtxt("found.csv", delimiter=",", skiprows=1)[:, 0]
    mean, error = numbers(out, "mean log-density")
    assert abs(mean - rows.mean()) < 1e-3
    assert abs(error / (rows.std() / np.sqrt(len(rows))) - 1) < 0.1


def test_images_are_put_between_two_ends_with_a_verdict_in_both_conventions(energax, digits_run, here):
    run = shutil.copytree(digits_run, here / "run")
    few = ["--log-likelihood", "--temperatures", "60", "--chains", "16"]
    status, out, err = energax("evaluate", run, *few, "--width", "0.0001")
    assert status == 0, err
    assert "held out" in out
    low, high, estimate, _ = numbers(out, "log Z")
    mean, least, most, _ = numbers(out, "mean log-density")
    assert low < estimate < high
    assert abs((mean + estimate) - (least + high)) < 1e-3
    assert abs((mean + estimate) - (most + low)) < 1e-3
    assert "not converged: " in out
    assert "heuristic upper end: the reverse chains started from" in out
    # scikit-learn's digits have 17 levels and come in [0, 1] here.
    unit, counts = (
        numbers(out, f"bits/dim, {name}")[0]
        for name in ("[0, 1] pixels", "[0, 16] pixels, uniform dequantisation")
    )
    assert abs(counts - unit - np.log2(17)) < 1e-3
    assert abs(unit + mean / (64 * np.log(2)) + np.log2(17 / 16)) < 1e-3
    assert numbers(out, "log of mean density")[0] > mean
    assert (run / "evaluation" / "log-likelihood.png").exists()


def test_a_noise_conditional_model_is_asked_by_its_flow(energax, table_file, here):
    words = ["--objective", "noise-conditional", "--steps", "20", "--out", "run", *TINY]
    assert energax("train", table_file, *words)[0] == 0
    assert energax("score", "run", table_file, "--likelihood", "--out", "found.csv")[0] == 0
    status, out, err = energax("evaluate", "run", table_file, "--log-likelihood")
    assert status == 0, err
    assert "by the probability flow" in out
    rows = np.loadtxt("found.csv", delimiter=",", skiprows=1)[:, 0]
    assert abs(numbers(out, "mean log-density")[0] - rows.mean()) < 1e-3


def test_on_a_box_log_z_is_that_of_the_box(energax, here):
    np.save("rows.npy", np.random.default_rng(0).beta(2, 3, size=(200, 2)).astype(np.float32))
    words = ["--objective", "box", "--preprocess=", "--steps", "50", "--out", "run", *TINY]
    status, _, err = energax("train", "rows.npy", *words)
    assert status == 0, err
    status, out, err = energax("evaluate", "run", "--log-likelihood", "--temperatures", "100")
    assert status == 0, err
    energy = load("run/model.safetensors").model
    places = (np.arange(200) + 0.5) / 200
    x = np.stack(np.meshgrid(places, places), -1).reshape(-1, 2).astype(np.float32)
    exact = np.log(np.mean(np.exp(-np.asarray(jax.vmap(energy)(x), np.float64))))
    low, high, *_ = numbers(out, "log Z")
    assert low < exact < high
    assert high - low < 0.3
    np.save("far.npy", np.full((5, 2), 1.1, np.float32))
    status, _, err = energax("evaluate", "run", "far.npy", "--log-likelihood")
    assert status == 2
    assert "rows must be within the box that the run was trained for; got 5 of 5" in err


def test_what_cannot_be_evaluated_is_refused(energax, table_run, table_file, here):
    words = ["--energy", "mlp-field", "--objective", "score-matching", "--steps", "2", "--out", "field"]
    assert energax("train", table_file, *words, *TINY)[0] == 0
    status, _, err = energax("evaluate", "field", "--log-likelihood")
    assert status != 0
    assert "must be a run of an energy, or noise-conditional" in err


def test_other_data_are_told_from_held_out_rows(energax, table_run, table_file, here):
    run = shutil.copytree(table_run, here / "run")
    rows = np.loadtxt(table_file, delimiter=",", skiprows=1)
    np.save("far.npy", rows + 8 * rows.std(0))
    status, out, err = energax("evaluate", run, "--outliers", "far.npy")
    assert status == 0, err
    for score in ("energy", "denoising", "score-norm", "typicality"):
        assert f"training: {score}" in out
    assert numbers(out, "far.npy: typicality")[0] > 0.9
    assert "rank correlation over held-out rows" in out
    assert (run / "evaluation" / "outliers-dark.png").exists()
    status, _, err = energax("evaluate", run, "--outliers", "nothing")
    assert status == 2
    assert "--outliers must be a file, or one of digits" in err
