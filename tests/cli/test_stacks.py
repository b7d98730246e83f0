"""Models made of several, from the command line: a network for each scale, a machine of several layers."""

import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from energax.cli import main
from energax.training.modelfile import load

from .conftest import shared
from .test_resume import as_killed, same_bits

SCHEDULE = ["--set", "sampler.hold=20", "--set", "sampler.anneal=60", "--set", "sampler.cool=20"]
PATTERNS = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1]], np.float32)
SHARE = 0.7  # of the first pattern


def bits(n=400):
    """Two patterns, a bit in ten turned."""
    rng = np.random.default_rng(0)
    x = PATTERNS[(rng.uniform(size=n) > SHARE).astype(int)]
    return np.where(rng.uniform(size=x.shape) < 0.1, 1 - x, x).astype(np.float32)


def pictures(n=600):
    """Dark pictures that are lighter on the left, and bright ones that are lighter on the right."""
    rng = np.random.default_rng(0)
    bright = rng.uniform(size=n) > SHARE
    side = np.where(np.arange(4) < 2, 0.15, -0.15)
    middle = np.where(bright, 0.75, 0.25)[:, None] + np.where(bright, -1, 1)[:, None] * side
    x = np.broadcast_to(middle[:, None, :, None], (n, 4, 4, 1))
    return (x + 0.05 * rng.standard_normal(x.shape)).astype(np.float32)


DEEP = ["--energy", "deep-boltzmann", "--objective", "variational-pcd", "--set", "energy.hidden=4,3"]
SET = ["fit.checkpoint_every=100", "fit.weight_decay=0", "fit.ema=0.9", "energy.pretrain=100"]
DEEP_RUN = [*DEEP, "--steps", "200", "--batch-size", "64", "--learning-rate", "0.02", *SCHEDULE]
DEEP_RUN += [word for setting in SET for word in ("--set", setting)]
SET = ["energy.levels=2", "energy.width=32", "objective.steps=20", "objective.step_size=0.002", "fit.ema=0.9"]
GRID_RUN = ["--energy", "multigrid", "--objective", "multigrid-cd", "--preprocess", "", "--steps", "300"]
GRID_RUN += ["--batch-size", "64", "--learning-rate", "2e-3"]
GRID_RUN += [word for setting in SET for word in ("--set", setting)]


def made(folder, name, rows, words):
    np.save(folder / f"{name}.npy", rows)
    status = main(["train", str(folder / f"{name}.npy"), *words, "--out", str(folder / name)])
    assert status == 0
    return folder / name


@pytest.fixture(scope="module")
def deep_run(tmp_path_factory, cache):
    yield from shared(made(tmp_path_factory.mktemp("deep"), "run", bits(), DEEP_RUN))


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory, cache):
    yield from shared(made(tmp_path_factory.mktemp("grid"), "run", pictures(), GRID_RUN))


@pytest.mark.parametrize("sampler", ["annealed", "tempering --temperatures 1,1.5,2.2"])
def test_a_deep_machine_draws_what_it_was_shown(sampler, deep_run, energax, here):
    words = ["sample", deep_run, "-n", "1000", "--out", "drawn", "--sampler", *sampler.split()]
    status, _, err = energax(*words)
    assert status == 0, err
    assert ("(1 and 1.5: " in err) == (sampler != "annealed")
    samples = np.load(here / "drawn" / "samples.npz")["samples"]
    assert samples.shape == (1000, 6)
    assert set(np.unique(samples)) == {0.0, 1.0}
    machine = load(deep_run / "model.safetensors").model
    exact = np.asarray(machine.sample(jax.random.key(0), 20_000)[0])
    np.testing.assert_allclose(samples.mean(0), exact.mean(0), atol=0.07)  # four standard errors
    np.testing.assert_allclose(samples.mean(0), bits().mean(0), atol=0.12)
    # Of independent bits 2 in 64 are one of the patterns; of the data 0.9⁶ = 0.53.
    whole = (samples[:, None] == PATTERNS).all(2).any(1).mean()
    assert 0.4 < whole < 0.7


def test_the_score_of_a_row_is_its_variational_bound(deep_run, energax, here):
    np.save(here / "rows.npy", bits(20))
    status, out, err = energax("score", deep_run, "rows.npy")
    assert status == 0, err
    machine = load(deep_run / "model.safetensors").model
    bound = [float(machine.variational_bound(jnp.asarray(x), 0.0)) for x in bits(20)]
    np.testing.assert_allclose([float(line) for line in out.split()], -np.asarray(bound), rtol=1e-5)
    exact = [float(machine.log_prob_visible(jnp.asarray(x)) + machine.log_normalizer()) for x in bits(20)]
    assert (np.asarray(bound) <= np.asarray(exact) + 1e-4).all()
    assert energax("score", deep_run, "rows.npy", "--likelihood")[0] == 2


def test_evaluation_of_a_deep_machine_says_that_it_is_a_bound(deep_run, energax, here):
    shutil.copytree(deep_run, here / "run")
    status, out, err = energax("evaluate", "run", "--log-likelihood")
    assert status == 0, err
    assert "its variational bound" in out
    log_z = float(load(deep_run / "model.safetensors").model.log_normalizer())
    assert float(re.search(r"log Z +([\d.]+), exact", out)[1]) == pytest.approx(log_z, abs=1e-3)


@pytest.mark.parametrize("step", [100, None])
def test_a_deep_machines_training_goes_on_to_the_same_bits(step, deep_run, energax, here):
    run = as_killed(deep_run, here / "run", -1 if step is None else step)
    if step is None:  # killed while the stack was trained
        run.metrics.unlink()
    status, out, err = energax("train", "--resume", run.path)
    assert status == 0, err
    assert ("pretraining layer 2 of 2: 100 steps" in out) == (step is None)
    same_bits(run.path, deep_run)


@pytest.mark.parametrize("pretrain", [0, 100])
def test_the_stack_is_where_the_training_starts(pretrain, energax, here):
    np.save(here / "bits.npy", bits())
    words = [*DEEP, "--set", f"energy.pretrain={pretrain}", "--steps", "1", "--learning-rate", "0.02"]
    status, out, err = energax("train", "bits.npy", *words, "--out", "run")
    assert status == 0, err
    assert ("pretraining" in out) == (pretrain > 0)
    machine = load(here / "run" / "model.safetensors").model
    largest = max(float(jnp.abs(w).max()) for w in machine.weights)
    # Of N(0, 0.01²) and one step of at most 0.02, or of a stack of a hundred such steps each.
    assert (largest > 0.3) if pretrain else (largest < 0.1)


def test_samples_of_scales_climb_from_the_datas_mean_colours(grid_run, energax, here):
    status, _, err = energax("sample", grid_run, "-n", "600", "--out", "drawn")
    assert status == 0, err
    x = np.load(here / "drawn" / "samples.npz")["samples"]
    assert x.shape == (600, 4, 4, 1)
    bright = x.mean((1, 2, 3)) > 0.5
    assert abs(bright.mean() - (1 - SHARE)) < 0.08
    np.testing.assert_allclose(x.mean(0), pictures().mean(0), atol=0.1)
    # One Gaussian's mean has the lighter left of the many in all of them.
    contrast = x[:, :, :2].mean((1, 2, 3)) - x[:, :, 2:].mean((1, 2, 3))
    assert contrast[~bright].mean() == pytest.approx(0.3, abs=0.12)
    assert contrast[bright].mean() == pytest.approx(-0.3, abs=0.2)
    assert (here / "drawn" / "annealing.png").is_file()


def test_the_score_of_scales_is_that_of_the_finest(grid_run, energax, here):
    np.save(here / "rows.npy", pictures(5))
    status, out, err = energax("score", grid_run, "rows.npy")
    assert status == 0, err
    finest = load(grid_run / "model.safetensors").model.levels[-1]
    expected = jax.vmap(finest)(jnp.asarray(pictures(5)))
    np.testing.assert_allclose([float(line) for line in out.split()], expected, rtol=1e-4, atol=1e-4)


def test_levels_are_as_many_as_sides_can_be_halved(energax, here):
    words = ["train", "digits", "--energy", "multigrid", "--objective", "multigrid-cd", "--dry-run"]
    status, out, _ = energax(*words)
    assert status == 0
    assert "energy.levels            2\n" in out
    assert "fit.learning_rate        0.0002\n" in out
    status, _, err = energax(*words, "--set", "energy.levels=5")
    assert status == 2
    assert "energy.levels must be at most 4" in err
    assert "fit.learning_rate        0.001\n" in energax(*words, "--learning-rate", "1e-3")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--energy multigrid", "--objective must be multigrid-cd for the energy multigrid; got multiscale"),
        ("--objective multigrid-cd", "--energy must be multigrid for the objective multigrid-cd; got mlp"),
        ("--energy deep-boltzmann --objective persistent-cd", "--objective must be variational-pcd"),
        (f"{' '.join(DEEP[:4])} --set energy.hidden=4,x", "energy.hidden must be"),
        (f"{' '.join(DEEP[:4])} --set energy.pretrain=-1", "energy.pretrain must"),
    ],
)
def test_pairs_are_refused_apart(words, said, energax, here):
    status, _, err = energax("train", "digits", *words.split(), "--out", "run")
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (here / "run").exists()


@pytest.mark.parametrize("kind", ["deep_run", "grid_run"])
def test_what_makes_no_sense_of_them_is_refused(kind, request, energax, here):
    run = request.getfixturevalue(kind)
    rows = bits(4) if kind == "deep_run" else pictures(4)
    np.save(here / "rows.npy", rows)
    mask = np.ones(rows.shape[1:], bool)
    np.save(here / "mask.npy", mask)
    for words in (
        ("denoise", run, "rows.npy"),
        ("inpaint", run, "rows.npy", "--mask", "mask.npy"),
        ("restore", run, "rows.npy", "--operator", "project:2", "--noise", "0.1", "--degrade"),
        ("compose", run, "--temperature", "0.5", "--out", "other"),
        ("sample", run, "--sampler", "probability-flow", "--out", "drawn"),
        *([("test", "rows.npy", "--run", run)] if kind == "deep_run" else []),
        *([("sample", run, "--hold", "3", "--out", "drawn")] if kind == "grid_run" else []),
    ):
        status, _, err = energax(*words)
        assert status == 2, words
        assert err.count("\n") == 1
        assert " must be " in err
    assert {p.name for p in here.iterdir()} == {"rows.npy", "mask.npy"}


@pytest.mark.parametrize("kind", ["deep_run", "grid_run"])
def test_they_are_told_of_and_reported(kind, request, energax, here):
    shutil.copytree(request.getfixturevalue(kind), here / "run")
    status, out, err = energax("info", "run")
    assert status == 0, err
    assert ("deep-boltzmann (hidden 4,3" if kind == "deep_run" else "multigrid (network mlp") in out
    status, _, err = energax("report", "run")
    assert status == 0, err
    page = (here / "run" / "report.html").read_text()
    assert ("sampling of all layers" if kind == "deep_run" else "from the mean colours of") in page
