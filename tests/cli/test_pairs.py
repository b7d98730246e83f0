"""Couplings of all pairs of columns are learned from a table of bits, and drawn from."""

import jax
import numpy as np
import pytest

from energax.energies import IsingGraph
from energax.testing.statistics import critical_value
from energax.training.modelfile import load

ROWS, SPINS = 4000, 4
PAIRS = np.triu_indices(SPINS, 1)
TRUTH = np.array([0.5, -0.4, 0.0, 0.3, 0.2, -0.1])  # of the pairs 01, 02, 03, 12, 13, 23
FIELD = np.array([0.3, -0.2, 0.1, 0.0])


@pytest.fixture(scope="module")
def spins():
    J = np.zeros((SPINS, SPINS))
    J[PAIRS] = TRUTH
    return np.asarray(IsingGraph(J + J.T, FIELD).sample(jax.random.key(0), ROWS))


def check_pairs(found, spins, more=0.0):
    """Fail unless couplings and fields are the truth to the precision of that many rows.

    An exponential family: the covariance of the maximum likelihood estimate is the inverse of the
    statistics', over n; `more` is what another estimator or chains add to it, as a share.
    """
    statistics = np.concatenate([spins[:, PAIRS[0]] * spins[:, PAIRS[1]], spins], axis=1)
    error = np.sqrt(np.diag(np.linalg.inv(np.cov(statistics.T))) * (1 + more) / ROWS)
    truth = np.concatenate([TRUTH, FIELD])
    off = np.abs(np.concatenate([found[0], found[1]]) - truth)
    assert (off < critical_value(ROWS, len(truth)) * error).all(), f"off by {off}, at most {error} expected"


@pytest.mark.parametrize(
    ("objective", "more"),
    # A full sweep from the data nearly forgets them, so that its end is as good as an independent draw.
    [("persistent-cd", 1.0), ("contrastive-divergence", 1.0), ("composite-likelihood", 1.0)],
)
def test_couplings_are_learned_from_a_table_of_bits(objective, more, spins, energax, here):
    names = "dry,cold,loud,wet"
    np.savetxt(here / "votes.csv", (spins + 1) / 2, fmt="%d", delimiter=",", header=names, comments="")
    words = ["train", "votes.csv", "--energy", "ising-graph", "--objective", objective, "--out", "run"]
    chains = ["--set", "objective.chains=4000"] if objective == "persistent-cd" else []
    settings = ["--steps", "300", "--batch-size", "3600", "--learning-rate", "0.02", "--set", "fit.ema=0.9"]
    status, _, err = energax(*words, *settings, *chains)
    assert status == 0, err
    found = load(here / "run" / "model.safetensors").model
    check_pairs((found.couplings, found.field), spins, more)
    for mutant in (found.couplings[::-1], -found.couplings, 0 * found.couplings, found.couplings / 2):
        with pytest.raises(AssertionError, match="off by"):
            check_pairs((mutant, found.field), spins, more)
    if objective != "composite-likelihood":
        return
    status, _, err = energax("sample", "run", "-n", "2000")
    assert status == 0, err
    drawn = np.loadtxt(here / "run" / "samples.csv", delimiter=",", skiprows=1)
    assert (here / "run" / "samples.csv").read_text().startswith(names)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    # Bits of a law learned from 4,000 rows, by 2,000 others: correlations differ by a few hundredths.
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(spins.T), atol=0.12)
    status, _, err = energax("denoise", "run", "votes.csv", "--flip", "0.1")
    assert status == 2
    assert "--flip must be left out: only an Ising grid (--energy ising) speaks of flipped pixels" in err


def test_a_table_of_spins_is_no_grid_and_too_many_cannot_be_counted(energax, here):
    rows = np.where(np.random.default_rng(0).uniform(size=(40, 21)) > 0.5, 1, -1)
    names = ",".join(f"x{j}" for j in range(21))
    np.savetxt(here / "rows.csv", rows, fmt="%d", delimiter=",", header=names, comments="")
    status, _, err = energax("train", "rows.csv", "--energy", "ising", "--objective", "persistent-cd")
    assert status == 2
    assert "--energy must be 'ising-graph' (any pairs) or another for table data" in err
    status, _, err = energax(
        "train", "rows.csv", "--energy", "ising-graph", "--objective", "exact-likelihood"
    )
    assert status == 2
    assert "an event must be at most 20 units" in err
    status, _, err = energax("train", "rows.csv", "--energy", "ising-graph")
    assert status == 2
    assert "--energy must be a network" in err
    assert not (here / "runs").exists()
