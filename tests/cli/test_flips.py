"""Flipped pixels restored from the command line, by a run's grid or by hand, in the file's own values."""

import numpy as np
import pytest

from energax import tasks
from energax.cli import main
from energax.energies import Ising
from energax.training.modelfile import load

FLIP = 0.1
COUPLING = 0.6
QUICK = [
    "--batch-size",
    "64",
    "--set",
    "sampler.hold=1",
    "--set",
    "sampler.anneal=1",
    "--set",
    "sampler.cool=1",
]


def scene(shape=(20, 30), n=1, seed=0):
    """Clean spins (a disc on a plane), and the same with some flipped."""
    rng = np.random.default_rng(seed)
    r, c = np.indices(shape)
    clean = np.where((r - shape[0] / 2) ** 2 + (c - shape[1] / 3) ** 2 < (shape[0] / 3) ** 2, 1.0, -1.0)
    clean = np.broadcast_to(clean, (n, *shape))
    return clean, np.where(rng.random(clean.shape) < FLIP, -clean, clean)


def values(spins, low, high):
    return np.where(spins > 0, high, low)


def pixels(path):
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (0, 255)])
@pytest.mark.parametrize("shape", [(20, 30), (1, 20, 30), (1, 20, 30, 1)])
def test_the_mode_by_hand_in_each_layout_and_pair_of_values(low, high, shape, energax, here):
    clean, x = scene()
    np.save(here / "bits.npy", values(x, low, high).reshape(shape).astype(np.int16))
    words = ("bits.npy", "--flip", FLIP, "--coupling", COUPLING, "--method", "cut")
    status, out, err = energax("denoise", "ising", *words)
    assert status == 0, err
    got = np.load(here / "denoised.npy")
    grid = Ising((20, 30), horizontal=COUPLING, vertical=COUPLING)
    wanted = tasks.restore_flips(grid, x, FLIP, "cut").spins
    np.testing.assert_array_equal(got, values(wanted, low, high).reshape(shape))
    assert (wanted != clean).mean() < 0.5 * (x != clean).mean()
    assert f"{(wanted != x).mean():.2%} of the pixels turned, by cut; J = 0.6 by hand" in out
    assert "the mode of p(y | x), to" in out
    assert {p.name for p in here.iterdir()} == {"bits.npy", "denoised.npy", "denoised-shown.png"}


def test_gibbs_by_hand_says_how_likely_each_pixel_is(energax, here):
    _, x = scene(n=3)
    np.save(here / "bits.npy", x)
    words = ("bits.npy", "--flip", FLIP, "--coupling", COUPLING, "--out", "clean.npy")
    status, _, err = energax("denoise", "ising", *words)
    assert status == 0, err
    p, got = np.load(here / "clean-probability.npy"), np.load(here / "clean.npy")
    assert p.shape == x.shape
    np.testing.assert_array_equal(got, np.where(p > 0.5, 1, -1))
    assert ((p > 0) & (p < 1)).mean() > 0.5
    # The same seed, the same bits; another, others.
    assert energax("denoise", "ising", *words, "--seed", 0)[0] == 0
    np.testing.assert_array_equal(np.load(here / "clean-probability.npy"), p)
    assert energax("denoise", "ising", *words, "--seed", 1)[0] == 0
    assert (np.load(here / "clean-probability.npy") != p).any()


def test_a_picture_by_hand_is_split_at_the_middle_which_is_said(energax, here):
    from PIL import Image

    _, x = scene()
    words = ("--flip", FLIP, "--coupling", COUPLING, "--method", "icm")
    grid = Ising((20, 30), horizontal=COUPLING, vertical=COUPLING)
    wanted = values(tasks.restore_flips(grid, x, FLIP, "icm").spins[0], 0, 255)
    for name, (low, high), mode in (("black.png", (0, 255), "L"), ("grey.png", (90, 130), "RGB")):
        Image.fromarray(values(x[0], low, high).astype(np.uint8)).convert(mode).save(here / name)
        status, _, err = energax("denoise", "ising", name, *words)
        assert status == 0, err
        np.testing.assert_array_equal(pixels(here / "denoised.png"), wanted)
        note = "note: 600 of 600 pixels of grey.png are neither black nor white; those above 127.5"
        assert (note in err) == (name == "grey.png")
    # Side by side in a frame, enlarged twice.
    assert pixels(here / "denoised-shown.png").shape == (2 * 20 + 4, 2 * (2 * 30 + 2) + 2)


@pytest.fixture(scope="module")
def grid_run(tmp_path_factory, cache):
    """A run whose couplings were learned, exactly, from draws at J = 0.5 that are black and white."""
    import jax

    folder = tmp_path_factory.mktemp("grid")
    draws = np.asarray(Ising((6, 7), horizontal=0.5, vertical=0.5).sample(jax.random.key(0), 400))
    np.save(folder / "draws.npy", values(draws, 0, 255)[..., None].astype(np.float32))
    words = ["train", str(folder / "draws.npy"), "--energy", "ising", "--objective", "exact-likelihood"]
    more = ["--steps", "150", "--learning-rate", "0.05", "--set", "fit.ema=0.9", *QUICK]
    assert main([*words, *more, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 255), (-1, 1)])
def test_a_run_restores_with_the_couplings_it_learned(low, high, grid_run, energax, here):
    rng = np.random.default_rng(1)
    x = rng.choice([-1.0, 1.0], (5, 6, 7)).astype(np.float32)
    grid = load(grid_run / "model.safetensors").model
    learned = [float(grid.horizontal), float(grid.vertical)]
    np.testing.assert_allclose(learned, 0.5, atol=0.06)
    np.save(here / "bits.npy", values(x, low, high)[..., None])
    for method in ("gibbs", "icm", "cut"):
        status, out, err = energax("denoise", grid_run, "bits.npy", "--flip", FLIP, "--method", method)
        assert status == 0, err
        got = np.load(here / "denoised.npy")
        assert got.shape == (5, 6, 7, 1)
        if method == "gibbs":
            p = np.load(here / "denoised-probability.npy")
            assert p.shape == got.shape
            np.testing.assert_array_equal(got, values(p - 0.5, low, high))
        else:
            wanted = tasks.restore_flips(grid, x, FLIP, method).spins[..., None]
            np.testing.assert_array_equal(got, values(wanted, low, high))
        assert f"J learned: → {learned[0]:.3g}, ↓ {learned[1]:.3g}" in out


def test_a_run_on_flat_padded_digits_restores_what_was_read(energax, here, cache):
    words = ["train", "digits", "--energy", "ising", "--objective", "persistent-cd", "--out", "run"]
    more = ["--steps", "2", "--preprocess", "image,pad:1,binarise,spins", "--set", "energy.horizontal=0.4"]
    status, _, err = energax(*words, *more, *QUICK)
    assert status == 0, err
    x = np.random.default_rng(2).choice([0.0, 1.0], (3, 64))
    np.save(here / "bits.npy", x)
    status, _, err = energax("denoise", "run", "bits.npy", "--flip", "0.2", "--method", "icm")
    assert status == 0, err
    grid = load(here / "run" / "model.safetensors").model
    assert grid.event_shape == (10, 10)
    framed = np.pad(2 * x.reshape(3, 8, 8) - 1, ((0, 0), (1, 1), (1, 1)), constant_values=-1.0)
    wanted = tasks.restore_flips(grid, framed, 0.2, "icm").spins[:, 1:-1, 1:-1].reshape(3, 64)
    np.testing.assert_array_equal(np.load(here / "denoised.npy"), wanted > 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("bits.npy", "--flip must be given: how likely each pixel was flipped"),
        ("bits.npy --flip 0", "--flip must be a finite number above 0"),
        ("bits.npy --flip 1", "--flip must be below 1; got 1"),
        ("bits.npy --flip 0.1 --sigma 0.3", "--sigma must be left out: pixels are flipped, with --flip"),
        ("bits.npy --flip 0.1 --method cut --seed 1", "--seed must be left out: cut draws nothing"),
        ("bits.npy --flip 0.1 --seed -1", "--seed must be a whole number of at least 0"),
        ("bits.npy --flip 0.1 --method cutt", 'Did you mean "cut"'),
        ("bits.npy --flip 0.1 --method cut --coupling -0.5", "'icm' where a coupling is negative"),
        ("bits.npy --flip 0.1 --coupling nan", "--coupling must be a finite number"),
        ("bits.npy --flip 0.1 --out clean.png", "--out must be a .npy file"),
        ("bits.npy --flip 0.1 --out bits.npy", "another file than the one that is read"),
        ("three.npy --flip 0.1", "three.npy must be binary: 0 and 1, −1 and 1, or 0 and 255; got 2 among"),
        ("mixed.npy --flip 0.1", "mixed.npy must be binary: 0 and 1, −1 and 1, or 0 and 255; got -1 to 255"),
        ("deep.npy --flip 0.1", "deep.npy must be one image (h, w), or images (n, h, w)"),
        ("none.npy --flip 0.1", "an existing file"),
        ("none.png --flip 0.1", "an existing file"),
        ("words.png --flip 0.1", "words.png must be a readable image"),
    ],
)
def test_by_hand_refuses(words, said, energax, here):
    np.save(here / "bits.npy", scene()[1])
    np.save(here / "three.npy", np.array([[0.0, 1, 2]]))
    np.save(here / "mixed.npy", np.array([[-1.0, 1, 255]]))
    np.save(here / "deep.npy", np.ones((2, 3, 3, 3)))
    (here / "words.png").write_text("no picture")
    before = {p.name: p.read_bytes() for p in here.iterdir()}
    status, out, err = energax("denoise", "ising", *words.split())
    assert status == 2
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert {p.name: p.read_bytes() for p in here.iterdir()} == before


def test_a_run_refuses_what_is_not_its_own(grid_run, digits_run, energax, here):
    np.save(here / "bits.npy", np.ones((2, 6, 6)))
    status, _, err = energax("denoise", grid_run, "bits.npy", "--flip", "0.1")
    assert status == 2
    assert "bits.npy must be of shape" in err
    assert "got shape (2, 6, 6)" in err
    np.save(here / "bits.npy", np.ones((2, 6, 7)))
    status, _, err = energax("denoise", grid_run, "bits.npy", "--flip", "0.1", "--coupling", "1")
    assert status == 2
    assert "--coupling must be left out: a run has learned its own" in err
    np.save(here / "images.npy", np.zeros((2, 64), np.float32))
    for option, value in (("--flip", "0.1"), ("--method", "cut"), ("--coupling", "1"), ("--seed", "1")):
        status, _, err = energax("denoise", digits_run, "images.npy", option, value)
        assert status == 2
        assert (
            f"{option} must be left out: only an Ising grid (--energy ising) speaks of flipped pixels" in err
        )


def test_a_folder_of_that_name_is_reached_by_its_path(grid_run, energax, here):
    (here / "ising").symlink_to(grid_run)
    np.save(here / "bits.npy", np.ones((2, 6, 7)))
    said = energax("denoise", "./ising", "bits.npy", "--flip", "0.1", "--method", "cut")[1]
    assert "J learned" in said
    said = energax("denoise", "ising", "bits.npy", "--flip", "0.1", "--method", "cut")[1]
    assert "J = 1 by hand" in said
