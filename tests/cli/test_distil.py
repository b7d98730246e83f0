"""`energax distil`: a generator of a run's energy draws from its law, and from nothing else."""

import dataclasses
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from energax.config import from_dict, replace, to_dict
from energax.energies import Gaussian, GaussianMixture, Smoothings
from energax.tasks.rows import to_data
from energax.training import modelfile

MEAN = np.array([0.5, -1.0, 0.2], np.float32)
COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 0.3]], np.float32)
QUICK = ["--method", "kernel", "--steps", "3", "--batch-size", "8", "--width", "8"]


def with_model(run, folder, model, **changes):
    """Copy a run, and give it a model whose law is known, and another configuration."""
    shutil.copytree(run, folder)
    file = modelfile.load(run / "model.safetensors")
    config = to_dict(replace(from_dict(file.about["config"]), changes))
    about = {**file.about, "config": config}
    modelfile.save(folder / "model.safetensors", model, preprocessing=file.preprocessing, about=about)
    return folder


@pytest.fixture(scope="module")
def gaussian_run(table_run, tmp_path_factory):
    """The table's run with a normal law, in the units the model sees."""
    return with_model(table_run, tmp_path_factory.mktemp("gaussian") / "run", Gaussian(MEAN, COVARIANCE))


@pytest.fixture(scope="module")
def noisy_run(table_run, tmp_path_factory):
    """A noise-conditional run: the same law, with the smallest noise 0.8 on it."""
    data = GaussianMixture(jnp.ones(1), MEAN[None], COVARIANCE[None])
    changes = {"objective": "noise-conditional", "objective.levels": 3}
    changes |= {"objective.sigma_min": 0.8, "objective.sigma_max": 2.0}
    return with_model(table_run, tmp_path_factory.mktemp("noisy") / "run", Smoothings(data), **changes)


def law(run, noise=0.0):
    """Return mean and covariance in the units of the data, by how the pipeline moves points."""
    pipeline = modelfile.load(run / "model.safetensors").preprocessing
    corners = to_data(pipeline, np.concatenate([np.zeros((1, 3), np.float32), np.eye(3, dtype=np.float32)]))
    slopes = np.diag(corners[1:] - corners[0])
    covariance = COVARIANCE + noise**2 * np.eye(3)
    return corners[0] + slopes * MEAN, slopes[:, None] * covariance * slopes


@pytest.mark.parametrize(
    ("which", "method", "noise"),
    [("gaussian_run", "fisher", 0.0), ("noisy_run", "kernel", 0.8)],
)
def test_draws_have_the_energys_law_in_the_datas_units(energax, here, request, which, method, noise):
    run = request.getfixturevalue(which)
    how = ["--steps", 400, "--batch-size", 128, "--width", 32, "--learning-rate", 5e-3]
    status, out, err = energax("distil", run, "--out", "generator", "--method", method, *how)
    assert status == 0, err
    assert "KSD²" in out
    assert "far modes" in out
    assert energax("sample", "generator", "-n", 4000, "--seed", 1)[0] == 0
    x = np.load("generator/samples.npz")["samples"]
    assert not list(here.glob("generator/annealing.png"))
    assert (here / "generator" / "samples.csv").read_text().startswith("height,weight,score\n")
    mean, covariance = law(run, noise)
    root = np.linalg.inv(np.linalg.cholesky(covariance))
    whitened = (x - mean) @ root.T
    # In the law's own units, of 4,000 draws: a standard error is 0.016, the rest is the generator's.
    np.testing.assert_allclose(whitened.mean(0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(3), atol=0.2)
    status, out, _ = energax("info", "generator")
    assert status == 0
    assert f"of the law of {run}" in out
    assert f"by {method}, 5 latents through layers of 32" in out
    told = dict(line.split(maxsplit=1) for line in out.splitlines())
    words = told["judged"].replace(")", "").split()
    assert float(words[1]) < 0.1 * float(words[3].rstrip(","))


@pytest.fixture(scope="module")
def generator(gaussian_run, tmp_path_factory):
    """A generator of three steps."""
    from energax.cli import main

    folder = tmp_path_factory.mktemp("generators") / "one"
    assert main(["distil", str(gaussian_run), "--out", str(folder), *QUICK]) == 0
    return folder


def draws(energax, run, *words):
    status, _, err = energax("sample", run, "--out", "drawn", *words)
    assert status == 0, err
    return np.load("drawn/samples.npz")["samples"]


def test_the_seed_decides_generators_and_draws(energax, here, gaussian_run, generator):
    for name, seed in {"again": 0, "other": 1}.items():
        assert energax("distil", gaussian_run, "--out", name, *QUICK, "--seed", seed)[0] == 0
    first = draws(energax, generator, "-n", 8)
    np.testing.assert_array_equal(draws(energax, "again", "-n", 8), first)
    assert np.abs(draws(energax, "other", "-n", 8) - first).max() > 0.1
    np.testing.assert_allclose(draws(energax, generator, "-n", 3), first[:3], rtol=1e-5)
    assert np.abs(draws(energax, generator, "-n", 8, "--seed", 1) - first).max() > 0.1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("score RUN FILE", "a run with an energy or a score"),
        ("denoise RUN FILE", "a run with an energy or a score"),
        ("inpaint RUN FILE --mask left", "a run with an energy or a score"),
        ("restore RUN FILE --operator project:1", "a run with an energy or a score"),
        ("compose RUN --out new", "a run with an energy or a score"),
        ("distil RUN --out new", "a run with an energy or a score"),
        ("evaluate RUN", "a run with an energy or a score"),
        ("test FILE --run RUN", "a run with an energy or a score"),
        ("compare FILE RUN other", "a run with an energy or a score"),
        ("outliers FILE --run RUN", "a run with an energy or a score"),
        ("report RUN", "a run with an energy or a score"),
        ("train --resume RUN", "a distilled one has nothing to train"),
        ("sample RUN --anneal 3", "only -n, --seed and --out: a generator draws at once; got --anneal"),
        ("sample RUN --sampler flow", "only -n, --seed and --out: a generator draws at once; got --sampler"),
    ],
)
def test_a_generator_only_draws(energax, here, generator, table_file, words, said):
    words = [w.replace("RUN", str(generator)).replace("FILE", str(table_file)) for w in words.split()]
    status, _, err = energax(*words)
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("changes", "words", "said"),
    [
        ({"objective": "non-negative"}, "", "of a law on all of ℝᵈ"),
        ({"energy": "bernoulli-rbm", "objective": "persistent-cd"}, "", "of an energy over real numbers"),
        ({"energy": "ising", "objective": "persistent-cd"}, "", "got one over spins"),
        ({}, "--batch-size 1", "--batch-size must be a whole number of at least 2"),
        ({}, "--steps 0", "steps must be a whole number of at least 1"),
        ({}, "--latent 0", "latent must be a whole number of at least 1"),
        ({}, "--width 0", "width must be a whole number of at least 1"),
        ({}, "--seed -1", "--seed must be a whole number of at least 0"),
        ({}, "--method hamiltonian", "fisher"),
        ({}, "--device tpu", "distil: --device must be one that JAX can use here"),
    ],
)
def test_what_cannot_be_distilled_is_refused(energax, here, table_run, changes, words, said):
    run = with_model(table_run, here / "run", Gaussian(MEAN, COVARIANCE), **changes)
    status, _, err = energax("distil", run, "--out", "new", *words.split())
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert [p.name for p in here.iterdir()] == ["run"]


def test_a_folder_in_use_is_kept(energax, here, gaussian_run, generator):
    before = (generator / "model.safetensors").read_bytes()
    status, _, err = energax("distil", gaussian_run, "--out", generator)
    assert status == 2
    assert "--out must be a new or empty folder" in err
    assert (generator / "model.safetensors").read_bytes() == before


def interrupted_while_training(monkeypatch):
    from energax.training import fit

    def stopped(*words, **settings):
        return dataclasses.replace(fit(*words, **settings), status="interrupted")

    monkeypatch.setattr("energax.cli.distil.fit", stopped)


def interrupted_while_saving(monkeypatch):
    def stopped(*words, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("energax.cli.distil.modelfile.save", stopped)


def a_full_disk(monkeypatch):
    def stopped(*words, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("energax.cli.distil.modelfile.save", stopped)


@pytest.mark.parametrize(
    ("happens", "status", "said"),
    [
        (interrupted_while_training, 130, "interrupted at step 3; nothing is kept"),
        (interrupted_while_saving, 130, "interrupted"),
        (a_full_disk, 2, "cannot be made: No space left on device"),
    ],
)
def test_what_is_stopped_leaves_nothing(energax, here, gaussian_run, monkeypatch, happens, status, said):
    happens(monkeypatch)
    got, _, err = energax("distil", gaussian_run, "--out", "new", *QUICK)
    assert got == status
    assert said in err
    assert not list(here.iterdir())


def test_a_generator_that_runs_away_is_told(energax, here, table_run):
    run = with_model(table_run, here / "run", Gaussian(MEAN * np.nan, COVARIANCE))
    status, _, err = energax("distil", run, "--out", "new", *QUICK)
    assert status == 3
    assert "Nothing is kept" in err
    assert not (here / "new").exists()
