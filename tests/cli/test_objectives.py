"""Every objective trains from the command line, and what its model can do is done or refused by name."""

import re
import shutil

import jax
import numpy as np
import pytest

from energax import energies
from energax.cli import main
from energax.data import load as load_data
from energax.options import OBJECTIVES, PAIRED
from energax.tasks.rows import to_data
from energax.training.modelfile import load

from .conftest import TINY

QUICK = ["--steps", "6", "--batch-size", "32", *TINY]


OF_BITS = (
    "ratio",
    "probability-flow",
    "composite-likelihood",
    "exact-likelihood",
    "mean-field-cd",
    "unbiased-cd",
)
ELSEWHERE = ("multiscale", "noise-conditional", *PAIRED.values())  # tests of their own
WITHOUT_NETWORK = [
    word
    for flag, setting in zip(TINY[::2], TINY[1::2], strict=True)
    if not setting.startswith("energy.")
    for word in (flag, setting)
]
MACHINE = ["--energy", "bernoulli-rbm", *QUICK[:4], "--set", "energy.hidden=4", *WITHOUT_NETWORK]


SMALL_FLOW = ("objective.layers=2", "objective.width=8", "objective.kind=affine", "objective.warmup=2")
SET_FLOW = [word for setting in SMALL_FLOW for word in ("--set", setting)]
FLOW = {"flow-contrastive": SET_FLOW, "adversarial-contrastive": SET_FLOW}


EDGED = (
    "{} must be of a law on all of ℝᵈ: where a density ends at an edge, Stein's identity fails; "
    "got one of the objective {}."
)


def rows(kind):
    rng = np.random.default_rng(0)
    return {
        "score-matching": rng.standard_normal((80, 3)),
        "sliced": rng.standard_normal((80, 3)),
        "denoising": rng.standard_normal((80, 3)),
        "multiscale": rng.standard_normal((80, 3)),
        "non-negative": rng.gamma(2.0, size=(80, 3)),
        "box": rng.uniform(size=(80, 3)),
        "ratio": rng.integers(0, 2, (80, 3)),
        "probability-flow": rng.integers(0, 2, (80, 3)),
        "composite-likelihood": rng.integers(0, 2, (80, 3)),
        "noise-conditional": rng.standard_normal((80, 3)),
        "exact-likelihood": rng.integers(0, 2, (80, 3)),
        "mean-field-cd": rng.integers(0, 2, (80, 3)),
        "unbiased-cd": rng.integers(0, 2, (80, 3)),
    }.get(kind, rng.standard_normal((80, 3))).astype(np.float32)


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o not in ELSEWHERE])
def test_each_objective_trains_and_samples(objective, energax, here):
    np.save(here / "rows.npy", rows(objective))
    # In the data's own units, which is where a half-space, a box and bits are.
    status, out, err = energax(
        "train",
        "rows.npy",
        "--objective",
        objective,
        "--preprocess",
        "flatten",
        "--out",
        "run",
        *(MACHINE if objective in OF_BITS[3:] else QUICK),
        *FLOW.get(objective, ()),
    )
    assert status == 0, err
    assert re.search(rf"^objective +{objective}$", out, re.MULTILINE)
    status, out, err = energax("sample", "run", "-n", "4")
    assert status == 0, err
    samples = np.load(here / "run" / "samples.npz")["samples"]
    assert samples.shape == (4, 3)
    if objective == "non-negative":
        assert samples.min() >= 0
    if objective == "box":
        assert samples.min() >= 0
        assert samples.max() <= 1
    if objective in OF_BITS:
        assert set(np.unique(samples)) <= {0.0, 1.0}
    status, _, err = energax("score", "run", "rows.npy")
    assert status == 0, err
    status, _, err = energax("denoise", "run", "rows.npy")
    if objective == "denoising":
        assert status == 0, err
    else:
        assert status == 2
        assert f"knows of noise (multiscale, denoising, noise-conditional); got {objective}" in err


def test_the_flow_that_an_energy_is_told_from_is_kept_and_drawn(energax, here, table_run):
    rows = np.random.default_rng(0).standard_normal((300, 2)) * [3.0, 0.5] + [10.0, -2.0]
    np.save(here / "rows.npy", rows.astype(np.float32))
    words = ["--objective", "flow-contrastive", "--set", "objective.warmup=200", *SET_FLOW[:-2], *QUICK]
    status, _, err = energax("train", "rows.npy", "--out", "run", *words)
    assert status == 0, err
    assert energax("sample", "run", "-n", "3", "--anneal", "9")[0] == 0
    status, _, err = energax("sample", "run", "--sampler", "flow", "-n", "2000")
    assert status == 0, err
    samples = np.load(here / "run" / "samples.npz")["samples"]
    # In the data's units, and near them: the warm-up alone brings the flow there.
    np.testing.assert_allclose(samples.mean(0), rows.mean(0), atol=0.3 * rows.std(0).max())
    np.testing.assert_allclose(samples.std(0), rows.std(0), rtol=0.3)
    flow = load(here / "run" / "flow.safetensors")
    assert flow.model.kind == "affine"
    drawn = flow.model.sample(jax.random.key(0), 2000)
    np.testing.assert_allclose(to_data(flow.preprocessing, drawn), samples, rtol=1e-5, atol=1e-5)
    # Nothing is left of the chains that were drawn before.
    assert {p.name for p in (here / "run").glob("samples.*")} == {"samples.npz", "samples.png", "samples.csv"}
    assert not [*(here / "run").glob("annealing.*"), *(here / "run").glob("energy.*")]
    status, _, err = energax("sample", table_run, "--sampler", "flow")
    assert status == 2
    assert "unless the run learned a flow beside its energy; got flow for multiscale" in err
    status, _, err = energax("sample", "run", "--sampler", "flow", "--hold", "3")
    assert status == 2
    assert "--hold must be left out" in err


def test_a_noise_conditional_field_does_all_but_score(energax, here):
    status, out, err = energax(
        "train", "digits", "--objective", "noise-conditional", "--energy", "mlp-field", "--out", "run", *QUICK
    )
    assert status == 0, err
    # Chosen from the data, and told.
    assert int(re.search(r"objective.levels +(\d+)", out).group(1)) > 15
    assert float(re.search(r"objective.sigma_max +([\d.]+)", out).group(1)) > 3
    assert energax("sample", "run", "-n", "3")[0] == 0
    assert not (here / "run" / "energy.csv").exists()
    np.save(here / "rows.npy", np.zeros((2, 64), np.float32))
    status, _, err = energax("denoise", "run", "rows.npy")
    assert status == 2
    assert "--sigma must be given for a noise-conditional model" in err
    status, _, err = energax("denoise", "run", "rows.npy", "--sigma", "0.3")
    assert status == 0, err
    status, _, err = energax("inpaint", "run", "rows.npy", "--mask", "left")
    assert status == 0, err
    assert np.load(here / "inpainted.npy").shape == (2, 64)
    status, _, err = energax("score", "run", "rows.npy")
    assert status == 2
    assert "a run of an energy; got a vector field" in err
    status, out, err = energax("report", "run")
    assert status == 0, err
    page = (here / "run" / "report.html").read_text()
    assert "which is told σ" in page
    assert 'id="energies"' not in page


def test_a_noise_conditional_energy_is_scored_at_its_smallest_level(energax, here):
    np.save(here / "rows.npy", rows("noise-conditional"))
    words = ["train", "rows.npy", "--objective", "noise-conditional", "--out", "run"]
    status, _, err = energax(*words, "--set", "objective.levels=3", *QUICK)
    assert status == 0, err
    status, out, err = energax("score", "run", "rows.npy")
    assert status == 0, err
    assert len(out.split()) == 80


@pytest.fixture(scope="module")
def told_run(tmp_path_factory, table_file):
    """A finished run of a noise-conditional energy on a table in units of its own."""
    folder = tmp_path_factory.mktemp("told") / "run"
    words = ["train", str(table_file), "--objective", "noise-conditional", "--out", str(folder)]
    assert main([*words, "--set", "objective.levels=6", *QUICK]) == 0
    return folder


@pytest.mark.parametrize(
    "words",
    ["annealed", "reverse-diffusion", "reverse-diffusion --corrector-steps 0 --anneal 9", "probability-flow"],
)
def test_each_sampler_of_a_noise_conditional_run_writes_all_there_is(words, energax, told_run, here):
    status, _, err = energax("sample", told_run, "-n", "5", "--out", "drawn", "--sampler", *words.split())
    assert status == 0, err
    written = {p.name for p in (here / "drawn").iterdir()}
    assert written == {"samples.npz", "samples.png", "samples.csv", "annealing.png"}
    samples = np.load(here / "drawn" / "samples.npz")["samples"]
    assert samples.shape == (5, 3)
    # In the units of the table: heights in centimetres.
    assert 100 < samples[:, 0].mean() < 240


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--sampler probability-flow --anneal 30", "--anneal must be left out: probability-flow has no use"),
        ("--sampler reverse-diffusion --epsilon 0.1", "--epsilon must be left out: reverse-diffusion has no"),
        ("--snr 0.1", "--snr must be left out: annealed has no use for it; got 0.1"),
        ("--sampler reverse-diffusion --snr 2", "snr must be below 1"),
        ("--sampler reverse-diffusion --corrector-steps -1", "corrector_steps must be a whole number"),
        ("--sampler langevin", "annealed"),
    ],
)
def test_what_a_sampler_has_no_use_for_is_refused(words, said, energax, told_run):
    status, _, err = energax("sample", told_run, *words.split())
    assert status == 2
    assert said in err
    assert err.count("\n") == 1


def test_corrected_steps_are_warmed_up_where_nothing_is_annealed(energax, table_file, here):
    words = ["train", table_file, "--objective", "score-matching", "--out", "run"]
    assert energax(*words, *QUICK)[0] == 0
    words = ["sample", "run", "-n", "8", "--sampler", "mala", "--warmup", "100", "--out"]
    status, _, err = energax(*words, "one")
    assert status == 0, err
    accepted = re.search(r"warming up 8 chains \(100 steps\)\naccepted (\d+)% of the proposals", err)
    assert accepted is not None, err
    assert 20 < int(accepted.group(1)) < 100
    assert energax(*words, "two")[0] == 0
    one, two = (np.load(here / name / "samples.npz")["samples"] for name in ("one", "two"))
    np.testing.assert_array_equal(one, two)
    assert 100 < one[:, 0].mean() < 240
    # Unadjusted steps of that size would not do, and say so.
    status, _, err = energax("sample", "run", "-n", "8", "--epsilon", "0.8", "--hold", "1")
    assert status == 0, err
    assert re.search(r"note: of such Langevin steps \d+% would be accepted", err)
    status, _, err = energax("sample", "run", "-n", "8", "--epsilon", "0.01", "--hold", "1")
    assert "note" not in err
    assert set(np.loadtxt(here / "one" / "energy.csv", delimiter=",", skiprows=1)[:, 1]) == {1.0}


def test_an_anneal_is_corrected_as_it_is(energax, table_run, here):
    status, _, err = energax("sample", table_run, "-n", "4", "--sampler", "hmc", "--out", "drawn")
    assert status == 0, err
    assert "accepted" in err
    assert "warming up" not in err
    status, _, err = energax("sample", table_run, "--warmup", "10")
    assert status == 2
    assert "--warmup must be left out: annealed has no use for it; got 10" in err


def test_a_run_that_is_not_told_the_noise_has_one_sampler_and_no_likelihood(energax, table_run, table_file):
    status, _, err = energax("sample", table_run, "--sampler", "reverse-diffusion")
    assert status == 2
    assert "objective noise-conditional); got 'reverse-diffusion' for multiscale." in err
    status, _, err = energax("score", table_run, table_file, "--likelihood")
    assert status == 2
    assert "--likelihood must be asked of a run whose log Z is known: of noise-conditional, nce" in err
    status, _, err = energax("score", table_run, table_file, "--probes", "3")
    assert status == 2
    assert "--probes must be given together with --likelihood; got 3" in err


def test_an_energy_told_from_noise_has_likelihoods(energax, table_file, here):
    words = ["train", str(table_file), "--objective", "nce", "--out", "run", *QUICK]
    status, out, err = energax(*words)
    assert status == 0, err
    # Chosen from the data, and told; so is log Z, and it is kept.
    assert re.search(r"^objective.noise +gaussian$", out, re.MULTILINE)
    said = re.search(
        r"log Z (-?[\d.]+) ± ([\d.e-]+) \([\d,]+ effective draws.*\), by importance sampling", out
    )
    status, out, _ = energax("info", "run")
    assert f"log Z       {said.group(1)} ± {said.group(2)}" in re.sub("  +", "       ", out)
    status, out, err = energax("score", "run", table_file, "--likelihood")
    assert status == 0, err
    likelihoods = np.array([line.split(",") for line in out.split()[1:]], float)
    _, out, _ = energax("score", "run", table_file)
    energies = np.array(out.split(), float)
    np.testing.assert_allclose(likelihoods[:, 0], -energies - float(said.group(1)), atol=2e-3)
    np.testing.assert_allclose(likelihoods[:, 2], float(said.group(2)), rtol=0.06)
    status, _, err = energax("score", "run", table_file, "--likelihood", "--probes", "4")
    assert status == 2
    assert "--probes must be left out: there is no trace to estimate; got 4" in err


def test_independent_sources_are_found_by_exact_likelihood(energax, here):
    truth = energies.LinearICA(np.array([[1.5, -0.4], [0.6, 0.9]]))
    x = np.asarray(truth.sample(jax.random.key(0), 4000))
    np.save(here / "mixed.npy", x)
    words = ["train", "mixed.npy", "--energy", "ica", "--objective", "exact-likelihood", "--steps", "300"]
    status, _, err = energax(*words, "--learning-rate", "0.03", "--out", "run", *WITHOUT_NETWORK)
    assert status == 0, err
    status, out, err = energax("score", "run", "mixed.npy", "--likelihood")
    assert status == 0, err
    found = np.array([line.split(",") for line in out.split()[1:]], float)[:, 0]
    exact = np.asarray(jax.vmap(truth.log_prob)(x))
    assert abs(found.mean() - exact.mean()) < 0.02


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--objective probability-flow --preprocess flatten",
            "--preprocess must be one that gives zeros and ones",
        ),
        (
            "--objective nce --energy mlp-field",
            "--energy must be an energy (mlp, mixer or resnet) for the objective nce",
        ),
        (
            "--objective nce --set objective.noise_ratio=0",
            "noise_ratio must be a finite number above 0; got 0.0",
        ),
        (
            "--objective nce --set objective.noise=bernoulli --preprocess flatten",
            "--preprocess must be one that gives zeros and ones",
        ),
    ],
)
def test_what_contrast_cannot_do_is_refused(words, said, energax, here):
    np.save(here / "rows.npy", rows("nce"))
    status, _, err = energax("train", "rows.npy", "--out", "run", *words.split())
    assert status == 2
    assert said in err
    assert not (here / "run").exists()


def test_numbers_are_no_bits_unless_a_threshold_is_given(energax, here):
    np.save(here / "rows.npy", rows("sliced"))
    words = ["train", "rows.npy", "--energy", "bernoulli-rbm", "--objective", "persistent-cd"]
    status, _, err = energax(*words, "--out", "run")
    assert status == 2
    assert "names must be 'binarise:T', T the value above which an entry is 1" in err
    assert not (here / "run").exists()
    assert energax(*words, "--out", "run", "--preprocess", "binarise:0.2", "--dry-run")[0] == 0


def test_one_row_that_is_no_state_leaves_no_folder(energax, here):
    x = np.random.default_rng(0).integers(0, 2, (12_000, 4)).astype(np.float32)
    x[-1, 0] = x[0, 0] = 0.37  # the rows are shuffled: one of them is held out at most
    np.save(here / "rows.npy", x)
    words = ["train", "rows.npy", "--preprocess", "flatten", "--energy", "bernoulli-rbm", "--out", "run"]
    status, _, err = energax(*words, "--objective", "persistent-cd")
    assert status == 2
    assert "--preprocess must be one that gives zeros and ones for the energy bernoulli-rbm" in err
    assert "got 0.37 in row" in err
    assert not (here / "run").exists()


def test_one_held_out_row_that_is_no_state_leaves_no_folder(energax, here):
    x = np.random.default_rng(0).integers(0, 2, (400, 4)).astype(np.float32)
    np.save(here / "rows.npy", np.tile(np.arange(400.0)[:, None], (1, 4)))
    x[int(load_data("rows.npy").test[7, 0]), 2] = 0.37
    np.save(here / "rows.npy", x)
    words = ["train", "rows.npy", "--preprocess", "flatten", "--energy", "bernoulli-rbm", "--out", "run"]
    status, _, err = energax(*words, "--objective", "persistent-cd")
    assert status == 2
    assert "--preprocess must be one that gives zeros and ones for the energy bernoulli-rbm" in err
    assert "got 0.37 in held-out row 7" in err
    assert not (here / "run").exists()


@pytest.mark.parametrize(
    ("objective", "words", "instead"),
    [
        ("score-matching", "", "RatioMatching"),  # standardised, as tables are
        ("nce", "", "noise='bernoulli' on zeros and ones"),
        (
            "adversarial-contrastive",
            "--preprocess flatten",
            "NoiseContrastiveEstimation(noise='bernoulli')",
        ),
    ],
)
def test_a_table_of_bits_has_no_density(objective, words, instead, energax, here):
    np.savetxt(here / "bits.csv", rows("ratio"), delimiter=",", header="a,b,c", comments="")
    given = ["train", "bits.csv", "--objective", objective, "--out", "run", *words.split()]
    status, _, err = energax(*given, *QUICK, *FLOW.get(objective, ()))
    assert status == 2
    assert f"x must be continuous; for binary data take {instead}; got no column of more than two" in err
    assert not (here / "run").exists()


@pytest.mark.parametrize("objective", ["nce", "shifted-nce"])
def test_constant_columns_are_refused(objective, energax, here):
    x = rows("nce")
    x[:, 1] = 2.0
    np.save(here / "rows.npy", x)
    status, _, err = energax(
        "train", "rows.npy", "--objective", objective, "--preprocess", "flatten", "--out", "run", *QUICK
    )
    assert status == 2
    assert "free of constant columns" in err
    assert "got 1 of 3 columns constant (1)" in err
    assert not (here / "run").exists()


def test_likelihoods_are_in_the_units_of_the_table(energax, told_run, table_file, here):
    from energax.cli.trained import Trained
    from energax.tasks import log_likelihood

    status, out, err = energax("score", told_run, table_file, "--likelihood")
    assert status == 0, err
    header, *lines = out.splitlines()
    assert header == "log_likelihood,bits_per_dimension"
    got = np.array([line.split(",") for line in lines], float)
    trained = Trained(told_run, "score")
    low, high = trained.way.sigmas
    x = np.loadtxt(table_file, delimiter=",", skiprows=1, dtype=np.float32)
    found = log_likelihood(trained.energy, trained.to_model(x), sigma_min=low, sigma_max=high)
    # p(x) = p(z) ∏ dz/dx, where z = (x − mean)/std: of the training rows, read off the map itself.
    slopes = np.diag(trained.to_model(x[:1] + np.eye(3, dtype=np.float32)) - trained.to_model(x[:1]))
    np.testing.assert_allclose(1 / slopes, x.std(0), rtol=0.2)
    np.testing.assert_allclose(got[:, 0], found.log_prob + np.log(slopes).sum(), atol=2e-3)
    np.testing.assert_allclose(got[:, 1], -got[:, 0] / (3 * np.log(2)), rtol=1e-5)
    assert f"mean {got[:, 0].mean():.4g} ±" in err

    status, out, err = energax(
        "score", told_run, table_file, "--likelihood", "--probes", "8", "--out", "likely.csv"
    )
    assert status == 0, err
    table = np.genfromtxt(here / "likely.csv", delimiter=",", names=True)
    assert table.dtype.names == ("log_likelihood", "bits_per_dimension", "standard_error")
    off = (table["log_likelihood"] - got[:, 0]) / np.maximum(table["standard_error"], 0.02)
    assert np.median(np.abs(off)) < 3


def test_data_behind_a_wall(energax, here):
    columns = rows("non-negative") * [1.0, 30.0, 0.1]
    np.savetxt(here / "bad.csv", columns - 2.0, delimiter=",", header="a,b,c", comments="")
    status, _, err = energax("train", "bad.csv", "--objective", "non-negative", "--out", "run", *QUICK)
    assert status == 2
    assert re.search(r"x must be within \[0, inf\].*; got entries -[0-9.]+\.$", err.strip())
    assert not (here / "run").exists()
    np.savetxt(here / "rows.csv", columns, delimiter=",", header="a,b,c", comments="")
    status, _, err = energax("train", "rows.csv", "--objective", "non-negative", "--out", "run", *QUICK)
    assert status == 0, err
    status, _, err = energax("sample", "run", "-n", "8", "--sampler", "mala")
    assert status == 0, err
    assert np.load(here / "run" / "samples.npz")["samples"].min() >= 0
    status, _, err = energax("test", "rows.csv", "--run", "run")
    assert status == 2
    assert "where a density ends at an edge, Stein's identity fails" in err
    shutil.copytree("run", "again")
    status, out, err = energax("compare", "rows.csv", "run", "again")
    assert (status, out) == (2, "")
    assert EDGED.format("compare: RUNS", "non-negative") in err


def test_data_in_a_box_are_no_steins(energax, here):
    np.save("rows.npy", rows("box"))
    words = ["--objective", "box", "--preprocess=flatten", "--out", "run", *QUICK]
    assert energax("train", "rows.npy", *words)[0] == 0
    shutil.copytree("run", "again")
    test, compare = ("test", "rows.npy", "--run", "run"), ("compare", "run", "again")
    for asked, flag in [(test, "--run"), (compare, "RUNS")]:
        status, out, err = energax(*asked)
        assert (status, out) == (2, "")
        assert EDGED.format(f"{asked[0]}: {flag}", "box") in err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("score-matching", "for binary data take RatioMatching"),
        ("non-negative --set fit.steps=2", "for binary data take RatioMatching"),
        ("ratio --energy mlp-field", "an energy (mlp, mixer or resnet) for the objective ratio"),
        ("noise-conditional --energy resnet", "--energy must be"),
    ],
)
def test_what_does_not_go_together_is_refused(words, sentence, energax, here):
    np.save(here / "bits.npy", rows("ratio"))
    quick = ["--steps", "6"] if "resnet" in words else QUICK
    status, _, err = energax(
        "train", "bits.npy", "--preprocess", "flatten", "--objective", *words.split(), "--out", "run", *quick
    )
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (here / "run" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("energy", "setting", "values"),
    [
        ("bernoulli-rbm", "energy.hidden=8", {0, 255}),
        ("gaussian-rbm", "energy.hidden=8", None),
        ("ising", "energy.horizontal=0.1", {0, 255}),
    ],
)
def test_boltzmann_machines_train_on_pictures_and_sample(energy, setting, values, energax, here):
    # Grey levels become bits or spins by themselves, and come back as the data's black and white.
    images = 255 * (np.random.default_rng(0).uniform(size=(64, 6, 6, 1)) > 0.5).astype(np.float32)
    images[:, 1, 1] = 100
    np.save(here / "images.npy", images)
    words = ["train", "images.npy", "--energy", energy, "--objective", "persistent-cd", "--out", "run"]
    status, _out, err = energax(*words, *QUICK[:4], *WITHOUT_NETWORK, "--set", setting)
    assert status == 0, err
    status, _, err = energax("sample", "run", "-n", "4")
    assert status == 0, err
    samples = np.load(here / "run" / "samples.npz")["samples"]
    assert samples.shape == (4, 6, 6, 1)
    if values is not None:
        assert set(np.unique(samples)) <= values
    assert energax("score", "run", "images.npy")[0] == 0
    status, _, err = energax("report", "run")
    assert status == 0, err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--energy", "mlp", "--set", "objective.chain=gibbs"], "objective.chain must be 'langevin', 'mala'"),
        (["--energy", "bernoulli-rbm"], "--preprocess must be one that gives zeros and ones for the energy"),
        (["--energy", "mlp-field"], "--energy must be an energy"),
        (["--set", "objective.steps=0"], "steps must be a whole number of at least 1; got 0"),
        (["--set", "objective.step_size=-1"], "objective.step_size must be"),
    ],
)
def test_chains_that_do_not_fit_are_refused(words, sentence, energax, here):
    np.save(here / "rows.npy", rows("sliced"))
    plain = ["train", "rows.npy", "--objective", "persistent-cd", "--preprocess", "standardise"]
    status, _, err = energax(*plain, "--out", "run", *words)
    assert status == 2
    assert sentence in err
    assert not (here / "run").exists()
