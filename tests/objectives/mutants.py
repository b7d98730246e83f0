"""Objectives broken on purpose, each in one way that has been met in the wild."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from energax.derivatives import probe, score, score_and_product, score_and_trace
from energax.kernels import kernel_named, squared_distances
from energax.objectives import (
    AdversarialContrastiveEstimation,
    CompositeLikelihood,
    ConditionalNoiseContrastiveEstimation,
    ContrastiveDivergence,
    DenoisingScoreMatching,
    Density,
    FlowContrastiveEstimation,
    KernelSteinDiscrepancy,
    LearnedSteinDiscrepancy,
    MinimumProbabilityFlow,
    MinimumVelocityLearning,
    MultiscaleDenoisingScoreMatching,
    NoiseContrastiveEstimation,
    PersistentContrastiveDivergence,
    ScoreMatching,
    ShiftedNoiseContrastiveEstimation,
    SlicedScoreMatching,
    Smoothed,
    likelihood,
)
from energax.objectives.denoising import add_noise, squared_norms
from energax.objectives.noise import draws
from energax.objectives.noise_contrastive import log_ratio
from energax.stein import stein_kernel


class _Residual(DenoisingScoreMatching):
    """Denoising score matching with a residual to be broken."""

    def residual(self, s, z):
        raise NotImplementedError

    def loss(self, model, nuisance, state, batch, key):
        noisy, z = add_noise(batch.x, jnp.broadcast_to(self.sigma, (len(batch),)), key)
        s = jax.vmap(lambda x: score(model, x))(noisy)
        return 0.5 * jnp.mean(squared_norms(self.residual(s, z))), {}


class FlippedSign(_Residual):
    """The score's sign: learns the energy upside down."""

    def residual(self, s, z):
        return s - z / self.sigma


class MissingVariance(_Residual):
    """z where z/σ should be."""

    def residual(self, s, z):
        return s + z


class StaleNoise(DenoisingScoreMatching):
    """The target uses other noise than the input."""

    def loss(self, model, nuisance, state, batch, key):
        noisy, _ = add_noise(batch.x, jnp.broadcast_to(self.sigma, (len(batch),)), key)
        _, z = add_noise(batch.x, jnp.ones(len(batch)), jax.random.fold_in(key, 1))
        s = jax.vmap(lambda x: score(model, x))(noisy)
        return 0.5 * jnp.mean(squared_norms(s + z / self.sigma)), {}


class CleanInput(_Residual):
    """The score taken at x instead of x̃."""

    def loss(self, model, nuisance, state, batch, key):
        _, z = add_noise(batch.x, jnp.ones(len(batch)), key)
        s = jax.vmap(lambda x: score(model, x))(batch.x)
        return 0.5 * jnp.mean(squared_norms(s + z / self.sigma)), {}


class MissingSigma0(MultiscaleDenoisingScoreMatching):
    """σ₀ where σ₀² should be: an energy of the wrong scale."""

    def loss(self, model, nuisance, state, batch, key):
        import equinox as eqx

        # σ₀² ← σ₀ is the objective of √σ₀, but still declares the target of σ₀.
        other = eqx.tree_at(lambda o: o.sigma_0, self, jnp.sqrt(self.sigma_0))
        return MultiscaleDenoisingScoreMatching.loss(other, model, nuisance, state, batch, key)


class Unweighted(MultiscaleDenoisingScoreMatching):
    """Forgets l(σ)."""

    def loss(self, model, nuisance, state, batch, key):
        import equinox as eqx

        other = eqx.tree_at(lambda o: o.weight_power, self, jnp.zeros(()))
        return MultiscaleDenoisingScoreMatching.loss(other, model, nuisance, state, batch, key)


class PaperTarget(MultiscaleDenoisingScoreMatching):
    """Declares what the paper's proposition says: the σ₀-smoothed density."""

    @property
    def target(self):
        return Smoothed(self.sigma_0)


class PrintedSign(ScoreMatching):
    """½‖∇E‖² + ΔE, as the tutorial prints it for an energy."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x):
            s, trace = score_and_trace(model, x, method="chunked")
            return 0.5 * s @ s - trace

        return jnp.mean(jax.vmap(one)(batch.x)), {}


class TraceOverD(ScoreMatching):
    """A mean where the trace should be a sum."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x):
            s, trace = score_and_trace(model, x, method="chunked")
            return 0.5 * s @ s + trace / x.size

        return jnp.mean(jax.vmap(one)(batch.x)), {}


class UnitSphere(SlicedScoreMatching):
    """Directions of length one beside the whole ‖s‖²: the trace comes out d times too small."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x, k):
            v = probe("sphere", x, k) / x.size**0.5
            s, product = score_and_product(model, x, v)
            return 0.5 * s @ s + v @ product

        return jnp.mean(jax.vmap(one)(batch.x, jax.random.split(key, len(batch)))), {}


class ProbeReused(SlicedScoreMatching):
    """One fixed direction for every row and step."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x):
            v = jnp.ones_like(x)
            s, product = score_and_product(model, x, v)
            return 0.5 * s @ s + v @ product

        return jnp.mean(jax.vmap(one)(batch.x)), {}


class ChainsMinusData(ContrastiveDivergence):
    """E(chains) − E(data): climbs where it should descend."""

    def loss(self, model, nuisance, state, batch, key):
        value, metrics = super().loss(model, nuisance, state, batch, key)
        return -value, metrics


class ForgetfulChains(PersistentContrastiveDivergence):
    """Called persistent, but its chains start at noise in every step."""

    def refresh(self, model, nuisance, state, batches, key):
        _, fresh = self.init(model, jax.tree.map(lambda a: a[-1], batches), key, batches.x.shape[1])
        return super().refresh(model, nuisance, fresh, batches, key)


def one_row_for_all(x, key):
    """Whole rows drawn: the coordinates still go together."""
    return x[jax.random.randint(key, (len(x),), 0, len(x))]


def shifted_columns(x, key):
    """Each column turned round by a number of its own: right for one draw, not for two."""
    shift = jax.random.randint(key, (x.shape[1],), 0, len(x))
    return jnp.take_along_axis(x, (jnp.arange(len(x))[:, None] + shift) % len(x), axis=0)


MARGINALS = [one_row_for_all, shifted_columns]


class UncountedNoise(NoiseContrastiveEstimation):
    """The log-odds forget that ν noise points come with each datum."""

    def loss(self, model, nuisance, state, batch, key):
        n = round(self.noise_ratio * len(batch))
        y = draws(state, key, n, batch.x.shape[1:])
        on_data = log_ratio(model, nuisance.value, state, 1.0, batch.x)
        on_noise = log_ratio(model, nuisance.value, state, 1.0, y)
        of_noise = self.noise_ratio * jnp.mean(jax.nn.softplus(on_noise))
        return jnp.mean(jax.nn.softplus(-on_data)) + of_noise, {}


class NoiseWithoutItsDensity(NoiseContrastiveEstimation):
    """The noise's log-density is left out of its own half."""

    def loss(self, model, nuisance, state, batch, key):
        n = round(self.noise_ratio * len(batch))
        y = draws(state, key, n, batch.x.shape[1:])
        on_data = log_ratio(model, nuisance.value, state, self.noise_ratio, batch.x)
        on_noise = -jax.vmap(model)(y) - nuisance.value - jnp.log(self.noise_ratio)
        of_noise = self.noise_ratio * jnp.mean(jax.nn.softplus(on_noise))
        return jnp.mean(jax.nn.softplus(-on_data)) + of_noise, {}


class SwappedPair(ConditionalNoiseContrastiveEstimation):
    """The noise is taken for the datum: learns the energy upside down."""

    def loss(self, model, nuisance, state, batch, key):
        y, _ = add_noise(batch.x, jnp.broadcast_to(self.epsilon, (len(batch),)), key)
        return 2 * jnp.mean(jax.nn.softplus(jax.vmap(model)(y) - jax.vmap(model)(batch.x))), {}


class OneSidedShift(ShiftedNoiseContrastiveEstimation):
    """The noise's own half of the loss, eq. 26's second term, evaluated at the datum moved twice."""

    def loss(self, model, nuisance, state, batch, key):
        def one(x, k):
            v = self.shift * probe(self.distribution, x, k)
            here, near, far = model(x), model(x + v), model(x + 2 * v)
            return jax.nn.softplus(here - near) + jax.nn.softplus(near - far)

        return jnp.mean(jax.vmap(one)(batch.x, jax.random.split(key, len(batch)))), {}


class WholeDifference(MinimumProbabilityFlow):
    """exp(E(x) − E(y)): detailed balance wants half the difference."""

    def loss(self, model, nuisance, state, batch, key):
        return super().loss(_Twice(model), nuisance, state, batch, key)


class _Twice(eqx.Module):
    model: Any

    def __call__(self, x, condition=None):
        return 2 * self.model(x)


class FlipOfSpinsOnBits(CompositeLikelihood):
    """−x in place of 1 − x."""

    def init(self, model, data, key, rows):
        return None, jnp.zeros(())


class HalfDriftStopped(MinimumVelocityLearning):
    """Half the drift, held constant."""

    target = Density()

    def pull(self, s):
        return 0.5 * self.step * jax.lax.stop_gradient(s)


class WholeDriftDifferentiated(MinimumVelocityLearning):
    """All of the drift, differentiated."""

    target = Density()

    def pull(self, s):
        return self.step * s


class UnmixedDensity(AdversarialContrastiveEstimation):
    """Noise is drawn from the mixture and weighed as if all of it came from the flow."""

    def _noise(self, net, fixed):
        return _DrawnMixed(super()._noise(net, fixed))


class _DrawnMixed(eqx.Module):
    mixed: Any

    @property
    def event_shape(self):
        return self.mixed.event_shape

    def log_prob(self, x):
        return self.mixed.flow.log_prob(x)

    def sample(self, key, n):
        return self.mixed.sample(key, n)


class FrozenFlow(FlowContrastiveEstimation):
    """The opponent never moves."""

    def refresh(self, model, nuisance, state, batches, key):
        return state, {}


class AscendingFlow(FlowContrastiveEstimation):
    """The opponent makes telling easier."""

    def _moved(self, player, gradient):
        return super()._moved(player, jax.tree.map(jnp.negative, gradient))


class WithItsDiagonal(KernelSteinDiscrepancy):
    """A V-statistic: each row paired with itself, too."""

    def loss(self, model, nuisance, state, batch, key):
        s = jax.vmap(lambda x: score(model, x))(batch.x)
        kernel = kernel_named(self.kernel, self.bandwidth)
        return jnp.mean(stein_kernel(kernel, batch.x, s, batch.x, s)), {}


class StolenSlope(KernelSteinDiscrepancy):
    """The kernel's own second derivative and the cross terms are left out: ⟨s, s⟩ under the kernel."""

    def loss(self, model, nuisance, state, batch, key):
        s = jax.vmap(lambda x: score(model, x))(batch.x)
        k = kernel_named(self.kernel, self.bandwidth).profile(squared_distances(batch.x, batch.x)).value
        return jnp.mean(k * (s @ s.T)), {}


class FrozenCritic(LearnedSteinDiscrepancy):
    """A critic that never moves."""

    def refresh(self, model, nuisance, state, batches, key):
        return state, {}


class FlippedCritic(LearnedSteinDiscrepancy):
    """The model follows the critic with the wrong sign."""

    def loss(self, model, nuisance, state, batch, key):
        value, report = super().loss(model, nuisance, state, batch, key)
        return -value, report


def share_without_the_sum(start, end, went_on):
    """n (1 − ρ): forgets that later draws, too, are like this one."""
    n = jnp.sum(went_on)
    share = likelihood.independent_draws(start, end, went_on) / n
    return n * 2 * share / (1 + share)
