"""Metropolis samplers broken on purpose."""

from blackjax.mcmc import diffusions, hmc, mala

from energax.samplers import HMC, MALA, NUTS
from energax.samplers.metropolis import Chain, Metropolis, log_density


class DroppedRatio(MALA):
    """Accepts every proposal of MALA."""

    def transition(self, log_p, start, key, i):
        step = self.step_size(i) * self.temperature(i)
        move = diffusions.overdamped_langevin(lambda x: hmc.init(x, log_p)[1:])
        return mala.MALAState(*move(key, start, step)), {}


class Frozen(HMC):
    """Proposes, and stays."""

    def transition(self, log_p, start, key, i):
        return start, {}


class ForgottenTemperature(HMC):
    """Momenta of the right temperature, accepted at temperature 1."""

    def transition(self, log_p, start, key, i):
        T = self.temperature(i)
        cold = start._replace(logdensity=T * start.logdensity)
        end, info = super().transition(lambda x: T * log_p(x), cold, key, i)
        return end._replace(logdensity=end.logdensity / T, logdensity_grad=end.logdensity_grad / T), info


class _Stale(Metropolis):
    """Hands BlackJAX the log-density and gradient of the temperature of the step before."""

    def step(self, model, state, key, i):
        start = hmc.HMCState(state.x, -state.energy, state.score)
        end, info = self.transition(log_density(model, self.temperature(i)), start, key, i)
        return Chain(end.position, -end.logdensity, end.logdensity_grad), info


class StaleHMC(HMC, _Stale):
    pass


class StaleMALA(MALA, _Stale):
    pass


class StaleNUTS(NUTS, _Stale):
    pass
