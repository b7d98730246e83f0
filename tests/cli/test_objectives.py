"""Every objective trains from the command line, and what its model can do is done or refused by name."""

import re

import numpy as np
import pytest

from energax.config import OBJECTIVES

from .conftest import TINY

QUICK = ["--steps", "6", "--batch-size", "32", *TINY]


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
        "noise-conditional": rng.standard_normal((80, 3)),
    }[kind].astype(np.float32)


@pytest.mark.parametrize("objective", [o for o in OBJECTIVES if o not in ("multiscale", "noise-conditional")])
def test_each_objective_trains_and_samples(objective, energax, here):
    np.save(here / "rows.npy", rows(objective))
    # In the data's own units, which is where a half-space, a box and bits are.
    status, out, err = energax(
        "train", "rows.npy", "--objective", objective, "--preprocess", "flatten", "--out", "run", *QUICK
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
    if objective == "ratio":
        assert set(np.unique(samples)) <= {0.0, 1.0}
    status, _, err = energax("score", "run", "rows.npy")
    assert status == 0, err
    status, _, err = energax("denoise", "run", "rows.npy")
    if objective == "denoising":
        assert status == 0, err
    else:
        assert status == 2
        assert f"knows of noise (multiscale, denoising, noise-conditional); got {objective}" in err


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


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("score-matching", "for binary data take RatioMatching"),
        ("non-negative --set fit.steps=2", None),
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
    if sentence is None:
        assert status == 0, err
        return
    assert status == 2
    assert sentence in err
    assert err.count("\n") == 1
    assert not (here / "run" / "model.safetensors").exists()
