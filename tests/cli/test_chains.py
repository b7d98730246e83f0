"""Chains of `energax sample` are kept, judged and tested; replicas at several temperatures draw, too."""

import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from energax.checks import InputError
from energax.cli import chains, main
from energax.cli.chains import NUMBERS, chosen, spacing, summary
from energax.cli.sample import tell
from energax.config import RunConfig, replace
from energax.evaluation import read_inference_data
from energax.samplers import HMC, ParallelTempering, Run, diagnostics
from energax.tasks import way


@pytest.fixture(scope="module")
def sources_run(tmp_path_factory, cache, table_file):
    """A finished run on the table, of a law that holds its chains: independent sources."""
    folder = tmp_path_factory.mktemp("sources") / "run"
    words = ["train", str(table_file), "--energy", "ica", "--objective", "exact-likelihood"]
    settings = ["--steps", "50", "--set", "sampler.hold=2", "--set", "sampler.cool=2"]
    assert main([*words, *settings, "--out", str(folder)]) == 0
    return folder


def test_chains_are_kept_judged_and_tested(energax, sources_run, here):
    words = ["sample", sources_run, "-n", "8", "--sampler", "hmc", "--warmup", "100", "--anneal", "400"]
    status, out, err = energax(*words, "--out", "kept", "--inference-data", "chains.nc")
    assert status == 0, err
    assert energax(*words, "--out", "plain")[0] == 0
    samples, plain = (np.load(here / name / "samples.npz")["samples"] for name in ("kept", "plain"))
    np.testing.assert_array_equal(samples, plain)
    data = read_inference_data(here / "chains.nc")
    x = data.posterior["x"].values
    # Of 42 steps the last 21, in the table's own units; the last of them are the samples.
    assert x.shape == (8, 21, 3)
    assert data.posterior.attrs["steps_between_draws"] == 1
    np.testing.assert_array_equal(x[:, -1], samples)
    assert 100 < x[..., 0].mean() < 240
    assert "8 chains of 21 draws, one for each step of the last half, in chains.nc" in out
    said = re.search(r"worst split R̂ ([\d.]+) \((height|weight|score)\)", out)
    np.testing.assert_allclose(float(said.group(1)), diagnostics.split_rhat(x).max(), rtol=1e-3)
    said = re.search(r"least effective sample size ([\d,]+) of 168", out)
    np.testing.assert_allclose(float(said.group(1)), diagnostics.ess(x).min(), atol=0.6)
    status, out, err = energax("test", "chains.nc", "--run", sources_run)
    assert status == 0, err
    assert re.search(r"^rows +\d+ of 168 draws$", out, re.MULTILINE)
    status, out, err = energax("test", "chains.nc", "--reference", here / "kept" / "samples.csv")
    assert status == 0, err
    assert "mmd" in out


def test_a_test_of_kept_chains_wants_rows_of_the_runs_size(energax, sources_run, here):
    data = diagnostics.to_inference_data(np.random.default_rng(0).standard_normal((2, 50, 4)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        data.to_netcdf(here / "other.nc")
    status, _, err = energax("test", "other.nc", "--run", sources_run)
    assert status == 2
    assert "FILE must be of rows of 3 numbers; got 4" in err


def run_of(event_shape, **changes):
    config = replace(RunConfig(), {"objective": "score-matching", **changes})
    return SimpleNamespace(config=config, way=way(config), energy=SimpleNamespace(event_shape=event_shape))


@pytest.mark.parametrize("n", [1, 64, 4000, 100_000])
@pytest.mark.parametrize("event_shape", [(2,), (28, 28, 1)])
@pytest.mark.parametrize("anneal", [6, 777, 50_000])
def test_what_is_kept_is_bounded_and_no_less_than_can_be(n, event_shape, anneal):
    trained = run_of(event_shape, **{"sampler.anneal": anneal, "sampler.hold": 1, "sampler.cool": 1})
    size, horizon = int(np.prod(event_shape)), anneal + 2
    if 4 * n * size > NUMBERS:
        with pytest.raises(InputError, match=rf"-n must be at most {NUMBERS // (4 * size)} chains"):
            spacing(trained, n)
        return
    every = spacing(trained, n)
    steps = np.append(np.arange(0, horizon, every), horizon)
    times = steps[chosen(steps, every)]
    assert times.min() > horizon - horizon // 2
    assert set(np.diff(times)) <= {every}
    assert len(times) <= 1000
    assert n * len(times) * size <= NUMBERS
    closer = -(-(horizon // 2) // (every - 1)) if every > 1 else 0
    assert every == 1 or closer > 1000 or n * closer * size > NUMBERS


def test_too_few_steps_are_refused():
    with pytest.raises(InputError, match=r"asked of at least 8 steps .*; got 6"):
        spacing(run_of((2,), **{"sampler.anneal": 4, "sampler.hold": 1, "sampler.cool": 1}), 3)


def test_the_worst_coordinate_is_named():
    x = np.random.default_rng(0).standard_normal((6, 200, 3)).astype(np.float32)
    x[..., 2] = 1.0
    columns = ("a", "b", "c")
    rhat, ess, lines = summary(x, columns)
    assert rhat < 1.02
    assert 900 < ess < 1600
    assert "1 of 3 coordinates never moved, and are left out below" in lines
    x[2, :, 1] += 3  # one chain elsewhere
    rhat, ess, lines = summary(x, columns)
    assert rhat > 1.2
    assert ess < 60
    assert lines[-2].endswith("(b)")
    assert lines[-1].endswith("(b)")
    x[..., 0] = np.arange(6)[:, None]  # every chain stands still, each in its place
    rhat, ess, lines = summary(x, columns)
    assert not rhat <= chains.MIXED
    assert lines[-2].endswith("(a)")
    assert lines[-1].endswith("(a)")
    assert summary(np.ones((2, 4, 1)), ("a",))[1] == 0


def test_replicas_draw_and_say_how_often_they_swap(energax, sources_run, here):
    words = ["sample", sources_run, "-n", "8", "--sampler", "tempering", "--anneal", "60", "--warmup", "100"]
    status, _, err = energax(*words, "--temperatures", "1,1.5,2.2", "--out", "drawn")
    assert status == 0, err
    assert "warming up 8 chains (100 steps)" in err
    said = r"changed places in (\d+)% of the tries \(1 and 1\.5: (\d+)%, 1\.5 and 2\.2: (\d+)%\)"
    swaps, colder, hotter = (int(share) for share in re.search(said, err).groups())
    assert swaps > 30
    assert abs((colder + hotter) / 2 - swaps) <= 1
    assert "note" not in err
    samples = np.load(here / "drawn" / "samples.npz")["samples"]
    assert samples.shape == (8, 3)
    assert 100 < samples[:, 0].mean() < 240


def test_the_pair_of_temperatures_that_blocks_is_named(capsys):
    info = {"swap_acceptance": [0.3], "swaps": [[0.3, 0.02]], "swap_tries": [[0.5, 0.5]]}
    ran = Run(None, {}, np.array([9]), {name: np.array(value) for name, value in info.items()})
    tell(ran, ParallelTempering(HMC(0.1), [1.0, 1.5, 60.0]))
    told, note = capsys.readouterr().err.splitlines()
    assert told.endswith("in 30% of the tries (1 and 1.5: 60%, 1.5 and 60: 4%)")
    assert "hardly bring anything down past 1.5 and 60 (0.04); put temperatures between" in note


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--inference-data chains.csv", "--inference-data must be a .nc file; got chains.csv"),
        ("--inference-data gone/chains.nc", "--inference-data must be in an existing folder"),
        ("--sampler flow --inference-data c.nc", "--inference-data must be left out: a flow draws at once"),
        ("--sampler tempering --temperatures 1,x", "--temperatures must be numbers with commas"),
        (
            "--sampler tempering --temperatures 2,3",
            "at least two rising numbers, the first 1; got [2.0, 3.0]",
        ),
        ("--sampler hmc --temperatures 1,2", "--temperatures must be left out: hmc has no use for it"),
        ("--inference-data c.nc -n 9000000", "-n must be at most 1398101 chains with --inference-data"),
    ],
)
def test_what_cannot_be_kept_or_tempered_is_refused(words, said, energax, sources_run, here):
    status, _, err = energax("sample", sources_run, *words.split())
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert not list(here.iterdir())


def test_an_anneal_has_no_chains_of_one_law_and_no_replicas(energax, table_run):
    status, _, err = energax("sample", table_run, "--inference-data", "chains.nc")
    assert status == 2
    assert "--inference-data must be left out: only where the temperature is 1 throughout" in err
    assert err.endswith("got multiscale.\n")
    status, _, err = energax("sample", table_run, "--sampler", "tempering")
    assert status == 2
    assert "sampler must be another for an energy of many noise levels" in err
    status, _, err = energax("sample", table_run, "--sampler", "nuts", "--warmup", "200")
    assert status == 2
    assert "--warmup must be left out: block Gibbs and an anneal have nothing to warm up; got 200" in err
