"""A fit with convolutions runs on all cores of a CPU, and on each number of them is the same to rounding."""

from pathlib import Path

import numpy as np
import pytest

from tests.processes import arrays_of

SCRIPT = Path(__file__).with_name("cores.py")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cores")
    return [arrays_of(SCRIPT, folder / f"{n}.npz", n, folder / f"checkpoints{n}") for n in (1, 2)]


def test_two_cores_train_what_one_does(both):
    one, two = both
    for name in ("conv", "loss", "validation"):
        np.testing.assert_allclose(two[name], one[name], rtol=2e-4, atol=2e-5, err_msg=name)


def test_cores_are_used_where_there_are_convolutions_and_divide_the_batch(both):
    one, two = both
    assert (one["cores"], one["odd"], one["mlp"]) == (1, 1, 1)
    assert (two["cores"], two["odd"], two["mlp"]) == (2, 1, 1)
    assert two["given"] == 1, "what a fit returns may meet any other array"


@pytest.mark.parametrize("cores", [1, 2])
def test_a_resumed_fit_is_the_same_to_the_bit(both, cores):
    found = both[cores - 1]
    np.testing.assert_array_equal(found["resumed"], found["conv"])
