"""Tests of fit hold blocks and parts: nothing as large as n², as draws × n, or as all rows' features."""

from pathlib import Path

import numpy as np
import pytest

from energax import blocks
from energax.evaluation import CriticTraining, critics, fssd, fssd_test, ksd_test, lsd_test, mmd_test

MOST = 128 * 2**20  # bytes: more than blocks and programs need, far less than what each would hold whole

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="the peak of a call is asked of Linux"
)


def rows(n, d):
    return np.random.default_rng(0).standard_normal((n, d), np.float32)


def ksd(n, key):
    # H whole is 256 MiB.
    x = rows(n, 2)
    return ksd_test(x, scores=-x, kernel="rbf", draws=100, key=key)


def mmd(n, key):
    # The matrix whole is 256 MiB, permutations 125 MiB of numbers of eight bytes.
    x = rows(n, 2)
    return mmd_test(x[::2], x[1::2], draws=2000, key=key)


def fssd_random(n, key):
    # A hundred features of 10 n rows are 62 MiB in double precision, and as much again centred.
    x = rows(10 * n, 20)
    return fssd_test(x, scores=-x, optimise=False, draws=100, key=key)


def lsd(n, key):
    # A layer's values at four fifths of 4 n rows are 26 MiB, and a step's slope holds ten or more.
    x = rows(4 * n, 4)
    how = CriticTraining(width=256, dropout=0.0, steps=2, check_every=2)
    return lsd_test(x, scores=-x, training=how, draws=10, key=key, progress=False)


def status(name):
    """Return a number of /proc/self/status in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def growth(call, key):
    """Return how far memory rose above where it was during the call with 8,192 rows, after one with few."""
    call(1100, key)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest so far is what is held now
    call(8192, key)
    return status("VmHWM") - before


@pytest.mark.parametrize("call", [ksd, mmd, fssd_random, lsd])
def test_memory_is_that_of_parts(call, key):
    assert growth(call, key) < MOST


@pytest.mark.parametrize("call", [ksd, fssd_random, lsd])
def test_what_is_held_whole_is_found_out(call, key, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK", 8192)
    monkeypatch.setattr(fssd, "AT_ONCE", 2**40)
    monkeypatch.setattr(critics, "MANY", 10**6)
    assert growth(call, key) > 1.3 * MOST
