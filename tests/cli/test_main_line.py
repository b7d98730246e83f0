"""Every shell line of the main job works as written, on fits of a few steps."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

from energax import tasks
from energax.cli.sample import holding
from energax.config import RunConfig, replace
from energax.data import digits, preprocessing, read_table
from energax.tasks import way
from energax.training.log import read_metrics
from energax.training.modelfile import load


@pytest.fixture
def run(digits_run, here):
    """A copy of the digits run, at a place as in the README."""
    return shutil.copytree(digits_run, here / "runs" / "digits")


@pytest.fixture
def people(table_run, here):
    """A copy of the table run."""
    return shutil.copytree(table_run, here / "runs" / "people")


def picture(path):
    with Image.open(path) as image:
        return np.asarray(image)


def test_train_leaves_a_whole_folder(run):
    assert {p.name for p in run.iterdir()} == {
        "config.json",
        "run.json",
        "metrics.jsonl",
        "checkpoints",
        "model.safetensors",
    }
    facts = json.loads((run / "run.json").read_text())
    assert facts["status"] == "finished"
    assert facts["data"]["rows"] == 1500
    assert facts["loop"] == "compiled"
    assert facts["seconds"] > 0
    assert read_metrics(run / "metrics.jsonl")[-1]["step"] == 20
    about = load(run / "model.safetensors").about
    assert about["steps"] == 20
    assert about["config"] == json.loads((run / "config.json").read_text())


def test_train_shows_the_configuration_first(energax, tiny, here):
    status, out, _ = energax("train", "rings", *tiny, "--steps", "2", "--device", "cpu")
    assert status == 0
    assert out.index("energy.width") < out.index("writing to") < out.index("2 steps in")
    assert (here / "runs" / "rings" / "model.safetensors").is_file()
    assert (
        json.loads((here / "runs" / "rings" / "config.json").read_text())["objective_options"]["sigma_max"]
        == 3
    )


def test_dry_run_writes_nothing(energax, here):
    words = ("train", "digits", "--energy", "mixer", "--set", "energy.patch=2", "--dry-run")
    status, out, _ = energax(*words)
    assert status == 0
    assert "1,500 to train on and 297 held out" in out
    assert "(8, 8, 1)" in out  # the flat digits are laid out as the mixer needs them
    assert "parameters" in out
    assert not list(here.iterdir())


def test_a_network_on_a_base(energax, here):
    words = ("train", "digits", "--set", "energy.base=radial", "--dry-run")
    status, out, _ = energax(*words)
    assert status == 0
    assert "energy.base              radial" in out
    status, _, err = energax(*words, "--objective", "denoising")
    assert status == 2
    wanted = "energy.base must be 'none' for the objective denoising ('radial' is of 'multiscale')"
    assert err.strip() == f"energax: error: train: {wanted}; got 'radial'."


def test_train_on_a_folder_of_images(energax, tiny, here):
    images = (np.random.default_rng(0).random((12, 9, 9)) * 255).astype(np.uint8)
    (here / "images").mkdir()
    for i, image in enumerate(images):
        Image.fromarray(image).save(here / "images" / f"{i}.png")
    words = ("--energy", "mlp", "--batch-size", "4", "--steps", "2")
    status, _, err = energax("train", "images/", *tiny, *words)
    assert status == 0, err
    run = here / "runs" / "images"
    np.save("some.npy", images[:3, ..., None])
    status, _, err = energax("denoise", run, "some.npy")
    assert status == 0, err
    clean = np.load("denoised.npy")
    assert clean.shape == (3, 9, 9, 1)
    assert np.abs(clean - images[:3, ..., None]).max() < 64  # in the files' units, 0 to 255


def test_an_array_of_images_gets_the_preset_of_images(energax, here):
    np.save("array.npy", np.random.default_rng(0).random((12, 9, 9, 3)))
    status, out, err = energax("train", "array.npy", "--dry-run")
    assert status == 0, err
    assert "energy                   mixer" in out
    assert "(9, 9, 3)" in out


def test_rows_of_grids_are_told_from_images(energax, here):
    for shape in ((40, 8, 8), (40, 8, 8, 1), (40, 8)):
        np.save(here / "rows.npy", np.random.default_rng(0).random(shape))
        status, _, err = energax("train", "rows.npy", "--dry-run")
        assert status == 0
        assert ("note: rows (n, 8, 8) are no images" in err) == (shape == (40, 8, 8))


def test_what_to_do_next_can_be_typed(energax, tiny, here):
    status, out, err = energax("train", "two-moons", *tiny, "--steps", "1", "--out", "a run")
    assert status == 0, err
    assert out.endswith("next: energax sample 'a run'\n")


def test_train_with_a_file_and_tensorboard(energax, tiny, here):
    (here / "mine.toml").write_text('data = "two-moons"\nseed = 2\n[fit]\nsteps = 3\n')
    status, _, err = energax("train", "--config", "mine.toml", *tiny, "--out", "run", "--tensorboard")
    assert status == 0, err
    config = json.loads((here / "run" / "config.json").read_text())
    assert (config["data"], config["seed"], config["fit"]["steps"]) == ("two-moons", 2, 3)
    assert list((here / "run" / "tensorboard").iterdir())


def test_sample_images(program, run):
    done = program("sample", "runs/digits", "-n", "10")
    assert done.returncode == 0, done.stderr
    samples = np.load(run / "samples.npz")["samples"]
    assert samples.shape == (10, 64)
    assert picture(run / "samples.png").shape == (2 + 3 * 58, 2 + 4 * 58)
    assert picture(run / "annealing.png").shape[0] == 2 + 12 * 58
    assert len(picture(run / "energy.png")) > 100
    table = read_table(run / "energy.csv")
    assert table.columns == ("step", "temperature", "mean_energy")
    steps, temperatures, energies = table.rows.T
    assert list(steps) == list(range(9))
    assert temperatures[0] == pytest.approx(100)
    assert temperatures[-1] == 0
    # The last record is of the positions before the denoising jump.
    assert np.isfinite(energies).all()
    model = load(run / "model.safetensors").model
    assert np.isfinite(tasks.score(model, samples)).all()


def test_sample_repeats_itself_and_does_not_depend_on_n(energax, run):
    drawn = {}
    for name, n, seed in (("a", 5, 1), ("b", 5, 1), ("c", 9, 1), ("d", 5, 2)):
        assert energax("sample", run, "-n", n, "--seed", seed, "--out", name)[0] == 0
        drawn[name] = np.load(f"{name}/samples.npz")["samples"]
    np.testing.assert_array_equal(drawn["a"], drawn["b"])
    np.testing.assert_allclose(drawn["c"][:5], drawn["a"], rtol=1e-4, atol=1e-4)
    assert np.abs(drawn["d"] - drawn["a"]).max() > 1e-2


def test_sample_with_another_schedule(energax, run):
    status, _, err = energax("sample", run, "-n", 2, "--hold", 1, "--anneal", 2, "--cool", 3)
    assert status == 0, err
    assert read_table(run / "energy.csv").rows[-1, 0] == 6


def test_sample_a_table_in_its_own_units(energax, people):
    status, out, _ = energax("sample", people, "-n", 40)
    assert status == 0
    assert out == f"40 samples in {people}/samples.npz and samples.csv, shown in {people}/samples.png\n"
    table = read_table(people / "samples.csv")
    assert table.columns == ("height", "weight", "score")
    np.testing.assert_allclose(table.rows, np.load(people / "samples.npz")["samples"], rtol=1e-5)
    # The sampler starts at the data's centre with their spread: far from it, units would be wrong.
    assert np.abs(table.rows.mean(axis=0) - [170, 70, -3]).max() < 10
    assert len(picture(people / "samples.png")) > 100
    assert len(picture(people / "annealing.png")) > 100


def test_samples_without_the_data(energax, people, table_file, monkeypatch):
    config = json.loads((people / "config.json").read_text())
    (people / "config.json").write_text(json.dumps({**config, "data": "gone.csv"}))
    status, _, err = energax("sample", people, "-n", 4)
    assert status == 0
    assert "held-out data are not shown" in err
    assert (people / "samples.png").is_file()


def test_chains_that_leave_are_left_out_and_said(energax, people, monkeypatch):
    from energax.cli import use

    real = use.Trained.stayed
    monkeypatch.setattr(use.Trained, "stayed", lambda self, z: real(self, z) & (np.arange(len(z)) != 2))
    status, out, err = energax("sample", people, "-n", 5)
    assert status == 0
    assert "1 of 5 chains left all bounds" in err
    assert "4 samples" in out
    assert np.load(people / "samples.npz")["samples"].shape == (4, 3)
    monkeypatch.setattr(use.Trained, "stayed", lambda self, z: np.zeros(len(z), bool))
    status, _, err = energax("sample", people, "-n", 5)
    assert status == 2
    assert "5 chains of 5 that left" in err


@pytest.mark.parametrize(
    ("changes", "sampler", "said"),
    [
        ({}, "annealed", "a sampler.noise_max well below objective.sigma_max, or a longer training"),
        ({"objective": "score-matching"}, "annealed", "a smaller --epsilon, or a longer training"),
        ({"objective": "score-matching"}, "mala", "a longer training"),
        (
            {"objective": "replay-buffer"},
            "annealed",
            "a smaller objective.step_size in training, or a longer one",
        ),
        (
            {"objective": "noise-conditional", "objective.sigma_max": 1.0, "objective.levels": 3},
            "probability-flow",
            "a longer training",
        ),
        ({"objective": "persistent-cd", "energy": "gaussian-rbm"}, "annealed", "a longer training"),
    ],
)
def test_what_holds_chains_is_said_by_names_that_the_run_has(changes, sampler, said):
    config = replace(RunConfig(), changes)
    hint = holding(config, way(config, sampler).sampler)
    assert hint.startswith(said)
    for name in re.findall(r"(objective|sampler)\.(\w+)", hint):
        options = config.objective_options if name[0] == "objective" else config.sampler
        assert hasattr(options, name[1])


def test_chains_that_explode_are_left_out_and_said(energax, people):
    """An energy turned upside down holds nothing."""
    from energax.training.modelfile import save

    file = load(people / "model.safetensors")
    upside_down = jax.tree.map(lambda a: -1e4 * a, file.model)
    save(people / "model.safetensors", upside_down, preprocessing=file.preprocessing, about=file.about)
    status, _, err = energax("sample", people, "-n", 5)
    assert status == 2
    assert "5 chains of 5 that left" in err
    assert err.count("\n") == 1


def test_bounds_see_what_is_not_finite(people):
    from energax.cli.trained import Trained

    trained = Trained(people, "sample")
    z = np.zeros((4, 3), np.float32)
    z[1, 2], z[2, 0], z[3, 1] = np.nan, np.inf, 1e6
    assert list(trained.stayed(z)) == [True, False, False, False]


@pytest.mark.parametrize("shape", [(5, 64), (5, 8, 8), (5, 8, 8, 1), (8, 8)])
def test_denoise_takes_images_flat_or_not(energax, run, here, shape):
    rows = digits().test[: np.prod(shape) // 64]
    noisy = rows + 0.3 * np.random.default_rng(0).standard_normal(rows.shape).astype(np.float32)
    np.save("noisy.npy", noisy.reshape(shape))
    status, _, err = energax("denoise", run, "noisy.npy")
    assert status == 0, err
    clean = np.load("denoised.npy")
    assert clean.shape == shape
    file = load(run / "model.safetensors")
    expected = tasks.denoise(file.model, noisy, sigma_0=0.1)
    np.testing.assert_allclose(clean.reshape(-1, 64), expected, atol=1e-6)
    assert picture("denoised.png").shape == (2 + 2 * 58, 2 + len(rows) * 58)


def test_denoise_a_table_in_its_own_units(energax, people, table_file):
    assert energax("denoise", people, table_file, "--out", "clean.npy")[0] == 0
    rows = read_table(table_file).rows
    file = load(people / "model.safetensors")
    z = np.asarray(jax.vmap(file.preprocessing.forward)(rows))
    clean = jax.vmap(file.preprocessing.inverse)(tasks.denoise(file.model, z, sigma_0=0.1))
    np.testing.assert_allclose(np.load("clean.npy"), clean, rtol=1e-5)


@pytest.mark.parametrize("mask", ["left", "right", "top", "bottom", "center"])
def test_inpaint_keeps_what_is_known(energax, run, mask):
    rows = digits().test[:3]
    np.save("images.npy", rows)
    status, _, err = energax("inpaint", run, "images.npy", "--mask", mask)
    assert status == 0, err
    known = tasks.named_mask(mask, (8, 8)).reshape(64)
    filled = np.load("inpainted.npy")
    np.testing.assert_array_equal(filled[:, known], rows[:, known])
    assert (filled[:, ~known] != rows[:, ~known]).all()
    assert picture("inpainted.png").shape == (2 + 3 * 58, 2 + 3 * 58)


def test_inpaint_does_not_look_at_what_is_missing(energax, run):
    known = tasks.named_mask("left", (8, 8)).reshape(64)
    rows = digits().test[:3]
    np.save("images.npy", rows)
    np.save("hidden.npy", np.where(known, rows, np.float32(7)))
    filled = []
    for name in ("images", "hidden"):
        assert energax("inpaint", run, f"{name}.npy", "--mask", "left", "--out", f"{name}-out.npy")[0] == 0
        filled.append(np.load(f"{name}-out.npy"))
    np.testing.assert_array_equal(*filled)


def test_inpaint_a_table_by_a_mask_for_each_row(energax, people, table_file):
    rows = read_table(table_file).rows[:4]
    known = np.random.default_rng(1).random(rows.shape) < 0.5
    np.save("rows.npy", rows)
    np.save("known.npy", known)
    status, _, err = energax("inpaint", people, "rows.npy", "--mask", "known.npy")
    assert status == 0, err
    filled = np.load("inpainted.npy")
    np.testing.assert_array_equal(filled[known], rows[known])
    assert (filled[~known] != rows[~known]).all()


def test_inpaint_through_a_frame():
    """Missing pixels of the data stay missing behind a transform that moves them; the frame is known."""
    from energax.cli.inpaint import _reached

    pipeline = preprocessing(digits(), "image,pad:1,dequantise:17,logit:0.05")
    missing = (~tasks.named_mask("top", (8, 8))).reshape(1, 64).astype(np.float32)
    reached = np.asarray(_reached(pipeline, np.full((1, 64), 0.5, np.float32), missing))[0, ..., 0]
    expected = np.zeros((10, 10), bool)
    expected[1:5, 1:9] = True
    np.testing.assert_array_equal(reached, expected)


def test_score_is_the_energy_in_the_datas_units(energax, people, table_file):
    status, out, err = energax("score", people, table_file)
    assert status == 0, err
    energies = np.array([float(line) for line in out.splitlines()])
    file = load(people / "model.safetensors")
    rows = read_table(table_file).rows
    z = np.asarray(jax.vmap(file.preprocessing.forward)(rows))
    # One affine transform: −log|det| is the sum of the logarithms of its scales.
    scales = np.asarray(file.preprocessing.transforms[0].scale, np.float64)
    np.testing.assert_allclose(
        energies, tasks.score(file.model, z) + np.log(scales).sum(), rtol=1e-5, atol=1e-4
    )
    status, out, _ = energax("score", people, table_file, "--out", "scores.csv")
    assert status == 0
    table = read_table("scores.csv")
    assert table.columns == ("energy",)
    np.testing.assert_allclose(table.rows[:, 0], energies, rtol=1e-5)


def test_info_says_how_far(energax, run):
    status, out, _ = energax("info", run)
    assert status == 0
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert lines["status"] == "finished"
    assert lines["steps"].startswith("20 of 20")
    assert "1,500 rows" in lines["data"]
    assert "model.safetensors" in lines["files"]
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    (run / "metrics.jsonl").unlink()
    out = energax("info", run)[1]
    assert "energax train --resume" in out
    assert "none yet" in out


def test_info_on_a_terminal(energax, run, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    status, out, _ = energax("info", run)
    assert status == 0
    assert "1,500 rows" in out


def test_demo_is_the_main_job(energax, here, tiny, monkeypatch):
    from energax.cli import demo

    monkeypatch.setattr(demo, "SETTINGS", (*tiny[1::2], "fit.steps=5"))
    (here / "runs" / "demo").mkdir(parents=True)
    (here / "runs" / "demo" / "mine.txt").write_text("kept")
    status, out, err = energax("demo")
    assert status == 0, err
    run = here / "runs" / "demo-2"
    assert out.splitlines()[-1] == f"Open {run.relative_to(here) / 'report.html'}"
    made = {p.name for p in run.iterdir()}
    assert made >= {
        "samples.png",
        "denoised.png",
        "inpainted.png",
        "scores.csv",
        "report.html",
        "annealing.png",
    }
    assert [p.name for p in (here / "runs" / "demo").iterdir()] == ["mine.txt"]
    assert (run / "report.html").stat().st_size > 10_000


class Study:
    title, source, cost = "Noise at one level", "appendix B", "2 minutes"
    kept = None

    def run(self, out, scale, progress):
        progress("working")
        (out / "table.csv").write_text(f"scale\n{scale}\n")
        return out / "table.csv"


@pytest.fixture
def studies(monkeypatch):
    """One study, in place of the papers' own."""
    import sys
    import types

    module = types.ModuleType("energax.papers")
    module.STUDIES = {"single-noise": Study()}
    monkeypatch.setitem(sys.modules, "energax.papers", module)


def test_reproduce_lists_and_runs_studies(energax, studies, here):
    for words in (["--list"], []):
        status, out, _ = energax("reproduce", *words)
        assert status == 0
        for word in ("single-noise", Study.title, Study.source, Study.cost):
            assert word in out
    status, out, err = energax("reproduce", "single-noise", "--scale", "smoke")
    assert status == 0
    assert "working" in err
    assert out.splitlines()[-1] == "Open runs/single-noise/table.csv"
    assert (here / "runs" / "single-noise" / "table.csv").read_text() == "scale\nsmoke\n"
    status, _, err = energax("reproduce", "single-noise")
    assert status == 2
    assert "in use" in err
    status, _, err = energax("reproduce", "single-noize")
    assert status == 2
    assert "did you mean 'single-noise'" in err
