"""Parallel tempering that can start at, and show, all its levels; and such tempering broken on purpose."""

import jax
import jax.numpy as jnp

from energax.samplers import HMC, ParallelTempering
from energax.samplers.tempering import AtTemperature, at_temperature


class AllLevels(ParallelTempering):
    """Starts from one point per level, and its position is that of all levels: a leading axis."""

    def init(self, model, x, key):
        return jax.vmap(lambda x, T: self.sampler.init(at_temperature(model, T), x, key))(
            x, self.temperatures
        )

    def position(self, state):
        return jax.vmap(self.sampler.whole)(state)


class WrongSign(AllLevels):
    """Swaps where it should not, and not where it should."""

    def log_ratio(self, gains, partner):
        return -super().log_ratio(gains, partner)


class AlwaysSwaps(AllLevels):
    """Drops the ratio."""

    def log_ratio(self, gains, partner):
        return jnp.full_like(gains, jnp.inf)


class HalfTheRatio(AllLevels):
    """Asks one level of the two."""

    def log_ratio(self, gains, partner):
        return gains


class AtTemperatureOne(AllLevels):
    """Swaps as if its sampler had no temperature of its own."""

    def law_temperature(self, i):
        return 1.0


class LeavesLayersBehind(AllLevels):
    """Exchanges visible layers, and leaves the hidden ones where they are."""

    def _swap(self, model, state, key, i):
        hidden = state[1:]
        (x, *_), acceptance = super()._swap(model, state, key, i)
        return (x, *hidden), acceptance


class TellsTheMean(AllLevels):
    """Says of each pair what is true of all."""

    def _swap(self, model, state, key, i):
        state, report = super()._swap(model, state, key, i)
        pairs = jnp.ones_like(report["swaps"])
        return state, {**report, "swaps": report["swap_acceptance"] * pairs, "swap_tries": pairs}


class CountsNoTurns(AllLevels):
    """Counts every round as a try of every pair."""

    def _swap(self, model, state, key, i):
        state, report = super()._swap(model, state, key, i)
        return state, {**report, "swap_tries": jnp.ones_like(report["swaps"])}


class HotterPair(AllLevels):
    """Counts the pairs from the hottest."""

    def _swap(self, model, state, key, i):
        state, report = super()._swap(model, state, key, i)
        return state, {**report, "swaps": report["swaps"][::-1], "swap_tries": report["swap_tries"][::-1]}


class FreeEnergyOverT(AllLevels):
    """Takes every model for E/T, whatever it says of itself."""

    def gains(self, model, x, others):
        def gain(x, other, temperature):
            cold = AtTemperature(model, temperature)
            return cold(x) - cold(other)

        return jax.vmap(gain)(x, others, self.temperatures)


class StaleAfterSwap(HMC):
    """Takes the place of its neighbour, but not the energy and score there."""

    def moved_to(self, model, state, x):
        return state._replace(x=x)
