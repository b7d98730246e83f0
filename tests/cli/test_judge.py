"""`energax test` says whether a sample is from a law, whatever the law comes as."""

import re
import warnings

import numpy as np
import pytest

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
        "--scores scores.npy --method lsd",
    ],
)
def test_a_sample_of_the_law_passes(law, energax, sample):
    status, out, err = energax("test", "x.npy", *law.split())
    assert status == 0, err
    assert p_value(out) > 0.01


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
    from energax.cli.judge import _of_run
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
    import jax

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
    ]:
        status, out, err = energax("compare", table_file, *words)
        assert (status, out) == (2, "")
        assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("x.npy --scores scores.npy --method lsd --kernel rbf", "--kernel and --bandwidth must be left out"),
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
            "--bandwidth must be left out: fssd finds its own",
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
