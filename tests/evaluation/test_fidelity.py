"""Inception's numbers: asked of torch-fidelity as it wants it, and refused in a sentence without it."""

import importlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import energax as ex
from energax.evaluation import fidelity, inception_quality

IMAGES = np.linspace(-0.5, 1.5, 120 * 4 * 4, dtype=np.float32).reshape(120, 4, 4, 1)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(
        ex.InputError, match=r"must be installed \(pip install 'energax\[fidelity\]'\); it is not"
    ):
        inception_quality(IMAGES, IMAGES)


class Stand:
    """What torch-fidelity and torch are asked for, and an answer."""

    __version__ = "a stand-in"

    def __init__(self, fails=None):
        self.asked, self.fails = {}, fails

    def calculate_metrics(self, **asked):
        self.asked = asked
        if self.fails:
            raise self.fails
        return {
            "inception_score_mean": 8.31,
            "inception_score_std": 0.2,
            "frechet_inception_distance": 31.7,
            "kernel_inception_distance_mean": 0.02,
            "kernel_inception_distance_std": 0.001,
        }


@pytest.fixture
def stand(monkeypatch):
    """Answer without PyTorch."""

    def put(fails=None):
        made = Stand(fails)
        torch = SimpleNamespace(
            cuda=SimpleNamespace(is_available=lambda: False),
            from_numpy=lambda a: a,
            utils=SimpleNamespace(data=SimpleNamespace(Dataset=object)),
        )
        given = {"torch_fidelity": made, "torch": torch}
        monkeypatch.setattr(
            fidelity,
            "importlib",
            SimpleNamespace(import_module=lambda name: given.get(name) or importlib.import_module(name)),
        )
        return made

    return put


def test_images_are_handed_over_as_bytes_and_answers_come_back_named(stand):
    made = stand()
    found = inception_quality(IMAGES, IMAGES[:100])
    first = made.asked["input1"]
    assert (len(first), len(made.asked["input2"]), made.asked["kid_subset_size"]) == (120, 100, 100)
    assert first[0].dtype == np.uint8
    assert first[0].shape == (3, 4, 4)
    np.testing.assert_array_equal(first[0][0], first[0][2])
    assert first[0].min() == 0  # what is beyond black and white is at it
    assert first[119].max() == 255
    assert made.asked["save_cpu_ram"]  # no forked workers
    assert {name: q.estimate for name, q in found.items()} == {
        "Inception score": 8.31,
        "FID": 31.7,
        "KID": 0.02,
    }
    assert found["KID"].settings["spread"] == 0.001
    assert "grey images" in found["KID"].status
    assert "biased: 100 rows for 2,048 features, where 40,960 are asked" in found["FID"].status
    assert found["FID"].name == "FID of Inception's features (torch-fidelity)"


def test_weights_that_cannot_be_had_and_rows_that_are_no_images_are_refused(stand):
    stand(OSError("no route to host"))
    with pytest.raises(ex.InputError, match=r"weights of Inception must be there .* got no route to host"):
        inception_quality(IMAGES, IMAGES)
    with pytest.raises(ex.InputError, match="x must be images of shape"):
        inception_quality(IMAGES[..., 0], IMAGES[..., 0])
    with pytest.raises(ex.InputError, match="at least 100 rows"):
        inception_quality(IMAGES[:99], IMAGES)
