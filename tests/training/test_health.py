"""The monitor, rule by rule on metrics made for it: it names what it must, in time, and is silent else."""

import numpy as np
import pytest

from energax.training.health import REMEDIES, Monitor
from energax.training.rollback import CHANGES
from tests.training import health_mutants as mutants

IN_TIME = 50  # steps between the first sign and the finding
STEPS, SICK = 400, 200


def noise(rng, n, spread=0.3):
    return np.exp(spread * rng.standard_normal(n))


def rows_of(columns):
    return [
        dict(zip(columns, map(np.float32, row), strict=True)) for row in zip(*columns.values(), strict=True)
    ]


def falling(rng):
    """A loss that falls a thousandfold, noisily; its gradient with it."""
    t = np.arange(STEPS)
    return {
        "loss": 1e-3 ** (t / STEPS) * noise(rng, STEPS, 0.7),
        "gradient_norm": 3e-3 ** (t / STEPS) * noise(rng, STEPS),
    }


def cosine(rng):
    """A cosine schedule: the gradient's noise dies away with the rate, and the loss settles."""
    t = np.arange(STEPS) / STEPS
    rate = 0.5 * (1 + np.cos(np.pi * t))
    loss = 1 + 5 * np.exp(-8 * t) + 0.3 * rate * rng.standard_normal(STEPS)
    return {"loss": loss, "gradient_norm": (0.1 + rate) * noise(rng, STEPS)}


def chains(rng):
    """Contrastive divergence: the gap begins at nothing, grows, crosses zero and stays about it."""
    t = np.arange(STEPS)
    gap = 2 * (1 - np.exp(-t / 20)) * np.exp(-t / 150) + 0.5 * np.minimum(1, t / 50) * rng.standard_normal(
        STEPS
    )
    return {
        "loss": gap,
        "gradient_norm": (1 + t / 20) * noise(rng, STEPS),
        "energy_gap": gap,
        "score_norm": (0.2 + t / 100) * noise(rng, STEPS, 0.05),
        "acceptance": np.linspace(0.99, 0.05, STEPS) * noise(rng, STEPS, 0.1),
        "chain_step": np.linspace(1.0, 0.1, STEPS) * noise(rng, STEPS, 0.1),
        "chain_ess": np.geomspace(60.0, 0.02, STEPS) * noise(rng, STEPS, 0.1),
        "chain_age": t.astype(float),
    }


def heavy(rng):
    """One step in fifty is a hundred times the others."""
    spikes = np.where(rng.random(STEPS) < 0.02, 100.0, 1.0)
    return {"loss": noise(rng, STEPS) * spikes, "gradient_norm": noise(rng, STEPS) * spikes}


def wild_start(rng):
    """Chains leave at once and are caught again by training itself, as measured with a quadratic head."""
    t = np.arange(STEPS)
    hill = 10.0 ** (15 * np.exp(-(((t - 18) / 7.5) ** 2)))
    gap = np.where(t < 20, 1, -1) * hill * noise(rng, STEPS)
    return {
        "loss": gap,
        "energy_gap": gap,
        "gradient_norm": 8 * hill * noise(rng, STEPS),
        "score_norm": np.sqrt(hill),
    }


def converged(rng):
    """A sum that is fitted to rounding; there Adam stumbles by a factor of fifty and recovers."""
    t = np.arange(STEPS)
    size = np.maximum(1e-12, 10.0 ** (-t / 10)) * np.where((t > 250) & (t < 300), 50.0, 1.0)
    return {"loss": size * noise(rng, STEPS), "gradient_norm": np.sqrt(size) * noise(rng, STEPS)}


def descending(rng):
    """A loss that passes through zero and goes on falling, as score matching's does."""
    t = np.arange(STEPS)
    return {"loss": 60 * np.exp(-t / 20) - 0.08 * t, "gradient_norm": (10 + t) * noise(rng, STEPS)}


def deepening(rng):
    """A loss without a floor near by, which goes on falling and whose size grows fiftyfold."""
    depth = np.exp(np.arange(STEPS) / 100)
    return {"loss": -depth * noise(rng, STEPS), "gradient_norm": depth * noise(rng, STEPS)}


def saddle(rng):
    """Independent units for 60 steps, the gap next to nothing; then they begin to go together."""
    t = np.arange(STEPS)
    gap = 0.02 * rng.standard_normal(STEPS) - 1.2 / (1 + np.exp(-(t - 80) / 5))
    return {"loss": gap, "energy_gap": gap, "gradient_norm": 0.5 * noise(rng, STEPS)}


def pairs(rng):
    """Pairs of chains that meet ever later, but meet; now and then the chains hardly move for a while."""
    t = np.arange(STEPS)
    times = 2 + np.exp(t / 60) * noise(rng, STEPS)
    lulls = np.where(t % 40 < 24, 1e-4, 1.0)
    return {
        "loss": noise(rng, STEPS),
        "gradient_norm": noise(rng, STEPS),
        "unmet": np.zeros(STEPS),
        "longest_meeting_time": times,
        "chain_ess": lulls,
    }


HEALTHY = [falling, cosine, chains, heavy, wild_start, converged, descending, deepening, saddle, pairs]


def diverging(quantity, rate, sign=1):
    """Chains as above until a quantity begins to grow by a factor a step."""

    def history(rng):
        columns = chains(rng)
        growth = np.minimum(1e25, rate ** np.maximum(0.0, np.minimum(np.arange(STEPS) - SICK, 100)))
        for name in (quantity, "loss") if quantity == "energy_gap" else (quantity,):
            size = np.abs(columns[name]) + (np.arange(STEPS) > SICK)
            columns[name] = np.where(np.arange(STEPS) < SICK, columns[name], sign * size * growth)
        return columns

    return history


def loss_alone(rng):
    """A loss that leaps to thirty times its level and stays."""
    columns = cosine(rng)
    columns["loss"] = columns["loss"] * np.where(np.arange(STEPS) < SICK, 1, 30)
    return columns


def never_back(rng):
    """A first update so long that nothing is as it was; it does not even grow any more."""
    columns = falling(rng)
    return {name: np.where(np.arange(STEPS) < 1, values, 1e8 * values) for name, values in columns.items()}


def broken(quantity, value):
    def history(rng):
        columns = chains(rng)
        columns[quantity] = np.where(np.arange(STEPS) == SICK, value, columns[quantity])
        return columns

    return history


def standing(**columns):
    """Chains as above until they are rejected, or stand."""

    def history(rng):
        usual = chains(rng)
        late = np.arange(STEPS) >= SICK
        return usual | {name: np.where(late, value, usual[name]) for name, value in columns.items()}

    return history


def overflow(rng):
    """The gap grows until it is infinite, before it is certain that it grows."""
    columns = diverging("energy_gap", 30.0, -1)(rng)
    columns["gradient_norm"] = np.where(np.arange(STEPS) == SICK + 10, np.inf, columns["gradient_norm"])
    return columns


def given_up(rng):
    """Three pairs of chains that do not meet, and a sum that is therefore none."""
    columns, late = pairs(rng), np.arange(STEPS) == SICK
    columns |= {name: np.where(late, np.nan, columns[name]) for name in ("loss", "gradient_norm")}
    times = np.where(late, 10_001, columns["longest_meeting_time"])
    return columns | {"unmet": np.where(late, 3, 0), "longest_meeting_time": times}


def slow(rng):
    """Chains that bring nothing from the first step on: there is no usual step that they fall behind."""
    return chains(rng) | {"chain_ess": np.full(STEPS, 5e-4), "chain_step": 1e-5 * noise(rng, STEPS)}


FINDINGS = {
    "exploding-energy": (diverging("energy_gap", 1.3, -1), SICK),
    "collapsing-energy": (diverging("energy_gap", 1.3, 1), SICK),
    "exploding-energy, fast": (diverging("energy_gap", 8.0, -1), SICK),
    "collapsing-energy, slow": (diverging("energy_gap", 1.08, 1), SICK),
    "exploding-score": (diverging("score_norm", 1.4), SICK),
    "exploding-gradient": (diverging("gradient_norm", 1.5), SICK),
    "exploding-loss": (loss_alone, SICK),
    "exploding-gradient, from the start": (never_back, 1),
    "non-finite": (broken("loss", np.nan), SICK),
    "non-finite, gradient": (broken("gradient_norm", np.inf), SICK),
    "non-finite, chains": (broken("score_norm", -np.inf), SICK),
    "non-finite, after a rise": (overflow, SICK),
    "rejecting": (standing(acceptance=0.002, chain_step=1e-9), SICK),
    "frozen-chains": (standing(chain_step=0.001), SICK),
    "chains-do-not-meet": (given_up, SICK),
    "slow-chains": (standing(chain_ess=5e-4), SICK),
    "slow-chains, from the start": (slow, 0),
}


def watch(monitor, rows, first=0):
    for step, row in enumerate(rows, first):
        found = monitor.see(step, row)
        if found is not None:
            return found
    return None


def scaled(columns, factor):
    """Return the history of the same fit in other units of x; energies are in nats."""
    kept = ["acceptance", "chain_age", "chain_ess", "unmet", "longest_meeting_time"]
    if "energy_gap" in columns:
        kept += ["energy_gap", "loss"]
    return {name: values if name in kept else values * factor for name, values in columns.items()}


def check_silent(make, history, rng, factor=1.0):
    found = watch(make(), rows_of(scaled(history(rng), factor)))
    assert found is None, found


def check_found(make, case, rng, factor=1.0):
    history, begins = FINDINGS[case]
    found = watch(make(), rows_of(scaled(history(rng), factor)))
    assert found is not None
    assert found.name == case.split(",")[0]
    assert begins <= found.since <= found.step <= found.since + IN_TIME
    # The sign comes soon after the trouble: growth by 8 % a step takes thirty to be ten times.
    assert found.since <= begins + 40
    assert str(found.step) in found.sentence


def fails(check, *arguments):
    try:
        check(*arguments)
    except AssertionError:
        return True
    return False


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("history", HEALTHY)
def test_healthy_fits_raise_nothing(history, factor, seed):
    for trial in range(5):
        check_silent(Monitor, history, np.random.default_rng([seed, trial]), factor)


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("case", FINDINGS)
def test_trouble_is_named_within_fifty_steps(case, factor, seed):
    for trial in range(5):
        check_found(Monitor, case, np.random.default_rng([seed, trial]), factor)


@pytest.mark.parametrize("mutant", mutants.FALSE_ALARMS)
def test_a_monitor_that_cries_wolf_is_rejected(mutant, seed):
    assert any(
        fails(check_silent, mutant, history, np.random.default_rng(seed), factor)
        for history in HEALTHY
        for factor in (1e-6, 1.0, 1e6)
    )


@pytest.mark.parametrize("mutant", mutants.MISSES)
def test_a_monitor_that_sleeps_is_rejected(mutant, seed):
    assert any(
        fails(check_found, mutant, case, np.random.default_rng(seed), factor)
        for case in FINDINGS
        for factor in (1e-6, 1.0, 1e6)
    )


def test_what_is_not_reported_is_not_judged(seed):
    """The same sick histories without the quantity that is sick."""
    for case in ("exploding-score", "rejecting", "frozen-chains"):
        columns = FINDINGS[case][0](np.random.default_rng(seed))
        for name in ("score_norm", "acceptance", "chain_step"):
            columns.pop(name)
        assert watch(Monitor(), rows_of(columns)) is None


@pytest.mark.parametrize("case", FINDINGS)
def test_it_goes_on_from_what_it_remembered(case, seed):
    """Memory of any step without a sign leads to the same finding: this is what a resumed fit has."""
    rows = rows_of(FINDINGS[case][0](np.random.default_rng(seed)))
    whole, monitor = watch(Monitor(), rows), Monitor()
    for step in range(whole.step):
        assert monitor.see(step, rows[step]) is None
        if step % 7 == 0 and not monitor.sign:
            again = watch(Monitor(monitor.memory), rows[step + 1 :], step + 1)
            assert repr(again) == repr(whole)


def test_rejecting_says_the_acceptance_and_what_to_try(seed):
    found = watch(Monitor(), rows_of(FINDINGS["rejecting"][0](np.random.default_rng(seed))))
    assert found.sentence.startswith("0.002 of the chains' proposals were accepted")
    assert "smaller step size" in found.remedy


def test_a_short_fit_that_rejects_everything_is_named_at_its_end(seed):
    rows = rows_of(standing(acceptance=0.002)(np.random.default_rng(seed)))
    monitor = Monitor()
    assert watch(monitor, rows[SICK : SICK + 10]) is None
    found = monitor.at_end(9)
    assert (found.name, found.since, found.step) == ("rejecting", 0, 9)
    # Ten such steps at the end of others are not certain, and no step says nothing.
    monitor = Monitor()
    assert watch(monitor, rows[SICK - 20 : SICK + 10]) is None
    assert monitor.at_end(29) is None
    assert Monitor().at_end(0) is None


def test_frozen_chains_say_their_age(seed):
    found = watch(Monitor(), rows_of(FINDINGS["frozen-chains"][0](np.random.default_rng(seed))))
    assert f"at a mean age of {found.step} updates" in found.sentence


def test_pairs_that_were_given_up_are_counted(seed):
    found = watch(Monitor(), rows_of(given_up(np.random.default_rng(seed))))
    said = f"3 pairs of chains had not met after 10,000 sweeps at step {SICK}, and the update was not applied"
    assert found.sentence == said
    assert "most=100" in found.remedy


def test_slow_chains_say_what_they_brought(seed):
    found = watch(Monitor(), rows_of(slow(np.random.default_rng(seed))))
    assert found.sentence == "the chains together brought 0.0005 independent draws a step in steps 0 to 24"
    assert "More steps of the chains" in found.remedy


def test_an_overflow_names_what_rose_before(seed):
    found = watch(Monitor(), rows_of(overflow(np.random.default_rng(seed))))
    assert (found.quantity, found.step) == ("gradient_norm", SICK + 10)
    assert "after the energy gap had left its usual level at step" in found.sentence


def test_every_name_has_a_remedy_and_a_change():
    names = {case.split(",")[0] for case in FINDINGS}
    assert names == set(REMEDIES) == set(CHANGES)
