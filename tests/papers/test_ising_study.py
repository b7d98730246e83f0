"""The study of flipped pixels runs whole in small; asserted is what must hold even so."""

import json

import numpy as np
import pytest

from energax.energies import Ising
from energax.papers import STUDIES, ising_denoising
from energax.tasks.flips import METHODS


@pytest.mark.study
def test_the_study_restores_and_tells_by_how_much(tmp_path):
    told = []
    figure = STUDIES["ising-denoising"].run(tmp_path, "smoke", told.append)
    assert figure.stat().st_size > 10_000
    facts = json.loads((tmp_path / "result.json").read_text())
    assert all(len(row) == len(facts["columns"]) for row in facts["rows"])
    assert facts["verdict"] in (tmp_path / "table.md").read_text()
    size = ising_denoising.SIZES["smoke"]
    assert len(told) == 2 + 2 * len(ising_denoising.FLIPS) + len(size.couplings)
    for f, case in facts["cases"].items():
        before = np.array(case["noisy"])
        assert before == pytest.approx(float(f), abs=0.02)
        for source in ising_denoising.SOURCES:
            for m in METHODS:
                assert (np.array(case[source][m]) < 0.7 * before).all()
    # Four neighbours of 0.1 do not outweigh a pixel seen with f = 0.1, whose field is 1.1: nothing is turned.
    noisy = facts["cases"]["0.1"]["noisy"]
    assert size.couplings[0] == 0.1
    for m in METHODS:
        assert facts["curve"][m][0] == noisy
    exact, chains = (facts["learned"][name] for name in ("exact likelihood", "persistent chains"))
    for entry in ("horizontal", "vertical"):
        assert exact[entry] == pytest.approx(chains[entry], abs=0.08)
        assert 0.3 < exact[entry] < 0.8
    assert f"J→ = {exact['horizontal']:.2f}" in facts["verdict"]


def test_a_picture_is_half_black_and_its_patches_are_its_own():
    image = ising_denoising.binarised("china.jpg", 8)
    assert image.shape == (53, 80)
    assert set(np.unique(image)) == {-1.0, 1.0}
    assert abs(image.mean()) < 0.01
    squares = ising_denoising.patches(image, 50)
    side = ising_denoising.PATCH
    windows = np.lib.stride_tricks.sliding_window_view(image, (side, side)).reshape(-1, side * side)
    everywhere = {row.tobytes() for row in np.ascontiguousarray(windows)}
    assert all(np.ascontiguousarray(s).tobytes() in everywhere for s in squares)


def test_flips_have_their_rate_and_shares_are_counted():
    clean = np.ones((100, 100), np.float32)
    x = ising_denoising.flipped(clean, 0.2, 30)
    shares = ising_denoising.wrong(x, clean)
    assert shares.mean() == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 300_000))
    np.testing.assert_array_equal(ising_denoising.wrong(clean[None], clean), [0])
    np.testing.assert_array_equal(ising_denoising.wrong(-clean[None], clean), [1])


def test_on_the_models_own_pictures_the_marginals_expect_what_they_find(key):
    grid = Ising((60, 12), horizontal=0.35, vertical=0.35)
    clean = np.asarray(grid.sample(key, 40))
    gaps = []
    for i, picture in enumerate(clean):
        x = np.where(np.random.default_rng(i).random(picture.shape) < 0.2, -picture, picture)[None]
        found = ising_denoising._restored(grid, x, 0.2, 300)
        p = found["gibbs"].probability
        gaps.append(np.minimum(p, 1 - p).mean() - ising_denoising.wrong(found["gibbs"].spins, picture)[0])
    # The smaller of an estimate and one minus it is too small on average, at 300 sweeps by under 0.003.
    gaps = np.array(gaps)
    assert abs(gaps.mean()) < 5 * gaps.std(ddof=1) / np.sqrt(len(gaps)) + 0.003


def test_what_is_clear_is_decided_by_pairs():
    rng = np.random.default_rng(0)
    level = rng.standard_normal(10)
    assert ising_denoising._differ(level + 0.01 + 1e-3 * rng.standard_normal(10), level)
    assert not ising_denoising._differ(level + rng.standard_normal(10) * 1e-3, level)
    shares = np.array([[0.2, 0.21, 0.2], [0.101, 0.1, 0.101], [0.1, 0.101, 0.1]])
    assert ising_denoising._lowest((0.1, 0.5, 1.0), shares) == (
        "J = 1 (10.03 %, not clearly fewer than at 0.5 to 1)"
    )
