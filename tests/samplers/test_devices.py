"""Chains split over devices are the chains of one device, to rounding, and never wait for each other."""

from pathlib import Path

import numpy as np
import pytest

from energax.devices import share
from tests.processes import arrays_of

SCRIPT = Path(__file__).with_name("chains.py")


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chains")
    return [arrays_of(SCRIPT, folder / f"{devices}.npz", devices) for devices in (1, 4)]


@pytest.mark.parametrize(("chains", "devices"), [(37, 1), (38, 2), (40, 4)])
def test_as_many_devices_as_divide_the_chains(both, chains, devices):
    one, four = both
    assert one[f"devices{chains}"] == 1
    assert four[f"devices{chains}"] == devices
    for name in ("x", "energy", "score"):
        np.testing.assert_allclose(four[f"{name}{chains}"], one[f"{name}{chains}"], rtol=1e-4, atol=1e-5)


def test_annealed_weights_are_those_of_one_device(both):
    one, four = both
    np.testing.assert_allclose(four["weights"], one["weights"], rtol=1e-3, atol=1e-4)


def test_no_device_waits_for_another(both):
    one, four = both
    assert one["partitions"] == 1
    assert four["partitions"] == 4
    assert four["waits"] == 0
    assert four["waits of coupled chains"] > 0, "the check must see chains that read each other"


def test_no_device_is_left_with_a_few():
    assert [share(rows, 4) for rows in (1, 8, 15, 16, 24, 31, 32, 33, 4096)] == [1, 1, 1, 2, 3, 1, 4, 3, 4]
