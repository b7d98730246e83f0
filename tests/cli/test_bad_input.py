"""Every mistake is one clear sentence and a status that is not zero; nothing is written or lost."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from energax.cli.run_folder import RunFolder


@pytest.fixture
def files(here):
    """Files with one fault each."""
    (here / "nan.csv").write_text("a,b\n1,2\n3,nan\n5,6\n")
    (here / "text.csv").write_text("a,b\n1,2\n3,red\n")
    (here / "blank.csv").write_text("a,b\n1,2\n3,\n")
    (here / "empty.csv").write_text("a,b\n")
    (here / "nothing.csv").write_text("")
    (here / "one-row.csv").write_text("a,b\n1,2\n")
    (here / "twice.csv").write_text("a,a,b\n1,2,3\n4,5,6\n")
    (here / "semicolons.csv").write_text("a;b\n1;2\n3;4\n")
    (here / "ragged.csv").write_text("1,2\n3\n")
    (here / "far.csv").write_text("a,b\n1000000.001,2\n999999.999,4\n1000000,6\n")
    (here / "good.csv").write_text("a,b\n1,2\n3,4\n5,6\n")
    (here / "garbage.npy").write_bytes(b"no array")
    (here / "notes.txt").write_text("words")
    (here / "broken.json").write_text('{"fit": ')
    (here / "list.json").write_text("[1]")
    (here / "unknown.json").write_text('{"fit": {"stesp": 3}}')
    (here / "mine.yaml").write_text("fit: 3")
    np.save(here / "inf.npy", np.array([[1.0, np.inf], [1, 2]]))
    np.save(here / "beyond.npy", np.array([[1.0, 1e39], [1, 2]]))
    np.save(here / "no-columns.npy", np.ones((5, 0)))
    (here / "classes" / "cats").mkdir(parents=True)
    (here / "run").mkdir()
    for name in ("config.json", "run.json"):
        (here / "run" / name).write_text("{}")
    np.save(here / "objects.npy", np.array([{}, {}], dtype=object), allow_pickle=True)
    (here / "no-images").mkdir()
    (here / "used").mkdir()
    (here / "used" / "mine.txt").write_text("kept")
    return here


def contents(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "DATA must be given: a data set by name, a file or a folder"),
        ("", "got nothing."),
        ("run", "DATA must be data, not a run (to continue it: energax train --resume run)"),
        ("missing.csv", "an existing file or folder"),
        ("digitz", "did you mean 'digits'?"),
        ("nan.csv", "'b' must be finite and never blank; got 'nan' on line 3"),
        ("text.csv", "'b' must be a column of numbers; got 'red' on line 3"),
        ("blank.csv", "'b' must be finite and never blank"),
        ("empty.csv", "a table of at least 2 rows"),
        ("nothing.csv", "a table of at least 2 rows"),
        ("one-row.csv", "at least 2 rows"),
        ("ragged.csv", "2 columns wide"),
        ("twice.csv", "different names of columns; got 'a' twice"),
        ("semicolons.csv", "got '1;2' on line 2 (commas, not ';', part the columns)"),
        ("inf.npy", "finite everywhere; got inf in row 0."),
        ("beyond.npy", "finite everywhere; got 1e+39 in row 0, which is beyond float32"),
        ("no-columns.npy", "an array with entries; got shape (5, 0)"),
        ("garbage.npy", "plain NumPy arrays"),
        ("objects.npy", "pickled Python objects"),
        ("notes.txt", "a file ending in"),
        ("no-images", "a folder with images"),
        ("classes", "got 'classes', whose subfolders are not looked into"),
        ("far.csv", "'a', which varies by 0.002 around 1000000"),
        ("digits --energy mpl", "did you mean 'mlp'?"),
        ("digits --objective multiscal", "did you mean 'multiscale'?"),
        ("digits --preset digit", "did you mean 'digits'?"),
        ("digits --preprocess standardize", "did you mean 'standardise'?"),
        ("good.csv --energy mixer", "--energy must be 'mlp' for table data"),
        ("good.csv --preprocess pad:2", "used on image events"),
        ("digits --energy resnet --preprocess image,pad:1", "divisible by 8"),
        ("digits --set objective.sigma_min=-1", "sigma_min must be a finite number above 0; got -1"),
        ("digits --objective denoising --set objective.sigma=-0.3", "sigma must be a finite number above 0"),
        ("digits --set objective.levels=7", "a divisor of the batch size"),
        ("digits --set energy.width=999999999", "the energy must be of a size that this machine holds"),
        ("digits --set fti.steps=3", "section must be one of 'energy', 'objective', 'fit', 'sampler'"),
        ("digits --set energy.width=0", "width must be a whole number of at least 1"),
        ("digits --set energy.activation=swish", "activation must be one of"),
        ("digits --set sampler.hold=0", "hold must be a whole number of at least 1"),
        ("digits --set sampler.epsilon=3", "epsilon must be below"),
        ("digits --set fit.stesp=3", "did you mean 'steps'?"),
        ("digits --set steps=3", "spelled with its section, fit.steps"),
        ("digits --set fit.steps=abc", "steps must be a whole number; got 'abc'"),
        ("digits --set nonsense", "KEY=VALUE"),
        ("digits --set colour=red", "option must be one of"),
        ("digits --steps 0", "steps must be a whole number of at least 1; got 0"),
        ("digits --batch-size 0", "batch_size must be a whole number of at least 1"),
        ("digits --learning-rate nan", "learning_rate must be a finite number above 0"),
        ("digits --learning-rate -1", "learning_rate must be a finite number above 0"),
        ("digits --seed -1", "seed must be a whole number of at least 0"),
        ("digits --seed 4294967296", "seed must be a whole number of at most 4294967295; got 4294967296"),
        ("digits --seed 99999999999999999999", "seed must be a whole number of at most 4294967295"),
        ("digits --config missing.json", "an existing file"),
        ("digits --config broken.json", "a valid json file"),
        ("digits --config list.json", "a mapping of settings"),
        ("digits --config unknown.json", "did you mean 'steps'?"),
        ("digits --config mine.yaml", "a .json or .toml file"),
        ("digits --device tpu", "--device must be one that JAX can use here"),
        ("digits --out used", "a new or empty folder (or use --resume to continue a run); got used"),
        ("digits --out notes.txt", "a new or empty folder"),
        ("digits --out notes.txt/run --steps 1 --set energy.width=2", "cannot be made: Not a directory"),
        ("--resume used", "a folder made by `energax train`"),
        ("--resume missing", "no such folder"),
        ("digits --resume used --steps 3", "--resume must be used alone"),
    ],
)
def test_train_refuses(energax, files, words, said):
    before = contents(files)
    status, out, err = energax("train", *words.split())
    assert status == 2
    assert out == ""  # a configuration is printed when it is that of a run to come
    assert err.startswith("energax: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert contents(files) == before


def test_few_rows_are_told_of(energax, here, tiny):
    for rows in (2, 40):
        (here / "few.csv").write_text("a,b\n" + "".join(f"{i},{i % 7}\n" for i in range(rows)))
        status, _, err = energax("train", "few.csv", *tiny, "--dry-run")
        assert status == 0
        assert ("note: 1 row to train on is few" in err) == (rows == 2)


def test_a_run_in_use_is_not_touched(energax, digits_run):
    before = contents(digits_run)
    status, _, err = energax("train", "digits", "--out", digits_run)
    assert status == 2
    assert "--resume" in err
    assert contents(digits_run) == before


def test_tensorboard_is_an_extra(energax, here, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = energax("train", "digits", "--tensorboard")
    assert status == 2
    assert "pip install 'energax[tensorboard]'" in err
    assert not list(here.iterdir())


def test_divergence_is_named_with_the_last_good_checkpoint(energax, tiny, here):
    words = ("--learning-rate", "1e30", "--steps", "30", "--out", "run")
    status, _, err = energax("train", "digits", *tiny, *words)
    assert status == 3
    assert "became" in err
    assert "the last good checkpoint is of step 0" in err
    assert err.count("\n") == 1
    assert json.loads((here / "run" / "run.json").read_text())["status"] == "diverged"
    status, _, err = energax("sample", "run")
    assert status == 2
    assert (
        "a run with a model (the same settings diverge again: train anew with a smaller --learning-rate"
        in err
    )
    # The same bits would lead to the same end: it is not begun again.
    before = contents(here)
    status, _, err = energax("train", "--resume", "run")
    assert status == 2
    assert "--resume must be a run that has learned something (the same settings diverge again" in err
    assert contents(here) == before
    assert "diverged (the same settings diverge again" in energax("info", "run")[1]


@pytest.fixture
def run(digits_run, here):
    """A copy of the digits run that may be harmed, and files to use it on."""
    np.save(here / "images.npy", np.zeros((2, 64), np.float32))
    np.save(here / "flat.npy", np.zeros((2, 63), np.float32))
    np.save(here / "nan.npy", np.full((2, 64), np.nan))
    np.save(here / "huge.npy", np.full((2, 64), 1e30))
    np.save(here / "mask-whole.npy", np.ones((8, 8), bool))
    np.save(here / "mask-small.npy", np.ones((8, 7), bool))
    np.save(here / "mask-grey.npy", np.full((8, 8), 0.5))
    (here / "mask-bad.npy").write_bytes(b"no array")
    (here / "notes.txt").write_text("words")
    return shutil.copytree(digits_run, here / "run")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sample missing", "no such folder"),
        ("sample rum", "there are run in"),
        ("sample .", "there are run in ."),
        ("sample run -n 99999999999999999999", "-n must be at most"),
        ("sample notes.txt", "a folder made by `energax train`"),
        ("sample run -n 0", "-n must be a whole number of at least 1"),
        ("sample run --seed -1", "--seed must be a whole number of at least 0"),
        ("sample run --seed 99999999999999999999", "--seed must be a whole number of at most 4294967295"),
        ("sample run --hold 0", "hold must be a whole number of at least 1"),
        ("sample run --out notes.txt", "--out must be a folder"),
        ("denoise run missing.npy", "an existing file"),
        ("denoise run notes.txt", "a file ending in"),
        ("denoise run flat.npy", "of shape (n, 64) or (n, 8, 8) or (n, 8, 8, 1); got shape (2, 63)"),
        ("denoise run nan.npy", "finite"),
        ("denoise run huge.npy", "something finite; got 2 rows that are not (0, 1)"),
        ("score run huge.npy", "something finite; got 2 rows that are not (0, 1)"),
        ("denoise run images.npy --out images.npy", "another file than the one that is read"),
        ("denoise run images.npy --out clean.txt", "a .npy file"),
        ("denoise run images.npy --out nowhere/clean.npy", "in an existing folder"),
        ("inpaint run images.npy --mask lefft", "did you mean 'left'?"),
        ("inpaint run images.npy --mask missing.npy", "an existing file"),
        ("inpaint run images.npy --mask mask-whole.npy", "--mask must be false somewhere"),
        ("inpaint run images.npy --mask mask-small.npy", "got shape (8, 7)"),
        ("inpaint run images.npy --mask mask-grey.npy", "an array of booleans"),
        ("inpaint run images.npy --mask mask-bad.npy", "a plain NumPy array"),
        ("score run flat.npy", "got shape (2, 63)"),
        ("score run images.npy --out scores.txt", "a .csv file"),
        ("info missing", "no such folder"),
        ("report missing", "no such folder"),
    ],
)
def test_using_a_run_refuses(energax, run, here, words, said):
    before = contents(here)
    status, out, err = energax(*words.split())
    assert status == 2
    assert err.startswith("energax: error: ")
    assert err.count("\n") == 1
    assert said in err
    assert out == ""
    assert contents(here) == before


@pytest.mark.parametrize("command", ["denoise", "score"])
def test_other_units_are_told_of(energax, run, here, command):
    x = np.random.default_rng(0).random((3, 64))
    for times in (1, 255):
        np.save(here / "rows.npy", times * x)
        status, _, err = energax(command, run, "rows.npy")
        assert status == 0
        assert ("note: most rows of rows.npy are far from all training data from 0 to 1" in err) == (
            times > 1
        )


def test_names_of_masks_are_for_images(energax, table_run, table_file):
    status, _, err = energax("inpaint", table_run, table_file, "--mask", "left")
    assert status == 2
    assert "a .npy file unless events are images" in err


def model_of_the_future(path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(1)}, path, metadata={"energax": json.dumps({"format": 99})})


FAULTS = {
    "missing": (lambda path: path.unlink(), "a run with a model"),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-100]), "is damaged"),
    "garbage": (lambda path: path.write_bytes(b"\x00" * 1000), "is damaged"),
    "future": (model_of_the_future, "from 1 to 1, which this version reads; got 99"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_model_that_cannot_be_read(energax, run, fault):
    harm, said = FAULTS[fault]
    harm(run / "model.safetensors")
    for words in (("sample", run), ("score", run, "images.npy"), ("report", run)):
        status, _, err = energax(*words)
        assert status == 2
        assert said in err
        assert err.count("\n") == 1


@pytest.mark.parametrize("name", ["config.json", "run.json"])
def test_a_damaged_run(energax, run, name):
    (run / name).write_text("{")
    for words in (("info", run), ("train", "--resume", run)):
        status, _, err = energax(*words)
        assert status == 2
        assert err.count(name) == 1


def test_nobody_need_listen(run):
    for closed in ("1>&-", "2>&-", "0<&-"):
        done = subprocess.run(["sh", "-c", f'exec "$0" -m energax.cli info run {closed}', sys.executable])
        assert done.returncode == 0


def test_facts_without_the_data_are_refused(energax, run):
    (run / "run.json").write_text("{}")
    status, _, err = energax("report", run)
    assert status == 2
    assert "run.json is damaged: it does not say what the run began with." in err


def test_a_finished_run_says_so(energax, run):
    before = contents(run)
    status, out, _ = energax("train", "--resume", run)
    assert status == 0
    assert out.splitlines()[-1] == f"{run} is finished: 20 steps are done"
    assert contents(run) == before


def test_a_finished_run_says_how_far_it_came_whatever_its_configuration_asks_for(energax, run, here):
    values = json.loads((run / "config.json").read_text())
    values["fit"]["steps"] = 40
    (run / "config.json").write_text(json.dumps(values))
    status, out, _ = energax("train", "--resume", run)
    assert status == 0
    words = f"energax train --config {run}/config.json --out"
    said = f"20 steps are done, not 40; another number is a new run: {words} FOLDER"
    assert out.splitlines()[-1] == f"{run} is finished: {said}"
    status, out, err = energax(*words.split()[1:], here / "longer", "--dry-run")  # what is said to type works
    assert status == 0, err
    assert re.search(r"^fit\.steps +40$", out, re.MULTILINE)


def test_a_run_is_trained_by_one_process_at_a_time(energax, table_run, here):
    run = shutil.copytree(table_run, here / "run")
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    before = contents(run)
    with RunFolder(run).held():
        status, _, err = energax("train", "--resume", run)
    assert status == 2
    assert "RUN must be a run that no other process is training" in err
    assert contents(run) == before
    with RunFolder(run).held():  # let go by now
        pass


def test_changed_data_are_refused(energax, table_run, table_file, here):
    run = shutil.copytree(table_run, here / "run")
    changed = here / "changed.csv"
    changed.write_text(table_file.read_text().replace("height", "Height").replace("1.", "2.", 1))
    for name, entry in (("config.json", {"data": str(changed)}), ("run.json", {"status": "running"})):
        values = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**values, **entry}))
    before = contents(run)
    status, _, err = energax("train", "--resume", run)
    assert status == 2
    assert "SHA-256" in err
    assert contents(run) == before
