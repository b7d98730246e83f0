"""`energax test` says whether a sample is from a law, whatever the law comes as."""

import re
import warnings

import jax
import numpy as np
import pytest

from energax import evaluation
from energax.cli.judge import _of_run

from .conftest import TINY

MODEL = """
import jax.numpy as jnp
def log_density(x):
    return -0.5 * jnp.sum(x**2)
def vector(x):
    return x
def exponential(x):
    return jnp.where(jnp.all(x > 0), -jnp.sum(x), -jnp.inf)
def of_numpy(x):
    import math
    return math.exp(x[0])
"""


@pytest.fixture
def sample(here):
    x = np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32)
    np.save(here / "x.npy", x)
    np.save(here / "off.npy", x + 0.5)
    np.save(here / "scores.npy", -x)
    np.save(here / "half.npy", -0.5 * x)
    np.save(here / "positive.npy", np.random.default_rng(1).exponential(size=(300, 2)).astype(np.float32))
    np.save(here / "holes.npy", np.where(np.isin(np.arange(300), (7, 9))[:, None], np.inf, -x))
    np.savetxt(here / "holes.csv", np.where(np.arange(300)[:, None] % 40 == 5, np.nan, -x), delimiter=",")
    np.save(here / "bits.npy", x > 0)
    (here / "model.py").write_text(MODEL)
    (here / "model.nc").write_text(MODEL)
    return x


def p_value(out):
    return float(re.search(r"^p-value +([\d.e-]+)$", out, re.MULTILINE).group(1))


@pytest.mark.parametrize(
    "law",
    [
        "--log-density model.py:log_density",
        "--scores scores.npy",
        "--log-density model.py:log_density --scores scores.npy --bandwidth power",
        "--scores scores.npy --method linear-ksd --kernel rbf",
        "--scores scores.npy --method fssd",
        "--scores scores.npy --method lsd --critic-steps 20",
    ],
)
def test_a_sample_of_the_law_passes(law, energax, sample):
    status, out, err = energax("test", "x.npy", *law.split())
    assert status == 0, err
    assert p_value(out) > 0.01


def learned(x, key, split=(0.8, 0.1, 0.1), null="bootstrap", **training):
    how = evaluation.CriticTraining(standardise=True, steps=20, **training)
    settings = {"draws": 1000, "progress": False, "key": key}
    return evaluation.lsd_test(x, scores=-x, training=how, split=split, null=null, **settings)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (
            "--scores scores.npy --statistic u --draws 50",
            lambda x, k: evaluation.ksd_test(x, scores=-x, statistic="u", draws=50, key=k),
        ),
        (
            "--scores scores.npy --method fssd --locations 3 --no-optimise --bandwidth 1.5",
            lambda x, k: evaluation.fssd_test(
                x, scores=-x, locations=3, optimise=False, bandwidth=1.5, draws=1000, key=k
            ),
        ),
        ("--scores scores.npy --method lsd --critic-steps 20 --null normal --split 0.4 0.1 0.5", "normal"),
        ("--scores scores.npy --method lsd --critic-steps 20 --constraint clipping", "clipping"),
        ("--scores scores.npy --method lsd --critic-steps 20 --penalty 20", "penalty"),
        (
            "--reference off.npy --bandwidth power",
            lambda x, k: evaluation.mmd_test(x, x + 0.5, bandwidth="power", key=k),
        ),
    ],
)
def test_a_flag_is_the_librarys_argument(words, call, energax, sample):
    key = jax.random.key(0)
    calls = {
        "normal": lambda: learned(sample, key, (0.4, 0.1, 0.5), "normal"),
        "clipping": lambda: learned(sample, key, constraint="clipping"),
        "penalty": lambda: learned(sample, key, penalty=20.0),
    }
    found = calls[call]() if isinstance(call, str) else call(sample, key)
    status, out, err = energax("test", "x.npy", *words.split())
    assert status == 0, err
    shown = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines() if "  " in line)
    assert shown["statistic"] == f"{found.statistic:.6g}"
    assert (shown["p-value"], shown["null"]) == (f"{found.p_value:.4g}", found.null)


def test_two_samples_are_counted_each_by_itself(energax, sample, here):
    np.save(here / "three.npy", sample[:3])
    status, out, err = energax("test", "x.npy", "--reference", "three.npy")
    assert status == 0, err
    assert re.search(r"^rows +300 of 300, 2 numbers each; beside 3 of 3, 2 numbers each$", out, re.MULTILINE)
    assert re.search(r"^status +few rows in the smaller sample \(3\)", out, re.MULTILINE)
    assert re.search(r"^test +mmd: kernel rbf, bandwidth [\d.]+$", out, re.MULTILINE)


@pytest.mark.parametrize("law", ["--log-density model.py:log_density", "--reference x.npy"])
def test_another_sample_does_not(law, energax, sample):
    status, out, err = energax("test", "off.npy", *law.split())
    assert status == 0, err
    assert p_value(out) < 0.01


def test_the_energy_of_a_run_is_taken_in_the_units_of_the_table(energax, here, table_run, table_file):
    from energax.derivatives import score
    from energax.evaluation import ksd_test

    status, out, err = energax("test", table_file, "--run", table_run)
    assert status == 0, err
    energy, trained = _of_run("test", table_run)
    rows = trained.read(str(table_file))[0]
    # The score by finite differences of what `energax score` says of the rows.
    status, said, _ = energax("score", table_run, table_file)
    np.testing.assert_allclose(float(said.split()[0]), energy(rows[0]), rtol=1e-3, atol=1e-3)
    step = np.array([0.05, 0.0, 0.0], np.float32)
    slope = (energy(rows[0] - step) - energy(rows[0] + step)) / 0.1
    np.testing.assert_allclose(score(energy, rows[0])[0], slope, rtol=0.1, atol=0.05)
    found = ksd_test(rows, energy, key=jax.random.key(0))
    assert f"{found.statistic:.6g}" in out


def test_a_chain_of_arviz_is_thinned(energax, sample, here):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # ArviZ announces its next version
        import arviz
    chain = np.repeat(sample, 3, axis=0).reshape(2, 450, 2)
    arviz.from_dict(posterior={"x": chain}).to_netcdf(here / "chain.nc")
    status, out, err = energax("test", "chain.nc", "--log-density", "model.py:log_density")
    assert status == 0, err
    assert p_value(out) > 0.01
    kept = int(re.search(r"^rows +(\d+) of 900 draws$", out, re.MULTILINE).group(1))
    assert 80 < kept < 300
    # Two samples: permutations take independent rows too, on either side.
    for words, rows in [
        (("chain.nc", "--reference", "x.npy"), f"{kept} of 900 draws; beside 300 of 300, 2 numbers each"),
        (("x.npy", "--reference", "chain.nc"), f"300 of 300, 2 numbers each; beside {kept} of 900 draws"),
    ]:
        status, out, err = energax("test", *words)
        assert status == 0, err
        assert rows in out
        assert p_value(out) > 0.01


KERNEL = "--method ksd --kernel rbf --bandwidth discrepancy"


def test_runs_are_ranked_by_how_near_they_are(energax, here, table_run, table_file):
    worse = here / "worse"
    status, _, err = energax(
        "train", table_file, "--out", worse, "--steps", "1", "--learning-rate", "1e-6", *TINY
    )
    assert status == 0, err
    status, out, err = energax("compare", table_file, worse, table_run, "--steps", "60")
    assert status == 0, err
    lines = [line.split() for line in out.splitlines()[1:]]
    assert {lines[0][0], lines[1][0]} == {str(worse), str(table_run)}
    assert float(lines[0][1]) < float(lines[1][1])
    np.testing.assert_allclose(float(lines[1][1]) - float(lines[0][1]), float(lines[1][3]), rtol=1e-2)
    assert "On 20 of 200, 3 numbers each; less is better" in out
    status, said, err = energax("compare", table_file, worse, table_run, *KERNEL.split())
    assert status == 0, err
    lines = [line.split() for line in said.splitlines()[1:]]
    assert float(lines[0][1]) < float(lines[1][1])
    rows = np.loadtxt(table_file, delimiter=",", skiprows=1, dtype=np.float32)
    energies = {str(run): _of_run("compare", run)[0] for run in (worse, table_run)}
    settings = {"kernel": "rbf", "bandwidth": "discrepancy", "key": jax.random.key(0)}
    ranked = evaluation.compare(energies, rows, method="ksd", **settings)
    assert [line[0] for line in lines[:2]] == list(ranked.names)
    assert [line[1] for line in lines[:2]] == [f"{f.estimate:.4g}" for f in ranked.found]
    assert "On 160 of 200" in said
    status, said, err = energax("compare", table_file, worse, table_run, "--method", "linear-ksd")
    assert status == 0, err
    paired = evaluation.compare(energies, rows, method="linear-ksd", key=jax.random.key(0))
    assert [line.split()[1] for line in said.splitlines()[1:3]] == [f"{f.estimate:.4g}" for f in paired.found]
    assert "On 200 of 200" in said
    # No rows named: those that the runs' one data set kept back, which are too few here.
    status, _, err = energax("compare", worse, table_run)
    assert status == 2
    assert "each part of the split (0.8, 0.1, 0.1) holds at least 10; got 20, of which 2" in err
    facts = worse / "run.json"
    facts.write_text(re.sub(r'"sha256": "\w+"', '"sha256": "0"', facts.read_text()))
    status, _, err = energax("compare", table_run, worse)
    assert status == 2
    assert f"trained on one data set, that of {table_run}" in err
    for words, said in [
        ((table_run,), "RUNS must be two or more run folders; got 1"),
        ((table_run, table_run), "RUNS must be different run folders"),
        ((table_run, worse, "--penalty", "0"), "--penalty must be a finite number above 0"),
        (
            (table_run, worse, "--kernel", "rbf"),
            "--kernel must be left out, or asked of ksd, linear-ksd; got it for lsd",
        ),
        (
            (table_run, worse, *KERNEL.split(), "--steps", "5"),
            "--steps must be left out, or asked of lsd; got it for ksd",
        ),
    ]:
        status, out, err = energax("compare", table_file, *words)
        assert (status, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "x.npy --scores scores.npy --method lsd --kernel rbf",
            "--kernel must be left out, or asked of ksd, linear-ksd, fssd, mmd; got it for lsd",
        ),
        ("x.npy --scores scores.npy --locations 3", "--locations must be left out, or asked of fssd; got it"),
        ("x.npy --scores scores.npy --no-optimise", "--no-optimise must be left out, or asked of fssd"),
        (
            "x.npy --scores scores.npy --critic-steps 5",
            "--critic-steps must be left out, or asked of lsd; got it for ksd",
        ),
        ("x.npy --reference off.npy --statistic u", "--statistic must be left out, or asked of ksd"),
        ("x.npy --scores scores.npy --method linear-ksd --draws 9", "--draws must be left out, or asked of"),
        (
            "x.npy --scores scores.npy --method fssd --no-optimise --bandwidth power",
            "--bandwidth must be median or a number with --no-optimise",
        ),
        ("x.npy --scores scores.npy --method fssd --locations 0", "--locations must be a whole number"),
        ("x.npy --scores scores.npy --method lsd --critic-steps 0", "--critic-steps must be a whole number"),
        (
            "x.npy --scores scores.npy --method lsd --constraint spectral --penalty 1",
            "--penalty must be left out, or of --constraint l2; got it for spectral",
        ),
        ("x.npy --scores scores.npy --method lsd --split 0.5 0.5 0.1", "three positive shares of sum 1"),
        ("x.npy --scores scores.npy --method lsd --null t", '"bootstrap", "normal"'),
        ("x.npy --reference gone.nc", "--reference must be an existing file; got 'gone.nc'"),
        (
            "x.npy --scores holes.npy",
            "test: --scores must be finite at every row; got 2 rows that are not (7, 9)",
        ),
        (
            "x.npy --scores holes.csv",
            "finite at every row; got 8 rows that are not (5, 45, 85, 125, 165, …)",
        ),
        (
            "positive.npy --log-density model.py:exponential",
            "model must be on all of ℝᵈ: where a density ends at an edge, Stein's identity fails; take log x",
        ),
        ("bits.npy --scores scores.npy", "x must be continuous; for binary data take mmd_test"),
        ("gone.nc --scores scores.npy", "FILE must be an existing file; got 'gone.nc'"),
        ("model.nc --scores scores.npy", "model.nc must be a NetCDF file of ArviZ's"),
        ("x.npy", "the law must be one of --run, --log-density, --scores, --reference"),
        ("x.npy --scores scores.npy --reference x.npy", "the law must be one of"),
        (
            "x.npy --scores scores.npy --method mmd",
            "--method must be mmd with --reference, and only with it; got mmd",
        ),
        (
            "x.npy --scores scores.npy --bandwidth wide",
            "--bandwidth must be median, power, discrepancy or a number",
        ),
        (
            "x.npy --scores scores.npy --method fssd --bandwidth 2",
            "--bandwidth must be left out (or power) without --no-optimise: fssd finds its own; got 2.0",
        ),
        ("x.npy --scores scores.npy --draws 0", "--draws must be a whole number of at least 1; got 0"),
        ("x.npy --log-density model.py:none", "--log-density must be a function of model.py; got 'none'"),
        ("x.npy --log-density none.py:f", "--log-density must be in an existing file; got 'none.py'"),
        ("x.npy --log-density model.py:vector", "returning one number; got one of shape (2,)"),
        ("x.npy --log-density model.py:of_numpy", "a function of one row that JAX can differentiate"),
        (
            "x.npy --log-density model.py:log_density --scores half.npy",
            "scores must be the gradient of the given log-density; got a difference of",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(words, said, energax, sample):
    status, out, err = energax("test", *words.split())
    assert status == 2
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_a_run_of_bits_has_no_score(energax, here):
    np.save(here / "bits.npy", np.random.default_rng(0).integers(0, 2, (80, 3)).astype(np.float32))
    words = ["--objective", "ratio", "--steps", "2", "--batch-size", "8", "--out", "run", *TINY]
    status, _, err = energax("train", "bits.npy", *words)
    assert status == 0, err
    status, _, err = energax("test", "bits.npy", "--run", "run")
    assert status == 2
    assert "--run must be of an energy over real numbers, which has a score; got one over bits" in err
