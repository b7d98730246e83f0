"""Objectives broken on purpose, each in one way that has been met in the wild."""

import jax
import jax.numpy as jnp

from energax.derivatives import probe, score, score_and_product, score_and_trace
from energax.objectives import (
    ContrastiveDivergence,
    DenoisingScoreMatching,
    MultiscaleDenoisingScoreMatching,
    PersistentContrastiveDivergence,
    ScoreMatching,
    SlicedScoreMatching,
    Smoothed,
)
from energax.objectives.denoising import add_noise, squared_norms


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
