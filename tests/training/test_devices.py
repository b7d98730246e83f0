"""Four devices, or two processes, train what one device trains, to rounding."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).with_name("devices.py")


def start(out, devices, *process):
    command = [sys.executable, str(SCRIPT), str(out), str(devices), *map(str, process)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ))


def finish(*processes):
    for process in processes:
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, output.decode()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "one.npz"
    finish(start(out, 1))
    return np.load(out)


def compare(one, many, devices):
    assert one["devices"] == 1
    assert many["devices"] == devices
    here = len(many["pool"])  # of several processes the first has its part of the buffer
    for name in set(one.files) - {"devices", "refused"}:
        whole = one[name][:here] if name in ("pool", "ages") else one[name]
        np.testing.assert_allclose(many[name], whole, rtol=2e-4, atol=2e-5, err_msg=name)
    assert one["ages"].max() > 1  # entries are moved again and again
    assert str(many["refused"]) == (
        f"fit: the number of the objective's chains must be a multiple of the {devices} devices, "
        "as must be the size of a buffer that keeps them; got 31."
    )


def test_four_devices_train_what_one_does(alone, tmp_path):
    finish(start(tmp_path / "four.npz", 4))
    compare(alone, np.load(tmp_path / "four.npz"), 4)


def test_two_processes_train_what_one_does(alone, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    out = tmp_path / "two.npz"
    finish(*(start(out, 1, process, 2, port) for process in range(2)))
    compare(alone, np.load(out), 2)
