"""The studies of samples, of copies and of modes: their verdicts are counted, and they run."""

import numpy as np
import pytest

from energax.data import digits
from energax.evaluation import memorisation, mode_coverage, sample_quality
from energax.papers import mdsm_memorisation, mdsm_mode_coverage, mdsm_samples, mdsm_table_1
from energax.samplers import ParallelTempering, annealed_hmc, annealed_langevin

from .studied import studied


def test_copies_are_said_to_be_copies():
    generator = np.random.default_rng(0)
    train, new = (generator.standard_normal((n, 3)) for n in (80, 60))
    copied = memorisation(train[:40], train, new)
    poor = memorisation(5 + generator.standard_normal((40, 3)), train, new)
    told = mdsm_memorisation.verdict({30: copied, 100: poor})
    assert "(p < 0.01) with 30 rows" in told
    assert "On all 100 rows the paper's sentence holds: samples are no copies" in told
    assert "poor samples cannot be copies" in told
    assert "does not hold: samples lie nearer" in mdsm_memorisation.verdict({100: copied})


def test_the_best_way_is_the_best_beyond_chance():
    generator = np.random.default_rng(0)

    def counted(modes):
        found = mode_coverage(generator.integers(0, modes, 2000), 1000)
        return mdsm_mode_coverage.Counted(found, 1.0, found)

    exact = counted(1000)
    few = {mdsm_mode_coverage.EXACT: exact, "Langevin": counted(700), "HMC": counted(900)}
    told = mdsm_mode_coverage.verdict(few)
    assert "at equal gradients holds here: among recognised samples HMC found +" in told
    same = {mdsm_mode_coverage.EXACT: exact, "Langevin": few["Langevin"], "HMC": few["Langevin"]}
    assert "does not hold here: among recognised samples no other way" in mdsm_mode_coverage.verdict(same)


def test_gradients_are_counted():
    count = mdsm_mode_coverage.gradients
    assert count(annealed_langevin(hold=3, anneal=5, cool=2)) == 10
    assert count(annealed_hmc(leapfrog_steps=7, hold=3, anneal=5, cool=2)) == 70
    tempering = ParallelTempering(annealed_langevin(hold=30, anneal=50, cool=20), [1.0, 2.0, 4.0])
    assert count(tempering) == 3 * 100 // mdsm_mode_coverage.VISITS


def test_samples_are_placed_between_a_gaussian_and_the_data(key):
    generator = np.random.default_rng(0)
    reference = generator.standard_normal((200, 3))

    def shifted(by):
        x = by + generator.standard_normal((200, 3))
        return sample_quality(x, reference, key=key)

    held_out, jumped, noisy, gaussian = (shifted(by) for by in (0.0, 1.0, 1.5, 3.0))
    order = (mdsm_samples.HELD_OUT, mdsm_samples.SAMPLES, mdsm_samples.BEFORE, mdsm_samples.GAUSSIAN)
    cases = dict(zip(order, (held_out, jumped, noisy, gaussian), strict=True))
    told = mdsm_samples.verdict({"x": cases})
    assert "are between held-out rows" in told
    assert "the jump brings them nearer" in told
    worse = {**cases, mdsm_samples.SAMPLES: shifted(4.0)}
    assert "are not between" in mdsm_samples.verdict({"x": worse})
    assert "brings them farther" in mdsm_samples.verdict({"x": worse})


def test_table_1_says_what_it_needs():
    full, small = mdsm_table_1.SIZES["cpu"], mdsm_table_1.SIZES["smoke"]
    lacking = mdsm_table_1.needs(full, None, "cpu")
    assert lacking[0].startswith("an accelerator")
    assert lacking[1] == "50,000 training images (0 are here)"
    assert mdsm_table_1.needs(small, digits(), "cpu") == []
    assert len(mdsm_table_1.needs(full, digits(), "gpu")) == 1
    empty = ("not run here: needs x",) * 3
    assert "The row of this run is empty: not run here: needs x." in mdsm_table_1.verdict(empty)
    told = mdsm_table_1.verdict((8.0, "not run here: needs y", 7.5))
    assert told.startswith("Inception score 8 (-0.31 against 8.31 printed); FID not run here: needs y; bits")
    assert told.endswith("7.5 (+0.46 against 7.04 printed).")
    assert "printed" not in mdsm_table_1.verdict((8.0, 30.0, 7.5), same_data=False)


# At scale "smoke" the ladder is two temperatures a hundred apart, between which nothing passes.
@pytest.mark.filterwarnings("ignore:anneal. replicas at temperatures 1 and 100 changed places")
@pytest.mark.study
@pytest.mark.parametrize("name", ["mdsm-memorisation", "mdsm-mode-coverage", "mdsm-samples", "mdsm-table-1"])
def test_the_studies_of_samples(name, tmp_path):
    facts = studied(name, tmp_path)
    assert len(facts["rows"]) >= 2
