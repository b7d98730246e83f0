"""Monitors that are wrong: each must fail a check of test_health.py."""

import numpy as np

from energax.training import health
from energax.training.health import Excursion, Monitor


class AbsoluteScale(Monitor):
    """Beyond is 1,000, whatever the fit's own scale."""

    def _fence(self, name):
        return 1000.0, 1.0


class OneStep(Monitor):
    """One step beyond is a finding."""

    def _beyond(self, step, values):
        for excursion in self.excursions.values():
            excursion.values *= health.STAYING
            excursion.beyond = len(excursion.values)
        return super()._beyond(step, values)


class NoFloor(Monitor):
    """Forgets where a quantity began: a stumble at the level of rounding is beyond."""

    def _fence(self, name):
        self.first[:] = 0
        return super()._fence(name)


class FirstLevel(Monitor):
    """Compares with the first steps for ever, be they wild or nothing."""

    def _remember(self, values):
        if self.healthy < health.START:
            super()._remember(values)


class Impatient(Monitor):
    """Judges the first steps by ten steps' level."""

    def _fence(self, name):
        i = health.LEVELS.index(name)
        level = float(self.level[i])
        return (10 * level, level) if self.healthy >= 10 and level > 0 else super()._fence(name)


class NoFinite(Monitor):
    """A NaN is not beyond anything."""

    def _non_finite(self, step, values):
        return None


class Forgiving(Monitor):
    """Takes steps beyond into its usual level, which runs after what grows."""

    def see(self, step, row):
        found = super().see(step, row)
        if found is None and self.sign:
            super()._remember({name: float(row[name]) for name in health.LEVELS if name in row})
        return found


class GrowthOnly(Monitor):
    """What leaps and stays is not found."""

    def _follow(self, step, name, value, least):
        super()._follow(step, name, value, least)
        if name in self.excursions and not isinstance(self.excursions[name], Growing):
            e = self.excursions[name]
            self.excursions[name] = Growing(e.since, e.level, e.values, e.beyond, e.within)


class Growing(Excursion):
    """An excursion that only growth ends."""

    def found(self, starting):
        half = len(self.values) // 2
        sizes = np.abs(self.values)
        return half > 7 and bool(np.median(sizes[-half:]) > 1.5 * np.median(sizes[:half]))


class WrongSign(Monitor):
    """Takes the gap for E of chains less E of data."""

    def _follow(self, step, name, value, least):
        super()._follow(step, name, -value if name == "energy_gap" else value, least)


class BlindToChains(Monitor):
    """Looks neither at acceptance nor at movement."""

    def _still(self, step, values):
        return None


class BlindToPairs(Monitor):
    """Takes a sum that pairs of chains never finished for any other that is not finite."""

    def _apart(self, step, values):
        return None


class BlindToMixing(Monitor):
    """Chains that move are chains that mix."""

    def _slow(self, step, values):
        return None


class Demanding(Monitor):
    """Wants an independent draw of each step."""

    def _slow(self, step, values):
        scaled = {
            name: value * health.FEWEST_DRAWS if name == "chain_ess" else value
            for name, value in values.items()
        }
        return super()._slow(step, scaled)


class WithoutNats(Monitor):
    """Holds a gap of one nat for an explosion where it was nearly zero before."""

    def _follow(self, step, name, value, least):
        super()._follow(step, name, value, 0.0)


FALSE_ALARMS = [AbsoluteScale, OneStep, NoFloor, FirstLevel, Impatient, WithoutNats, Demanding]
MISSES = [
    AbsoluteScale,
    NoFinite,
    Forgiving,
    GrowthOnly,
    WrongSign,
    BlindToChains,
    BlindToPairs,
    BlindToMixing,
]
